//! The control socket, through which operator commands reach the running daemon.
//!
//! One JSON text a line, one answer, and the connection ends. Whoever may open the socket may give commands: its mode is 0660, and who may enter its
//! folder is up to the folder's owner. Who asked is taken from the socket, not from what they say. What they say is foreign text, and so is
//! what a daemon answers.

mod caller;

use std::fs::{File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::{debug, warn};

use crate::clock;
use crate::deployer::{CommandRequest, Request};
use crate::domain::operator_command::{OperatorCommand, Refused};
use crate::domain::printable::PrintableText;
use crate::status::Status;

/// A request may have this many bytes.
const LONGEST: u64 = 64 * 1024;
/// A request has to be there within this.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// An answer has to be there within this: a command may ask AWS first.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Conversations at a time.
const CONVERSATIONS: usize = 16;

/// How often the socket is opened anew where somebody else comes between.
const ATTEMPTS: usize = 3;
/// How often it is looked whether another daemon has opened its socket in the same folder.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// What a client of the socket asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// The status of the daemon and its services.
    Status,
    /// A command of an operator.
    #[serde(rename = "order")]
    Command {
        /// The service, as `CLUSTER/SERVICE` or `AWS/CLUSTER/SERVICE`.
        service: PrintableText,
        /// The command that was given.
        #[serde(rename = "order")]
        command: OperatorCommand,
    },
}

/// The answers of the daemon to a client of the socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// The status of the daemon and its services.
    Status(Box<Status>),
    /// It is done, or on its way.
    Done(PrintableText),
    /// It is not done.
    Refused(PrintableText),
}

/// The socket. Its file is removed when this is dropped, unless another one has taken its place.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    file: Option<FileId>,
    listener: UnixListener,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.file.is_some() && self.file == FileId::at(&self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }

    fn at(path: &Path) -> Option<Self> {
        std::fs::symlink_metadata(path).ok().as_ref().map(Self::of)
    }
}

/// Why the socket is not opened.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// Another daemon answers there: its operators would give their commands to this one.
    #[error(
        "another daemon answers on the control socket {path}: stop it, or give this one another [control] socket",
        path = .0.display()
    )]
    Taken(PathBuf),
    /// It cannot be opened.
    #[error("the control socket {path} cannot be opened", path = .path.display())]
    Failed {
        /// The path of the socket.
        path: PathBuf,
        /// Why that was not possible.
        source: io::Error,
    },
}

impl Socket {
    /// Opens the socket. One that a daemon left behind when it died is replaced.
    ///
    /// # Errors
    /// Another daemon has it, or it cannot be opened.
    pub async fn open(path: &Path) -> Result<Self, NotOpened> {
        let failed = |source| NotOpened::Failed { path: path.to_owned(), source };
        // Of two daemons that start in one instant the second one would remove the socket of the first for the one that was left behind.
        let _alone = alone_in_folder_of(path).await.map_err(failed)?;
        // Somebody else may come between the look and the opening: then there is another look.
        for _ in 0..ATTEMPTS {
            clear(path).await?;
            match UnixListener::bind(path) {
                Ok(listener) => {
                    let file = FileId::at(path);
                    std::fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed)?;
                    return Ok(Self { path: path.to_owned(), file, listener });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(NotOpened::Taken(path.to_owned()))
    }

    /// Answers until told to stop.
    pub async fn serve(self, requests: mpsc::Sender<Request>, mut stop: watch::Receiver<bool>) {
        let places = std::sync::Arc::new(Semaphore::new(CONVERSATIONS));
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Ok(place) = std::sync::Arc::clone(&places).acquire_owned().await else { return };
                    let requests = requests.clone();
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, &requests).await {
                            debug!(%error, "a conversation on the control socket ended early");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(%error, "the control socket cannot take a connection");
                    clock::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// Locks the folder of the socket for as long as the file is kept: daemons open their sockets in it one after the other. A folder that
/// cannot be locked, as on some network file systems, is no reason to go without a socket.
async fn alone_in_folder_of(path: &Path) -> io::Result<Option<File>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(folder) = File::open(folder) else { return Ok(None) };
    let locked = async {
        loop {
            match folder.try_lock() {
                Ok(()) => return true,
                Err(TryLockError::WouldBlock) => clock::sleep(LOCK_RETRY).await,
                Err(TryLockError::Error(_)) => return false,
            }
        }
    };
    // Whoever has locked it may wait for an answer on the socket.
    match clock::within(ASK_WITHIN * 2, locked).await {
        Some(locked) => Ok(locked.then_some(folder)),
        None => Err(io::Error::new(io::ErrorKind::TimedOut, "another process has locked its folder")),
    }
}

/// Removes a socket that nobody answers on any more.
async fn clear(path: &Path) -> Result<(), NotOpened> {
    let failed = |source| NotOpened::Failed { path: path.to_owned(), source };
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => FileId::of(&found),
        Ok(_) => {
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is no socket")));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    match clock::within(ASK_WITHIN, UnixStream::connect(path)).await {
        Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => return Err(failed(error)),
        // Whoever has too many connections to take another one is there, too.
        Some(Ok(_) | Err(_)) | None => return Err(NotOpened::Taken(path.to_owned())),
    }
    // What was seen to be abandoned, and not what another daemon has put in its place since.
    if FileId::at(path) != Some(found) {
        return Ok(());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

async fn converse(stream: UnixStream, requests: &mpsc::Sender<Request>) -> io::Result<()> {
    let by = caller::of(stream.peer_cred()?.uid());
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(LONGEST));
    match clock::within(ASK_WITHIN, reader.read_line(&mut line)).await {
        Some(read) => read?,
        None => return Err(io::ErrorKind::TimedOut.into()),
    };
    let told = match serde_json::from_str(&line) {
        Ok(ask) => answer(ask, by, requests).await,
        Err(error) => Told::Refused(format!("not understood: {error}").into()),
    };
    let mut text = serde_json::to_vec(&told)?;
    text.push(b'\n');
    match clock::within(ASK_WITHIN, write.write_all(&text)).await {
        Some(written) => written,
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn answer(ask: Ask, by: PrintableText, requests: &mpsc::Sender<Request>) -> Told {
    let late = || Told::Refused("no answer in time; `status` and the log tell what became of it".into());
    match ask {
        Ask::Status => {
            let (answer, answered) = oneshot::channel();
            match clock::within(ANSWER_WITHIN, asked(requests, Request::Status(answer), answered)).await.flatten() {
                Some(status) => Told::Status(Box::new(status)),
                None => late(),
            }
        }
        Ask::Command { service, command } => {
            let (answer, answered) = oneshot::channel();
            let command = Request::Command(CommandRequest { service: service.into(), command, by: by.into(), answer });
            match clock::within(ANSWER_WITHIN, asked(requests, command, answered)).await.flatten() {
                Some(Ok(text)) => Told::Done(text.into()),
                Some(Err(Refused(text))) => Told::Refused(text.into()),
                None => late(),
            }
        }
    }
}

async fn asked<T>(requests: &mpsc::Sender<Request>, request: Request, answered: oneshot::Receiver<T>) -> Option<T> {
    requests.send(request).await.ok()?;
    answered.await.ok()
}

/// Why a daemon was not reached.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// There is no socket at this path.
    #[error("no daemon answers on {path}", path = .0.display())]
    Absent(PathBuf),
    /// This user may not.
    #[error("the control socket {path} may not be opened by this user: its owner and its group may", path = .0.display())]
    Forbidden(PathBuf),
    /// Something else went wrong with the socket.
    #[error("the daemon on {path} cannot be talked to", path = .path.display())]
    Broken {
        /// The path of the socket.
        path: PathBuf,
        /// Why that was not possible.
        source: io::Error,
    },
}

/// The user that this process runs as, by name where the machine's own list of users has one.
#[must_use]
pub fn this_user() -> PrintableText {
    caller::of(rustix::process::getuid().as_raw())
}

/// Asks the daemon.
///
/// # Errors
/// It was not reached, or did not answer.
pub async fn ask(path: &Path, ask: &Ask) -> Result<Told, Unreachable> {
    let broken = |source: io::Error| Unreachable::Broken { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Unreachable::Absent(path.to_owned()),
        io::ErrorKind::PermissionDenied => Unreachable::Forbidden(path.to_owned()),
        _ => broken(error),
    })?;
    let conversation = async {
        let mut text = serde_json::to_vec(ask)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&answer)?)
    };
    match clock::within(ANSWER_WITHIN + ASK_WITHIN, conversation).await {
        Some(told) => told.map_err(broken),
        None => Err(broken(io::ErrorKind::TimedOut.into())),
    }
}

#[cfg(test)]
#[path = "control/tests.rs"]
mod tests;
