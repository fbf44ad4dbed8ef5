//! The demo's folder below cargo's target folder: one demo at a time.

use crate::failure::Failure;
use local_aws::target_folder;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The longest path that a Unix socket can have everywhere, less some room.
const SOCKET_PATH_LIMIT: usize = 100;

/// Holds the folder's lock while it lives.
pub(crate) struct DemoFolder {
    path: PathBuf,
    _lock: File,
}

impl DemoFolder {
    /// Makes the folder, empty but for the lock.
    pub(crate) fn claim() -> Result<Self, Failure> {
        let target = target_folder();
        fs::create_dir_all(&target).map_err(Failure::io(format!("create {}", target.display())))?;
        let lock_path = target.join("demo.lock");
        let lock = File::create(&lock_path).map_err(Failure::io(format!("create {}", lock_path.display())))?;
        let path = target.join("demo");
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Failure::Busy(path.display().to_string())),
            Err(TryLockError::Error(error)) => {
                return Err(Failure::io(format!("lock {}", lock_path.display()))(error));
            }
        }
        empty(&path).map_err(Failure::io(format!("empty {}", path.display())))?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// In the folder, if its path is not too long for a socket.
    pub(crate) fn socket(&self) -> PathBuf {
        socket_in(&self.path, &std::env::temp_dir())
    }
}

fn empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(folder)
}

fn socket_in(folder: &Path, temporary: &Path) -> PathBuf {
    let path = folder.join("control.sock");
    if path.as_os_str().len() <= SOCKET_PATH_LIMIT {
        return path;
    }
    temporary.join(format!("ecs-deployd-demo-{}.sock", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_a_short_path() {
        let temporary = Path::new("/tmp");
        assert_eq!(socket_in(Path::new("/a/demo"), temporary), Path::new("/a/demo/control.sock"));
        let long = format!("/{}", "a".repeat(100));
        assert!(socket_in(Path::new(&long), temporary).starts_with(temporary));
    }
}
