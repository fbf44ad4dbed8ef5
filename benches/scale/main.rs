//! What an installation costs, by its size: the real program against an AWS on loopback that keeps ECS's rate limits.
//!
//! It prints the tables of the documents and draws them. What it leaves is in `target/scale/`: `results.json`, `sizes.md` and plots.
//!
//! ```sh
//! cargo bench --bench scale                      # everything: about a quarter of an hour
//! cargo bench --bench scale -- small             # the smallest of each, as the continuous integration does
//! cargo bench --bench scale -- spread sizes=1000 # some of it
//! ```
//!
//! `ECS_DEPLOYD_BINARY` names another program to measure, such as the one that is released.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement is made in real time, prints what it finds, and ends where it cannot be made"
)]
#![allow(missing_docs, unreachable_pub, reason = "a program, not a library")]

mod aws;
mod bursts;
mod daemon;
#[path = "../common/deployed.rs"]
mod deployed;
mod limits;
mod plot;
mod sizes;

use std::path::PathBuf;
use std::process::ExitCode;

use bursts::{Burst, Outcome};
use plot::Line;
use serde_json::{Value, json};
use sizes::Size;

/// Families, services of each, and clusters that these are spread over.
const BURSTS: [Burst; 3] = [
    Burst { name: "spread", families: 20, services: 10, clusters: 10 },
    Burst { name: "families", families: 50, services: 1, clusters: 1 },
    Burst { name: "thousand", families: 100, services: 10, clusters: 30 },
];
const SMALL: Burst = Burst { name: "small", families: 4, services: 5, clusters: 5 };
const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let folder = folder();
    std::fs::create_dir_all(&folder).unwrap();
    println!("measured: {}", daemon::program().display());
    let (bursts, sizes) = chosen(&wanted);
    let (mut results, mut differs) = (Vec::new(), false);
    for burst in bursts {
        let outcome = burst.measure();
        outcome.print();
        std::fs::write(folder.join(format!("calls-{}.svg", burst.name)), plot_of(&outcome)).unwrap();
        differs |= differs_from_expected(&outcome);
        results.push(outcome.json());
    }
    let mut measured: Vec<Size> = Vec::new();
    for size in sizes {
        measured.push(Size::measure(size));
        println!("\n{}", sizes::table(&measured));
    }
    if !measured.is_empty() {
        std::fs::write(folder.join("sizes.md"), sizes::table(&measured)).unwrap();
        std::fs::write(folder.join("memory.svg"), memory(&measured)).unwrap();
    }
    let all = json!({"bursts": results, "sizes": measured.iter().map(Size::json).collect::<Vec<Value>>()});
    std::fs::write(folder.join("results.json"), format!("{all:#}\n")).unwrap();
    println!("\nleft in {}", folder.display());
    if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Where the results go: beside what cargo builds.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/scale")
}

fn chosen(wanted: &[String]) -> (Vec<Burst>, Vec<usize>) {
    if wanted.iter().any(|word| word == "small") {
        return (vec![SMALL], vec![10]);
    }
    let named = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let mut bursts: Vec<Burst> = BURSTS.into_iter().filter(|burst| named(burst.name)).collect();
    let mut sizes = if named("sizes") { SIZES.to_vec() } else { Vec::new() };
    for word in wanted {
        match word.split_once('=') {
            Some(("sizes", list)) => sizes.extend(list.split(',').map(|one| one.parse::<usize>().unwrap())),
            Some(_) => panic!("{word} is none of {:?}, sizes, sizes=N,N and small", BURSTS.map(|burst| burst.name)),
            None if word == "sizes" || BURSTS.iter().any(|burst| burst.name == word) => {}
            None => panic!("{word} is none of {:?}, sizes, sizes=N,N and small", BURSTS.map(|burst| burst.name)),
        }
    }
    bursts.dedup_by_key(|burst| burst.name);
    (bursts, sizes)
}

/// Whether a burst took other calls than it needs, or calls beyond a rate limit. That depends on no machine.
fn differs_from_expected(outcome: &Outcome) -> bool {
    let calls = |operation: &str| outcome.counts.get(operation).copied().unwrap_or_default();
    let burst = outcome.burst;
    let expected = [
        ("RegisterTaskDefinition", burst.families),
        ("DescribeImages", burst.families),
        ("DescribeTaskDefinition", burst.families),
        ("UpdateService", burst.families * burst.services),
        ("ListTasks", 0),
        ("DescribeTasks", 0),
    ];
    let mut differs = false;
    for (operation, expected) in expected {
        let (all, throttled) = calls(operation);
        if (all, throttled) != (expected, 0) {
            eprintln!("{}: {operation}: {all} calls, {throttled} throttled, in place of {expected}", burst.name);
            differs = true;
        }
    }
    differs
}

/// The calls of a burst over time, and the updates that ECS's rate limit allows.
fn plot_of(outcome: &Outcome) -> String {
    let mut lines: Vec<Line> = outcome.counts.keys().map(|operation| line(outcome, operation)).collect();
    let updates = outcome.burst.families * outcome.burst.services;
    let allowed = (0..=updates).map(|number| (limits::shortest(0, number), number as f64));
    lines.push(Line { name: "UpdateService, allowed".to_owned(), points: allowed.collect(), dashed: true });
    let title = format!(
        "{} pushes to {updates} services in {} clusters: calls so far",
        outcome.burst.families, outcome.burst.clusters
    );
    plot::draw(&title, "seconds since CloudTrail reported the pushes", "calls", false, &lines)
}

fn line(outcome: &Outcome, operation: &str) -> Line {
    let calls = outcome.calls.iter().filter(|call| call.operation == operation);
    let mut points = vec![(0.0, 0.0)];
    for (number, call) in calls.enumerate() {
        let at = call.at.as_secs_f64();
        points.extend([(at, number as f64), (at, number as f64 + 1.0)]);
    }
    Line { name: operation.to_owned(), points, dashed: false }
}

fn memory(sizes: &[Size]) -> String {
    let of = |name: &str, value: fn(&Size) -> f64| Line {
        name: name.to_owned(),
        points: sizes.iter().map(|size| (size.repositories as f64, value(size))).collect(),
        dashed: false,
    };
    let lines = [
        of("after the start", |size| size.resident_after_start),
        of("after the pages", |size| size.resident_after_pages),
        of("with 50 pushes", |size| size.resident_with_pushes),
    ];
    plot::draw("Resident memory", "repositories and services", "MiB", false, &lines)
}
