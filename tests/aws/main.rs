//! End to end: the real binary against a real AWS emulator over HTTP.
//!
//! The processes run in real time, so these tests wait for what shall happen with a deadline, and never for a span.
#![expect(unreachable_pub, reason = "a test binary has no users")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod accounts;
mod auditing;
mod burst;
mod checking;
mod commands;
mod copies;
mod credentials;
mod daemon;
mod exposed;
mod fake;
mod gate;
mod hook;
mod infrastructure;
mod initial;
mod permissions;
mod policy;
mod printed;
mod queue;
mod scans;
mod scene;

mod deploying;
mod killed;
mod lossless;
mod metrics;
mod notifying;
mod refused;
mod replicas;
mod runbook;
mod running;
mod starting;
mod targets;
mod tasks;
mod wrong_clock;
