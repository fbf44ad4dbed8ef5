//! `deploy`, `hold`, `release`, `rollback`, `approve`, `reject`: orders to the running daemon.

use std::process::ExitCode;

use clap::Args;

use super::table::show;
use super::{Exit, block_on, fail};
use crate::config::Config;
use crate::control::{self, Ask, Told};
use crate::domain::operator_command::OperatorCommand;

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
    order(config, options.service.service, OperatorCommand::Approve { image: options.image })
}

pub(super) fn reject(config: &Config, options: HoldOptions) -> ExitCode {
    order(config, options.service.service, OperatorCommand::Reject { reason: options.reason })
}

pub(super) fn deploy(config: &Config, options: DeployOptions) -> ExitCode {
    let command = if options.now { OperatorCommand::DeployNow } else { OperatorCommand::Deploy };
    order(config, options.service.service, command)
}

pub(super) fn hold(config: &Config, options: HoldOptions) -> ExitCode {
    order(config, options.service.service, OperatorCommand::Hold { reason: options.reason })
}

pub(super) fn release(config: &Config, options: Service) -> ExitCode {
    order(config, options.service, OperatorCommand::Release)
}

pub(super) fn rollback(config: &Config, options: RollbackOptions) -> ExitCode {
    order(config, options.service.service, OperatorCommand::Rollback { to: options.to })
}

fn order(config: &Config, service: String, order: OperatorCommand) -> ExitCode {
    let name = service.clone();
    let told = match block_on(control::ask(&config.control.socket, &Ask::Order { service: service.into(), order })) {
        Err(code) => return code,
        Ok(Err(error)) => return fail(&error, Exit::Failure),
        Ok(Ok(told)) => told,
    };
    match told {
        Told::Done(text) => {
            show(&format!("{name}: {text}\n"));
            ExitCode::SUCCESS
        }
        Told::Refused(text) => {
            eprintln!("ecs-deployd: {name}: refused: {text}");
            ExitCode::from(Exit::Failure)
        }
        Told::Status(_) => {
            eprintln!("ecs-deployd: the daemon answered something else");
            ExitCode::from(Exit::Failure)
        }
    }
}
