//! The state file (decision 36).
//!
//! One writer, by a lock. Written whole and atomically: a temporary file beside it, fsync, rename, fsync of the folder. A file that is
//! missing, one that is corrupt, one of a newer version and one that is locked are four different things; only the first means "start
//! afresh", and nothing is ever overwritten because it could not be understood.

mod folder;
pub mod table;
mod text;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::Deserialize;

use crate::domain::state::{self, State};

pub use folder::{Folder, RealFolder};
use folder::{beside, private};
use text::Text;
pub use text::render;

/// A state file larger than this was not written by this program.
const LARGEST: u64 = 256 * 1024 * 1024;

/// The open state file: while it lives, no other process can open it.
#[derive(Debug)]
pub struct StateStore<F = RealFolder> {
    path: PathBuf,
    folder: F,
    text: Mutex<Text>,
    _lock: Option<File>,
}

/// Where the state is made durable. The file is one such place.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Makes the state durable: when this returns, a crash of the machine does not lose it. Whoever does not wait for its end does not
    /// know whether it was written.
    ///
    /// # Errors
    /// It could not be written; what was durable before still is.
    async fn commit(self: Arc<Self>, state: State) -> Result<(), StateStoreError>;
}

#[async_trait]
impl Store for StateStore {
    /// On a thread of its own: a disk that hangs does not stop the program from saying so.
    async fn commit(self: Arc<Self>, state: State) -> Result<(), StateStoreError> {
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || self.commit_here(&state)).await;
        written.unwrap_or_else(|died| Err(StateStoreError::Unwritable { path, source: io::Error::other(died) }))
    }
}

/// What was found at the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// There was no file: a first start, or the state was lost.
    Missing,
    /// The state as it was last committed.
    State(Box<State>),
}

/// Why the state cannot be used. Each says what to do; in no case was anything overwritten.
#[derive(Debug, thiserror::Error)]
pub enum StateStoreError {
    /// Another process has it.
    #[error("the state {path} is locked: another ecs-deployd uses it; stop that one, or give this one another [state] path", path = .0.display())]
    Locked(PathBuf),
    /// It is not what this program writes.
    #[error(
        "the state {path} is corrupt: {reason}; restore it from {path}.previous or a backup, or move it away to start afresh (pushes made before that start are then not deployed, unless when_missing = \"reconcile\")",
        path = .path.display()
    )]
    Corrupt {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("the state {path} has version {found}, this program knows version {known}: run the newer ecs-deployd that wrote it", path = .path.display(), known = state::VERSION)]
    Newer {
        /// The path of the file.
        path: PathBuf,
        /// The version that the file names.
        found: u64,
    },
    /// It is in a table, which cannot be used.
    #[error(transparent)]
    Table(#[from] table::TableError),
    /// It cannot be read.
    #[error("cannot read the state {path}", path = .path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// Why that was not possible.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the state {path}: check that its folder exists, belongs to the user that ecs-deployd runs as and has space left", path = .path.display())]
    Unwritable {
        /// The path of the file.
        path: PathBuf,
        /// Why that was not possible.
        source: io::Error,
    },
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

impl StateStore {
    /// Locks the state file and reads it.
    ///
    /// # Errors
    /// The state cannot be used: see [`StateStoreError`].
    pub fn open(path: &Path) -> Result<(Self, Loaded), StateStoreError> {
        let unwritable = |source| StateStoreError::Unwritable { path: path.to_owned(), source };
        let lock = private(OpenOptions::new().create(true).write(true).truncate(false))
            .open(beside(path, "lock"))
            .map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateStoreError::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(unwritable(source)),
        }
        let state_store =
            Self { path: path.to_owned(), folder: RealFolder::new(path), text: Mutex::default(), _lock: Some(lock) };
        let found = read(path)?;
        state_store.folder.probe().map_err(unwritable)?;
        Ok((state_store, found))
    }
}

impl<F: Folder> StateStore<F> {
    /// A state file in a folder that nobody else can have: one that is simulated.
    #[must_use]
    pub fn within(folder: F) -> Self {
        Self { path: PathBuf::from("state.json"), folder, text: Mutex::default(), _lock: None }
    }

    /// Makes the state durable, and keeps the thread until it is.
    ///
    /// # Errors
    /// It could not be written; what was durable before still is.
    pub fn commit_here(&self, state: &State) -> Result<(), StateStoreError> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&text.render(state))
            .map_err(|source| StateStoreError::Unwritable { path: self.path.clone(), source })
    }

    /// At every moment of this the file has either the old text or the new one, whatever is lost in a crash: the new text is on the disk
    /// before it gets the name, and the name before the commit is reported.
    fn write(&self, text: &[u8]) -> io::Result<()> {
        self.folder.write_new(text)?;
        self.folder.sync_new()?;
        self.folder.keep_previous();
        self.folder.replace()?;
        self.folder.sync()
    }
}

/// Reads a state file without locking or changing anything.
///
/// # Errors
/// It cannot be used: see [`StateStoreError`].
pub fn read(path: &Path) -> Result<Loaded, StateStoreError> {
    let unreadable = |source| StateStoreError::Unreadable { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Missing),
        Err(error) => return Err(unreadable(error)),
    };
    let size = file.metadata().map_err(unreadable)?.len();
    if size > LARGEST {
        let reason = format!("it has {size} bytes, more than this program ever writes");
        return Err(StateStoreError::Corrupt { path: path.to_owned(), reason });
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(unreadable)?;
    parse(path, &text).map(|state| Loaded::State(Box::new(state)))
}

/// Reads the text of a state file; `path` is what messages call it.
///
/// # Errors
/// It is not what this program writes.
pub fn parse(path: &Path, text: &[u8]) -> Result<State, StateStoreError> {
    let corrupt = |reason: String| StateStoreError::Corrupt { path: path.to_owned(), reason };
    if text.is_empty() {
        return Err(corrupt("it is empty".to_owned()));
    }
    let text = std::str::from_utf8(text).map_err(|error| corrupt(error.to_string()))?;
    let Versioned { version } = serde_json::from_str(text).map_err(|error| corrupt(error.to_string()))?;
    match version {
        state::VERSION => {}
        newer if newer > state::VERSION => return Err(StateStoreError::Newer { path: path.to_owned(), found: newer }),
        other => return Err(corrupt(format!("it has version {other}, which never was"))),
    }
    serde_json::from_str(text).map_err(|error| corrupt(error.to_string()))
}

#[cfg(test)]
#[path = "state_store_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "state_store_properties.rs"]
pub(crate) mod properties;
