//! The status page: one page for people, readable without a script, made from the same data as the JSON.
//!
//! What others wrote (tags above all) reaches it as escaped text only; no script, image or form action from elsewhere would be obeyed.

mod card;
mod shared;
mod timeline;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::domain::audit::Concern;
use crate::domain::source::FirstSeen;
use crate::domain::state::OutcomeKind;
use crate::status::{
    ChangeStatus, ContextStatus, DeliveryStatus, PushDecision, PushStatus, QueueStatus, ServiceStatus, Standing, Status,
};
use crate::wording::{short_digest, span};

/// The style sheet, which stands in the page.
const STYLE: &str = include_str!("page/style.css");
/// Services that are shown at a time: a page of ten thousand serves nobody.
const SHOWN: usize = 200;
/// The page is loaded again after this many seconds, unless that is not wanted.
const REFRESH_SECONDS: u32 = 10;

/// What the reader asked for.
#[derive(Debug, Default, Clone, serde::Deserialize)]
#[serde(default)]
pub(crate) struct View {
    /// Only services whose `CLUSTER/SERVICE` has this in it.
    pub(crate) q: String,
    /// `off`: the page stays as it is.
    pub(crate) refresh: String,
}

impl View {
    fn stays(&self) -> bool {
        self.refresh == "off"
    }
}

/// What a browser may do with the page: show it.
pub(crate) fn content_security_policy() -> String {
    use base64::Engine as _;
    use sha2::{Digest as _, Sha256};
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

/// The status page as HTML.
pub(crate) fn render(status: &Status, view: &View) -> String {
    let now = status.at;
    let (shown, matching) = chosen(status, view);
    let shared = shared::Shared::of(status);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if !view.stays() { meta http-equiv="refresh" content=(REFRESH_SECONDS); }
                title { (title(status)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a .skip href="#services" { "Skip to the services" }
                header {
                    h1 { "ecs-deployd" }
                    (about(status, view))
                    (alarms(status))
                    (shared.draw())
                    (sums(status))
                }
                main {
                    (contexts(&status.contexts, now))
                    h2 #services { "Services" }
                    @if status.services.len() > 8 || !view.q.is_empty() { (search(view)) }
                    @if status.services.is_empty() {
                        p .faint { "The configuration names no service. Add a [[repository]] with a [[repository.service]], and reload." }
                    } @else if shown.is_empty() {
                        p .faint { "No service has " q { (view.q) } " in its name." }
                    }
                    ul .cards { @for one in &shown { li .card { (card::draw(one, &shared, now)) } } }
                    @if matching > shown.len() {
                        p .faint { "Shown: " (shown.len()) " of " (matching) ", what needs attention first. Search to see others." }
                    }
                    (pushes(&status.pushes, status.contexts.len() > 1, now))
                    (changes(&status.changes, now))
                }
                footer {
                    "The same as JSON: " a href="/api/v1/status" { "/api/v1/status" } "; for Prometheus: " a href="/metrics" { "/metrics" } "."
                }
            }
        }
    };
    page.into_string()
}

/// The services to show, what needs attention first, and how many match.
fn chosen<'a>(status: &'a Status, view: &View) -> (Vec<&'a ServiceStatus>, usize) {
    let wanted = view.q.to_lowercase();
    let mut all: Vec<&ServiceStatus> =
        status.services.iter().filter(|one| one.name.to_lowercase().contains(&wanted)).collect();
    all.sort_by_key(|one| one.standing());
    let matching = all.len();
    all.truncate(SHOWN);
    (all, matching)
}

fn count(status: &Status, of: impl Fn(&ServiceStatus) -> bool) -> usize {
    status.services.iter().filter(|one| of(one)).count()
}

fn is_held(one: &ServiceStatus) -> bool {
    one.service_hold.is_some() || !one.held.is_empty()
}

/// The title tells the state of things in a row of tabs.
fn title(status: &Status) -> String {
    let rolling = count(status, |one| one.rollout.is_some());
    let held = count(status, is_held);
    match (rolling, held) {
        (0, 0) => "ecs-deployd".to_owned(),
        (rolling, 0) => format!("{rolling} rolling - ecs-deployd"),
        (0, held) => format!("{held} held - ecs-deployd"),
        (rolling, held) => format!("{rolling} rolling, {held} held - ecs-deployd"),
    }
}

fn about(status: &Status, view: &View) -> Markup {
    html! {
        p .meta {
            @if let Some(daemon) = &status.daemon {
                "Version " (daemon.program_version) " (" (daemon.commit) "), running for " (span(status.at.duration_since(daemon.started_at))) ". "
            }
            "As of " (time(status.at)) ". "
            @if let Some(table) = &status.table {
                "This replica stands by; "
                @match &table.active { Some(active) => { strong { (active) } " is active. " } None => { strong { "no replica is active" } ". " } }
                @if let Some(written) = table.written_at {
                    "What follows is what the table says, as it was written " (ago(written, status.at)) ". "
                } @else { "The table holds no state yet. " }
            }
        }
        form .meta method="get" action="/" {
            @if !view.q.is_empty() { input type="hidden" name="q" value=(view.q); }
            @if view.stays() { button type="submit" { "Refresh by itself" } } @else {
                input type="hidden" name="refresh" value="off";
                span { "Refreshes every " (REFRESH_SECONDS) " seconds." } button type="submit" { "Stop that" }
            }
        }
    }
}

fn alarms(status: &Status) -> Markup {
    let state = status.daemon.as_ref().and_then(|daemon| daemon.state_error.as_ref());
    html! {
        @if let Some(why) = state {
            p .alarm role="alert" { strong { "The state cannot be written: nothing is deployed until it can. " } (why) }
        }
        @for (aws, why) in status.daemon.iter().flat_map(|daemon| &daemon.audit_errors) {
            p .alarm role="alert" { strong { "Changes to ECS cannot be read in the AWS context " (aws) ". " } "Deployments go on. " (why) }
        }
        @for (aws, why) in status.contexts.iter().filter_map(|context| Some((&context.aws, context.queue.as_ref()?.last_error.as_ref()?))) {
            p .alarm role="alert" {
                strong { "The queue cannot be read in the AWS context " (aws) ". " }
                "Pushes are seen by CloudTrail alone, some minutes later. " (why)
            }
        }
        @for context in status.contexts.iter().filter(|context| context.last_error.is_some()) {
            p .alarm role="alert" {
                strong { "CloudTrail cannot be read in the AWS context " (context.aws) ". " }
                "Nothing is lost: the next successful poll reads from the same place. " (context.last_error.as_deref().unwrap_or_default())
            }
        }
    }
}

fn sums(status: &Status) -> Markup {
    let services = status.services.len();
    let sums = [
        (services, if services == 1 { "service" } else { "services" }, ""),
        (count(status, |one| one.rollout.is_some()), "rolling", "busy"),
        (count(status, is_held), "held", "warn"),
        (count(status, |one| matches!(one.standing(), Standing::CallFails | Standing::Unseen)), "with errors", "bad"),
    ];
    html! {
        ul .sums {
            @for (number, word, class) in sums {
                li { b .(if number > 0 { class } else { "" }) { (number) } " " (word) }
            }
        }
    }
}

fn contexts(contexts: &[ContextStatus], now: Timestamp) -> Markup {
    let row = |context: &ContextStatus| {
        let polled = html! {
            @if let Some(at) = context.polled_at { (ago(at, now)) } @else { span .warn { "not yet" } }
            @if context.last_error.is_some() { " " span .bad { "failing" } }
        };
        let read = html! { @if let Some(at) = context.read_to { (time(at)) } @else { "-" } };
        [html! { (context.aws) }, polled, read, delivery(context.delivery)]
    };
    let queue_row = |(aws, queue): (&String, &QueueStatus)| {
        let answered = html! {
            @if let Some(at) = queue.received_at { (ago(at, now)) } @else { span .warn { "not yet" } }
            @if queue.last_error.is_some() { " " span .bad { "failing" } }
        };
        [html! { (aws) }, answered, html! { span .long { (queue.url) } }, delivery(queue.delivery)]
    };
    let queues: Vec<_> = contexts.iter().filter_map(|context| Some((&context.aws, context.queue.as_ref()?))).collect();
    html! {
        h2 { "CloudTrail" }
        @if contexts.is_empty() { p .faint { "No AWS context is polled: the configuration has no [[repository]]." } } @else {
            (table(
                "How far the event history was read, and how long events take to appear in it",
                ["AWS context", "Last polled", "Read up to", "Events arrive after"],
                contexts.iter().map(row),
            ))
        }
        @if !queues.is_empty() {
            h2 { "Queues" }
            (table(
                "Whether the queues answer, and how long after the push their messages arrive",
                ["AWS context", "Last answer", "Queue", "Messages arrive after"],
                queues.into_iter().map(queue_row),
            ))
        }
    }
}

/// A table that is read as a list where the screen is narrow, and as a table by screen readers everywhere.
fn table<const N: usize>(caption: &str, columns: [&str; N], rows: impl Iterator<Item = [Markup; N]>) -> Markup {
    html! {
        table role="table" {
            caption { (caption) }
            thead { tr role="row" { @for column in columns { th role="columnheader" scope="col" { (column) } } } }
            tbody {
                @for row in rows {
                    tr role="row" { @for (column, cell) in columns.iter().zip(row) { td role="cell" data-label=(column) { (cell) } } }
                }
            }
        }
    }
}

fn delivery(delivery: Option<DeliveryStatus>) -> Markup {
    html! {
        @match delivery {
            None => span .faint { "no push seen since the start" },
            Some(seen) => {
                (seconds(seen.median_seconds)) " (median of " (seen.pushes) "), longest " (seconds(seen.longest_seconds))
            }
        }
    }
}

fn search(view: &View) -> Markup {
    html! {
        form method="get" action="/" role="search" {
            input type="search" name="q" value=(view.q) aria-label="Part of CLUSTER/SERVICE" placeholder="cluster/service";
            @if view.stays() { input type="hidden" name="refresh" value="off"; }
            button type="submit" { "Search" }
            @if !view.q.is_empty() { a href=(if view.stays() { "/?refresh=off" } else { "/" }) { "Show all" } }
        }
    }
}

fn pushes(pushes: &[PushStatus], several: bool, now: Timestamp) -> Markup {
    let row = |push: &PushStatus| {
        let image = html! {
            span .long {
                @if several { (push.aws) "/" }
                (push.repository.as_deref().unwrap_or("?")) @if let Some(tag) = &push.tag { ":" (tag) }
            }
        };
        let service = html! { @if let Some(service) = &push.service { (service) } };
        let deploy = push.decision == PushDecision::Deploy;
        let decision = html! { span .(if deploy { "good" } else { "" }) { (push.decision.as_str()) } };
        let why = html! {
            @if deploy { (digest(&push.detail)) } @else { span .long { (push.detail) } }
        };
        let pushed = html! { (ago(push.pushed_at, now)) @if let Some(seen) = push.seen { " " span .faint { (seen_text(seen, push.pushed_at)) } } };
        [pushed, image, service, decision, why]
    };
    html! {
        h2 { "Last pushes" }
        @if pushes.is_empty() {
            p .faint { "No push to a repository of the configuration was seen yet." }
        } @else {
            (table(
                "What was decided about each, newest first",
                ["Pushed", "Image", "Service", "Decision", "Why"],
                pushes.iter().map(row),
            ))
        }
    }
}

fn changes(changes: &[ChangeStatus], now: Timestamp) -> Markup {
    let row = |change: &ChangeStatus| {
        let what = html! {
            span .long { (change.call) " " (change.target) }
            @if let Some(error) = &change.error { " " span .bad { "refused: " (error) } }
            @if change.concern == Concern::Watched { " " span .warn { "by somebody else than ecs-deployd, to a service of the configuration" } }
        };
        let who = html! { span .long { (change.who) @if change.concern == Concern::Ours { " " span .faint { "(this daemon)" } } } };
        let from = html! { span .long { (change.from) " " span .faint { (change.agent) } } };
        [ago(change.at, now), what, who, from]
    };
    html! {
        @if !changes.is_empty() {
            h2 { "Changes to ECS" }
            (table(
                "Who did what, newest first, as CloudTrail tells",
                ["When", "What", "Who", "From"],
                changes.iter().map(row),
            ))
        }
    }
}

/// How soon a push was seen, and by whom.
fn seen_text(seen: FirstSeen, pushed_at: Timestamp) -> String {
    let after = seen.after(pushed_at);
    let text = match after.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        _ => span(after),
    };
    format!("seen {text} after the push, {seen}")
}

/// The colour of an outcome.
fn tone(result: OutcomeKind) -> &'static str {
    match result {
        OutcomeKind::Completed => "good",
        OutcomeKind::Failed | OutcomeKind::TimedOut | OutcomeKind::Refused => "bad",
        OutcomeKind::RolledBack => "warn",
        OutcomeKind::Superseded => "faint",
    }
}

/// A digest, short to look at and whole to copy or to be read out.
fn digest(digest: &str) -> Markup {
    html! { details .digest { summary { code { (short_digest(digest)) } } code { (digest) } } }
}

fn time(at: Timestamp) -> Markup {
    let text = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) { (text) } }
}

/// A time as people ask for it; the exact one shows when it is pointed at.
fn ago(at: Timestamp, now: Timestamp) -> Markup {
    html! {
        time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) title=(at.strftime("%Y-%m-%d %H:%M:%S UTC")) { (span(now.duration_since(at))) " ago" }
    }
}

/// Seconds, without more digits than they deserve.
fn seconds(seconds: f64) -> String {
    let rounded = jiff::SignedDuration::try_from_secs_f64(seconds.round()).unwrap_or_default();
    span(rounded)
}

#[cfg(test)]
#[path = "page/tests.rs"]
mod tests;
