//! `status`: how things are, from the running daemon, else from the state file.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::table::{Cell, Table, Tone, bar, colour, listed, paint, show};
use super::{Exit, block_on, fail};
use crate::aws::{Common, ConnectError};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, StatePlace};
use crate::control::{self, Ask, Told, Unreachable};
use crate::domain::finding::Severity;
use crate::domain::printable::{LONGEST, PrintableText, printable};
use crate::domain::state::OutcomeKind;
use crate::metrics::Metrics;
use crate::place::{self, PlaceError};
use crate::state_store::{self, Loaded, StateStoreError};
use crate::status::{
    ContainerStatus, ContextStatus, DeliveryStatus, ImageStatus, Origin, PushDecision, Running, ServiceStatus,
    Standing, Status, Step, TableStatus, Way,
};
use crate::wording::{ago, counted, in_general, short_digest, short_revision, span};

/// At most this many pushes are listed; `--json` has all.
const PUSHES: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// JSON for programs; docs/reference/json.md describes its members
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum StatusError {
    #[error(transparent)]
    StateStore(#[from] StateStoreError),
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot make the metrics")]
    Metrics(#[from] prometheus::Error),
    #[error("the daemon answered something else: {0}")]
    Strange(PrintableText),
}

pub(super) fn status(config: &Config, options: &Options) -> ExitCode {
    with_status(config, |status, now| {
        if options.json {
            // The history has a command of its own.
            let brief =
                |one: &ServiceStatus| ServiceStatus { history: Vec::new(), commands: Vec::new(), ..one.clone() };
            let services = status.services.iter().map(brief).collect();
            print_json(&Status { services, ..status.clone() });
        } else {
            show(&status_text(status, now, colour()));
        }
        ExitCode::SUCCESS
    })
}

/// Gets the status, and shows what is wanted of it.
pub(super) fn with_status(config: &Config, show: impl FnOnce(&Status, Timestamp) -> ExitCode) -> ExitCode {
    let now = SystemClock.now();
    match block_on(obtain(config, now)) {
        Err(code) => code,
        Ok(Ok(status)) => show(&status, time_of(&status, now)),
        Ok(Err(error @ StatusError::StateStore(_))) => fail(&error, Exit::BadState),
        Ok(Err(error @ StatusError::Connect(_))) => fail(&error, Exit::BadConfiguration),
        Ok(Err(error)) => fail(&error, Exit::Failure),
    }
}

impl From<PlaceError> for StatusError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::StateStore(error) => Self::StateStore(error),
            PlaceError::Connect(error) => Self::Connect(error),
        }
    }
}

/// The time that a status is shown as of. A daemon goes by AWS's time, which the clock of the machine may be far from.
fn time_of(status: &Status, now: Timestamp) -> Timestamp {
    match status.source {
        Origin::Daemon => status.at,
        Origin::StateFile | Origin::Table => now,
    }
}

async fn obtain(config: &Config, now: Timestamp) -> Result<Status, StatusError> {
    let path = match &config.state.place {
        StatePlace::File(path) => path,
        StatePlace::Table(settings) => {
            let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), env!("ECS_DEPLOYD_COMMIT"), now)?);
            let common = Common::new(metrics, Arc::default(), Arc::default());
            let (contents, active) = place::look(config, settings, &common).await?;
            return Ok(Status::of_table(&Arc::new(config.clone()), &contents, active, now));
        }
    };
    match control::ask(&config.control.socket, &Ask::Status).await {
        Ok(Told::Status(status)) => Ok(*status),
        Ok(Told::Done(text) | Told::Refused(text)) => Err(StatusError::Strange(text)),
        Err(Unreachable::Absent(_)) => {
            let state = match state_store::read(path)? {
                Loaded::State(state) => *state,
                Loaded::Missing => Default::default(),
            };
            let config = Arc::new(config.clone()).with_discovered(&state);
            Ok(Status { source: Origin::StateFile, ..Status::of(&config, &state, now) })
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes JSON for programs.
pub(super) fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => show(&format!("{text}\n")),
        Err(error) => eprintln!("ecs-deployd: cannot write JSON: {error}"),
    }
}

/// Who is active, and how old what the table says is.
fn of_table(table: &TableStatus, now: Timestamp, colour: bool) -> String {
    let written = table.written_at.map_or_else(
        || "the table holds no state yet".to_owned(),
        |at| format!("the table was written {}", ago(at, now)),
    );
    match &table.active {
        Some(active) => format!("{active} is active; {written}\n\n"),
        None => paint(&format!("no replica is active; {written}\n\n"), Tone::Warning, colour),
    }
}

/// How things are, for people.
fn status_text(status: &Status, now: Timestamp, colour: bool) -> String {
    let mut text = match status.source {
        Origin::Daemon => String::new(),
        Origin::StateFile => paint("no daemon answers; this is what the state file says\n\n", Tone::Warning, colour),
        Origin::Table => status.table.as_ref().map_or_else(String::new, |table| of_table(table, now, colour)),
    };
    let mut table = Table::new(&["SERVICE", "RUNS", "REVISION", "SINCE", "STATE"]);
    let mut notes = Notes::default();
    for one in &status.services {
        let name = &one.name;
        let (runs, revision, since) = what_runs(one, now);
        table.row(vec![name.into(), runs.into(), revision.into(), since.into(), state_of(one, now)]);
        for note in notes_of(one) {
            notes.add(one, &note);
        }
    }
    if table.is_empty() {
        text.push_str("there is no service in the configuration\n");
    } else {
        text.push_str(&table.render(colour));
    }
    text.push_str(&notes.render(colour));
    text.push('\n');
    if let Some(last_error) = status.daemon.as_ref().and_then(|daemon| daemon.state_error.as_ref()) {
        text.push_str(&paint(
            &printable(&format!("nothing is deployed until this is mended: {last_error}"), LONGEST),
            Tone::Bad,
            colour,
        ));
        text.push('\n');
    }
    for context in &status.contexts {
        text.push_str(&context_text(context, now, colour));
        text.push_str(&queue_text(context, now, colour));
    }
    text.push_str(&pushes_text(status, now, colour));
    text
}

/// What is to be known of the services, in the order of its first mention: what holds for many is said once.
#[derive(Debug, Default)]
struct Notes(Vec<Note>);

/// What is to be known of one service or of several.
#[derive(Debug)]
struct Note {
    /// As it is about the first of them.
    text: String,
    /// Without the name of the service, which AWS puts into its messages.
    general: String,
    services: Vec<String>,
}

impl Notes {
    fn add(&mut self, one: &ServiceStatus, note: &str) {
        let text = printable(note, LONGEST);
        let general = in_general(&text, &one.cluster, &one.service);
        match self.0.iter_mut().find(|known| known.general == general) {
            Some(known) => known.services.push(one.name.clone()),
            None => self.0.push(Note { text, general, services: vec![one.name.clone()] }),
        }
    }

    fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        for (index, note) in self.0.iter().enumerate() {
            text.push_str(if index == 0 { "\n" } else { "" });
            text.push_str(&match &note.services[..] {
                [name] => format!("{}  {}\n", paint(name, Tone::Warning, colour), note.text),
                names => {
                    let count = paint(&format!("{} services", names.len()), Tone::Warning, colour);
                    format!("{count}  {}\n{}", note.general, listed(names))
                }
            });
        }
        text
    }
}

/// What it runs, its revision, and since when: as ECS says, or, where nobody asked ECS, what was deployed last.
fn what_runs(one: &ServiceStatus, now: Timestamp) -> (String, String, String) {
    let seen = one.runs.as_ref().and_then(|runs| Some((runs, runs.revision.as_ref()?)));
    let rolled = one.rollout.as_ref().and_then(|rollout| rollout.revision.as_ref());
    let ours = |deployed: &Running| {
        let runs = if deployed.images.is_empty() { containers(&deployed.containers) } else { images(&deployed.images) };
        (runs, short_revision(&deployed.revision).to_owned(), ago(deployed.since, now))
    };
    match (seen, &one.deployed) {
        (Some((_, revision)), Some(deployed))
            if (revision == &deployed.revision && deployed.names_images()) || Some(revision) == rolled =>
        {
            ours(deployed)
        }
        (Some((runs, revision)), _) => {
            let since = runs.since.map(|since| ago(since, now)).unwrap_or_default();
            (containers(&runs.containers), short_revision(revision).to_owned(), since)
        }
        (None, Some(deployed)) => ours(deployed),
        (None, None) => ("not deployed by ecs-deployd yet".to_owned(), String::new(), String::new()),
    }
}

/// The last pushes, and what was decided about each.
fn pushes_text(status: &Status, now: Timestamp, colour: bool) -> String {
    let mut table = Table::new(&["PUSHED", "IMAGE", "SERVICE", "DECISION", "WHY"]);
    for push in status.pushes.iter().take(PUSHES) {
        let tag = push.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let tone = match push.decision {
            PushDecision::Deploy => Tone::Good,
            PushDecision::Skipped(reason) => match reason.severity() {
                Severity::Error | Severity::Warning => Tone::Warning,
                Severity::Note => Tone::Faint,
            },
        };
        table.row(vec![
            ago(push.pushed_at, now).into(),
            format!("{}{tag}", push.repository.as_deref().unwrap_or("?")).into(),
            push.service.as_deref().unwrap_or("-").into(),
            Cell::new(push.decision.as_str(), tone),
            (&push.detail).into(),
        ]);
    }
    if table.is_empty() { String::new() } else { format!("\n{}", table.render(colour)) }
}

/// Whether the queue of an AWS context answers, and how late its messages come; nothing where it has none.
fn queue_text(context: &ContextStatus, now: Timestamp, colour: bool) -> String {
    let Some(queue) = &context.queue else { return String::new() };
    let mut line = format!("Queue of aws context {}: ", context.aws);
    line.push_str(
        &queue.received_at.map_or_else(|| "no answer yet".to_owned(), |time| format!("last answer {}", ago(time, now))),
    );
    line.push_str(&queue.delivery.map(delivery_text).unwrap_or_default());
    match &queue.last_error {
        None => paint(&format!("{line}\n"), Tone::Faint, colour),
        Some(last_error) => {
            let last_error = printable(last_error, LONGEST);
            paint(
                &format!("{line}; it cannot be read now, and pushes are seen by CloudTrail alone: {last_error}\n"),
                Tone::Bad,
                colour,
            )
        }
    }
}

fn delivery_text(delivery: DeliveryStatus) -> String {
    let median = SignedDuration::try_from_secs_f64(delivery.median_seconds).unwrap_or_default();
    format!(", pushes are seen after {} (median of the last {})", span(median), delivery.pushes)
}

/// How far CloudTrail was read in one AWS context, how late its events come, and why it cannot be read now.
fn context_text(context: &ContextStatus, now: Timestamp, colour: bool) -> String {
    let mut line = format!("CloudTrail of aws context {}: ", context.aws);
    line.push_str(
        &context.read_to.map_or_else(|| "not read yet".to_owned(), |time| format!("read to {}", ago(time, now))),
    );
    line.push_str(&context.delivery.map(delivery_text).unwrap_or_default());
    match &context.last_error {
        None => paint(&format!("{line}\n"), Tone::Faint, colour),
        Some(last_error) => {
            let last_error = printable(last_error, LONGEST);
            paint(&format!("{line}; it cannot be read now: {last_error}\n"), Tone::Bad, colour)
        }
    }
}

fn containers(containers: &[ContainerStatus]) -> String {
    let one = |container: &ContainerStatus| {
        let path = container.image.rsplit_once('/').map_or(container.image.as_str(), |(_, path)| path);
        match path.split_once("@sha256:") {
            Some((path, digest)) => format!("{path} {}", short_digest(digest)),
            None => path.to_owned(),
        }
    };
    containers.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Images as people read them.
pub(super) fn images(images: &[ImageStatus]) -> String {
    let one = |image: &ImageStatus| {
        let tag = image.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        format!("{}{tag} {}", image.repository, short_digest(&image.digest))
    };
    images.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn state_of(one: &ServiceStatus, now: Timestamp) -> Cell {
    if let (Some(rollout), false) = (&one.rollout, one.standing() == Standing::CallFails) {
        let revision = rollout.revision.as_deref().map_or("a new revision", short_revision);
        let tasks = rollout.tasks.map_or_else(String::new, |tasks| {
            format!(" {} {} of {} tasks", bar(tasks.running, tasks.desired), tasks.running, tasks.desired)
        });
        let back = rollout.direction == Way::Back;
        let word = match rollout.phase {
            _ if back => "going back to",
            Step::Intended | Step::Registered | Step::Rolling => "rolling to",
            Step::Before => "preparing",
            Step::Monitoring => "watching",
            Step::Verify => "verifying",
        };
        let task = rollout.task.as_ref().map(|task| format!(", {}", task.text())).unwrap_or_default();
        let took = span(now.duration_since(rollout.decided_at));
        let text = format!("{word} {revision}{tasks}{}{task}, {took}", rollout.stage_and_traffic());
        return Cell::new(text, if back { Tone::Bad } else { Tone::Warning });
    }
    match one.standing() {
        Standing::CallFails => Cell::new("a call to AWS fails", Tone::Bad),
        Standing::Unseen => Cell::new("not seen in ECS", Tone::Bad),
        Standing::Back | Standing::Rolling => Cell::new("rolling", Tone::Warning),
        Standing::Held => Cell::new("held", Tone::Warning),
        Standing::Failed => {
            let result = one.last_failure().map_or(OutcomeKind::Failed, |last| last.result);
            Cell::new(format!("last deployment {result}"), Tone::Bad)
        }
        Standing::Undecided => match &one.waiting {
            Some(waiting) => Cell::new(format!("waits ({})", waiting.gate), Tone::Warning),
            None => Cell::new(format!("{} to decide", counted(one.undecided, "push", "pushes")), Tone::Warning),
        },
        Standing::Changed => Cell::new("changed by somebody else", Tone::Warning),
        Standing::Steady => Cell::new("ok", Tone::Good),
        Standing::Untouched if one.runs.is_none() => Cell::new("not looked at", Tone::Faint),
        Standing::Untouched => Cell::new("ok", Tone::Faint),
    }
}

fn notes_of(one: &ServiceStatus) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(service_hold) = &one.service_hold {
        notes.push(service_hold.to_string());
    }
    if let Some(waiting) = &one.waiting {
        notes.push(waiting.to_string());
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
    if let Some(found) = &one.discovered {
        notes.push(format!("found by the tag {}, follows the policy {}", found.tag, found.policy));
    }
    notes.extend(one.last_error.clone());
    notes.extend(
        one.runs.as_ref().and_then(|runs| runs.last_error.clone()).filter(|why| Some(why) != one.last_error.as_ref()),
    );
    if one.held.is_empty() {
        notes.extend(one.last_failure().map(|last| format!("{}: {}", last.result, last.detail)));
    }
    if let Some(because) = one.rollout.as_ref().and_then(|rollout| rollout.because.as_ref()) {
        notes.push(format!("going back: {because}"));
    }
    notes
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
