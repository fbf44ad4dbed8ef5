//! The state file.
//!
//! One writer, by a lock. Written whole and atomically: a temporary file beside it, fsync, rename, fsync of the folder. A file that is
//! missing, one that is corrupt, one of a newer version and one that is locked are four different things; only the first means "start
//! afresh", and nothing is ever overwritten because it could not be understood.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::state::{self, State};

/// A state file larger than this was not written by this program.
const LARGEST: u64 = 256 * 1024 * 1024;

/// The open state file: while it lives, no other process can open it.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    _lock: File,
}

/// Where the state is made durable. The file is one such place.
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Makes the state durable: when this returns, a crash of the machine does not lose it.
    ///
    /// # Errors
    /// It could not be written; what was durable before still is.
    fn commit(&self, state: &State) -> Result<(), LedgerError>;
}

impl Store for Ledger {
    fn commit(&self, state: &State) -> Result<(), LedgerError> {
        let text = render(state);
        self.write(&text).map_err(|source| LedgerError::Unwritable { path: self.path.clone(), source })
    }
}

/// What was found at the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There was no file: a first start, or the state was lost.
    Missing,
    /// The state as it was last committed.
    State(Box<State>),
}

/// Why the state cannot be used. Each says what to do; in no case was anything overwritten.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process has it.
    #[error("the state {path} is locked: another ecs-deployd uses it; stop that one, or give this one another [state] path", path = .0.display())]
    Locked(PathBuf),
    /// It is not what this program writes.
    #[error(
        "the state {path} is corrupt: {reason}; restore it from {path}.previous or a backup, or move it away to start afresh (pushes made before that start are then not deployed, unless when_missing = \"reconcile\")",
        path = .path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("the state {path} has version {found}, this program knows version {known}: run the newer ecs-deployd that wrote it", path = .path.display(), known = state::VERSION)]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// It cannot be read.
    #[error("cannot read the state {path}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the state {path}: check that its folder exists, belongs to the user that ecs-deployd runs as and has space left", path = .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u64,
    #[serde(flatten)]
    state: &'a State,
}

impl Ledger {
    /// Locks the state file and reads it.
    ///
    /// # Errors
    /// The state cannot be used: see [`LedgerError`].
    pub fn open(path: &Path) -> Result<(Self, Found), LedgerError> {
        let unwritable = |source| LedgerError::Unwritable { path: path.to_owned(), source };
        let lock = private(OpenOptions::new().create(true).write(true).truncate(false))
            .open(beside(path, "lock"))
            .map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LedgerError::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(unwritable(source)),
        }
        let ledger = Self { path: path.to_owned(), _lock: lock };
        let found = read(path)?;
        ledger.probe().map_err(unwritable)?;
        Ok((ledger, found))
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        let temporary = beside(&self.path, "new");
        let mut file = private(OpenOptions::new().create(true).write(true).truncate(true)).open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        drop(file);
        self.keep_previous();
        std::fs::rename(&temporary, &self.path)?;
        sync_folder(&self.path)
    }

    /// Keeps what is replaced: a second name for the same file costs nothing to write. Where the file system has no second names, there is
    /// no previous state, which is no reason to write none.
    fn keep_previous(&self) {
        let previous = beside(&self.path, "previous");
        let _ = std::fs::remove_file(&previous);
        let _ = std::fs::hard_link(&self.path, &previous);
    }

    /// Finds out at the start, not at the first deployment, that the folder cannot be written.
    fn probe(&self) -> io::Result<()> {
        let temporary = beside(&self.path, "new");
        private(OpenOptions::new().create(true).write(true).truncate(true)).open(&temporary)?.write_all(b"{}")?;
        std::fs::remove_file(&temporary)
    }
}

/// Reads a state file without locking or changing anything.
///
/// # Errors
/// It cannot be used: see [`LedgerError`].
pub fn read(path: &Path) -> Result<Found, LedgerError> {
    let unreadable = |source| LedgerError::Unreadable { path: path.to_owned(), source };
    let corrupt = |reason: String| LedgerError::Corrupt { path: path.to_owned(), reason };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) => return Err(unreadable(error)),
    };
    let size = file.metadata().map_err(unreadable)?.len();
    if size > LARGEST {
        return Err(corrupt(format!("it has {size} bytes, more than this program ever writes")));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(unreadable)?;
    if text.is_empty() {
        return Err(corrupt("it is empty".to_owned()));
    }
    let Versioned { version } = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
    match version {
        state::VERSION => {}
        newer if newer > state::VERSION => return Err(LedgerError::Newer { path: path.to_owned(), found: newer }),
        other => return Err(corrupt(format!("it has version {other}, which never was"))),
    }
    let state = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
    Ok(Found::State(Box::new(state)))
}

/// The text of the state file.
#[must_use]
pub fn render(state: &State) -> Vec<u8> {
    #[expect(
        clippy::expect_used,
        reason = "every key of the state's maps serializes to a text and nothing in it can fail to"
    )]
    let mut text = serde_json::to_vec_pretty(&Written { version: state::VERSION, state }).expect("the state is JSON");
    text.push(b'\n');
    text
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
