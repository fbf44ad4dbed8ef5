//! One service on the status page.

use jiff::Timestamp;
use maud::{Markup, html};

use super::shared::Shared;
use super::{ago, digest, seen_text, timeline, tone};
use crate::status::{
    HoldStatus, ImageStatus, OutcomeStatus, RolloutStatus, Running, RunsStatus, ServiceStatus, Standing, Step, Way,
};
use crate::wording::{counted, short_revision, span};

/// How a service stands, in a word, and its colour.
fn word(standing: Standing) -> (&'static str, &'static str) {
    match standing {
        Standing::CallFails => ("error", "bad"),
        Standing::Unseen => ("not seen in ECS", "bad"),
        Standing::Back => ("rolling back", "bad"),
        Standing::Held => ("held", "warn"),
        Standing::Failed => ("last deployment failed", "bad"),
        Standing::Rolling => ("rolling", "busy"),
        Standing::Undecided => ("waiting", "busy"),
        Standing::Changed => ("changed by somebody else", "warn"),
        Standing::Steady => ("steady", "good"),
        Standing::Untouched => ("nothing deployed yet", "faint"),
    }
}

/// How far a rollout got, in words.
fn step(step: Step) -> &'static str {
    match step {
        Step::Intended => "about to register the revision",
        Step::Registered => "about to update the service",
        Step::Rolling => "rolling",
        Step::Before => "a task runs before it",
        Step::Verify => "complete in ECS, and a task verifies it",
        Step::Monitoring => "complete in ECS, and under watch",
    }
}

/// What it runs, as ECS says; or what was deployed last, as long as nobody asked ECS.
fn what_runs(one: &ServiceStatus, shared: &Shared<'_>, now: Timestamp) -> Markup {
    let deployed = one.deployed.as_ref();
    let seen = one.runs.as_ref().and_then(|runs| Some((runs, runs.revision.as_ref()?)));
    let rolled = one.rollout.as_ref().and_then(|rollout| rollout.revision.as_ref());
    html! {
        @match (seen, deployed) {
            // What is being rolled is shown below; until then this is what runs.
            (Some((runs, revision)), Some(ours)) if Some(revision) == rolled => {
                dt { "Runs" } dd { (brought(ours)) code .faint { (short_revision(&ours.revision)) } }
                dt { "Since" } dd { (ago(ours.since, now)) (tasks(runs)) }
            }
            (Some((runs, revision)), Some(ours)) if revision == &ours.revision && ours.names_images() => {
                dt { "Runs" } dd { (brought(ours)) code .faint { (short_revision(revision)) } }
                dt { "Since" } dd { (ago(ours.since, now)) (tasks(runs)) }
            }
            (Some((runs, revision)), _) => {
                dt { "Runs" } dd {
                    @for container in &runs.containers { div { (container.name) ": " (reference(&container.image)) } }
                    code .faint { (short_revision(revision)) }
                }
                dt { "Since" } dd { @if let Some(since) = runs.since { (ago(since, now)) } @else { "?" } (tasks(runs)) }
                @if let Some(ours) = deployed.filter(|ours| &ours.revision != revision) {
                    dt { "Deployed" } dd .faint { (brought(ours)) code { (short_revision(&ours.revision)) } " " (ago(ours.since, now)) }
                }
            }
            (None, Some(ours)) => {
                dt { "Deployed" } dd { (brought(ours)) code .faint { (short_revision(&ours.revision)) } }
                dt { "Since" } dd { (ago(ours.since, now)) }
            }
            (None, None) => { dt { "Runs" } dd .faint { "what it ran before; nothing was deployed to it by this daemon" } }
        }
        @if let Some(why) = one.runs.as_ref().and_then(|runs| runs.last_error.as_ref()) {
            dt { "In ECS" } dd .bad { (shared.say(one, why)) }
        }
    }
}

/// The image that a container names, without the address of the registry: that shows when it is pointed at.
fn reference(image: &str) -> Markup {
    let (name, pinned) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let path = match name.split_once('/') {
        Some((host, path)) if host.contains('.') => path,
        _ => name,
    };
    html! { span .long title=(image) { (path) } @if let Some(pinned) = pinned { " " (digest(pinned)) } }
}

fn tasks(runs: &RunsStatus) -> Markup {
    html! { span .faint { ", " (runs.running) " of " (counted(usize::try_from(runs.desired).unwrap_or_default(), "task", "tasks")) } }
}

/// What it runs by what was deployed here: what pushes brought, or what ran before and was gone back to.
fn brought(ours: &Running) -> Markup {
    html! {
        @for image in &ours.images { div { (image_name(image)) } }
        @if ours.images.is_empty() { @for container in &ours.containers { div { (container.name) ": " (reference(&container.image)) } } }
    }
}

/// Draws the card of one service.
pub(super) fn draw(one: &ServiceStatus, shared: &Shared<'_>, now: Timestamp) -> Markup {
    let (word, class) = match one.standing() {
        Standing::Rolling if one.waiting.is_some() => ("waiting", "warn"),
        standing => word(standing),
    };
    html! {
        article aria-label=(one.name) {
            div .top { h3 { (one.name) } span .state .(class) { (word) } }
            dl {
                (what_runs(one, shared, now))
                @if let Some(found) = &one.discovered {
                    dt { "Found by" } dd { "tag " code { (found.tag) } ", policy " code { (found.policy) } " " span .faint { (ago(found.since, now)) } }
                }
                @match (one.undecided, &one.waiting) {
                    (0, Some(waiting)) if one.rollout.is_none() => { dt { "Waiting" } dd { "at the gate " (waiting.gate) } }
                    (0, _) => {}
                    (undecided, waiting) => {
                        dt { "Waiting" }
                        dd {
                            (counted(undecided, "push", "pushes"))
                            @match waiting { Some(waiting) => { " at the gate " (waiting.gate) } None => " for a decision" }
                        }
                    }
                }
            }
            @if let Some(rollout) = &one.rollout { (rolling(rollout, now)) }
            @if let Some(waiting) = &one.waiting { p .note .warn { (waiting.to_string()) } }
            @if let Some(why) = &one.last_error { p .note .bad { "Last error: " (shared.say(one, why)) } }
            @if let Some(service_hold) = &one.service_hold {
                p .note .warn {
                    "Held by " (service_hold.by) " (" (ago(service_hold.since, now)) "; until a release)" @if !service_hold.reason.is_empty() { ": " (service_hold.reason) }
                }
            }
            @for hold in &one.held { (held(hold, now)) }
            (timeline::draw(&one.history, now))
            @if !one.history.is_empty() {
                details {
                    summary { "Last deployments" }
                    ul { @for outcome in one.history.iter().take(10) { li { (ended(outcome, now)) } } }
                }
            }
            @if !one.commands.is_empty() {
                details {
                    summary { "Commands of operators" }
                    ul { @for given in one.commands.iter().take(10) {
                        li { (ago(given.at, now)) ", " (given.by) ": " (given.command.as_str()) ": " (given.answer) }
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
            @if rollout.direction == Way::Back { "Going back to " } @else { "Rolling to " }
            @if rollout.direction == Way::Back {
                @if let Some(revision) = &rollout.revision { code { (short_revision(revision)) } } @else { "what ran before" }
            } @else { @for image in &rollout.images { span { (image_name(image)) " " } } }
            @if rollout.direction == Way::Forward {
                @for (image, seen) in rollout.images.iter().filter_map(|image| Some((image, image.seen?))) {
                    span .faint { (seen_text(seen, image.pushed_at)) " " }
                }
            }
            span .faint { " for " (span(now.duration_since(rollout.decided_at))) ", " (step(rollout.phase)) (rollout.stage_and_traffic()) }
            @if let Some(because) = &rollout.because { div { (because) } }
            @if let Some(task) = &rollout.task {
                div { (task.text()) @if let Some(since) = task.since { " (" (ago(since, now)) ")" } }
                @if let Some(log) = &task.log { div .faint { (log) } }
            }
            @match counts {
                Some(counts) => {
                    progress max=(counts.desired) value=(counts.running.clamp(0, counts.desired)) aria-label="New tasks that run" {}
                    div .faint {
                        (counts.running) " of " (counts.desired) " new tasks run, " (counts.pending) " starting"
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
            "Held: " (hold.repository) " " (digest(&hold.digest)) ": " (hold.reason)
            " (" (ago(hold.since, now)) "; until a newer push or a release)"
        }
    }
}

fn ended(outcome: &OutcomeStatus, now: Timestamp) -> Markup {
    let took = span(outcome.ended_at.duration_since(outcome.decided_at));
    html! {
        span .(tone(outcome.result)) { (outcome.result.as_str()) } " " (ago(outcome.ended_at, now)) " after " (took)
        @for image in &outcome.images { ", " (image_name(image)) }
        @if !outcome.detail.is_empty() { ": " (outcome.detail) }
    }
}

fn image_name(image: &ImageStatus) -> Markup {
    html! {
        (image.repository) @if let Some(tag) = &image.tag { ":" (tag) } " " (digest(&image.digest))
    }
}
