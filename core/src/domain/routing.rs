//! Readings to wants: which services a push concerns, and why it concerns none.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::event::{Brought, EventRef, ParsedEvent, Push, Repeated};
use super::policy::{By, Policy};
use super::settings::{RepositoryKey, RepositoryRule, ServiceRule};
use super::skip::SkipReason;
use super::source::{FirstSeen, PushSource};
use super::state::{ContextState, PushRef, Sighted, Sighting, State, Target};
use super::types::{ContextName, Digest, RepositoryName, ServiceKey, Tag};

/// The configured repositories, by context and name.
pub type Rules = BTreeMap<RepositoryKey, RepositoryRule>;

/// What became of one push event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The event of CloudTrail that reported it.
    pub event: EventRef,
    /// The repository, as far as the record names one.
    pub repository: Option<RepositoryName>,
    /// Its name in the configuration, if it has one.
    pub configured: Option<RepositoryKey>,
    /// The tag, as far as the record names one.
    pub tag: Option<Tag>,
    /// Skipped, or wanted by services.
    pub fate: Fate,
    /// Older pushes that are no longer wanted because of it, one for each service that wanted it.
    pub displaced: Vec<(ServiceKey, PushRef)>,
    /// The services that hold the image of a push which failed because ECR has the image already.
    pub held: Vec<HeldImage>,
    /// Pushes of the repository that were taken for what another source had told, and are pushes of their own after all: they are to be taken
    /// now, by [`take_resurfaced`].
    pub resurfaced: Vec<Sighting>,
    /// Whether another source has reported the push before.
    pub told_by_other: bool,
}

/// How an event was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The source that tells of it.
    pub by: PushSource,
    /// The time of the push.
    pub at: Timestamp,
    /// Whether the very first scan of the context's event history is not complete yet. What is told from the second of the start was there
    /// already when the program started, as nobody tells sooner than that.
    pub opening: bool,
}

/// An image that is held for a service, and that somebody tried to push again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldImage {
    /// The service that it is about.
    pub service: ServiceKey,
    /// The digest of the image.
    pub digest: Digest,
    /// Why it is held, for people.
    pub reason: String,
}

impl Verdict {
    /// The particulars of a skip, with the way to try again what is held. `name_of` gives the name of a service on the command line.
    #[must_use]
    pub fn explained(&self, detail: &str, name_of: impl Fn(&ServiceKey) -> String) -> String {
        if self.held.is_empty() {
            return detail.to_owned();
        }
        let commands = self.held.iter().map(|held| release_command(&name_of(&held.service)));
        format!("the image is held; to try it again: {} ({detail})", commands.collect::<Vec<_>>().join("; "))
    }
}

/// What an operator types to have what is held for a service tried again.
#[must_use]
pub fn release_command(service: &str) -> String {
    format!("ecs-deployd release {service}")
}

/// What happens to a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is not deployed.
    Skip {
        /// Why it is not deployed.
        reason: SkipReason,
        /// What the reason alone does not say, for people.
        detail: String,
    },
    /// These services have to be looked at.
    Pending(Vec<ServiceKey>),
}

/// Takes one reading into the state. `None` for what is not a push at all.
pub fn take(
    state: &mut State,
    rules: &Rules,
    context: &ContextName,
    parsed: &ParsedEvent,
    told: Told,
) -> Option<Verdict> {
    let (event, repository, tag) = match parsed {
        ParsedEvent::Foreign => return None,
        ParsedEvent::Skip(skipped) => {
            let tag = skipped.repeats.as_ref().and_then(|repeats| repeats.tag.as_ref());
            (&skipped.event, skipped.repository.as_ref(), tag)
        }
        ParsedEvent::Push(push) => (&push.event, Some(&push.repository), push.tag.as_ref()),
    };
    let rule = repository.and_then(|name| rules.get(&RepositoryKey { aws: context.clone(), name: name.clone() }));
    let (mut displaced, mut held) = (Vec::new(), Vec::new());
    let known = state.contexts.get_mut(context);
    let known = known.map(|known| known_before(known, event, rule, parsed, told));
    let told_by_other = matches!(&known, Some(Known::Told(..)));
    let resurfaced = match &known {
        Some(Known::Told(_, resurfaced) | Known::New(_, resurfaced)) => resurfaced.clone(),
        None | Some(Known::Read | Known::LeftToCloudTrail) => Vec::new(),
    };
    let fate = match (known, parsed) {
        (None, _) => skip(SkipReason::NotConfigured, "the AWS context is not in the configuration"),
        (Some(Known::Read), _) => skip(SkipReason::Duplicate, "the event was read before"),
        (Some(Known::Told(by, _)), _) => {
            skip(SkipReason::Duplicate, &format!("{} has reported this push before", by.named()))
        }
        (Some(Known::LeftToCloudTrail), _) => {
            skip(SkipReason::Duplicate, "CloudTrail has reported the pushes of that time, or will")
        }
        (Some(_), ParsedEvent::Foreign) => return None,
        (Some(Known::New(..)), ParsedEvent::Skip(skipped)) => {
            if let (Some(rule), Some(repeats)) = (rule, &skipped.repeats) {
                held = held_images(state, rule, repeats);
            }
            skip(skipped.reason, &skipped.detail)
        }
        (Some(Known::New(when, _)), ParsedEvent::Push(push)) => of_push(state, push, rule, when, &mut displaced),
    };
    Some(Verdict {
        event: event.clone(),
        repository: repository.cloned(),
        configured: rule.map(RepositoryRule::key),
        tag: tag.cloned(),
        fate,
        displaced,
        held,
        resurfaced,
        told_by_other,
    })
}

/// A push of a repository of the configuration that was taken for what another source had told before.
pub fn take_resurfaced(
    state: &mut State,
    rules: &Rules,
    repository: &RepositoryKey,
    sighting: &Sighting,
    told: Told,
) -> Option<Verdict> {
    let rule = rules.get(repository)?;
    let known = state.contexts.get(&repository.aws)?;
    let push = Push {
        event: EventRef { id: sighting.event.clone(), shared_id: None, time: sighting.at },
        repository: repository.name.clone(),
        owner: None,
        recipient: None,
        region: None,
        // What has no tag is nothing to deploy.
        tag: Some(sighting.tag.clone()?),
        digest: sighting.digest.clone(),
    };
    let when = when(known, &push.event, Some(&repository.name), Told { by: sighting.source, ..told });
    let mut displaced = Vec::new();
    let fate = of_push(state, &push, Some(rule), when, &mut displaced);
    Some(Verdict {
        event: push.event,
        repository: Some(push.repository),
        configured: Some(repository.clone()),
        tag: push.tag,
        fate,
        displaced,
        held: Vec::new(),
        resurfaced: Vec::new(),
        told_by_other: false,
    })
}

/// What is known of an event.
enum Known {
    /// This event was read before.
    Read,
    /// Another source has reported the push before.
    Told(PushSource, Vec<Sighting>),
    /// Nobody knows whether CloudTrail has reported it before.
    LeftToCloudTrail,
    /// The push is new, and is remembered.
    New(When, Vec<Sighting>),
}

/// What is to be known of the time of a push.
#[derive(Clone, Copy)]
struct When {
    /// It was made before anybody followed the repository.
    early: bool,
    /// By whom it was seen, where several sources tell of pushes.
    seen: Option<FirstSeen>,
}

fn known_before(
    known: &mut ContextState,
    event: &EventRef,
    rule: Option<&RepositoryRule>,
    parsed: &ParsedEvent,
    told: Told,
) -> Known {
    if known.remember(event, rule.is_some()) {
        return Known::Read;
    }
    let name = rule.map(|rule| &rule.name);
    let when = when(known, event, name, told);
    if told.by == PushSource::Queue && !when.early && known.is_left_to_cloudtrail(event.time) {
        return Known::LeftToCloudTrail;
    }
    let sighted = name
        .zip(brought(parsed))
        .and_then(|(name, Brought { tag, digest })| known.sight(name, Sighting::new(event, told.by, tag, digest)));
    match sighted {
        Some(Sighted { told_by: Some(by), resurfaced }) => Known::Told(by, resurfaced),
        Some(Sighted { told_by: None, resurfaced }) => Known::New(when, resurfaced),
        None => Known::New(when, Vec::new()),
    }
}

/// What a push brought into the repository, if it is one.
fn brought(parsed: &ParsedEvent) -> Option<Brought> {
    match parsed {
        ParsedEvent::Push(push) => Some(Brought { tag: push.tag.clone(), digest: push.digest.clone() }),
        ParsedEvent::Skip(skipped) => skipped.brought.clone(),
        ParsedEvent::Foreign => None,
    }
}

fn when(known: &ContextState, event: &EventRef, repository: Option<&RepositoryName>, told: Told) -> When {
    let since = repository.map_or(known.baseline, |name| known.followed_since(name));
    let second = SignedDuration::from_millis(999);
    let early = event.time < since || (told.opening && event.time <= known.baseline + second);
    When { early, seen: known.sightings.is_some().then_some(FirstSeen { at: told.at, by: told.by }) }
}

/// The services of a repository that hold the image which was to be pushed again. Where the record does not tell the digest, the history of
/// the service tells which one the tag brought.
fn held_images(state: &State, rule: &RepositoryRule, repeats: &Repeated) -> Vec<HeldImage> {
    let key = rule.key();
    let admitted =
        rule.services.iter().filter(|service| repeats.tag.as_ref().is_none_or(|tag| service.policy.admits(tag)));
    let held = admitted.filter_map(|service| {
        let known = state.services.get(&service.key)?;
        let hold = known.held.get(&key)?;
        let is_it = match &repeats.digest {
            Some(digest) => digest == &hold.digest,
            None => {
                let mut tried = known.history.iter().filter_map(|outcome| outcome.targets.get(&key));
                let brought =
                    |tag: &Tag, target: &Target| target.push.tag.as_ref() == Some(tag) && target.digest == hold.digest;
                tried.any(|target| repeats.tag.as_ref().is_some_and(|tag| brought(tag, target)))
            }
        };
        is_it.then(|| HeldImage {
            service: service.key.clone(),
            digest: hold.digest.clone(),
            reason: hold.reason.clone(),
        })
    });
    held.collect()
}

fn skip(reason: SkipReason, detail: &str) -> Fate {
    Fate::Skip { reason, detail: detail.to_owned() }
}

fn of_push(
    state: &mut State,
    push: &Push,
    rule: Option<&RepositoryRule>,
    when: When,
    displaced: &mut Vec<(ServiceKey, PushRef)>,
) -> Fate {
    let Some(rule) = rule else {
        return skip(SkipReason::NotConfigured, "the repository is not in the configuration");
    };
    if let (Some(owner), Some(recipient)) = (&push.owner, &push.recipient)
        && owner != recipient
    {
        return skip(
            SkipReason::NotConfigured,
            &format!("the image belongs to account {owner}, this context reads account {recipient}"),
        );
    }
    let admitting: Vec<&ServiceRule> =
        rule.services.iter().filter(|service| push.tag.as_ref().is_none_or(|tag| service.policy.admits(tag))).collect();
    if admitting.is_empty() {
        return skip(SkipReason::TagMismatch, "no policy of the repository admits the tag");
    }
    if when.early {
        return skip(
            SkipReason::BeforeStart,
            "the push is older than the first start, or than the repository in the configuration",
        );
    }
    let known = admitting.into_iter().filter(|service| service.is_known_at(push.event.time));
    let concerned: Vec<(&ServiceKey, &dyn Policy)> =
        known.map(|service| (&service.key, service.policy.as_ref())).collect();
    if concerned.is_empty() {
        return skip(SkipReason::BeforeStart, "the push is older than the look that found the service by its tag");
    }
    let key = rule.key();
    let pending = PushRef {
        event: push.event.id.clone(),
        tag: push.tag.clone(),
        at: push.event.time,
        digest: push.digest.clone(),
        seen: when.seen,
    };
    let mut takers = Vec::new();
    let mut decided_itself = false;
    for (service, policy) in concerned {
        let known = state.services.get_or_default(service.clone());
        match known.decided.get(&key) {
            Some(decided) if decided.event == pending.event => decided_itself = true,
            // Where the text of the tag decides, an older push may well bring the highest one.
            Some(decided) if policy.order() == By::Push && pending.is_surely_older_than(decided) => {}
            _ => {
                known.add_pending(&key, pending.clone());
                displaced.extend(known.bound_pending(&key, policy).map(|push| (service.clone(), push)));
                takers.push(service.clone());
            }
        }
    }
    if takers.is_empty() {
        return match decided_itself {
            true => skip(SkipReason::Duplicate, "the event was decided before"),
            false => skip(SkipReason::Superseded, "a newer push was decided already"),
        };
    }
    Fate::Pending(takers)
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
