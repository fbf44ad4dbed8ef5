//! What the fuzz targets begin with goes through the same functions in every test run.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ecs_deployd::config::{Config, Places};
use ecs_deployd::domain::event::{ParsedEvent, Record, read};
use ecs_deployd::domain::image_event::{self, Home, Message};
use ecs_deployd::domain::types::{AccountId, Region};
use ecs_deployd::health::Health;
use ecs_deployd::metrics::Metrics;
use ecs_deployd::state_store::{parse, render};

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> =
        files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())).collect();
    assert!(found.len() >= 5, "{}", folder.display());
    found
}

#[test]
fn records_are_pushes_skips_or_foreign() {
    let mut pushes = 0;
    for (name, bytes) in corpus("record") {
        let body = Some(String::from_utf8_lossy(&bytes).into_owned());
        let reading = read(&Record { time: None, id: Some(name.clone()), body });
        pushes += usize::from(matches!(reading, ParsedEvent::Push(_)));
        assert_eq!(reading == ParsedEvent::Foreign, name == "foreign", "{name}: {reading:?}");
    }
    assert!(pushes >= 4, "{pushes}");
}

#[test]
fn messages_are_pushes_foreign_or_malformed() {
    let home = Home { account: AccountId::parse("111111111111").unwrap(), region: Region::parse("eu-west-1").unwrap() };
    for (name, bytes) in corpus("message") {
        let kind = match image_event::read(&String::from_utf8_lossy(&bytes), &home) {
            Message::Event(_) => "push",
            Message::Foreign(_) => "foreign",
            Message::Malformed(_) => "malformed",
        };
        assert_eq!(name.split('-').next(), Some(kind), "{name}");
    }
}

#[test]
fn configurations_are_valid_or_have_findings() {
    for (name, bytes) in corpus("configuration") {
        let text = String::from_utf8(bytes).unwrap();
        let valid = Config::parse(&name, &text);
        assert_eq!(valid.is_ok(), ["minimal", "example", "regex"].contains(&name.as_str()), "{name}: {valid:?}");
        let _ = Places::of(&text);
    }
}

#[test]
fn state_files_are_states_or_errors() {
    for (name, bytes) in corpus("state_file") {
        let state = parse(Path::new(&name), &bytes);
        assert_eq!(state.is_ok(), ["v1", "empty-state"].contains(&name.as_str()), "{name}: {state:?}");
        if let Ok(state) = state {
            assert_eq!(parse(Path::new(&name), &render(&state)).unwrap(), state);
        }
    }
}

#[tokio::test]
async fn requests_are_answered_or_closed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new("test", "test", jiff::Timestamp::UNIX_EPOCH).unwrap());
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    // The deployer is gone, and what asks it learns that.
    let (asks, _) = tokio::sync::mpsc::channel(1);
    tokio::spawn(ecs_deployd::http::serve(listener, metrics, Arc::new(Health::new()), asks, stopped));
    let mut understood = 0;
    for (name, bytes) in corpus("http") {
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
            stream.write_all(&bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).map(|_| answer)
        });
        let answer = answer.await.unwrap().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{name}");
        understood += usize::from(answer.starts_with(b"HTTP/1.1 200"));
    }
    assert!(understood >= 1, "{understood}");
}
