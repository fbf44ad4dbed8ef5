//! The gate `after` for a service with a repository of its own: what the services before it run has to be copied there.
//!
//! Only a push to its own repository asks for a rollout. As long as none brings the digest, the service waits for a copy, and people are told.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{Other, after};
use crate::domain::settings::{RepositoryKey, ServiceRule};
use crate::domain::state::{Deployed, ServiceState, Target};
use crate::domain::types::Tag;
use crate::domain::waiting::{Gate, Waiting};

/// A service that comes after others, and of whose pushes none is undecided.
#[derive(Debug, Clone, Copy)]
pub struct Follower<'a> {
    /// What operators call it.
    pub name: &'a str,
    /// Its rules by repository.
    pub rules: &'a BTreeMap<RepositoryKey, &'a ServiceRule>,
    /// What is on record of it.
    pub known: &'a ServiceState,
}

/// The digest that all services before it run, and of which no push to its own repository was seen.
#[must_use]
pub fn missing(follower: Follower<'_>, others: &[Other<'_>], now: Timestamp) -> Option<Waiting> {
    let Follower { name, rules, known } = follower;
    let deployed = others.iter().map(|other| rolled_forward(other.known?)).collect::<Option<Vec<&Deployed>>>()?;
    let since = deployed.iter().map(|one| one.since).max()?;
    // The clock may have been set back since.
    let proven = after::proven(others, Duration::ZERO, now.max(since));
    let elsewhere = deployed.first()?.targets.iter().filter(|(source, _)| !rules.contains_key(*source));
    let mut awaited = elsewhere.filter(|(_, target)| proven.contains(&target.digest)).filter_map(|(source, target)| {
        let (repository, rule) = own_repository(rules, source)?;
        (!was_told_of(known, repository, target, since)).then_some((repository, rule, target))
    });
    let (repository, rule, target) = awaited.next()?;
    let names: Vec<&str> = others.iter().map(|other| other.name).collect();
    let reason = format!(
        "{} runs {}, and no push of it to the repository {repository} was seen: copy it there; if it is there already, bring it with: \
         ecs-deployd deploy {name}",
        names.join(" and "),
        target.digest,
    );
    let admitted = |tag: &&Tag| rule.policy.admits(tag);
    Some(Waiting {
        gate: Gate::After,
        since: since.min(now),
        repository: repository.name.clone(),
        tag: target.push.tag.as_ref().filter(admitted).cloned(),
        digest: target.digest.clone(),
        reason,
        until: None,
        stage: None,
        hook: None,
        reported: false,
    })
}

/// What was rolled out to a service that did not go back since: what it went back to was there to be copied before.
fn rolled_forward(known: &ServiceState) -> Option<&Deployed> {
    known.deployed.as_ref().filter(|deployed| deployed.rollback_target.is_some())
}

/// The repository of a service that takes the copies of another one: its only one, or the one of the same name.
fn own_repository<'a>(
    rules: &'a BTreeMap<RepositoryKey, &'a ServiceRule>,
    source: &RepositoryKey,
) -> Option<(&'a RepositoryKey, &'a ServiceRule)> {
    let mut same = rules.iter().filter(|(own, _)| rules.len() == 1 || own.name == source.name);
    same.next().map(|(own, rule)| (own, *rule))
}

/// Whether a push of the digest, or of something newer, was seen for the service, or must not be waited for. `since` is when the services
/// before had it.
fn was_told_of(known: &ServiceState, repository: &RepositoryKey, target: &Target, since: Timestamp) -> bool {
    let is_it = |own: &Target| own.digest == target.digest;
    let runs = known.deployed.as_ref().and_then(|deployed| deployed.targets.get(repository)).is_some_and(is_it);
    let rolled = known.rollout.iter().map(|rollout| &rollout.targets);
    let mut tried = rolled.chain(known.history.iter().map(|one| &one.targets)).filter_map(|of| of.get(repository));
    let was_tried = tried.any(|own| is_it(own) && own.push.at >= target.push.at);
    let is_refused = known.held.get(repository).is_some_and(|hold| hold.digest == target.digest)
        || known.refused.get(repository).is_some_and(|refused| refused.digest == target.digest)
        || known.replaced_externally.get(repository).is_some_and(|replaced| replaced.digest == target.digest);
    let is_newer = known.decided.get(repository).is_some_and(|decided| decided.at >= since);
    let is_early = known.known_since.is_some_and(|known| target.push.at < known);
    runs || was_tried || is_refused || is_newer || is_early || known.service_hold.is_some()
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
