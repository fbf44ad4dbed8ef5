//! The integration tests: the real scheduler, deployer and ledger in a simulated world.
#![expect(unreachable_pub, reason = "a test binary has no users")]

mod calls;
mod crash;
mod failures;
mod flow;
mod harness;
mod world;
