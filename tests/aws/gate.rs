//! A door before an endpoint that can be shut on requests or on their answers.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// On what it is shut. The word is looked for in the whole request, in whose head the name of the operation stands; the empty word is in
/// every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// The request does not get through.
    Before(&'static str),
    /// The request takes effect and its answer does not come back.
    After(&'static str),
    /// The request is answered with this error of AWS, and does not get through.
    Refused(&'static str, &'static str),
}

impl Shut {
    pub fn word(self) -> &'static str {
        let (Self::Before(word) | Self::After(word) | Self::Refused(word, _)) = self;
        word
    }
}

#[derive(Debug, Default)]
struct State {
    shut: Option<Shut>,
    /// How many more requests that it is shut on get through.
    spared: usize,
    struck: usize,
}

/// The door.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    state: Arc<Mutex<State>>,
}

impl Gate {
    /// Opens a door before an endpoint. Gives its own address.
    pub fn before(endpoint: &str) -> (Self, String) {
        let upstream = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let gate = Self::default();
        let door = gate.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (door, upstream) = (door.clone(), upstream.clone());
                std::thread::spawn(move || {
                    if let Ok(server) = TcpStream::connect(&upstream) {
                        // A connection that breaks is what these tests are about.
                        let _ = door.pass(client, server);
                    }
                });
            }
        });
        (gate, address)
    }

    pub fn shut(&self, shut: Shut) {
        self.shut_later(shut, 0);
    }

    /// Lets the first ones of these requests through.
    pub fn shut_later(&self, shut: Shut, spared: usize) {
        *self.state.lock().unwrap() = State { shut: Some(shut), spared, struck: 0 };
    }

    pub fn open(&self) {
        *self.state.lock().unwrap() = State::default();
    }

    /// How many requests it was shut on.
    pub fn struck(&self) -> usize {
        self.state.lock().unwrap().struck
    }

    fn strikes(&self, request: &str) -> Option<Shut> {
        let mut state = self.state.lock().unwrap();
        let shut = state.shut?;
        if !request.contains(shut.word()) {
            return None;
        }
        if state.spared > 0 {
            state.spared -= 1;
            return None;
        }
        state.struck += 1;
        Some(shut)
    }

    /// Carries one connection: a request, its answer, the next request.
    fn pass(&self, mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(Duration::from_millis(10)))?;
        }
        let mut muted = false;
        let mut received = Vec::new();
        loop {
            received.extend(some(&mut client)?.unwrap_or_default());
            while let Some(length) = length_of_request(&received) {
                let request: Vec<u8> = received.drain(..length).collect();
                match self.strikes(&String::from_utf8_lossy(&request)) {
                    Some(Shut::Before(_)) => continue,
                    Some(Shut::After(_)) => muted = true,
                    Some(Shut::Refused(_, code)) => {
                        client.write_all(refusal(code).as_bytes())?;
                        continue;
                    }
                    None => {}
                }
                server.write_all(&request)?;
            }
            if let Some(bytes) = some(&mut server)?
                && !muted
            {
                client.write_all(&bytes)?;
            }
        }
    }
}

/// The length of the first request, head and body, once all of it is there. On a busy machine a request arrives in several parts, and the
/// gate judges and stops whole requests only.
fn length_of_request(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
    let body =
        text.lines().find_map(|line| line.strip_prefix("content-length:")).map_or(0, |n| n.trim().parse().unwrap());
    (received.len() >= head + body).then_some(head + body)
}

/// What has come in, if anything has.
fn some(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 65_536];
    match stream.read(&mut buffer) {
        Ok(0) => Err(ErrorKind::ConnectionAborted.into()),
        Ok(length) => Ok(Some(buffer[..length].to_vec())),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}

fn refusal(code: &str) -> String {
    let body = format!(r#"{{"__type":"{code}","message":"refused by the test"}}"#);
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length:";
    format!("{head} {}\r\n\r\n{body}", body.len())
}
