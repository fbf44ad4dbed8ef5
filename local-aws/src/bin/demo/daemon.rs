//! The real daemon as a child process.

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::metrics::Sample;
use crate::scene::ACCOUNT;
use crate::screen::Screen;
use local_aws::http;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::env;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const READY_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const KEPT_LINES: usize = 12;

type LastLines = Arc<Mutex<VecDeque<String>>>;

/// Runs until it is stopped or dropped.
pub(crate) struct Daemon {
    child: Child,
    interrupt: Interrupt,
    pub(crate) started: Instant,
    url: String,
    last_lines: LastLines,
    readers: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// Starts it; its log shows from now on.
    pub(crate) fn start(
        executable: &Path,
        config: &Path,
        http_port: u16,
        screen: Screen,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let mut child =
            command(executable, config).spawn().map_err(Failure::io(format!("run {}", executable.display())))?;
        let last_lines = LastLines::default();
        let mut readers = Vec::new();
        if let Some(out) = child.stdout.take() {
            readers.push(show(out, screen, Arc::clone(&last_lines)));
        }
        if let Some(out) = child.stderr.take() {
            readers.push(show(out, screen, Arc::clone(&last_lines)));
        }
        Ok(Self {
            child,
            interrupt: interrupt.clone(),
            started,
            url: format!("http://127.0.0.1:{http_port}"),
            last_lines,
            readers,
        })
    }

    /// Where it serves its metrics and status page.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Waits until `/readyz` says that the daemon is ready.
    pub(crate) fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let deadline = self.started + READY_WITHIN;
        loop {
            self.check()?;
            let reason = match http::get(&format!("{}/readyz", self.url), ANSWERS_WITHIN) {
                Ok((200, _)) => return Ok(()),
                Ok((status, body)) => format!("/readyz says {status}: {}", body.trim()),
                Err(error) => error.to_string(),
            };
            if Instant::now() > deadline {
                return Err(Failure::NotReady { seconds: READY_WITHIN.as_secs(), reason });
            }
            self.interrupt.pause()?;
        }
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        let ended = self.child.try_wait();
        match ended.map_err(Failure::io("wait for the daemon"))? {
            None => Ok(()),
            Some(status) => Err(Failure::DaemonEnded { status, log: self.rest_of_log() }),
        }
    }

    /// What its metrics say now; nothing if it does not answer.
    pub(crate) fn metrics(&self) -> Sample {
        match http::get(&format!("{}/metrics", self.url), ANSWERS_WITHIN) {
            Ok((200, text)) => Sample::parse(&text),
            _ => Sample::default(),
        }
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        let status = self.end();
        self.rest_of_log();
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Failure::BadStop(status.to_string())),
            None => Err(Failure::BadStop("it had to be killed".to_owned())),
        }
    }

    /// How it ended, or `None` if it had to be killed: because it took too long, or because of another
    /// Ctrl-C in the meantime.
    fn end(&mut self) -> Option<ExitStatus> {
        let interrupts = self.interrupt.count();
        let deadline = Instant::now() + STOPPED_WITHIN;
        // A child that was not waited for keeps its id, so this reaches no other process.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
        while Instant::now() < deadline && self.interrupt.count() == interrupts {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(20)),
                Ok(Some(status)) => return Some(status),
                Err(_) => break,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }

    /// Lets the readers come to the end, and gives the last lines.
    fn rest_of_log(&mut self) -> String {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let lines = self.last_lines.lock();
        let lines = lines.unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Daemon {
    /// On the way out of a failure or an interrupt.
    fn drop(&mut self) {
        self.end();
        self.rest_of_log();
    }
}

fn command(executable: &Path, config: &Path) -> Command {
    let mut command = Command::new(executable);
    command.args(["run", "--config"]).arg(config);
    // The demo must never reach a real account: nothing of the caller's AWS setup is passed on.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_withheld) {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_ACCESS_KEY_ID", ACCOUNT)
        .env("AWS_SECRET_ACCESS_KEY", "not-a-secret")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal reaches a whole group, and the demo decides who stops when.
        .process_group(0);
    command
}

fn is_withheld(name: &str) -> bool {
    name.starts_with("AWS_")
        || name.starts_with("ECS_DEPLOYD_")
        || matches!(name, "RUST_LOG" | "NOTIFY_SOCKET" | "WATCHDOG_USEC" | "WATCHDOG_PID")
}

/// Shows each line and keeps the last ones.
fn show(out: impl Read + Send + 'static, screen: Screen, last_lines: LastLines) -> JoinHandle<()> {
    thread::spawn(move || {
        // Bytes, since one line that is not UTF-8 must not end the reading.
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            screen.log(&line);
            let kept = last_lines.lock();
            let mut kept = kept.unwrap_or_else(PoisonError::into_inner);
            kept.push_back(line);
            if kept.len() > KEPT_LINES {
                kept.pop_front();
            }
        }
    })
}
