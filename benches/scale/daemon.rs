//! The real program as a process: started, measured and stopped.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::aws;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the kernel counts processor time in, a second.
const TICKS: f64 = 100.0;

pub struct Daemon {
    child: Child,
    pub folder: TempDir,
    address: String,
    pub started: Instant,
}

/// The program to measure.
pub fn program() -> PathBuf {
    std::env::var_os("ECS_DEPLOYD_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ecs-deployd")), PathBuf::from)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- the end of the daemon's log\n{}",
                self.log().lines().rev().take(40).collect::<Vec<_>>().join("\n")
            );
        }
    }
}

impl Daemon {
    /// Starts it with a configuration, and with a state if there is one.
    pub fn start(config: &str, state: Option<&[u8]>) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        // A port that is free now is free a moment later.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let common = format!(
            "[state]\npath = {:?}\n[control]\nsocket = {:?}\n[http]\nlisten = \"{address}\"\n",
            path("state.json"),
            path("control.sock")
        );
        fs::write(path("config.toml"), common + config).unwrap();
        if let Some(state) = state {
            fs::write(path("state.json"), state).unwrap();
        }
        let mut command = Command::new(program());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        let child = command
            .arg("run")
            .env("ECS_DEPLOYD_CONFIG", path("config.toml"))
            .env("HOME", folder.path())
            .env("AWS_ACCESS_KEY_ID", "AKIAMEASURED")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_REGION", aws::REGION)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, folder, address, started: Instant::now() }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn reload(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    }

    /// A page and how long it took; nothing while the daemon does not listen.
    pub fn get(&self, path: &str) -> Option<(String, Duration)> {
        let begun = Instant::now();
        let mut request = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent()
            .get(format!("http://{}{path}", self.address))
            .call()
            .ok()?;
        let ok = request.status() == 200;
        let text = request.body_mut().with_config().limit(1 << 30).read_to_string().ok()?;
        ok.then(|| (text, begun.elapsed()))
    }

    /// Waits until a page answers with 200. Gives the time since the start.
    pub fn wait_for(&mut self, path: &str) -> Duration {
        loop {
            if self.get(path).is_some() {
                return self.started.elapsed();
            }
            assert!(self.started.elapsed() < PATIENCE, "{path} is not there:\n{}", self.log());
            assert!(self.child.try_wait().unwrap().is_none(), "it has ended:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Resident memory, in MiB.
    pub fn resident(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The most that was resident, in MiB.
    pub fn most_resident(&self) -> f64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }

    /// Processor time so far, in seconds.
    pub fn processor_time(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
    }
}
