//! Whatever comes in on the port, the server answers or closes, and goes on.
#![no_main]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ecs_deployd::config::Config;
use ecs_deployd::deployer::Request;
use ecs_deployd::domain::state::State;
use ecs_deployd::health::Health;
use ecs_deployd::metrics::Metrics;
use ecs_deployd::status::Status;

static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();

fn serve() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let metrics = Metrics::new("fuzz", "fuzz", jiff::Timestamp::from_second(1).unwrap()).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (_stop, stopped) = tokio::sync::watch::channel(false);
            let (asks, mut requests) = tokio::sync::mpsc::channel(1);
            tokio::spawn(async move {
                let config = Config::parse("fuzz", "").unwrap();
                while let Some(Request::Status(answer)) = requests.recv().await {
                    let now = jiff::Timestamp::from_second(2).unwrap();
                    let _ = answer.send(Status::of(&config, &State::default(), now));
                }
            });
            ecs_deployd::http::serve(listener, Arc::new(metrics), Arc::new(Health::new()), asks, stopped).await;
        });
    });
    address
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut stream = TcpStream::connect(ADDRESS.get_or_init(serve)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // The server may close before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "neither answered nor closed"),
    }
});
