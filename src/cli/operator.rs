//! `deploy`, `hold`, `release`, `rollback`, `approve`, `reject`: operator commands to the running daemon.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::table::show;
use super::{Exit, block_on, fail};
use crate::aws::{self, AwsError, Common, ConnectError, RegionWait};
use crate::clock::{Clock as _, CorrectedClock};
use crate::config::{Config, StatePlace, TableSettings};
use crate::control::{self, Ask, Told};
use crate::domain::operator_command::OperatorCommand;
use crate::lease;
use crate::metrics::Metrics;
use crate::place::{self, PlaceError};
use crate::table_commands::{self, Unanswered};

#[derive(Debug, Args)]
pub(super) struct Service {
    /// The service, as the configuration names it; AWS/CLUSTER/SERVICE where two contexts have the same
    #[arg(value_name = "CLUSTER/SERVICE")]
    service: String,
}

#[derive(Debug, Args)]
pub(super) struct HoldOptions {
    #[command(flatten)]
    service: Service,

    /// Why, for the others
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RollbackOptions {
    #[command(flatten)]
    service: Service,

    /// The revision: a number, FAMILY:NUMBER or an ARN [default: what ran before]
    #[arg(long, value_name = "REVISION")]
    to: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct DeployOptions {
    #[command(flatten)]
    service: Service,

    /// Outside of its windows and in freezes, too; the other gates stay
    #[arg(long)]
    now: bool,
}

#[derive(Debug, Args)]
pub(super) struct ApproveOptions {
    #[command(flatten)]
    service: Service,

    /// The image that is meant: refused if another one waits
    #[arg(long, value_name = "TAG-OR-DIGEST")]
    image: Option<String>,
}

pub(super) fn approve(config: &Config, options: ApproveOptions) -> ExitCode {
    give(config, options.service.service, OperatorCommand::Approve { image: options.image })
}

pub(super) fn reject(config: &Config, options: HoldOptions) -> ExitCode {
    give(config, options.service.service, OperatorCommand::Reject { reason: options.reason })
}

pub(super) fn deploy(config: &Config, options: DeployOptions) -> ExitCode {
    let command = if options.now { OperatorCommand::DeployNow } else { OperatorCommand::Deploy };
    give(config, options.service.service, command)
}

pub(super) fn hold(config: &Config, options: HoldOptions) -> ExitCode {
    give(config, options.service.service, OperatorCommand::Hold { reason: options.reason })
}

pub(super) fn release(config: &Config, options: Service) -> ExitCode {
    give(config, options.service, OperatorCommand::Release)
}

pub(super) fn rollback(config: &Config, options: RollbackOptions) -> ExitCode {
    give(config, options.service.service, OperatorCommand::Rollback { to: options.to })
}

fn give(config: &Config, service: String, command: OperatorCommand) -> ExitCode {
    let name = service.clone();
    if let StatePlace::Table(settings) = &config.state.place {
        return through_table(config, settings, &name, command);
    }
    let told = match block_on(control::ask(&config.control.socket, &Ask::Command { service: service.into(), command }))
    {
        Err(code) => return code,
        Ok(Err(error)) => return fail(&error, Exit::Failure),
        Ok(Ok(told)) => told,
    };
    match told {
        Told::Done(text) => done(&name, &text),
        Told::Refused(text) => refused(&name, &text),
        Told::Status(_) => {
            eprintln!("ecs-deployd: the daemon answered something else");
            ExitCode::from(Exit::Failure)
        }
    }
}

fn done(name: &str, text: &str) -> ExitCode {
    show(&format!("{name}: {text}\n"));
    ExitCode::SUCCESS
}

fn refused(name: &str, text: &str) -> ExitCode {
    eprintln!("ecs-deployd: {name}: refused: {text}");
    ExitCode::from(Exit::Failure)
}

/// Why a command could not be given through a table.
#[derive(Debug, thiserror::Error)]
enum NotGiven {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("cannot make the metrics")]
    Metrics(#[from] prometheus::Error),
    #[error("cannot ask AWS who gives the command")]
    Identity(#[source] AwsError),
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

fn through_table(config: &Config, settings: &TableSettings, name: &str, command: OperatorCommand) -> ExitCode {
    match block_on(give_through_table(config, settings, name.to_owned(), command)) {
        Err(code) => code,
        Ok(Ok(table_commands::Told::Done(text))) => done(name, &text),
        Ok(Ok(table_commands::Told::Refused(text))) => refused(name, &text),
        Ok(Err(error @ NotGiven::Place(PlaceError::Connect(_)))) => fail(&error, Exit::BadConfiguration),
        Ok(Err(error @ NotGiven::Place(PlaceError::StateStore(_)))) => fail(&error, Exit::BadState),
        Ok(Err(error)) => fail(&error, Exit::Failure),
    }
}

/// Has the active replica carry a command out. Who gives it is told by AWS, and by this machine.
async fn give_through_table(
    config: &Config,
    settings: &TableSettings,
    service: String,
    command: OperatorCommand,
) -> Result<table_commands::Told, NotGiven> {
    let corrected = Arc::new(CorrectedClock::default());
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), env!("ECS_DEPLOYD_COMMIT"), corrected.now())?);
    let common = Common::new(metrics, Arc::default(), Arc::clone(&corrected));
    let table = place::table(config, settings, &common).await?;
    let aws = config.aws.get(&settings.aws).ok_or_else(|| ConnectError::NoRegion(settings.aws.clone()));
    let aws = aws.map_err(PlaceError::from)?;
    let connected = aws::connect_known(&settings.aws, aws, &common, RegionWait::Short).await;
    let (_, identity) = connected.map_err(PlaceError::from)?;
    let arn = identity.arn().await.map_err(NotGiven::Identity)?;
    let by = format!("{arn} ({})", control::this_user());
    let id = lease::this_process(corrected.as_ref());
    Ok(table_commands::give(table.as_ref(), settings.lease, &id, service, command, by).await?)
}
