//! `check`: whether the configuration is valid.

use std::process::ExitCode;

use clap::Args;

use super::summary;
use crate::config::{Config, Source};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Do not ask AWS
    #[arg(long, required = true)]
    offline: bool,
}

pub(super) fn execute(source: &Source, config: &Config, _options: &Options) -> ExitCode {
    let name = source.path().map_or_else(|| "ECS_DEPLOYD_CONFIG_CONTENT".to_owned(), |path| path.display().to_string());
    println!("{name} is valid: {}", summary(config));
    ExitCode::SUCCESS
}
