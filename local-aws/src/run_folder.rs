//! A folder for one run of MiniStack.

use std::fs;
use std::io;
use std::path::{self, Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// Removed in the end, unless the caller named it.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    is_temporary: bool,
}

impl RunFolder {
    /// Creates the named folder, or one of its own below cargo's target folder.
    pub(crate) fn new(target: &Path, named: Option<&Path>) -> io::Result<Self> {
        let path = match named {
            Some(path) => path.to_path_buf(),
            None => target.join("local-aws").join(unique_name()),
        };
        let path = path::absolute(path)?;
        fs::create_dir_all(&path)?;
        Ok(Self { path, is_temporary: named.is_none() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if self.is_temporary {
            // Below the target folder a leftover does no harm.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Differs from every other name given by the processes that run now.
pub(crate) fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("run-{}-{count}", process::id())
}
