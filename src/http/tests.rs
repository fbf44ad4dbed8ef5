use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::bounded::Connections;
use super::*;
use crate::config::Config;
use crate::deployer::Request;
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
async fn a_deployer_that_is_gone_is_reported() {
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

#[test]
fn who_has_waited_longest_without_a_complete_request_gives_way() {
    let [unknown_client, loopback, mapped]: [std::net::SocketAddr; 3] =
        ["192.0.2.7:1", "127.0.0.1:1", "[::ffff:127.0.0.1]:1"].map(|text| text.parse().unwrap());
    let begun = clock::instant();
    let mut second = 0;
    let mut now = || {
        second += 1;
        begun + Duration::from_secs(second)
    };
    let connections = Arc::new(Connections::default());
    let unknown_clients: Vec<_> = (0..64).map(|_| connections.admit(unknown_client, now())).collect();
    assert!(unknown_clients.iter().all(|(place, crowded)| !crowded && !place.has_to_go()));
    let mut others: Vec<_> = (0..16).map(|_| connections.admit(loopback, now())).collect();
    assert!(
        others.iter().all(|(_, crowded)| !crowded),
        "connections from elsewhere do not take the places of this machine"
    );
    assert_eq!(connections.taken(), 80);
    // The first one has asked, so that the second one has waited longest.
    unknown_clients[0].0.visit().has_asked();
    others.push(connections.admit(mapped, now()));
    let gone = |all: &[(bounded::Place, bool)]| all.iter().filter(|(place, _)| place.has_to_go()).count();
    assert_eq!((gone(&unknown_clients), gone(&others), connections.taken()), (1, 0, 80));
    assert!(unknown_clients[1].0.has_to_go());
    // An unknown client takes the place that became free in all, and the next one that of an unknown client.
    let more: Vec<_> = (0..3).map(|_| connections.admit(unknown_client, now())).collect();
    assert_eq!((gone(&unknown_clients), gone(&others), gone(&more), connections.taken()), (4, 0, 0, 80));
    assert!(unknown_clients[2].0.has_to_go() && !unknown_clients[0].0.has_to_go());
    drop((unknown_clients, others, more));
    assert_eq!(connections.taken(), 0, "there is connections again");
    // Where everybody has asked, the oldest request gives way: nobody is turned away because the answers do not come.
    let asking: Vec<_> = (0..80).map(|_| connections.admit(loopback, now())).collect();
    for (place, _) in &asking {
        place.visit().has_asked();
    }
    let _newest = connections.admit(loopback, now());
    assert!(asking[0].0.has_to_go() && gone(&asking) == 1);
}

/// As many descriptors as this process may have: the test needs more than a thousand.
fn raise_the_limit_of_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// A connection that sends a request and never ends it.
async fn slow(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nX-Slow: ").await.unwrap();
    stream
}

#[tokio::test]
async fn a_thousand_slow_connections_from_this_machine_do_not_delay_health_and_metrics() {
    raise_the_limit_of_descriptors();
    let (asks, _counted) = deployer();
    let (address, _stop) = serving(asks).await;
    let mut held = Vec::new();
    for _ in 0..1000 {
        held.push(slow(address).await);
    }
    let within_a_second = async |path: &str| {
        let begun = clock::instant();
        let answer = ask(address, &get(path)).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "{path}: {took:?}");
        answer
    };
    for path in ["/metrics", "/api/v1/status"] {
        let answer = within_a_second(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    assert!(within_a_second("/healthz").await.starts_with("HTTP/1.1 "));
    // And beside a hundred that come again as soon as they have to give way.
    let again: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(async move {
                loop {
                    let mut stream = slow(address).await;
                    let _ = stream.read(&mut [0; 64]).await;
                }
            })
        })
        .collect();
    for _ in 0..20 {
        assert!(within_a_second("/metrics").await.starts_with("HTTP/1.1 200 "));
        assert!(within_a_second("/healthz").await.starts_with("HTTP/1.1 "));
    }
    for task in again {
        task.abort();
    }
}

#[tokio::test]
async fn a_connection_that_is_kept_alive_has_its_next_request_answered() {
    let (asks, _counted) = deployer();
    let (address, _stop) = serving(asks).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
}
