//! The control socket: how operators steer the running daemon.
//!
//! One JSON text a line, one answer, and the connection ends. Whoever may open the socket may steer: its mode is 0660, and who may enter its
//! folder is up to the folder's owner. Who asked is taken from the socket, not from what they say.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::{debug, warn};

use crate::clock;
use crate::deployer::{OrderOf, Request};
use crate::domain::steering::{Order, Refused};
use crate::status::Status;

/// A question may have this many bytes.
const LONGEST: u64 = 64 * 1024;
/// Within this a question has to be there.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// Within this an answer has to be there: an order may ask AWS first.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Conversations at a time.
const CONVERSATIONS: usize = 16;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// How things are.
    Status,
    /// Something to do.
    Order {
        /// `CLUSTER/SERVICE`.
        service: String,
        /// What.
        order: Order,
    },
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// How things are.
    Status(Box<Status>),
    /// It is done, or on its way.
    Done(String),
    /// It is not done.
    Refused(String),
}

/// The socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Opens the socket. One that a daemon left behind is replaced: only the owner of the state gets here.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is no socket")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o660))?;
        Ok(Self { path: path.to_owned(), listener })
    }

    /// Answers until told to stop.
    pub async fn serve(self, requests: mpsc::Sender<Request>, mut stop: watch::Receiver<bool>) {
        let places = std::sync::Arc::new(Semaphore::new(CONVERSATIONS));
        loop {
            let accepted = tokio::select! {
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

async fn converse(stream: UnixStream, requests: &mpsc::Sender<Request>) -> io::Result<()> {
    let by = operator(stream.peer_cred()?);
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(LONGEST));
    match clock::within(ASK_WITHIN, reader.read_line(&mut line)).await {
        Some(read) => read?,
        None => return Err(io::ErrorKind::TimedOut.into()),
    };
    let told = match serde_json::from_str(&line) {
        Ok(ask) => answer(ask, by, requests).await,
        Err(error) => Told::Refused(format!("not understood: {error}")),
    };
    let mut text = serde_json::to_vec(&told)?;
    text.push(b'\n');
    match clock::within(ASK_WITHIN, write.write_all(&text)).await {
        Some(written) => written,
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn answer(ask: Ask, by: String, requests: &mpsc::Sender<Request>) -> Told {
    let late = || Told::Refused("no answer in time; `status` and the log tell what became of it".to_owned());
    match ask {
        Ask::Status => {
            let (answer, answered) = oneshot::channel();
            match clock::within(ANSWER_WITHIN, asked(requests, Request::Status(answer), answered)).await.flatten() {
                Some(status) => Told::Status(Box::new(status)),
                None => late(),
            }
        }
        Ask::Order { service, order } => {
            let (answer, answered) = oneshot::channel();
            let order = Request::Order(OrderOf { service, order, by, answer });
            match clock::within(ANSWER_WITHIN, asked(requests, order, answered)).await.flatten() {
                Some(Ok(text)) => Told::Done(text),
                Some(Err(Refused(text))) => Told::Refused(text),
                None => late(),
            }
        }
    }
}

async fn asked<T>(requests: &mpsc::Sender<Request>, request: Request, answered: oneshot::Receiver<T>) -> Option<T> {
    requests.send(request).await.ok()?;
    answered.await.ok()
}

/// Who is at the other end, by name where the machine's own list of users has one.
fn operator(peer: UCred) -> String {
    let uid = peer.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid {uid}"))
}

/// Why a daemon was not reached.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// There is none.
    #[error("no daemon answers on {path}", path = .0.display())]
    Absent(PathBuf),
    /// This user may not.
    #[error("the control socket {path} may not be opened by this user: its owner and its group may", path = .0.display())]
    Forbidden(PathBuf),
    /// Something else.
    #[error("the daemon on {path} cannot be talked to", path = .path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
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
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&answer)?)
    };
    match clock::within(ANSWER_WITHIN + ASK_WITHIN, conversation).await {
        Some(told) => told.map_err(broken),
        None => Err(broken(io::ErrorKind::TimedOut.into())),
    }
}
