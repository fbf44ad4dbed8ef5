//! What a commit asks of a disk, step by step.
//!
//! A crash of the machine may lose whatever was not synced: the text of a file, and also its name. The steps are a trait so that a simulated
//! disk can lose just that.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The folder of the state file. Nothing is durable before it is synced.
pub trait Folder: fmt::Debug + Send + Sync {
    /// Writes a text into a new file beside the state file.
    ///
    /// # Errors
    /// It could not be written, or only a part of it.
    fn write_new(&self, text: &[u8]) -> io::Result<()>;

    /// Makes the new file's text durable.
    ///
    /// # Errors
    /// It is not known to be durable.
    fn sync_new(&self) -> io::Result<()>;

    /// Gives the state file a second name, under which it stays when it is replaced.
    fn keep_previous(&self);

    /// Puts the new file in the state file's place, at once.
    ///
    /// # Errors
    /// It is not there.
    fn replace(&self) -> io::Result<()>;

    /// Makes the names durable.
    ///
    /// # Errors
    /// They are not known to be durable.
    fn sync(&self) -> io::Result<()>;
}

/// A folder on a real disk.
#[derive(Debug)]
pub struct RealFolder {
    path: PathBuf,
}

impl RealFolder {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    fn new_file(&self) -> PathBuf {
        beside(&self.path, "new")
    }

    fn create(&self) -> io::Result<File> {
        private(OpenOptions::new().create(true).write(true).truncate(true)).open(self.new_file())
    }

    /// Finds out at the start, not at the first deployment, that the folder cannot be written.
    pub(super) fn probe(&self) -> io::Result<()> {
        self.create()?.write_all(b"{}")?;
        std::fs::remove_file(self.new_file())
    }
}

impl Folder for RealFolder {
    fn write_new(&self, text: &[u8]) -> io::Result<()> {
        self.create()?.write_all(text)
    }

    fn sync_new(&self) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.new_file())?.sync_all()
    }

    /// A second name for the same file costs nothing to write. Where the file system has no second names, there is no previous state,
    /// which is no reason to write none.
    fn keep_previous(&self) {
        let previous = beside(&self.path, "previous");
        let _ = std::fs::remove_file(&previous);
        let _ = std::fs::hard_link(&self.path, &previous);
    }

    fn replace(&self) -> io::Result<()> {
        std::fs::rename(self.new_file(), &self.path)
    }

    fn sync(&self) -> io::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()
    }
}

pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}
