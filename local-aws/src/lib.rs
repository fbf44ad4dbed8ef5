//! An AWS on loopback, for the demo and the end-to-end tests of `ecs-deployd`.
//!
//! [`MiniStack::start`] runs the emulator [MiniStack](https://pypi.org/project/ministack/) out of a
//! virtual environment of its own (made on first use, see [`venv`]); [`Client`] calls it. It answers
//! as ECR, ECS and CloudTrail do; nothing leaves the machine but the one `pip install`.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let aws = local_aws::MiniStack::start(&local_aws::Options::default())?;
//! let client = aws.client("111111111111", "eu-west-1");
//! client.create_repository("hello")?;
//! let digest = client.put_image("hello", Some("latest"), &local_aws::image_manifest("v1"))?;
//! # drop(digest);
//! # Ok(()) }
//! ```

mod calls;
mod client;
mod hooks;
pub mod http;
mod judge;
mod log_tail;
mod manifest;
mod microburst;
mod ministack;
mod net;
mod queue;
mod resources;
mod run;
mod run_folder;
mod settings;
mod target;
pub mod venv;

pub use calls::Caller;
pub use client::{CLOUDTRAIL, CallError, Client, ECR, ECS, SQS};
pub use hooks::Hooks;
pub use judge::{Judge, JudgeError};
pub use manifest::image_manifest;
pub use microburst::{BurstError, Microburst};
pub use ministack::{MiniStack, Options, StartError};
pub use net::free_port;
pub use settings::{Part, Settings};
pub use target::{target_folder, workspace_folder};
