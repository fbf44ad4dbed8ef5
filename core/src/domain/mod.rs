//! What to deploy, and why: the pure part.
//!
//! Nothing in here is async, names the AWS SDK, opens a file, reads a clock (decision 37), logs or counts. `now` is an
//! argument; a decision is a value with a typed reason, and somebody else carries it out.

pub mod artifact;
pub mod audit;
pub mod aws_error;
pub mod clock_offset;
mod denial;
pub mod deployment;
pub mod discovery;
pub mod downtime;
pub mod event;
pub mod finding;
pub mod gate;
pub mod glob;
pub mod image;
pub mod image_event;
mod lenient;
pub mod level;
pub mod lifecycle;
pub mod monitor;
pub mod notification;
pub mod opening;
pub mod operator_command;
pub mod permission;
pub mod plan;
pub mod policy;
pub mod polling;
pub mod printable;
pub mod proposal;
pub mod queue_url;
pub mod rate_limit;
pub mod rollout;
pub mod routing;
pub mod schedule;
pub mod settings;
pub mod skip;
pub mod source;
pub mod state;
pub mod task;
pub mod task_definition;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;
pub mod types;
pub mod view;
pub mod waiting;
pub mod words;
