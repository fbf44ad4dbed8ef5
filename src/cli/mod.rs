//! The commands: one file each.
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "talking to the terminal is what a command line is for")]

mod check;
mod health;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

use crate::config::{Config, Source};
use crate::logging::{self, Format};

/// Where the configuration is when nobody says otherwise.
const DEFAULT_CONFIG: &str = "/etc/ecs-deployd/config.toml";

/// Something failed.
const FAILURE: u8 = 1;
/// Wrong usage or configuration; clap uses the same.
const BAD_CONFIGURATION: u8 = 2;
/// The state cannot be used.
const BAD_STATE: u8 = 3;

/// Rolls Amazon ECS services to the image that was just pushed to Amazon ECR, with no downtime.
#[derive(Debug, Parser)]
#[command(name = "ecs-deployd", version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ECS_DEPLOYD_COMMIT"), ")"), max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// The configuration file [default: /etc/ecs-deployd/config.toml, or the text in ECS_DEPLOYD_CONFIG_CONTENT]
    #[arg(long, global = true, value_name = "PATH", env = "ECS_DEPLOYD_CONFIG")]
    config: Option<PathBuf>,

    /// The form of the log on standard error
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text", env = "ECS_DEPLOYD_LOG_FORMAT")]
    log_format: LogFormat,

    /// The least severe events that are logged
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info", env = "ECS_DEPLOYD_LOG_LEVEL")]
    log_level: LogLevel,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon: 0 after a clean stop, 2 for a wrong configuration, 3 for a state that cannot be used
    Run,
    /// Validates the configuration without asking AWS: 0 if it is valid, 2 if not
    Check(check::Options),
    /// Asks the running daemon on this machine whether it works: 0 if it does, 1 if not
    Health,
}

/// Executes a command.
#[must_use]
pub fn execute(arguments: Arguments) -> ExitCode {
    let level = match arguments.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let format = match arguments.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    logging::start(format, level, no_colour);
    let source = source(arguments.config);
    let config = match source.load() {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    match arguments.command {
        Command::Run => run::execute(source, config),
        Command::Check(options) => check::execute(&source, &config, &options),
        Command::Health => health::execute(&config),
    }
}

fn source(path: Option<PathBuf>) -> Source {
    let content = std::env::var("ECS_DEPLOYD_CONFIG_CONTENT").ok().filter(|text| !text.is_empty());
    match (path, content) {
        (Some(path), _) => Source::File(path),
        (None, Some(content)) => Source::Text(content),
        (None, None) => Source::File(PathBuf::from(DEFAULT_CONFIG)),
    }
}

/// The one report of an error: its chain of causes, each once.
fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("ecs-deployd: {}", logging::chain(error));
    ExitCode::from(code)
}

/// What a summary says about a configuration.
fn summary(config: &Config) -> String {
    format!(
        "{} repositories, {} services, {} AWS contexts",
        config.repositories.len(),
        config.services().count(),
        config.aws.len()
    )
}
