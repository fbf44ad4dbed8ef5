//! Effects as short lines, so that a test reads as the rule that it holds.

use crate::domain::deployment::HookAction;
use crate::domain::state::{Outcome, Phase, PushRef};
use crate::domain::task::TaskOutcome;
use crate::domain::types::{ContextName, DeploymentId, ServiceKey, TaskDefinitionArn};
use crate::domain::view::RevisionWrite;
use crate::engine::{
    Answer, CommandId, DiscoveryEvent, Effect, EndedTask, Event, ObservationRequest, PushSkipped, Read, ResumedAt,
    RolloutId, ServiceCounts, ServiceEvent, Taken, Write,
};

/// One effect as a line, without the parts that are the same in every test: the account, the Region, and digests in full.
pub(super) fn line(effect: &Effect) -> String {
    in_short(match effect {
        Effect::Read(read) => format!("read: {}", of_read(read)),
        Effect::Commit(_) => "commit".to_owned(),
        Effect::Write(write) => format!("write: {}", of_write(write.get())),
        Effect::Notify(notification) => format!("notify: {}", notification.get().title()),
        Effect::Acknowledge(delivery) => format!("acknowledge {}", delivery.get().0),
        Effect::Reply(reply) => of_reply(reply.get().0, &reply.get().1),
        Effect::Refuse(id, refused) => of_reply(*id, &Err(refused.clone())),
        Effect::Tell(event) => format!("event: {}", of_event(event)),
    })
}

fn in_short(mut line: String) -> String {
    line = line.replace("111111111111.dkr.ecr.eu-west-1.amazonaws.com/", "");
    for letter in 'a'..='f' {
        line = line.replace(&format!("sha256:{}", letter.to_string().repeat(64)), &letter.to_string());
    }
    line
}

fn of_read(read: &Read) -> String {
    match read {
        Read::Observe { asked_at: _, requests } => {
            format!("observe {}", joined(requests.iter().map(of_request)))
        }
        Read::Inspect { id, rollout } => {
            let phase = match &rollout.phase {
                Phase::Intended => "intended".to_owned(),
                Phase::Registered { revision } => format!("registered {}", revision.short()),
                Phase::Rolling { revision, .. } => format!("rolling {}", revision.short()),
                Phase::Task { revision, .. } => format!("task of {}", revision.short()),
            };
            format!("inspect {} ({phase})", name(&id.service))
        }
        Read::Recheck { place: _, ids } => format!("recheck {}", of_ids(ids)),
        Read::Watch { place: _, asked_at: _, services } => {
            let watched =
                |(service, deployment): &(ServiceKey, DeploymentId)| format!("{} {deployment}", name(service));
            format!("watch {}", joined(services.iter().map(watched)))
        }
        Read::Stages { service, deployment, .. } => format!("stages of {} {deployment}", name(service)),
        Read::PrepareTask { id, revision, family } => {
            let family = family.as_ref().map(|family| format!(" from {family}")).unwrap_or_default();
            format!("task for {} of {}{family}", name(&id.service), revision.short())
        }
        Read::Tasks { place: _, tasks } => {
            format!("tasks {}", joined(tasks.iter().map(|(id, arn)| format!("{} {arn}", name(&id.service)))))
        }
        Read::Gates { service, requests } => {
            let images: Vec<&str> = requests.iter().map(|one| &one.digest.as_str()[7..8]).collect();
            format!("gates of {} about {}", name(service), images.join("+"))
        }
        Read::Compare { repository, policies } => {
            let services: Vec<String> = policies.iter().map(|(key, _)| name(key)).collect();
            format!("compare {} for {}", repository.name, services.join(", "))
        }
        Read::StoppedTasks { service, deployment } => format!("stopped tasks of {} {deployment}", name(service)),
        Read::Deployments { service, deployment, since: _ } => format!("deployments of {} {deployment}", name(service)),
        Read::Locate { command: CommandId(id), service, to } => {
            let to = to.as_ref().map(|to| format!(" and {to}")).unwrap_or_default();
            format!("locate {}{to} for command {id}", name(service))
        }
    }
}

fn of_request(request: &ObservationRequest) -> String {
    let pushes = request
        .pushes
        .iter()
        .flat_map(|(repository, pushes)| pushes.iter().map(|push| format!("{}{}", repository.name, of_push(push))));
    format!("{} for {}", name(&request.key), pushes.collect::<Vec<_>>().join("+"))
}

/// The tag of a push, or that nobody pushed.
fn of_push(push: &PushRef) -> String {
    match &push.tag {
        Some(tag) => format!(":{tag}"),
        None if push.is_reconciliation() => format!(" ({})", push.event),
        None => String::new(),
    }
}

fn of_write(write: &Write) -> String {
    match write {
        Write::Register { aws: _, ids, registration } => {
            let containers = registration.body()["containerDefinitions"].as_array().cloned().unwrap_or_default();
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let images = containers.iter().map(|one| format!("{}={}", text(&one["name"]), text(&one["image"])));
            format!("register for {}: {}", of_ids(ids), images.collect::<Vec<_>>().join(" "))
        }
        Write::Update { id, revision, by } => {
            let express = match by {
                RevisionWrite::UpdateService => "",
                RevisionWrite::UpdateExpressGatewayService { .. } => " as an Express Mode service",
            };
            format!("update {} to {}{express}", name(&id.service), revision.short())
        }
        Write::Continue { id, hook, action } => {
            let action = match action {
                HookAction::Continue => "continue",
                HookAction::Rollback => "roll back",
            };
            format!("{action} {} at {}", name(&id.service), hook.id)
        }
        Write::RunTask { id, request } => {
            let command = &request["overrides"]["containerOverrides"][0]["command"];
            let from = request["taskDefinition"].as_str().and_then(|arn| arn.rsplit('/').next()).unwrap_or_default();
            format!("run {command} for {} from {from}", name(&id.service))
        }
        Write::StopTask { id, arn } => format!("stop task {arn} for {}", name(&id.service)),
        Write::Stop { service, arn } => format!("stop {arn} of {}", name(service)),
    }
}

fn of_reply(CommandId(id): CommandId, answer: &Answer) -> String {
    match answer {
        Ok(text) => format!("reply {id}: {text}"),
        Err(refused) => format!("reply {id}: refused: {refused}"),
    }
}

fn of_event(event: &Event) -> String {
    match event {
        Event::PushSkipped(PushSkipped { repository, tag, reason, .. }) => {
            let repository = repository.as_ref().map(ToString::to_string).unwrap_or_default();
            let tag = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
            format!("push {repository}{tag} skipped: {reason}")
        }
        Event::PushSeen { repository, tag, services, .. } => {
            let tag = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
            format!("push {repository}{tag} seen, {services} to decide")
        }
        Event::PushToldAgain { repository, source, .. } => format!("push {repository} told again by {source}"),
        Event::PushMissed(missed) => format!("push {}@{} missed", missed.repository.name, missed.digest),
        Event::NotCompared { repository, .. } => format!("{} not compared", repository.name),
        Event::MessageTaken { aws, taken } => {
            let what = match taken {
                Taken::New => "a push",
                Taken::Duplicate => "a duplicate",
                Taken::Foreign => "foreign",
            };
            format!("message of {aws} is {what}")
        }
        Event::PushSettled { repository, skipped } => {
            format!("push to {repository} settled: {}", skipped.map_or("deployed", |reason| reason.as_str()))
        }
        Event::HistoryGap { aws, since: _ } => format!("history of {aws} has a gap"),
        Event::Changed { aws: _, change, watched: _, concern } => {
            format!("changed {} {} ({})", change.name, change.target, concern.as_str())
        }
        Event::Discovery(event) => match event {
            DiscoveryEvent::Found(key, known) => format!("{key} found by {}", known.policy),
            DiscoveryEvent::Changed(key, known) => format!("{key} found otherwise by {}", known.policy),
            DiscoveryEvent::Gone(key, _) => format!("{key} not found any more"),
            DiscoveryEvent::Doubted(key, doubt) => format!("{key} doubted: {}", doubt.code()),
            DiscoveryEvent::Followed(aws, services) => format!("{services} found in {aws}"),
        },
        Event::StateUnwritable(error) => format!("state unwritable: {error}"),
        Event::StateWritable => "state writable".to_owned(),
        Event::CommandUnknown { named, command, by: _, refused: _ } => {
            format!("command {} for {named}, which is unknown", command.as_str())
        }
        Event::Service(service, event) => format!("{} {}", name(service), of_service_event(event)),
    }
}

fn of_service_event(event: &ServiceEvent) -> String {
    match event {
        ServiceEvent::PushSkipped { repository, push, reason, detail: _ } => {
            format!("skips {}{}: {reason}", repository.name, of_push(push))
        }
        ServiceEvent::HeldPushedAgain(push) => format!("holds {}@{}, pushed again", push.repository, push.digest),
        ServiceEvent::Warned(warning) => format!("warned: {warning}"),
        ServiceEvent::Refused(outcome) => format!("refused: {}", outcome.detail),
        ServiceEvent::RolloutDecided { targets, from, rollback_target, pinned } => {
            let targets = targets
                .iter()
                .map(|(repository, target)| format!("{}{}@{}", repository.name, of_push(&target.push), target.digest));
            let pinned: String = pinned.iter().map(|(container, image)| format!(" {container}={image}")).collect();
            let (from, back) = (from.short(), rollback_target.short());
            format!("decided {}, from {from}, back to {back}{pinned}", targets.collect::<Vec<_>>().join("+"))
        }
        ServiceEvent::Resumed(found) => format!("found {}", of_found(*found)),
        ServiceEvent::RevisionRegistered(revision) => format!("registered {}", revision.short()),
        ServiceEvent::ServiceUpdated { revision, deployment } => {
            format!("updated to {} by {deployment}", revision.short())
        }
        ServiceEvent::DeploymentAdopted(deployment) => format!("adopted {deployment}"),
        ServiceEvent::RolloutProgressed { back, counts, elapsed } => {
            let (running, desired, seconds) = (counts.running, counts.desired, elapsed.as_secs());
            format!("{}rolls, {running} of {desired} after {seconds} s", backwards(*back))
        }
        ServiceEvent::RolloutEnded { outcome, back, took: _ } => of_end(outcome, *back),
        ServiceEvent::PushStable(after) => format!("stable, {} s after its push", after.as_secs()),
        ServiceEvent::DigestHeld { repository, digest } => format!("holds {repository}@{digest}"),
        ServiceEvent::RollbackBegun { revision, pinned } => {
            let pinned: String = pinned.iter().map(|(container, image)| format!(" {container}={image}")).collect();
            format!("goes back to {}{pinned}", revision.short())
        }
        ServiceEvent::CallFailed { error: _, retry_in, repeated } => {
            let again = if *repeated { " again" } else { "" };
            format!("call failed{again}, next in {} s", retry_in.as_secs())
        }
        ServiceEvent::CallsRecovered => "calls recovered".to_owned(),
        ServiceEvent::Unexplained { what, error: _ } => format!("cannot tell {what}"),
        ServiceEvent::CommandAnswered { command, by, answer } => {
            let result = if answer.is_ok() { "carried out" } else { "refused" };
            format!("{} by {by} {result}", command.as_str())
        }
        ServiceEvent::TaskStarted { kind, number, command: _, arn } => {
            format!("started {} task {number} as {arn}", kind.as_str())
        }
        ServiceEvent::TaskEnded(EndedTask { kind, number, outcome, why, .. }) => {
            let why = if *outcome == TaskOutcome::Succeeded { String::new() } else { format!(": {why}") };
            format!("{} task {number} {}{why}", kind.as_str(), outcome.as_str())
        }
        ServiceEvent::MonitoringBegun(time) => format!("is monitored for {} s", time.as_secs()),
        ServiceEvent::Proven(counts) => format!("proven, {} of {} run", counts.running, counts.desired),
        ServiceEvent::Waits(waiting) => format!("waits: {}", waiting.gate.as_str()),
        ServiceEvent::WaitsLong(waiting) => format!("waits for long: {}", waiting.gate.as_str()),
        ServiceEvent::WaitsNoLonger(gate) => format!("waits no longer: {}", gate.as_str()),
        ServiceEvent::PendingDropped => "drops its pending pushes".to_owned(),
        ServiceEvent::Counted(ServiceCounts { rolling, held, undecided, waiting, gated, configured }) => {
            let gone = if *configured { "" } else { ", not configured" };
            let waits: String = waiting.iter().chain(gated).map(|gate| format!(", waits at {gate}")).collect();
            format!("counts {rolling} rolling, {held} held, {undecided} undecided{waits}{gone}")
        }
    }
}

fn of_end(Outcome { result, revision, detail, .. }: &Outcome, back: bool) -> String {
    let revision = revision.as_ref().map(|revision| format!(" {}", revision.short())).unwrap_or_default();
    let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    format!("{}ended {}{revision}{detail}", backwards(back), result.as_str())
}

fn of_found(found: ResumedAt) -> &'static str {
    match found {
        ResumedAt::NotRegistered => "not registered",
        ResumedAt::NotUpdated => "not updated",
        ResumedAt::Updated => "updated",
        ResumedAt::Overtaken => "overtaken",
        ResumedAt::GivenUp => "given up",
        ResumedAt::ServiceGone => "gone",
    }
}

fn backwards(back: bool) -> &'static str {
    if back { "back: " } else { "" }
}

fn of_ids(ids: &[RolloutId]) -> String {
    joined(ids.iter().map(|id| name(&id.service)))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// A service without the context that most tests are in.
fn name(service: &ServiceKey) -> String {
    match service.aws == ContextName::parse("default").unwrap() {
        true => service.to_string(),
        false => format!("{}/{service}", service.aws),
    }
}

/// Whether a line only counts what others say already.
pub(super) fn is_count(effect: &Effect) -> bool {
    matches!(effect, Effect::Tell(Event::Service(_, ServiceEvent::Counted(_))))
}

/// The number of a revision.
pub(super) fn number(revision: &TaskDefinitionArn) -> u64 {
    revision.revision()
}
