//! A private virtual environment with exactly the packages of `requirements.txt`.
//!
//! It lies in cargo's target folder, so that `cargo clean` removes it. Several processes may ask for it
//! at once, and any of them may be killed at any moment:
//!
//! - one at a time works, under a lock on a file beside the environment. `pip` holds that lock as
//!   well (see [`ensure`]), so a `pip` that outlived its parent is not disturbed;
//! - a marker is written last; an environment without it is removed and made again.

mod error;

pub use error::EnsureError;

use crate::hooks::Hooks;
use crate::log_tail::last_lines;
use crate::run;
use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{self, Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

const PINS: &str = include_str!("../requirements.txt");
const MARKER: &str = ".complete";
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Prints where and which the interpreter is; 3 and 4 say what it lacks.
const PROBE: &str = "\
import sys
print(sys.executable, sys.version.split()[0])
if sys.version_info < (3, 10): sys.exit(3)
try: import ensurepip, venv
except ImportError: sys.exit(4)
";

/// Makes sure that the environment exists below `target`, and gives its interpreter.
///
/// The first time this asks PyPI for some 40 MB, which takes a minute on a slow line; later it takes a
/// few milliseconds.
pub fn ensure(target: &Path, hooks: Hooks<'_>) -> Result<PathBuf, EnsureError> {
    let target = path::absolute(target).map_err(io_error("find", target))?;
    let folder = target.join("local-aws");
    let venv = folder.join(format!("venv-{:016x}", fingerprint(&probe()?)));
    if is_complete(&venv) {
        return Ok(interpreter(&venv));
    }
    fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
    let lock = locked(&venv.with_extension("lock"), hooks)?;
    // Another process may have made it while this one waited.
    if !is_complete(&venv) {
        make(&venv, &lock, hooks)?;
    }
    Ok(interpreter(&venv))
}

/// Other pins or another Python make another environment. That the hash may change with the Rust
/// release only means that the environment is made once more.
fn fingerprint(python: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (PINS, python).hash(&mut hasher);
    hasher.finish()
}

fn is_complete(venv: &Path) -> bool {
    venv.join(MARKER).is_file()
}

fn interpreter(venv: &Path) -> PathBuf {
    venv.join("bin/python")
}

/// Where the machine's interpreter is and its version.
fn probe() -> Result<String, EnsureError> {
    let asked = Command::new("python3").args(["-I", "-c", PROBE]).output();
    match asked {
        Ok(output) => understand(&output),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(EnsureError::NoPython),
        Err(error) => Err(io_error("run", Path::new("python3"))(error)),
    }
}

fn understand(output: &Output) -> Result<String, EnsureError> {
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(said),
        Some(3) => Err(EnsureError::OldPython { found: said }),
        Some(4) => Err(EnsureError::NoVenvModule),
        _ => Err(EnsureError::BrokenPython {
            status: output.status,
            output: said + String::from_utf8_lossy(&output.stderr).trim(),
        }),
    }
}

fn locked(path: &Path, hooks: Hooks<'_>) -> Result<File, EnsureError> {
    // Opened for reading as well, since it becomes the stdin of other processes.
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(io_error("open", path))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", path)(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        if (hooks.cancelled)() {
            return Err(EnsureError::Cancelled);
        }
        if !told {
            (hooks.progress)("another process makes the virtual environment: waiting for it");
            told = true;
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn make(venv: &Path, lock: &File, hooks: Hooks<'_>) -> Result<(), EnsureError> {
    match fs::remove_dir_all(venv) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove", venv)(error));
        }
        _ => {}
    }
    let steps = Steps { log: venv.with_extension("log"), lock, hooks };
    (hooks.progress)("making a Python virtual environment");
    let (status, output) = steps.run(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
    if !status.success() {
        return Err(EnsureError::Create { status, output });
    }
    let pins = venv.join("requirements.txt");
    fs::write(&pins, PINS).map_err(io_error("write", &pins))?;
    (hooks.progress)("installing MiniStack into it with pip (only the first time)");
    let (status, output) = steps.run(
        Command::new(interpreter(venv))
            .args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check"])
            .args(["--no-warn-script-location", "--requirement"])
            .arg(&pins),
    )?;
    if !status.success() {
        return Err(EnsureError::Install { status, output });
    }
    let marker = venv.join(MARKER);
    fs::write(&marker, "").map_err(io_error("write", &marker))
}

/// What the commands that make the environment have in common.
struct Steps<'a> {
    log: PathBuf,
    lock: &'a File,
    hooks: Hooks<'a>,
}

impl Steps<'_> {
    /// How the command ended, and the end of what it wrote.
    fn run(&self, command: &mut Command) -> Result<(ExitStatus, String), EnsureError> {
        let log = File::create(&self.log).map_err(io_error("create", &self.log))?;
        let log_too = log.try_clone().map_err(io_error("share", &self.log))?;
        // The lock belongs to the open file, whoever holds it: as the child's stdin it stays locked
        // until the child is gone too, even if this process is killed.
        let lock = self.lock.try_clone().map_err(io_error("share", &self.log))?;
        command.stdin(Stdio::from(lock)).stdout(log).stderr(log_too);
        for name in ["PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX"] {
            command.env_remove(name);
        }
        let program = PathBuf::from(command.get_program());
        match run::to_the_end(command, self.hooks) {
            Ok(Some(status)) => Ok((status, last_lines(&self.log, 12))),
            Ok(None) => Err(EnsureError::Cancelled),
            Err(error) => Err(io_error("run", &program)(error)),
        }
    }
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> EnsureError + use<'a> {
    move |source| EnsureError::Io { what, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn ended(code: i32) -> Output {
        Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: b"/usr/bin/python3 3.9.1\n".to_vec(),
            stderr: b"Traceback".to_vec(),
        }
    }

    #[test]
    fn the_probe_tells_what_is_missing() {
        assert_eq!(understand(&ended(0)).expect("a good interpreter"), "/usr/bin/python3 3.9.1");
        let old = understand(&ended(3)).expect_err("too old").to_string();
        assert!(old.contains("/usr/bin/python3 3.9.1"), "{old}");
        let lacking = understand(&ended(4)).expect_err("no venv").to_string();
        assert!(lacking.contains("apt-get install python3-venv"), "{lacking}");
        let broken = understand(&ended(1)).expect_err("broken").to_string();
        assert!(broken.contains("Traceback"), "{broken}");
    }

    #[test]
    fn pins_are_exact() {
        for line in PINS.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.contains("=="), "{line}");
        }
    }

    #[test]
    fn another_python_makes_another_environment() {
        assert_ne!(fingerprint("3.11"), fingerprint("3.12"));
    }

    #[test]
    fn who_waits_for_the_lock_can_be_stopped() {
        let path = std::env::temp_dir().join(format!("local-aws-lock-{}", std::process::id()));
        let held = locked(&path, Hooks::QUIET).expect("free");
        let hooks = Hooks { cancelled: &|| true, ..Hooks::QUIET };
        assert!(matches!(locked(&path, hooks), Err(EnsureError::Cancelled)));
        drop(held);
        locked(&path, hooks).expect("free again");
        fs::remove_file(&path).expect("the file is ours");
    }
}
