//! The status page: one page for people, readable without a script, made from the same data as the JSON.
//!
//! What others wrote (tags above all) reaches it as escaped text only; no script, image or form action from elsewhere would be obeyed.

mod timeline;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::status::{
    ChangeStatus, ContextStatus, HoldStatus, ImageStatus, OutcomeStatus, PushStatus, RolloutStatus, ServiceStatus,
    Status,
};
use crate::wording::{short_digest, short_revision, span};

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

/// The page.
pub(crate) fn render(status: &Status, view: &View) -> String {
    let now = status.at;
    let (shown, matching) = chosen(status, view);
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
                    ul .cards { @for one in &shown { li .card { (service(one, now)) } } }
                    @if matching > shown.len() {
                        p .faint { "Shown: " (shown.len()) " of " (matching) ", what needs attention first. Search to see others." }
                    }
                    (pushes(&status.pushes, now))
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
    all.sort_by_key(|one| match State::of(one) {
        State::Trouble => 0,
        State::Held => 1,
        State::Back => 2,
        State::Rolling => 3,
        State::Steady | State::Unknown => 4,
    });
    let matching = all.len();
    all.truncate(SHOWN);
    (all, matching)
}

/// How a service stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Trouble,
    Held,
    Back,
    Rolling,
    Steady,
    Unknown,
}

impl State {
    fn of(one: &ServiceStatus) -> Self {
        match &one.rollout {
            Some(rollout) if rollout.direction == "back" => Self::Back,
            Some(_) => Self::Rolling,
            None if one.trouble.is_some() => Self::Trouble,
            None if one.frozen.is_some() || !one.held.is_empty() => Self::Held,
            None if one.deployed.is_some() => Self::Steady,
            None => Self::Unknown,
        }
    }

    fn word(self) -> (&'static str, &'static str) {
        match self {
            Self::Trouble => ("trouble", "bad"),
            Self::Held => ("held", "warn"),
            Self::Back => ("rolling back", "bad"),
            Self::Rolling => ("rolling", "busy"),
            Self::Steady => ("steady", "good"),
            Self::Unknown => ("nothing deployed yet", "faint"),
        }
    }
}

fn count(status: &Status, of: impl Fn(&ServiceStatus) -> bool) -> usize {
    status.services.iter().filter(|one| of(one)).count()
}

fn is_held(one: &ServiceStatus) -> bool {
    one.frozen.is_some() || !one.held.is_empty()
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
            @if view.stays() { a href="/" { "Refresh by itself" } } @else {
                "Refreshes every " (REFRESH_SECONDS) " seconds. " a href="/?refresh=off" { "Stop that" }
            }
        }
    }
}

fn alarms(status: &Status) -> Markup {
    let state = status.daemon.as_ref().and_then(|daemon| daemon.state_trouble.as_ref());
    html! {
        @if let Some(why) = state {
            p .alarm role="alert" { strong { "The state cannot be written: nothing is deployed until it can. " } (why) }
        }
        @for context in status.contexts.iter().filter(|context| context.trouble.is_some()) {
            p .alarm role="alert" {
                strong { "CloudTrail cannot be read in the AWS context " (context.aws) ". " }
                "Nothing is lost: the next successful poll reads from the same place. " (context.trouble.as_deref().unwrap_or_default())
            }
        }
    }
}

fn sums(status: &Status) -> Markup {
    let sums = [
        (status.services.len(), "services", ""),
        (count(status, |one| one.rollout.is_some()), "rolling", "busy"),
        (count(status, is_held), "held", "warn"),
        (count(status, |one| one.trouble.is_some()), "in trouble", "bad"),
    ];
    html! {
        ul .sums {
            @for (number, word, class) in sums {
                li { b .(if number > 0 { class } else { "" }) { (number) } (word) }
            }
        }
    }
}

fn contexts(contexts: &[ContextStatus], now: Timestamp) -> Markup {
    let row = |context: &ContextStatus| {
        let polled = html! {
            @if let Some(at) = context.polled_at { (ago(at, now)) } @else { span .warn { "not yet" } }
            @if context.trouble.is_some() { " " span .bad { "failing" } }
        };
        let read = html! { @if let Some(at) = context.read_to { (time(at)) } @else { "-" } };
        [html! { (context.aws) }, polled, read, delivery(context)]
    };
    html! {
        h2 { "CloudTrail" }
        @if contexts.is_empty() { p .faint { "No AWS context is polled: the configuration has no [[repository]]." } } @else {
            (table(
                "How far the event history was read, and how long events take to appear in it",
                ["AWS context", "Last polled", "Read up to", "Events arrive after"],
                contexts.iter().map(row),
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

fn delivery(context: &ContextStatus) -> Markup {
    html! {
        @match context.delivery {
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
            @if !view.q.is_empty() { a href="/" { "Show all" } }
        }
    }
}

fn service(one: &ServiceStatus, now: Timestamp) -> Markup {
    let (word, class) = State::of(one).word();
    html! {
        article aria-label=(one.name) {
            div .top { h3 { (one.name) } span .state .(class) { (word) } }
            dl {
                @if let Some(running) = &one.deployed {
                    dt { "Runs" } dd { @for image in &running.images { div { (image_name(image)) } } code .faint { (short_revision(&running.revision)) } }
                    dt { "Since" } dd { (ago(running.since, now)) }
                } @else {
                    dt { "Runs" } dd .faint { "what it ran before; nothing was deployed to it by this daemon" }
                }
                @if one.undecided > 0 { dt { "Undecided" } dd { (one.undecided) @if one.undecided == 1 { " push" } @else { " pushes" } } }
            }
            @if let Some(rollout) = &one.rollout { (rolling(rollout, now)) }
            @if let Some(why) = &one.trouble { p .note .bad { "Trouble: " (why) } }
            @if let Some(freeze) = &one.frozen { p .note .warn { (freeze) " (" (ago(freeze.since, now)) ")" } }
            @for hold in &one.held { (held(hold, now)) }
            (timeline::draw(&one.history, now))
            @if !one.history.is_empty() {
                details {
                    summary { "Last deployments" }
                    ul { @for outcome in one.history.iter().take(10) { li { (ended(outcome, now)) } } }
                }
            }
            @if !one.orders.is_empty() {
                details {
                    summary { "Orders of operators" }
                    ul { @for order in one.orders.iter().take(10) {
                        li { (ago(order.at, now)) ", " (order.by) ": " (order.order.as_str()) ": " (order.answer) }
                    } }
                }
            }
        }
    }
}

fn rolling(rollout: &RolloutStatus, now: Timestamp) -> Markup {
    let counts = rollout.tasks.filter(|counts| counts.desired > 0);
    html! {
        div .note {
            @if rollout.direction == "back" { "Going back to " } @else { "Rolling to " }
            @if rollout.direction == "back" {
                @if let Some(revision) = &rollout.revision { code { (short_revision(revision)) } } @else { "what ran before" }
            } @else { @for image in &rollout.images { span { (image_name(image)) " " } } }
            span .faint { " for " (span(now.duration_since(rollout.decided_at))) ", " (rollout.phase) }
            @if let Some(because) = &rollout.because { div { (because) } }
            @match counts {
                Some(counts) => {
                    progress max=(counts.desired) value=(counts.running.clamp(0, counts.desired)) aria-label="New tasks that run" {}
                    div .faint {
                        (counts.running) " of " (counts.desired) " new tasks run, " (counts.pending) " are starting"
                        @if counts.failed > 0 { ", " span .bad { (counts.failed) " failed" } }
                    }
                }
                None => { progress aria-label="Tasks are not counted yet" {} }
            }
        }
    }
}

fn held(hold: &HoldStatus, now: Timestamp) -> Markup {
    html! {
        p .note .warn {
            "Held: " (hold.repository) " " code title=(hold.digest) { (short_digest(&hold.digest)) } ": " (hold.reason)
            " (" (ago(hold.since, now)) "; until a newer push or a release)"
        }
    }
}

fn ended(outcome: &OutcomeStatus, now: Timestamp) -> Markup {
    let took = span(outcome.ended_at.duration_since(outcome.decided_at));
    html! {
        span .(tone(&outcome.result)) { (outcome.result) } " " (ago(outcome.ended_at, now)) " after " (took)
        @for image in &outcome.images { ", " (image_name(image)) }
        @if !outcome.detail.is_empty() { ": " (outcome.detail) }
    }
}

/// The colour of an outcome.
fn tone(result: &str) -> &'static str {
    match result {
        "completed" => "good",
        "failed" | "timed_out" | "refused" => "bad",
        "rolled_back" => "warn",
        _ => "faint",
    }
}

fn image_name(image: &ImageStatus) -> Markup {
    html! {
        (image.repository) @if let Some(tag) = &image.tag { ":" (tag) } " " code .faint title=(image.digest) { (short_digest(&image.digest)) }
    }
}

fn pushes(pushes: &[PushStatus], now: Timestamp) -> Markup {
    let row = |push: &PushStatus| {
        let image = html! { span .long { (push.repository.as_deref().unwrap_or("?")) @if let Some(tag) = &push.tag { ":" (tag) } } };
        let service = html! { @if let Some(service) = &push.service { (service) } };
        let deploy = push.decision == "deploy";
        let decision = html! { span .(if deploy { "good" } else { "" }) { (push.decision) } };
        let why = html! {
            @if deploy { code title=(push.detail) { (short_digest(&push.detail)) } } @else { span .long { (push.detail) } }
        };
        [ago(push.pushed_at, now), image, service, decision, why]
    };
    html! {
        h2 { "Last pushes" }
        @if pushes.is_empty() {
            p .faint { "No push to a repository of the configuration was seen since the start of this process." }
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
            @if change.concern == "watched" { " " span .warn { "a service that is looked after, changed by somebody else" } }
        };
        let who = html! { span .long { @if change.concern == "ours" { "this daemon" } @else { (change.who) } } };
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
