//! `history`: what happened to the services, from the running daemon, else from the state file.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::Exit;
use super::status::{images, print_json, with_status};
use super::table::{Cell, Table, Tone, colour, show};
use crate::config::Config;
use crate::domain::state::OutcomeKind;
use crate::domain::types::ServiceKey;
use crate::status::{ServiceStatus, Status};
use crate::wording::{ago, short_revision, span};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Show this service only
    #[arg(value_name = "CLUSTER/SERVICE")]
    service: Option<String>,

    /// JSON for programs; docs/reference/json.md describes its members
    #[arg(long)]
    json: bool,
}

pub(super) fn history(config: &Config, options: &Options) -> ExitCode {
    let named = options.service.as_deref().map(|named| (named, config.names.find(named).cloned()));
    if let Some((_, Err(text))) = &named
        && config.discover.is_empty()
    {
        eprintln!("ecs-deployd: {text}");
        return ExitCode::from(Exit::Failure);
    }
    with_status(config, |status, now| {
        let is_of = |one: &ServiceStatus, key: &ServiceKey| {
            (one.aws.as_str(), one.cluster.as_str(), one.service.as_str())
                == (key.aws.as_str(), key.cluster.as_str(), key.service.as_str())
        };
        let wanted = |one: &&ServiceStatus| match &named {
            None => true,
            Some((_, Ok(key))) => is_of(one, key),
            // The configuration does not list what is found by its tag.
            Some((named, Err(_))) => {
                *named == one.name || *named == format!("{}/{}/{}", one.aws, one.cluster, one.service)
            }
        };
        let services: Vec<&ServiceStatus> = status.services.iter().filter(wanted).collect();
        if let (Some((_, Err(text))), true) = (&named, services.is_empty()) {
            eprintln!("ecs-deployd: {text}");
            return ExitCode::from(Exit::Failure);
        }
        if options.json {
            print_json(&history_json(status, &services));
        } else {
            show(&history_text(&services, now, colour()));
        }
        ExitCode::SUCCESS
    })
}

/// What `history --json` writes.
pub(crate) fn history_json(status: &Status, services: &[&ServiceStatus]) -> serde_json::Value {
    let entries = |one: &&ServiceStatus| {
        serde_json::json!({
            "aws": one.aws, "cluster": one.cluster, "service": one.service, "name": one.name,
            "history": one.history, "orders": one.commands,
        })
    };
    let services: Vec<_> = services.iter().map(entries).collect();
    serde_json::json!({
        "version": status.version, "at": status.at, "source": status.source, "services": services,
    })
}

/// What happened, for people: newest first.
fn history_text(services: &[&ServiceStatus], now: Timestamp, colour: bool) -> String {
    let mut rows: Vec<(Timestamp, Vec<Cell>)> = Vec::new();
    for one in services {
        let name = &one.name;
        for outcome in &one.history {
            let tone = match outcome.result {
                OutcomeKind::Completed => Tone::Good,
                OutcomeKind::Superseded | OutcomeKind::RolledBack => Tone::Warning,
                OutcomeKind::Failed | OutcomeKind::TimedOut | OutcomeKind::Refused => Tone::Bad,
            };
            let took = span(outcome.ended_at.duration_since(outcome.decided_at));
            rows.push((
                outcome.ended_at,
                vec![
                    ago(outcome.ended_at, now).into(),
                    name.into(),
                    Cell::new(outcome.result.as_str(), tone),
                    outcome.revision.as_deref().map_or("", short_revision).into(),
                    took.into(),
                    images(&outcome.images).into(),
                    (&outcome.detail).into(),
                ],
            ));
        }
        for given in &one.commands {
            let command = Cell::new(given.command.as_str(), Tone::Plain);
            let by = format!("by {}: {}", given.by, given.answer);
            let row = vec![ago(given.at, now).into(), name.into(), command, "".into(), "".into(), "".into(), by.into()];
            rows.push((given.at, row));
        }
    }
    if rows.is_empty() {
        return "nothing happened yet\n".to_owned();
    }
    rows.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut table = Table::new(&["WHEN", "SERVICE", "WHAT", "REVISION", "TOOK", "IMAGES", "DETAIL"]);
    for (_, row) in rows {
        table.row(row);
    }
    table.render(colour)
}
