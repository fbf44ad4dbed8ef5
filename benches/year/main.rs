//! What the daemon keeps in memory after a day, after a season and after a year of work.
//!
//! The real scheduler, auditor, queue reader, deployer, notifier, metrics and state file work in the simulated world of the integration tests, in
//! paused time. Services are rolled, and one of a day's rollouts fails; operators give commands; somebody pushes to repositories that nobody
//! follows, and asks for services that nobody knows; one of two receivers of notifications is dead. An allocator counts the bytes that are in use
//! before and after the daemon is taken away: the difference is what it kept. Each span is lived by a daemon of its own, which begins with a
//! state as years leave it. So the spans differ in their length alone.
//!
//! ```sh
//! cargo bench --bench year                              # 10,000 services
//! cargo bench --bench year -- small                     # as the continuous integration does
//! cargo bench --bench year -- services=1000 days=1,60,365
//! ```
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement prints what it finds and how long it takes, and ends where it cannot be made"
)]
#![allow(missing_docs, unreachable_pub, reason = "a program, not a library")]
#![allow(dead_code, unused_imports, reason = "the simulated world can do more than is wanted of it here")]

#[path = "../common/deployed.rs"]
mod deployed;
#[path = "../../tests/it/harness.rs"]
mod harness;
mod life;
#[path = "../../tests/it/world/mod.rs"]
mod world;

use std::alloc::System;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use life::{Kept, Life};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A day, a season after which everything is full that fills with time, and a year.
const SPANS: [usize; 3] = [1, 40, 365];
const SERVICES: usize = 10_000;
/// A day leaves less than a year by what fills within weeks and is bounded: for each receiver of notifications its queue (256) and the
/// identifiers that it knows a repetition by (1,024 of each of three weights), and the last 100 decisions.
const FILLS: usize = 1_500_000;
/// What the last span leaves may be more than what the season leaves by so much, in thousandths: names and numbers get longer by a digit.
const MORE: usize = 5;
/// The identifiers of notifications about rollouts that each receiver knows, and the bytes of one.
const KNOWN: usize = 1024;
const IDENTIFIER: usize = 130;
const RECEIVERS: usize = 2;
/// What is in use when a life is over and the world is gone with it. The first life leaves what is made once in a process.
const LEFT: usize = 100_000;

/// A life, and what was left when even its world was gone.
struct Lived {
    days: usize,
    kept: Kept,
    left: usize,
}

/// The bytes in use.
fn in_use() -> usize {
    let counted = ALLOCATOR.stats();
    counted.bytes_allocated - counted.bytes_deallocated
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let (services, spans) = chosen(&wanted);
    println!("A daemon with {services} services:\n");
    let lived: Vec<Lived> = spans.into_iter().map(|days| live(services, days)).collect();
    print(&lived);
    let wrong = judge(&lived);
    for what in &wrong {
        eprintln!("{what}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What speaks against it that memory is bounded.
fn judge(lived: &[Lived]) -> Vec<String> {
    let mut wrong = Vec::new();
    let [first, .., season, last] = lived else { return vec!["three spans are needed to judge".to_owned()] };
    let (bytes, days) = (last.kept.bytes, last.days);
    if bytes > first.kept.bytes + FILLS {
        wrong.push(format!("after {days} days more is kept than after {} days and what fills in weeks", first.days));
    }
    // In a short season not every receiver knows as many rollouts as it can.
    let (told, told_later) = (season.kept.happened.rollouts.min(KNOWN), last.kept.happened.rollouts.min(KNOWN));
    let identifiers = (told_later - told) * RECEIVERS * IDENTIFIER;
    if bytes > season.kept.bytes + season.kept.bytes * MORE / 1000 + identifiers {
        wrong.push(format!("after {days} days more is kept than after {} days", season.days));
    }
    let leaks = lived.iter().skip(1).filter(|one| one.left > LEFT);
    wrong.extend(leaks.map(|one| format!("{} days leave {} bytes behind that nobody frees", one.days, one.left)));
    wrong
}

fn print(lived: &[Lived]) {
    let row = |name: &str, of: &dyn Fn(&Lived) -> usize| {
        let cells: Vec<String> = lived.iter().map(|one| format!("{:>14}", thousands(of(one)))).collect();
        println!("| {name:<58} | {} |", cells.join(" | "));
    };
    println!();
    row("days", &|one| one.days);
    let rule: Vec<String> = lived.iter().map(|_| format!("{:->13}:", "")).collect();
    println!("| {:-<58} | {} |", "", rule.join(" | "));
    row("pushes to followed repositories", &|one| one.kept.happened.pushes);
    row("rollouts, those back among them", &|one| one.kept.happened.rollouts);
    row("pushes and messages that concern nobody", &|one| one.kept.happened.ignored);
    row("commands of operators", &|one| one.kept.happened.commands);
    row("commands for services that nobody knows", &|one| one.kept.happened.strange_commands);
    row("changes of others to followed services", &|one| one.kept.happened.changes);
    row("changes of others to their own services", &|one| one.kept.happened.changes_elsewhere);
    row("notifications that were delivered", &|one| one.kept.happened.delivered);
    row("notifications that the dead receiver never got", &|one| one.kept.happened.lost);
    row("size of the state file, bytes", &|one| one.kept.state_file);
    row("kept in memory, bytes", &|one| one.kept.bytes);
    row("left behind when daemon and world are gone, bytes", &|one| one.left);
    println!();
}

/// A number with commas between the thousands.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap()).collect();
    parts.join(",")
}

/// Lives so many days, and says what the daemon has kept.
fn live(services: usize, days: usize) -> Lived {
    let (begun, before) = (Instant::now(), in_use());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let kept = runtime.block_on(async {
        let mut life = Life::begin(services).await;
        for day in 1..=days {
            life.day(day == days || day % 30 == 0).await;
            if day % 30 == 0 {
                println!("day {day} of {days}: {:.0} s", begun.elapsed().as_secs_f64());
                std::io::stdout().flush().unwrap();
            }
        }
        life.end(in_use).await
    });
    drop(runtime);
    let left = in_use().saturating_sub(before);
    println!("{days} days in {:.0} s: {} bytes are kept", begun.elapsed().as_secs_f64(), thousands(kept.bytes));
    std::io::stdout().flush().unwrap();
    Lived { days, kept, left }
}

fn chosen(wanted: &[String]) -> (usize, Vec<usize>) {
    let (mut services, mut spans) = (SERVICES, SPANS.to_vec());
    for word in wanted {
        match word.split_once('=') {
            None if word == "small" => (services, spans) = (50, vec![1, 10, 16]),
            Some(("services", number)) => services = number.parse().unwrap(),
            Some(("days", list)) => spans = list.split(',').map(|one| one.parse().unwrap()).collect(),
            Some(_) | None => panic!("{word} is none of small, services=N and days=N,N,N"),
        }
    }
    (services, spans)
}
