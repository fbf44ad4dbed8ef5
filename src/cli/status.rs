//! `status` and `history`: from the running daemon, else from the state file.

use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::table::{Cell, Table, Tone, bar, colour, paint, show};
use super::{BAD_STATE, FAILURE, block_on, fail};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::control::{self, Ask, Told, Unreachable};
use crate::ledger::{self, Found, LedgerError};
use crate::status::{ContextStatus, ImageStatus, Origin, OutcomeStatus, ServiceStatus, Status};
use crate::wording::{ago, counted, short_digest, short_revision, span};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// JSON for programs; its shape is described in the README
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct HistoryOptions {
    /// Only this service
    #[arg(value_name = "CLUSTER/SERVICE")]
    service: Option<String>,

    /// JSON for programs; its shape is described in the README
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum StatusError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("the daemon answered something else: {0}")]
    Strange(String),
}

pub(super) fn status(config: &Config, options: &Options) -> ExitCode {
    with_status(config, |status, now| {
        if options.json {
            // The history has a command of its own.
            let brief = |one: &ServiceStatus| ServiceStatus { history: Vec::new(), orders: Vec::new(), ..one.clone() };
            let services = status.services.iter().map(brief).collect();
            print_json(&Status { services, ..status.clone() });
        } else {
            show(&status_text(status, now, colour()));
        }
        ExitCode::SUCCESS
    })
}

pub(super) fn history(config: &Config, options: &HistoryOptions) -> ExitCode {
    let only = match options.service.as_deref().map(|named| config.names.find(named).cloned()) {
        None => None,
        Some(Ok(key)) => Some(key),
        Some(Err(text)) => {
            eprintln!("ecs-deployd: {text}");
            return ExitCode::from(FAILURE);
        }
    };
    with_status(config, |status, now| {
        let wanted = |one: &&ServiceStatus| {
            only.as_ref().is_none_or(|key| {
                (one.aws.as_str(), one.cluster.as_str(), one.service.as_str())
                    == (key.aws.as_str(), key.cluster.as_str(), key.service.as_str())
            })
        };
        let services: Vec<&ServiceStatus> = status.services.iter().filter(wanted).collect();
        if options.json {
            let entries = |one: &&ServiceStatus| {
                serde_json::json!({
                    "aws": one.aws, "cluster": one.cluster, "service": one.service, "name": one.name,
                    "history": one.history, "orders": one.orders,
                })
            };
            let services: Vec<_> = services.iter().map(entries).collect();
            print_json(&serde_json::json!({
                "version": status.version, "at": status.at, "source": status.source, "services": services,
            }));
        } else {
            show(&history_text(&services, now, colour()));
        }
        ExitCode::SUCCESS
    })
}

fn with_status(config: &Config, show: impl FnOnce(&Status, Timestamp) -> ExitCode) -> ExitCode {
    let now = SystemClock.now();
    match block_on(obtain(config, now)) {
        Err(code) => code,
        Ok(Ok(status)) => show(&status, now),
        Ok(Err(error @ StatusError::Ledger(_))) => fail(&error, BAD_STATE),
        Ok(Err(error)) => fail(&error, FAILURE),
    }
}

async fn obtain(config: &Config, now: Timestamp) -> Result<Status, StatusError> {
    match control::ask(&config.control.socket, &Ask::Status).await {
        Ok(Told::Status(status)) => Ok(*status),
        Ok(Told::Done(text) | Told::Refused(text)) => Err(StatusError::Strange(text)),
        Err(Unreachable::Absent(_)) => {
            let state = match ledger::read(&config.state.path)? {
                Found::State(state) => *state,
                Found::Missing => Default::default(),
            };
            Ok(Status { source: Origin::StateFile, ..Status::of(config, &state, now) })
        }
        Err(error) => Err(error.into()),
    }
}

fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => show(&format!("{text}\n")),
        Err(error) => eprintln!("ecs-deployd: cannot write JSON: {error}"),
    }
}

/// How things are, for people.
fn status_text(status: &Status, now: Timestamp, colour: bool) -> String {
    let mut text = match status.source {
        Origin::Daemon => String::new(),
        Origin::StateFile => paint("no daemon answers; this is what the state file says\n\n", Tone::Warning, colour),
    };
    let mut table = Table::new(&["SERVICE", "RUNS", "REVISION", "SINCE", "STATE"]);
    let mut notes = String::new();
    for one in &status.services {
        let name = &one.name;
        let (runs, revision, since) = match &one.deployed {
            Some(deployed) => {
                (images(&deployed.images), short_revision(&deployed.revision).to_owned(), ago(deployed.since, now))
            }
            None => ("not deployed by ecs-deployd yet".to_owned(), String::new(), String::new()),
        };
        table.row(vec![name.into(), runs.into(), revision.into(), since.into(), state_of(one, now)]);
        for note in notes_of(one) {
            notes.push_str(&format!("{}  {note}\n", paint(name, Tone::Warning, colour)));
        }
    }
    if table.is_empty() {
        text.push_str("there is no service in the configuration\n");
    } else {
        text.push_str(&table.render(colour));
    }
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes);
    }
    text.push('\n');
    if let Some(trouble) = status.daemon.as_ref().and_then(|daemon| daemon.state_trouble.as_ref()) {
        text.push_str(&paint(&format!("nothing is deployed until this is mended: {trouble}\n"), Tone::Bad, colour));
    }
    for context in &status.contexts {
        text.push_str(&context_text(context, now, colour));
    }
    text
}

/// How far CloudTrail was read in one AWS context, how late its events come, and why it cannot be read now.
fn context_text(context: &ContextStatus, now: Timestamp, colour: bool) -> String {
    let mut line = format!("CloudTrail of aws context {}: ", context.aws);
    line.push_str(
        &context.read_to.map_or_else(|| "not read yet".to_owned(), |time| format!("read to {}", ago(time, now))),
    );
    if let Some(delivery) = context.delivery {
        let seconds = |seconds: f64| span(SignedDuration::try_from_secs_f64(seconds).unwrap_or_default());
        line.push_str(&format!(
            ", pushes are seen after {} (median of the last {})",
            seconds(delivery.median_seconds),
            delivery.pushes
        ));
    }
    match &context.trouble {
        None => paint(&format!("{line}\n"), Tone::Faint, colour),
        Some(trouble) => paint(&format!("{line}; it cannot be read now: {trouble}\n"), Tone::Bad, colour),
    }
}

fn images(images: &[ImageStatus]) -> String {
    let one = |image: &ImageStatus| {
        let tag = image.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        format!("{}{tag} {}", image.repository, short_digest(&image.digest))
    };
    images.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn state_of(one: &ServiceStatus, now: Timestamp) -> Cell {
    if let Some(rollout) = &one.rollout {
        let revision = rollout.revision.as_deref().map_or("a new revision", short_revision);
        let tasks = rollout.tasks.map_or_else(String::new, |tasks| {
            format!(" {} {} of {} tasks", bar(tasks.running, tasks.desired), tasks.running, tasks.desired)
        });
        let back = rollout.direction == "back";
        let word = if back { "going back to" } else { "rolling to" };
        let took = span(now.duration_since(rollout.decided_at));
        return Cell::new(format!("{word} {revision}{tasks}, {took}"), if back { Tone::Bad } else { Tone::Warning });
    }
    if one.trouble.is_some() {
        return Cell::new("a call to AWS fails", Tone::Bad);
    }
    if one.frozen.is_some() || !one.held.is_empty() {
        return Cell::new("held", Tone::Warning);
    }
    if let Some(last) = last_failure(one) {
        return Cell::new(format!("last deployment {}", last.result), Tone::Bad);
    }
    match one.undecided {
        0 => Cell::new("ok", Tone::Good),
        number => Cell::new(format!("{} to decide", counted(number, "push", "pushes")), Tone::Warning),
    }
}

/// How the last rollout ended, if it ended badly.
fn last_failure(one: &ServiceStatus) -> Option<&OutcomeStatus> {
    one.history.first().filter(|last| matches!(last.result.as_str(), "failed" | "timed_out" | "refused"))
}

fn notes_of(one: &ServiceStatus) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(freeze) = &one.frozen {
        notes.push(freeze.to_string());
    }
    for hold in &one.held {
        notes.push(format!(
            "{} {} is held since {}: {}",
            hold.repository,
            short_digest(&hold.digest),
            hold.since.strftime("%Y-%m-%d %H:%M:%SZ"),
            hold.reason
        ));
    }
    notes.extend(one.trouble.clone());
    if one.held.is_empty() {
        notes.extend(last_failure(one).map(|last| format!("{}: {}", last.result, last.detail)));
    }
    if let Some(because) = one.rollout.as_ref().and_then(|rollout| rollout.because.as_ref()) {
        notes.push(format!("going back: {because}"));
    }
    notes
}

/// What happened, for people: newest first.
fn history_text(services: &[&ServiceStatus], now: Timestamp, colour: bool) -> String {
    let mut rows: Vec<(Timestamp, Vec<Cell>)> = Vec::new();
    for one in services {
        let name = &one.name;
        for outcome in &one.history {
            let tone = match outcome.result.as_str() {
                "completed" => Tone::Good,
                "superseded" | "rolled_back" => Tone::Warning,
                _ => Tone::Bad,
            };
            let took = span(outcome.ended_at.duration_since(outcome.decided_at));
            rows.push((
                outcome.ended_at,
                vec![
                    ago(outcome.ended_at, now).into(),
                    name.into(),
                    Cell::new(&outcome.result, tone),
                    outcome.revision.as_deref().map_or("", short_revision).into(),
                    took.into(),
                    images(&outcome.images).into(),
                    (&outcome.detail).into(),
                ],
            ));
        }
        for ordered in &one.orders {
            let order = Cell::new(ordered.order.as_str(), Tone::Plain);
            let by = format!("by {}: {}", ordered.by, ordered.answer);
            let row = vec![ago(ordered.at, now).into(), name.into(), order, "".into(), "".into(), "".into(), by.into()];
            rows.push((ordered.at, row));
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
