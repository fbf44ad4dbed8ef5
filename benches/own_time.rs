//! This program's own part of the time from an event to UpdateService, and what a commit of the state costs.
//!
//! The real deployer works in a world that answers at once, with a real state file on a real disk: what is left is our own.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark measures real time and prints it")]
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs
)]

#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "../tests/it/world/mod.rs"]
mod world;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ecs_deployd::config::Config;
use ecs_deployd::deployer;
use ecs_deployd::domain::state::{Deployed, State, Target};
use ecs_deployd::state_store::StateStore;

const ROUNDS: usize = 30;

fn main() {
    for services in [1, 10, 100] {
        report(
            &format!("from the event's answer to the last of {services} UpdateService, of our own"),
            &event_to_update(services),
        );
    }
    for services in [100, 1_000, 10_000] {
        let (size, times) = commits(services);
        report(&format!("commit of a state of {services} services, {size} bytes"), &times);
    }
}

fn report(what: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort();
    println!("{what}: min {:?}, median {:?}, max {:?}", sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
}

/// The time from the answer of LookupEvents that holds the event to the sending of the last UpdateService.
fn event_to_update(services: usize) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut times = Vec::new();
        for round in 0..ROUNDS.min(12) {
            let (world, text) = scene(services);
            world.set_latency(Duration::ZERO);
            let folder = tempfile::TempDir::new().unwrap();
            let (state_store, _) = StateStore::open(&folder.path().join("state.json")).unwrap();
            let process = harness::start_on(&world, Arc::new(state_store), State::default(), &text);
            world.until("a poll", Duration::from_secs(10), |world| world.count().contains_key("LookupEvents")).await;
            tokio::time::sleep(Duration::from_millis(1100)).await;
            world.forget_calls();
            world.push("hello", "latest", &format!("round {round}"));
            world
                .until("all updates", Duration::from_secs(60), |world| {
                    world.count().get("UpdateService") == Some(&services)
                })
                .await;
            let calls = world.calls();
            let last = calls.iter().filter(|call| call.operation == "UpdateService").map(|call| call.at).max().unwrap();
            let seen =
                calls.iter().take_while(|call| call.operation == "LookupEvents").map(|call| call.at).max().unwrap();
            times.push(last - seen);
            process.kill().await;
        }
        times
    })
}

fn scene(services: usize) -> (world::World, String) {
    let world = world::World::new();
    world.create_repository("hello");
    let digest = world.push("hello", "latest", "v0");
    let revision = world.register("hello", &[("app", &format!("{}@{digest}", world::image_uri("hello")))]);
    let mut text = "[poll]\ninterval = \"1s\"\n[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n".to_owned();
    for number in 0..services {
        world.create_service("web", &format!("s{number}"), &revision, 2);
        let _ = write!(text, "[[repository.service]]\ncluster = \"web\"\nservice = \"s{number}\"\n");
    }
    (world, text)
}

/// Commits a state in which every service has been deployed, each time after one of them has changed, as the deployer does: a copy of its
/// state is made durable.
fn commits(services: usize) -> (usize, Vec<Duration>) {
    let mut text =
        "[state]\nwhen_missing = \"reconcile\"\n[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n".to_owned();
    for number in 0..services {
        let _ = write!(text, "[[repository.service]]\ncluster = \"web\"\nservice = \"service-number-{number}\"\n");
    }
    let config = std::sync::Arc::new(Config::parse("bench", &text).unwrap());
    let now = "2026-11-22T10:00:00Z".parse().unwrap();
    let mut state = deployer::begin(None, &config, now).state;
    let keys: Vec<_> = state.services.keys().cloned().collect();
    for key in &keys {
        let known = state.services.get_mut(key).unwrap();
        let (repository, pushes) = known.pending.pop_first().unwrap();
        let digest = ecs_deployd::domain::types::Digest::parse(&world::manifest_digest("x")).unwrap();
        let revision = "arn:aws:ecs:eu-west-1:111111111111:task-definition/hello:1".to_owned().try_into().unwrap();
        known.decided.insert(repository.clone(), pushes[0].clone());
        let target = Target { digest, push: pushes[0].clone(), image_pushed_at: None };
        known.deployed = Some(Deployed {
            unproven: None,
            pinned: std::collections::BTreeMap::new(),
            revision,
            targets: [(repository, target)].into(),
            since: now,
            names_tags: false,
            rollback_target: None,
        });
    }
    let folder = tempfile::TempDir::new().unwrap();
    let (state_store, _) = StateStore::open(&folder.path().join("state.json")).unwrap();
    // The first one makes every line.
    state_store.commit_here(&state).unwrap();
    let times = (0..ROUNDS)
        .map(|round| {
            let known = state.services.get_mut(&keys[round * 7 % keys.len()]).unwrap();
            known.decided.clear();
            let begun = Instant::now();
            state_store.commit_here(&state.clone()).unwrap();
            begun.elapsed()
        })
        .collect();
    (ecs_deployd::state_store::render(&state).len(), times)
}
