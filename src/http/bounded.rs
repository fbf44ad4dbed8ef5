//! A listener that bounds what strangers can hold open: so many connections, each for so long, and less long as long as nothing was answered.
//! Without it they could use up the descriptors with which AWS is reached.
//!
//! Who finds no place is turned away at once, instead of waiting in a line that others can make as long as they like; and some places are
//! kept for this machine, so that its health check is not among those who are turned away.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::{self, Instant};

/// Connections at a time from anywhere.
const CONNECTIONS: usize = 64;
/// Further ones from this machine.
const OF_THIS_MACHINE: usize = 16;
/// A connection is closed after this, whatever it does: a scrape takes milliseconds.
const LONGEST: Duration = Duration::from_secs(60);
/// Within this the first request has to be there.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// The listener.
#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    of_this_machine: Arc<Semaphore>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        let places = |number| Arc::new(Semaphore::new(number));
        Self { listener, places: places(CONNECTIONS), of_this_machine: places(OF_THIS_MACHINE) }
    }

    pub(super) fn place(&self, address: SocketAddr) -> Option<OwnedSemaphorePermit> {
        let of = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        of(&self.places).or_else(|| of(&self.of_this_machine).filter(|_| address.ip().to_canonical().is_loopback()))
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            if let Some(place) = self.place(address) {
                let begun = clock::instant();
                let end: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(clock::sleep_until(begun + ASK_WITHIN));
                return (Connection { stream, begun, answered: false, end: Some(end), _place: place }, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection, with its place and its end.
pub(super) struct Connection {
    stream: TcpStream,
    begun: Instant,
    answered: bool,
    /// `None` once it has come.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let over = self.end.as_mut().is_none_or(|end| end.as_mut().poll(cx).is_ready());
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
    io::Error::new(io::ErrorKind::TimedOut, "the connection was open for too long")
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
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
