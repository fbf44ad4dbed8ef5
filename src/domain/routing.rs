//! Readings to wants: which services a push concerns, and why it concerns none.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::event::{EventRef, ParsedEvent, Push, Repeated};
use super::policy::{By, Policy};
use super::settings::{RepositoryKey, RepositoryRule, ServiceRule};
use super::skip::SkipReason;
use super::state::{PushRef, State, Target};
use super::types::{ContextName, Digest, RepositoryName, ServiceKey, Tag};

/// The configured repositories, by context and name.
pub type Rules = BTreeMap<RepositoryKey, RepositoryRule>;

/// What became of one push event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The event.
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
}

/// An image that is held for a service, and that somebody tried to push again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldImage {
    /// The service.
    pub service: ServiceKey,
    /// The digest.
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
        /// Why.
        reason: SkipReason,
        /// The particulars.
        detail: String,
    },
    /// These services have to be looked at.
    Pending(Vec<ServiceKey>),
}

/// Takes one reading into the state. `None` for what is not a push at all.
///
/// `opening` is true until the very first scan of a context is complete. What it shows from the second of the start was there already
/// when the program started, as CloudTrail delivers later than that.
pub fn take(
    state: &mut State,
    rules: &Rules,
    context: &ContextName,
    parsed: &ParsedEvent,
    opening: bool,
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
    let known = state.contexts.get_mut(context).map(|known| {
        let since = repository.map_or(known.baseline, |name| known.followed_since(name));
        (known.remember(event, rule.is_some()), known.baseline, since)
    });
    let fate = match (known, parsed) {
        (None, _) => skip(SkipReason::NotConfigured, "the AWS context is not in the configuration"),
        (Some((true, ..)), _) => skip(SkipReason::Duplicate, "the event was read before"),
        (Some(_), ParsedEvent::Foreign) => return None,
        (Some(_), ParsedEvent::Skip(skipped)) => {
            if let (Some(rule), Some(repeats)) = (rule, &skipped.repeats) {
                held = held_images(state, rule, repeats);
            }
            skip(skipped.reason, &skipped.detail)
        }
        (Some((false, baseline, since)), ParsedEvent::Push(push)) => {
            let second = SignedDuration::from_millis(999);
            let early = push.event.time < since || (opening && push.event.time <= baseline + second);
            of_push(state, push, rule, early, &mut displaced)
        }
    };
    Some(Verdict {
        event: event.clone(),
        repository: repository.cloned(),
        configured: rule.map(RepositoryRule::key),
        tag: tag.cloned(),
        fate,
        displaced,
        held,
    })
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
    early: bool,
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
    if early {
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
