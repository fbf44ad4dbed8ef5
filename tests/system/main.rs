//! End to end with programs and rights that not every machine has: a browser, Prometheus, and mounting a file system.
//!
//! `cargo test` leaves this binary out, as `Cargo.toml` says (`test = false`); `cargo test --test system` runs it. Nothing in it is skipped:
//! a test whose program is missing fails, and names the package that has it.
#![expect(unreachable_pub, reason = "a test binary has no users")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

/// What these tests share with those of `tests/aws`, which use more of it.
#[allow(dead_code, reason = "tests/aws uses the rest")]
#[path = "../aws"]
mod shared {
    pub mod daemon;
    pub mod exposed;
    pub mod gate;
    pub mod hook;
    pub mod policy;
    pub mod scene;
}
use shared::{daemon, exposed, gate, hook, policy, scene};

mod browser;
mod disk;
mod page;
mod prometheus;
