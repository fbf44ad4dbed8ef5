use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::config::Config;
use crate::domain::state::State as Durable;
use crate::status::Status;

fn status() -> Status {
    Status::of(&Config::parse("test", "").unwrap(), &Durable::default(), Timestamp::from_second(7).unwrap())
}

/// A deployer that tells how things are, and counts how often.
fn deployer() -> (mpsc::Sender<Request>, watch::Receiver<u32>) {
    let (asks, mut requests) = mpsc::channel(1);
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        while let Some(Request::Status(answer)) = requests.recv().await {
            count.send_modify(|count| *count += 1);
            let _ = answer.send(status());
        }
    });
    (asks, counted)
}

async fn serving(asks: mpsc::Sender<Request>) -> (std::net::SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let metrics = Arc::new(Metrics::new("test", "test", Timestamp::UNIX_EPOCH).unwrap());
    tokio::spawn(serve(listener, metrics, Arc::new(Health::new()), asks, stopped));
    (address, stop)
}

async fn ask(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

#[tokio::test(start_paused = true)]
async fn however_many_ask_the_deployer_is_asked_once_a_second() {
    let (asks, counted) = deployer();
    let snapshots = Snapshots::new(asks);
    for _ in 0..100 {
        assert_eq!(snapshots.get().await.unwrap().status(), &status());
    }
    assert_eq!(*counted.borrow(), 1);
    clock::sleep(Duration::from_secs(1)).await;
    let json = snapshots.get().await.unwrap().json();
    assert_eq!(serde_json::from_slice::<Status>(&json).unwrap(), status());
    assert_eq!(*counted.borrow(), 2);
}

#[tokio::test]
async fn the_page_and_the_json_come_with_what_protects_them() {
    let (asks, _counted) = deployer();
    let (address, _stop) = serving(asks).await;
    for path in ["/", "/?q=%00&refresh=", "/?%", "/api/v1/status", "/metrics", "/healthz", "/readyz", "/nothing"] {
        let answer = ask(address, &get(path)).await.to_lowercase();
        for header in [
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(answer.contains(header), "{path}: {answer}");
        }
        assert_eq!(
            answer.contains("content-security-policy: default-src 'none'"),
            path.starts_with("/?") || path == "/",
            "{path}"
        );
    }
}

#[tokio::test]
async fn nothing_can_be_changed_through_the_port() {
    let (asks, _counted) = deployer();
    let (address, _stop) = serving(asks).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"] {
        for path in ["/", "/api/v1/status", "/metrics", "/healthz", "/readyz"] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let answer = ask(address, &request).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
        }
    }
    let head = ask(address, &get("/api/v1/status").replace("GET", "HEAD")).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "no body: {head}");
    let long = ask(address, &get(&format!("/{}", "a".repeat(100_000)))).await;
    assert!(long.starts_with("HTTP/1.1 414 ") || long.starts_with("HTTP/1.1 431 "), "{long}");
}

#[tokio::test]
async fn a_deployer_that_is_gone_is_told_of() {
    let (asks, requests) = mpsc::channel(1);
    drop(requests);
    let (address, _stop) = serving(asks).await;
    let answer = ask(address, &get("/")).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("the deployer does not answer"), "{answer}");
    assert!(answer.contains("refresh: 10"), "a page that was left open goes on by itself: {answer}");
}

#[tokio::test(start_paused = true)]
async fn connections_that_say_nothing_are_closed_soon_and_make_room() {
    let (asks, _counted) = deployer();
    let (address, _stop) = serving(asks).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let begun = clock::instant();
    let mut rest = Vec::new();
    let closed = silent[0].read_to_end(&mut rest).await;
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    assert!(begun.elapsed() <= Duration::from_secs(10), "{:?}", begun.elapsed());
    let answer = ask(address, &get("/nothing")).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn strangers_do_not_keep_out_the_health_check_of_this_machine() {
    let bounded = Bounded::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let [stranger, loopback, mapped]: [std::net::SocketAddr; 3] =
        ["192.0.2.7:1", "127.0.0.1:1", "[::ffff:127.0.0.1]:1"].map(|text| text.parse().unwrap());
    let taken: Vec<_> = std::iter::from_fn(|| bounded.place(stranger)).take(1000).collect();
    assert_eq!(taken.len(), 64);
    let own: Vec<_> = std::iter::from_fn(|| bounded.place(loopback)).take(1000).collect();
    assert_eq!(own.len(), 16);
    assert!(bounded.place(mapped).is_none());
    drop(own);
    assert!(bounded.place(mapped).is_some() && bounded.place(stranger).is_none());
    drop(taken);
    assert!(bounded.place(stranger).is_some(), "there is room again");
}
