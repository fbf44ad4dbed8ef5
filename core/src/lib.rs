//! What `ecs-deployd` decides: the [`domain`], the [`config`]uration that says what is wanted, and the [`engine`] that keeps the state.
//!
//! Nothing in this crate calls AWS: it depends on neither the SDK nor tokio. Only [`config`] reads files: the configuration, and those that hold
//! addresses of webhooks. The crate `ecs-deployd` asks, writes and tells.

pub mod config;
pub mod domain;
pub mod engine;
