//! The binary as a process: started, read, signalled, and never left behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use local_aws::{Part, Settings};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The time that anything may take on a machine that does other things, too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is there.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, look)
}

/// The same for what takes its time.
#[expect(clippy::disallowed_methods, reason = "another process is waited for, in real time")]
pub fn wait_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A folder with a configuration and a state in it.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    /// The emulator that gives the program the permissions that `iam` prints for each configuration, and no others.
    aws: Option<Settings>,
}

impl Home {
    /// Writes a configuration that begins with the folder's own paths.
    pub fn new(config: &str) -> Self {
        Self::with_policy_of(None, config)
    }

    /// The same. What `iam` prints for each configuration is all that the program may do from then on.
    pub fn with_policy_of(aws: Option<Settings>, config: &str) -> Self {
        let home = Self { folder: TempDir::new().unwrap(), aws };
        home.configure(config);
        home
    }

    /// Replaces the configuration.
    pub fn configure(&self, config: &str) {
        self.configure_at(config, "127.0.0.1:0");
    }

    /// The same, with an address to listen at.
    pub fn configure_at(&self, config: &str, address: &str) {
        let common = format!(
            "[state]\npath = {:?}\n[control]\nsocket = {:?}\n[http]\nlisten = \"{address}\"\n",
            self.path("state.json"),
            self.path("control.sock")
        );
        fs::write(self.path("config.toml"), common + config).unwrap();
        if let Some(aws) = &self.aws {
            crate::policy::print(self, aws, config);
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The binary, with this configuration and with no way to a real AWS.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ecs-deployd"));
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("ECS_DEPLOYD_"))
        {
            command.env_remove(name);
        }
        let part = match arguments.first() {
            Some(&"check") => Part::Check,
            Some(&("iam" | "init")) => Part::Person,
            _ => Part::Daemon,
        };
        command
            .args(arguments)
            .env("AWS_EXECUTION_ENV", part.execution_environment())
            .env("ECS_DEPLOYD_CONFIG", self.path("config.toml"))
            .env("HOME", self.folder.path())
            .env("AWS_ACCESS_KEY_ID", crate::scene::ACCOUNT)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_REGION", crate::scene::REGION)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end. Gives the exit code and what it wrote to standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts the daemon.
    pub fn start(&self) -> Daemon {
        self.start_with(&["run"], |command| command)
    }

    /// Starts it with other arguments and another environment.
    pub fn start_with(&self, arguments: &[&str], edit: impl FnOnce(&mut Command) -> &mut Command) -> Daemon {
        let log = self.path("log");
        let mut command = self.command(arguments);
        edit(&mut command);
        let child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        Daemon { child, log }
    }
}

/// What must never be in a log.
pub const SECRET_KEY: &str = "this-is-the-secret-access-key";

/// A running daemon. It is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
    }
}

impl Daemon {
    pub fn log(&self) -> String {
        read(&self.log)
    }

    #[allow(dead_code, reason = "tests/system looks into the process's mount namespace")]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the end of the daemon", || child.try_wait().unwrap())
    }

    /// Stops it as systemd does.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Where it listens, as it logs it.
    pub fn address(&self) -> String {
        wait_for("the address in the log", || {
            let log = self.log();
            let text = log.split("http=").nth(1)?;
            Some(text.split_whitespace().next()?.to_owned())
        })
    }

    /// Status and body of a page.
    pub fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address());
        local_aws::http::get(&url, Duration::from_secs(10)).unwrap()
    }

    pub fn wait_until_ready(&self) {
        wait_for("readiness", || (self.get("/readyz").0 == 200).then_some(()));
    }

    /// One sample of the metrics.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    pub fn wait_for_metric(&self, series: &str, value: f64) {
        wait_for(&format!("{series} {value}"), || (self.metric(series) == Some(value)).then_some(()));
    }

    pub fn wait_for_log(&self, text: &str) {
        wait_for(&format!("{text:?} in the log"), || self.log().contains(text).then_some(()));
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
