//! `notify --test`: a message to every receiver, to see whether it arrives.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::table::{Cell, Table, Tone, colour, show};
use super::{Exit, block_on, fail};
use crate::aws;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Receiver};
use crate::domain::notification::Notification;
use crate::metrics::Metrics;
use crate::notify::{self, Undelivered};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Send a test message
    #[arg(long, required = true)]
    test: bool,

    /// Only to the receiver of this name
    #[arg(value_name = "RECEIVER")]
    receiver: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error(transparent)]
    Connect(#[from] aws::ConnectError),
    #[error("cannot make the metrics")]
    Metrics(#[from] prometheus::Error),
}

pub(super) fn execute(config: &Config, options: &Options) -> ExitCode {
    let chosen: Vec<_> = config
        .notify
        .iter()
        .filter(|one| options.receiver.as_ref().is_none_or(|name| name == &one.name))
        .cloned()
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = config.notify.iter().map(|one| one.name.as_str()).collect();
        match &options.receiver {
            Some(name) if !names.is_empty() => {
                eprintln!("ecs-deployd: {name} is no receiver of the configuration; there are {}", names.join(", "));
            }
            _ => eprintln!("ecs-deployd: there is no [[notify]] in the configuration: nobody would be told"),
        }
        return ExitCode::from(Exit::Failure);
    }
    let sent = match block_on(send(config, &chosen)) {
        Err(code) => return code,
        Ok(Err(error)) => return fail(&error, Exit::BadConfiguration),
        Ok(Ok(sent)) => sent,
    };
    let mut table = Table::new(&["RECEIVER", "KIND", "RESULT"]);
    let mut all_well = true;
    for ((name, result), settings) in sent.into_iter().zip(&chosen) {
        let kind = match &settings.receiver {
            Receiver::Topic { .. } => "sns",
            Receiver::Webhook { .. } => "webhook",
        };
        let result = match result {
            Ok(()) => Cell::new("delivered", Tone::Good),
            Err(Undelivered::ForNow(why) | Undelivered::ForGood(why)) => {
                all_well = false;
                Cell::new(why, Tone::Bad)
            }
        };
        table.row(vec![name.into(), kind.into(), result]);
    }
    show(&table.render(colour()));
    if all_well { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failure) }
}

async fn send(
    config: &Config,
    chosen: &[crate::config::NotifySettings],
) -> Result<Vec<(String, Result<(), Undelivered>)>, NotifyError> {
    let now = SystemClock.now();
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), env!("ECS_DEPLOYD_COMMIT"), now)?);
    let common = aws::Common::new(metrics, Arc::default(), Arc::default());
    let contexts = aws::connect(&config.aws, &common, aws::RegionWait::Short).await?;
    Ok(notify::try_all(chosen, &contexts, &Notification::test(now)).await)
}
