//! MiniStack as a child process on a port of loopback.

use crate::client::Client;
use crate::hooks::Hooks;
use crate::http;
use crate::log_tail::last_lines;
use crate::net::free_port;
use crate::run_folder::{RunFolder, unique_name};
use crate::settings::Settings;
use crate::target::target_folder;
use crate::venv::{self, EnsureError};
use std::env;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Runs the module and ends with its parent.
const WRAPPER: &str = concat!(include_str!("policy.py"), include_str!("inspection.py"), include_str!("ministack.py"));
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often another port is tried when the first was taken in the meantime.
const ATTEMPTS: u32 = 5;

/// How MiniStack is started.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// Cargo's target folder: the virtual environment lies below it.
    pub target: PathBuf,
    /// Where the log and temporary files go. `None`: a folder of its own that is removed in the end.
    pub folder: Option<PathBuf>,
    /// How long it may take until it answers.
    pub deadline: Duration,
    /// What the caller may see of it, and how it stops it.
    pub hooks: Hooks<'a>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { target: target_folder(), folder: None, deadline: Duration::from_secs(60), hooks: Hooks::QUIET }
    }
}

/// Why MiniStack does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its virtual environment could not be made.
    #[error("MiniStack cannot be installed")]
    Venv(#[from] EnsureError),
    /// Its folder, its port or its process could not be had.
    #[error("cannot {what}")]
    Io {
        /// What was tried, for people.
        what: String,
        /// Why it was not possible.
        source: io::Error,
    },
    /// It ended by itself.
    #[error("MiniStack ended while starting ({status}); the end of its log:\n{log}")]
    Ended {
        /// How the process ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// It runs and does not answer.
    #[error("MiniStack did not answer within {seconds} s; the end of its log:\n{log}")]
    Silent {
        /// The seconds that it was given.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// The caller asked to stop, by [`Hooks::cancelled`].
    #[error("stopped before MiniStack answered")]
    Cancelled,
}

/// A running MiniStack. It keeps everything in memory, starts no containers, and ends when this is
/// dropped or when this process dies, in whichever way.
#[derive(Debug)]
pub struct MiniStack {
    /// Holds the pipe that is the child's stdin: its end is what the child ends with.
    child: Child,
    port: u16,
    folder: RunFolder,
}

impl MiniStack {
    /// Starts it and waits until it answers.
    pub fn start(options: &Options<'_>) -> Result<Self, StartError> {
        let python = venv::ensure(&options.target, options.hooks)?;
        let folder = RunFolder::new(&options.target, options.folder.as_deref())
            .map_err(io_error(|| "create a folder for MiniStack".to_owned()))?;
        (options.hooks.progress)("starting MiniStack");
        let mut attempts = 1;
        let (child, port) = loop {
            match Self::attempt(&python, folder.path(), options) {
                Err(StartError::Ended { log, .. }) if attempts < ATTEMPTS && log.contains("already in use") => {
                    attempts += 1;
                }
                result => break result?,
            }
        };
        Ok(Self { child, port, folder })
    }

    fn attempt(python: &Path, folder: &Path, options: &Options<'_>) -> Result<(Child, u16), StartError> {
        let port = free_port().map_err(io_error(|| "find a free port".to_owned()))?;
        let token = unique_name();
        let log = log_in(folder);
        let output = File::create(&log)
            .and_then(|file| Ok((file.try_clone()?, file)))
            .map_err(io_error(|| format!("write {}", log.display())))?;
        let mut child = command(python, folder, port, &token)
            .stdout(output.0)
            .stderr(output.1)
            .spawn()
            .map_err(io_error(|| format!("run {}", python.display())))?;
        match wait_for_answer(&mut child, port, &token, &log, options) {
            Ok(()) => Ok((child, port)),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// Where it answers, for all services.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client for one account (12 digits) and region. Accounts and regions share nothing.
    pub fn client(&self, account: &str, region: &str) -> Client {
        Client::new(&self.endpoint(), account, region)
    }

    /// The path of the file that the emulator logs to.
    pub fn log(&self) -> PathBuf {
        log_in(self.folder.path())
    }

    /// What its calls are answered by beside MiniStack: policies, scans and signatures.
    pub fn settings(&self) -> Settings {
        Settings::new(self.folder.path(), self.endpoint())
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for MiniStack {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // Both fail only if it has ended and was waited for.
    let _ = child.kill();
    let _ = child.wait();
}

fn log_in(folder: &Path) -> PathBuf {
    folder.join("ministack.log")
}

fn command(python: &Path, folder: &Path, port: u16, token: &str) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-I", "-u", "-c", WRAPPER])
        .current_dir(folder)
        .stdin(Stdio::piped())
        // Ctrl-C in a terminal reaches a whole process group; when this ends is up to its owner.
        .process_group(0)
        // A dozen variables change what MiniStack does: none of the caller's may.
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", folder)
        .env("TMPDIR", folder)
        .env("LANG", "C.UTF-8")
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("CLOUDTRAIL_RECORDING", "1")
        .env("CLOUDTRAIL_MAX_EVENTS", "100000")
        .env("PERSIST_STATE", "0")
        .env("STATE_DIR", folder.join("state"))
        .env("S3_DATA_DIR", folder.join("s3"))
        // Without an engine at this address tasks are simulated.
        .env("DOCKER_HOST", format!("unix://{}", folder.join("none").display()))
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        // Comes back in the answer of the health path: that is how this one is told from another
        // process that got the port first.
        .env("MINISTACK_EDITION", token);
    command
}

fn wait_for_answer(
    child: &mut Child,
    port: u16,
    token: &str,
    log: &Path,
    options: &Options<'_>,
) -> Result<(), StartError> {
    let start = Instant::now();
    loop {
        let ended = child.try_wait().map_err(io_error(|| "wait for MiniStack".to_owned()))?;
        if let Some(status) = ended {
            let log = last_lines(log, 12);
            return Err(StartError::Ended { status, log });
        }
        if answers(port, token) {
            return Ok(());
        }
        if (options.hooks.cancelled)() {
            return Err(StartError::Cancelled);
        }
        if start.elapsed() > options.deadline {
            return Err(StartError::Silent { seconds: options.deadline.as_secs(), log: last_lines(log, 12) });
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn answers(port: u16, token: &str) -> bool {
    let url = format!("http://127.0.0.1:{port}/_ministack/health");
    match http::get(&url, Duration::from_secs(2)) {
        Ok((200, body)) => {
            serde_json::from_str::<serde_json::Value>(&body).is_ok_and(|health| health["edition"] == token)
        }
        _ => false,
    }
}

fn io_error<F: FnOnce() -> String>(what: F) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { what: what(), source }
}
