//! The commands: one file each.
#![expect(clippy::print_stderr, reason = "talking to the terminal is what a command line is for")]

pub(crate) mod check;
mod exit;
mod health;
pub(crate) mod history;
mod iam;
mod init;
mod notify;
mod once;
mod operator;
mod plan;
mod run;
mod state;
mod status;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

use crate::config::{Config, Source};
use crate::logging::{self, Format};
use crate::wording::{chain, counted};

pub use exit::Exit;

/// Where the configuration is when nobody says otherwise.
const DEFAULT_CONFIG: &str = "/etc/ecs-deployd/config.toml";

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

    /// The least severe events that are logged [default: info for the daemon, and for `once` without a terminal; else warn]
    #[arg(long, global = true, value_name = "LEVEL", env = "ECS_DEPLOYD_LOG_LEVEL")]
    log_level: Option<LogLevel>,
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
    /// Validates the configuration and asks AWS whether it fits: 0 if all is good, 1 if not, 2 if it is not valid
    Check(check::Options),
    /// Shows what one poll would do and how the services differ from ECR, and touches nothing
    Plan(plan::Options),
    /// Polls once, deploys, and waits until all is stable: 0 if it is, 1 if a rollout failed
    Once,
    /// Shows what runs, what rolls and what is held: from the running daemon, else from the state file; or from the table
    Status(status::Options),
    /// Shows what happened: from the running daemon, else from the state file; or from the table
    History(history::Options),
    /// Rolls a service to what its policies select in ECR now: 0 if it is on its way or runs it, 1 if refused
    Deploy(operator::DeployOptions),
    /// Deploys nothing to a service until a release
    Hold(operator::HoldOptions),
    /// Ends the holds of a service, and rolls it to what its policies select
    Release(operator::Service),
    /// Takes a service back to what ran before, and holds what runs now
    Rollback(operator::RollbackOptions),
    /// Lets go what waits for an approval, or continues a deployment that pauses at a hook of ECS
    Approve(operator::ApproveOptions),
    /// Holds what waits for an approval; a deployment that pauses at a hook of ECS is rolled back
    Reject(operator::HoldOptions),
    /// Moves the state between a file and a table: 0, 1 if refused, 3 for a state that cannot be used
    State(state::Options),
    /// Asks ECS which services there are and prints a configuration for them: 0, or 1 if AWS could not be asked
    Init(init::Options),
    /// Prints the least-privilege IAM policy for the configuration: 0, or 1 if AWS could not be asked
    Iam(iam::Options),
    /// Sends a test message to the receivers of notifications: 0 if all took it, 1 if not
    Notify(notify::Options),
    /// Asks the running daemon on this machine whether it works: 0 if it does, 1 if not
    Health,
}

/// Executes the command that the command line names.
#[must_use]
pub fn execute(arguments: Arguments) -> ExitCode {
    let level = match arguments.log_level.unwrap_or_else(|| quiet_enough(&arguments.command)) {
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
    if matches!(arguments.command, Command::Health) {
        return health::execute(&source);
    }
    if let Command::Init(options) = &arguments.command {
        return init::execute(options);
    }
    let config = match source.load() {
        Ok(config) => config,
        Err(error) => return fail(&error, Exit::BadConfiguration),
    };
    match arguments.command {
        Command::Run => run::execute(source, config),
        Command::Check(options) => check::execute(&source, &std::sync::Arc::new(config), &options),
        Command::Plan(options) => plan::execute(config, &options),
        Command::Once => once::execute(config),
        Command::Status(options) => status::status(&config, &options),
        Command::History(options) => history::history(&config, &options),
        Command::Deploy(options) => operator::deploy(&config, options),
        Command::Hold(options) => operator::hold(&config, options),
        Command::Release(options) => operator::release(&config, options),
        Command::Rollback(options) => operator::rollback(&config, options),
        Command::Approve(options) => operator::approve(&config, options),
        Command::Reject(options) => operator::reject(&config, options),
        Command::State(options) => state::execute(&config, &options),
        Command::Init(options) => init::execute(&options),
        Command::Iam(options) => iam::execute(&std::sync::Arc::new(config), &options),
        Command::Notify(options) => notify::execute(&config, &options),
        Command::Health => health::execute(&source),
    }
}

/// A daemon, and what runs unattended, tell what they do; who sits at a terminal sees it.
fn quiet_enough(command: &Command) -> LogLevel {
    let attended = std::io::IsTerminal::is_terminal(&std::io::stderr());
    match command {
        Command::Run => LogLevel::Info,
        Command::Once if !attended => LogLevel::Info,
        Command::Once
        | Command::Check(_)
        | Command::Plan(_)
        | Command::Status(_)
        | Command::History(_)
        | Command::Deploy(_)
        | Command::Hold(_)
        | Command::Release(_)
        | Command::Rollback(_)
        | Command::Approve(_)
        | Command::Reject(_)
        | Command::State(_)
        | Command::Init(_)
        | Command::Iam(_)
        | Command::Notify(_)
        | Command::Health => LogLevel::Warn,
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

/// Runs a command's work to its end.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, ExitCode> {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => Ok(runtime.block_on(work)),
        Err(error) => Err(fail(&error, Exit::Failure)),
    }
}

/// The one report of an error: its chain of causes, each once.
fn fail(error: &dyn std::error::Error, exit: Exit) -> ExitCode {
    logging::report(&chain(error));
    exit.into()
}

/// What a summary says about a configuration.
fn summary(config: &Config) -> String {
    format!(
        "{}, {}, {}",
        counted(config.repositories.len(), "repository", "repositories"),
        counted(config.services().count(), "service", "services"),
        counted(config.aws.len(), "AWS context", "AWS contexts")
    )
}
