//! The demo from the first step to the last.

use crate::build;
use crate::config::{self, Places};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::folder::DemoFolder;
use crate::interrupt::Interrupt;
use crate::local::Preparation;
use crate::metrics::Sample;
use crate::report;
use crate::scene::{self, ACCOUNT, REGION, REPOSITORY, SERVICE, TAG};
use crate::screen::Screen;
use crate::verdict::{self, Sight};
use local_aws::{Client, MiniStack, free_port};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const ROLLED_WITHIN: Duration = Duration::from_secs(60);
/// How much longer the daemon may take to see and count what has happened.
const COUNTED_WITHIN: Duration = Duration::from_secs(10);
/// CloudTrail tells the time to the second, and pushes before the daemon's start are not deployed.
const APART: Duration = Duration::from_millis(1200);

/// Whatever ends this, everything that it started is stopped: the daemon first.
pub(crate) fn tell(once: bool, screen: &Screen, interrupt: &Interrupt) -> Result<(), Failure> {
    let folder = DemoFolder::claim()?;

    screen.step(1, "build ecs-deployd (the local AWS is made ready beside it)");
    let preparation = Preparation::begin(folder.join("ministack"), interrupt);
    let executable = build::daemon(interrupt)?;

    screen.step(2, "start a local AWS: MiniStack, out of a virtual environment");
    let mut aws = preparation.finish(screen)?;
    let client = aws.client(ACCOUNT, REGION);
    screen.note(&format!("it listens on {}", aws.endpoint()));

    screen.step(3, "push v1 and run it as a service, as it was before ecs-deployd came");
    let queue = scene::set(&client)?;
    let set_up = Instant::now();
    let before = Sight::take(&client)?;
    report::scene(screen, &before);

    screen.step(4, "start ecs-deployd");
    interrupt.pause_until(set_up + APART)?;
    let mut daemon = start_daemon(&folder, &aws, &queue, &executable, screen, interrupt)?;
    daemon.wait_until_ready()?;
    screen.note(&format!("its status page is {}/", daemon.url()));
    interrupt.pause_until(daemon.started + APART)?;

    let metrics_before = daemon.metrics();
    screen.step(5, &format!("push v2 as {REPOSITORY}:{TAG}"));
    let digest = scene::push(&client, "v2")?;
    screen.note(&format!("its digest is {digest}"));
    scene::tell(&client, &queue, "v2", &digest)?;
    screen.note(
        "the queue tells of it at once, as EventBridge does; CloudTrail, which takes minutes on AWS, tells of it, too",
    );
    let after = wait_for_roll(&mut daemon, &client, &before, &digest, interrupt)?;
    let metrics_after = wait_for_count(&mut daemon, interrupt)?;

    screen.step(6, "what happened");
    screen.note("the migration ran once, from the new revision, before the service was updated");
    report::roll(screen, &before, &after);
    report::metrics(screen, &metrics_before, &metrics_after);

    if !once {
        screen.step(7, "the daemon goes on: push again, or end it with Ctrl-C");
        report::ways_on(screen, &folder, &aws, &daemon)?;
        watch(&mut daemon, &mut aws, interrupt)?;
    }
    screen.step(if once { 7 } else { 8 }, "stop the daemon, then the local AWS");
    daemon.stop()?;
    drop(aws);
    screen.done(&format!("{SERVICE} went from {} to {}", before.revision(), after.revision()));
    Ok(())
}

fn start_daemon(
    folder: &DemoFolder,
    aws: &MiniStack,
    queue: &str,
    executable: &Path,
    screen: &Screen,
    interrupt: &Interrupt,
) -> Result<Daemon, Failure> {
    let http_port = free_port().map_err(Failure::io("find a free port"))?;
    let path = folder.join("config.toml");
    let text = config::text(&Places {
        endpoint: &aws.endpoint(),
        queue,
        state: &folder.join("state.json"),
        socket: &folder.socket(),
        http_port,
    });
    fs::write(&path, text).map_err(Failure::io(format!("write {}", path.display())))?;
    screen.note(&format!("{} run --config {}", executable.display(), path.display()));
    Daemon::start(executable, &path, http_port, *screen, interrupt)
}

fn wait_for_roll(
    daemon: &mut Daemon,
    client: &Client,
    before: &Sight,
    digest: &str,
    interrupt: &Interrupt,
) -> Result<Sight, Failure> {
    let deadline = Instant::now() + ROLLED_WITHIN;
    loop {
        daemon.check()?;
        let now = Sight::take(client)?;
        match verdict::missing(before, &now, digest) {
            None => return Ok(now),
            Some(reason) if Instant::now() > deadline => {
                return Err(Failure::NotRolled { seconds: ROLLED_WITHIN.as_secs(), reason });
            }
            Some(_) => interrupt.pause_until(Instant::now() + Duration::from_millis(200))?,
        }
    }
}

/// The daemon looks at a rollout once a second, so it knows the end a little later than the local AWS.
fn wait_for_count(daemon: &mut Daemon, interrupt: &Interrupt) -> Result<Sample, Failure> {
    let deadline = Instant::now() + COUNTED_WITHIN;
    loop {
        daemon.check()?;
        let metrics = daemon.metrics();
        let completed = metrics.sum("deployments_total", "outcome=\"completed\"");
        if completed > 0.0 || Instant::now() > deadline {
            return Ok(metrics);
        }
        interrupt.pause_until(Instant::now() + Duration::from_millis(200))?;
    }
}

fn watch(daemon: &mut Daemon, aws: &mut MiniStack, interrupt: &Interrupt) -> Result<(), Failure> {
    while interrupt.pause().is_ok() {
        daemon.check()?;
        if !aws.is_running() {
            return Err(Failure::LocalAwsEnded);
        }
    }
    Ok(())
}
