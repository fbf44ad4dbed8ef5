//! The integration tests: the real scheduler, deployer and state store in a simulated world.
#![expect(unreachable_pub, reason = "a test binary has no users")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod architecture;
mod auditing;
mod calls;
mod comparing;
mod corpus;
mod crash;
mod discovering;
mod documents;
mod failures;
mod flow;
mod gate_costs;
mod gates;
mod gates_together;
mod going_back;
mod harness;
mod independence;
mod monitoring;
mod notifications;
mod notifying;
mod operator_commands;
mod others;
mod polling;
mod queue;
mod replicas;
mod scene;
mod scheduling;
mod simulation;
mod simulation_of_gates;
mod tasks;
mod versions;
mod waiting;
mod world;
