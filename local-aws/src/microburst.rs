//! microburst as a child process: a proxy before an endpoint that lets some calls fail as AWS lets them fail.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::hooks::Hooks;
use crate::log_tail::last_lines;
use crate::net::free_port;
use crate::run_folder::RunFolder;
use crate::target::target_folder;
use crate::venv::{self, EnsureError};

const WRAPPER: &str = include_str!("microburst.py");
const LOOK_EVERY: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(60);

/// Why microburst does not run.
#[derive(Debug, thiserror::Error)]
pub enum BurstError {
    /// The virtual environment could not be made.
    #[error("microburst cannot be installed")]
    Venv(#[from] EnsureError),
    /// Its folder, its port or its process could not be had.
    #[error("cannot run microburst")]
    Io(#[from] io::Error),
    /// It does not listen.
    #[error("microburst did not listen in time; the end of its log:\n{0}")]
    Silent(String),
}

/// A running microburst. It ends when this is dropped, or when this process dies.
#[derive(Debug)]
pub struct Microburst {
    /// Holds the pipe that is the child's stdin.
    child: Child,
    port: u16,
    _folder: RunFolder,
}

impl Microburst {
    /// Starts it before an endpoint. `rules` is its configuration, in YAML.
    pub fn before(endpoint: &str, rules: &str) -> Result<Self, BurstError> {
        let target = target_folder();
        let python = venv::ensure(&target, Hooks::QUIET)?;
        let folder = RunFolder::new(&target, None)?;
        let port = free_port()?;
        let mut child = command(&python, folder.path(), endpoint, rules, port)?.spawn()?;
        match wait(&mut child, port) {
            true => Ok(Self { child, port, _folder: folder }),
            false => {
                let log = last_lines(&folder.path().join("microburst.log"), 12);
                end(&mut child);
                Err(BurstError::Silent(log))
            }
        }
    }

    /// The address that the proxy listens on.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Microburst {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // Both fail only if it has ended and was waited for.
    let _ = child.kill();
    let _ = child.wait();
}

fn command(python: &Path, folder: &Path, endpoint: &str, rules: &str, port: u16) -> io::Result<Command> {
    let config = folder.join("rules.yaml");
    fs::write(&config, rules)?;
    let log = File::create(folder.join("microburst.log"))?;
    let mut command = Command::new(python);
    command
        .args(["-I", "-u", "-c", WRAPPER, "-u", endpoint, "-p", &port.to_string(), "--host", "127.0.0.1", "-c"])
        .arg(config)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", folder)
        .env("LANG", "C.UTF-8");
    Ok(command)
}

fn wait(child: &mut Child, port: u16) -> bool {
    let start = Instant::now();
    while start.elapsed() < DEADLINE && matches!(child.try_wait(), Ok(None)) {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        thread::sleep(LOOK_EVERY);
    }
    false
}
