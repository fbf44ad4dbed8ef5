//! A listener that bounds what unknown clients can hold open: so many connections, each for so long, and
//! less long as long as nothing was answered.
//! Without it they could use up the descriptors with which AWS is reached.
//!
//! When all places are taken, the connection that has waited longest without a complete request gives way to the one that comes. So whoever
//! asks at once is answered, however many connections say nothing, or a byte now and then: the health check of this machine above all, for
//! which some places are kept besides.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::clock::{self, Instant};

/// Connections at a time from other machines.
const FROM_ELSEWHERE: usize = 64;
/// Connections at a time in all.
const IN_ALL: usize = FROM_ELSEWHERE + 16;
/// A connection is closed after this, whatever it does: a scrape takes milliseconds.
const LONGEST: Duration = Duration::from_secs(60);
/// The first request has to be there within this.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// A listener that takes a bounded number of connections.
#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    connections: Arc<Connections>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, connections: Arc::default() }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let begun = clock::instant();
        let (place, crowded) = self.connections.admit(address, begun);
        if crowded {
            // Who gave way shall close before another one comes, and who came shall be heard: else a crowd that comes at once would be
            // taken in as a whole, and nobody in it have the time to ask.
            tokio::task::yield_now().await;
        }
        let end: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(clock::sleep_until(begun + ASK_WITHIN));
        (Connection { stream, begun, answered: false, end: Some(end), place }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// The connections that are open.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    there: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    of_this_machine: bool,
    /// A request is complete, and nothing of its answer is written yet.
    has_asked: bool,
    /// Since when it waits: since it came, or since something was written to it last.
    since: Instant,
    closing: Arc<Closing>,
}

/// The signal that closes a connection.
#[derive(Debug, Default)]
struct Closing {
    shown: AtomicBool,
    waker: AtomicWaker,
}

impl Closing {
    fn show(&self) {
        self.shown.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether it was shown; if not, the task is woken once it is.
    fn is_shown(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.shown.load(Ordering::Acquire)
    }
}

impl Connections {
    /// Takes a connection in. True if another one is closed for it.
    pub(super) fn admit(self: &Arc<Self>, address: SocketAddr, now: Instant) -> (Place, bool) {
        let of_this_machine = address.ip().to_canonical().is_loopback();
        let closing = Arc::<Closing>::default();
        let (id, crowded) = self.change(|open| {
            let crowded = open.make_room(of_this_machine);
            let id = open.next;
            open.next += 1;
            let connection = Entry { of_this_machine, has_asked: false, since: now, closing: Arc::clone(&closing) };
            open.there.insert(id, connection);
            (id, crowded)
        });
        (Place { visit: Visit { id, connections: Arc::clone(self) }, closing }, crowded)
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.change(|open| open.there.len())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Open) -> T) -> T {
        change(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Open {
    /// Closes a connection if there are too many: those without a complete request before those with one, and who has waited longest first.
    fn make_room(&mut self, for_this_machine: bool) -> bool {
        let from_elsewhere = self.there.values().filter(|connection| !connection.of_this_machine).count();
        let among_unknown = !for_this_machine && from_elsewhere >= FROM_ELSEWHERE;
        if !among_unknown && self.there.len() < IN_ALL {
            return false;
        }
        let candidates = self.there.iter().filter(|(_, connection)| !among_unknown || !connection.of_this_machine);
        let longest =
            candidates.min_by_key(|(id, connection)| (connection.has_asked, connection.since, **id)).map(|(id, _)| *id);
        if let Some(connection) = longest.and_then(|id| self.there.remove(&id)) {
            connection.closing.show();
        }
        true
    }
}

/// A place in the connections, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    visit: Visit,
    closing: Arc<Closing>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.visit.connections.change(|open| open.there.remove(&self.visit.id));
    }
}

impl Place {
    #[cfg(test)]
    pub(super) fn has_to_go(&self) -> bool {
        self.closing.shown.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(super) fn visit(&self) -> Visit {
        self.visit.clone()
    }
}

/// Whose request it is, for whoever answers it.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    id: u64,
    connections: Arc<Connections>,
}

impl Visit {
    /// A request is complete: its answer is worth more than a place.
    pub(super) fn has_asked(&self) {
        self.change(|connection| connection.has_asked = true);
    }

    /// Something of an answer was taken.
    fn was_answered(&self) {
        let now = clock::instant();
        self.change(|connection| (connection.has_asked, connection.since) = (false, now));
    }

    /// An answer is there and is not taken.
    fn does_not_listen(&self) {
        self.change(|connection| connection.has_asked = false);
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        self.connections.change(|open| open.there.get_mut(&self.id).map(change));
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Visit {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().place.visit.clone()
    }
}

/// A connection, with its place and its end.
pub(super) struct Connection {
    stream: TcpStream,
    begun: Instant,
    answered: bool,
    /// `None` once it has come.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    place: Place,
}

impl Connection {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let over =
            self.place.closing.is_shown(cx) || self.end.as_mut().is_none_or(|end| end.as_mut().poll(cx).is_ready());
        if over {
            self.end = None;
        }
        over
    }

    /// A request was understood: the connection may go on.
    fn is_answered(&mut self) {
        if !std::mem::replace(&mut self.answered, true) {
            self.end = Some(Box::pin(clock::sleep_until(self.begun + LONGEST)));
        }
    }
}

fn over() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the connection was open for too long, or gave way to another one")
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(over()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_answered();
        if self.is_over(cx) {
            return Poll::Ready(Err(over()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        match written {
            Poll::Ready(_) => self.place.visit.was_answered(),
            Poll::Pending => self.place.visit.does_not_listen(),
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
