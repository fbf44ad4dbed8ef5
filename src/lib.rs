//! `ecs-deployd` rolls Amazon ECS services to the image that was just pushed to Amazon ECR, with no downtime.
//!
//! One direction of flow: CloudTrail -> [`scheduler`] -> [`deployer`] -> ECS. See `ARCHITECTURE.md`.

pub mod admission;
mod asking;
pub mod aws;
pub mod check;
pub mod cli;
pub mod clock;
pub mod control;
pub mod daemon;
pub mod deployer;
pub mod discoverer;
pub mod health;
pub mod http;
pub mod lease;
pub mod logging;
pub mod metrics;
pub mod notify;
pub mod observer;
pub mod once;
mod page;
pub mod place;
pub mod plan;
pub mod queue;
#[cfg(test)]
mod reference;
pub mod scheduler;
pub mod signals;
pub mod state_store;
pub mod status;
pub mod survey;
pub mod table_commands;
pub mod usage;
mod wording;

pub use ecs_deployd_core::{config, domain, engine};
