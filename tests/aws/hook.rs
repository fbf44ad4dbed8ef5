//! A receiver of webhooks that keeps what it is sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::post;
use serde_json::Value;

/// The requests of a receiver so far.
#[derive(Debug, Default)]
pub struct Received {
    pub requests: Vec<(String, HeaderMap, Value)>,
    /// How many are answered with this first.
    refuse: Option<(usize, StatusCode)>,
}

/// The server. It ends with the test's process.
#[derive(Clone)]
pub struct Hook {
    pub address: SocketAddr,
    pub received: Arc<Mutex<Received>>,
}

impl Hook {
    pub fn start() -> Self {
        let received: Arc<Mutex<Received>> = Arc::default();
        let (tell, told) = std::sync::mpsc::channel();
        let shared = Arc::clone(&received);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let router = Router::new().fallback(post(take)).with_state(shared);
                axum::serve(listener, router).await.unwrap();
            });
        });
        Self { address: told.recv_timeout(Duration::from_secs(10)).unwrap(), received }
    }

    pub fn refuse(&self, times: usize, status: StatusCode) {
        self.received.lock().unwrap().refuse = Some((times, status));
    }

    pub fn bodies(&self, path: &str) -> Vec<Value> {
        let received = self.received.lock().unwrap();
        received.requests.iter().filter(|(to, _, _)| to == path).map(|(_, _, body)| body.clone()).collect()
    }
}

async fn take(State(shared): State<Arc<Mutex<Received>>>, uri: Uri, headers: HeaderMap, body: String) -> StatusCode {
    let mut received = shared.lock().unwrap();
    if let Some((times, status)) = received.refuse.filter(|(times, _)| *times > 0) {
        received.refuse = Some((times - 1, status));
        return status;
    }
    received.requests.push((uri.path().to_owned(), headers, serde_json::from_str(&body).unwrap()));
    StatusCode::OK
}
