//! The comparison with ECR, every so often: it finds a push of which no source ever told.
//!
//! Each repository has its turn once in a period, and the turns are spread over it. ECR alone is asked at first. What it holds is a push that
//! nobody reported only if it is newer than everything that was decided for the service, and not held or undone; then it is observed and
//! decided like the comparison at a start, which never goes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Engine;
use super::effect::{Effect, Read};
use super::event::{Event, Missed};
use super::now::{Moment, Now};
use super::service::Handler;
use crate::config::Config;
use crate::domain::aws_error::AwsError;
use crate::domain::plan::Roll;
use crate::domain::policy::Policy;
use crate::domain::settings::RepositoryKey;
use crate::domain::source::{FirstSeen, PushSource};
use crate::domain::state::{PushRef, ServiceState};
use crate::domain::types::{Digest, ServiceKey, Tag};
use crate::domain::view::ImageView;

/// The best image of a repository for each of its services, by their policies.
pub type BestImages = BTreeMap<ServiceKey, Option<(Tag, ImageView)>>;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    turns: BTreeMap<RepositoryKey, Turn>,
    /// The image that was looked at last: whatever came of that, it is not looked at again.
    looked_at: BTreeMap<(ServiceKey, RepositoryKey), Digest>,
}

#[derive(Debug, Clone, Copy)]
enum Turn {
    Due(Moment),
    Asked,
}

impl Comparison {
    /// Spreads the turns of the repositories of a configuration over the period. A turn that is due sooner stays.
    pub(super) fn follow(&mut self, config: &Config, now: Moment) {
        let before = std::mem::take(&mut self.turns);
        let Some(period) = config.poll.reconcile else { return self.looked_at.clear() };
        let count = u32::try_from(config.repositories.len()).unwrap_or(u32::MAX);
        for (number, repository) in (1..).zip(config.repositories.keys()) {
            let at = now.plus(share(period, number, count));
            let turn = match before.get(repository) {
                Some(Turn::Due(earlier)) => Turn::Due((*earlier).min(at)),
                Some(Turn::Asked) => Turn::Asked,
                None => Turn::Due(at),
            };
            self.turns.insert(repository.clone(), turn);
        }
        self.looked_at.retain(|(service, _), _| config.has_service(service));
    }

    /// When the next turn is due.
    pub(super) fn wake(&self) -> Option<Moment> {
        let due = self.turns.values().filter_map(|turn| match turn {
            Turn::Due(at) => Some(*at),
            Turn::Asked => None,
        });
        due.min()
    }

    fn due(&self, now: Moment) -> Vec<RepositoryKey> {
        let is_due = |turn: &Turn| matches!(turn, Turn::Due(at) if *at <= now);
        self.turns.iter().filter(|(_, turn)| is_due(turn)).map(|(repository, _)| repository.clone()).collect()
    }
}

/// So many parts of a period out of a number of them.
fn share(period: Duration, number: u32, of: u32) -> Duration {
    period.mul_f64(f64::from(number) / f64::from(of.max(1)))
}

impl Engine {
    /// Asks ECR what the policies of a repository select, where its turn has come.
    pub(super) fn compare_next(&mut self, now: Now) {
        let Some(period) = self.rules.config().poll.reconcile else { return };
        for repository in self.comparison.due(now.moment) {
            let policies = self.comparable(&repository);
            let turn = if policies.is_empty() { Turn::Due(now.moment.plus(period)) } else { Turn::Asked };
            self.comparison.turns.insert(repository.clone(), turn);
            if !policies.is_empty() {
                self.out.effects.push(Effect::Read(Read::Compare { repository, policies }));
            }
        }
    }

    /// The services of a repository for which nothing is held, under way or undecided.
    fn comparable(&self, repository: &RepositoryKey) -> Vec<(ServiceKey, Arc<dyn Policy>)> {
        let Some(rule) = self.rules.config().repositories.get(repository) else { return Vec::new() };
        let is_at_rest =
            |key: &ServiceKey| self.state.services.get(key).is_none_or(|known| is_at_rest(known, repository));
        let services = rule.services.iter().filter(|service| is_at_rest(&service.key));
        services.map(|service| (service.key.clone(), Arc::clone(&service.policy))).collect()
    }

    /// What the policies select in a repository. An error is met again at the next turn; the calls are counted.
    pub(super) fn compared(&mut self, repository: &RepositoryKey, answer: Result<BestImages, AwsError>, now: Now) {
        let Some(period) = self.rules.config().poll.reconcile else { return };
        if let Some(turn) = self.comparison.turns.get_mut(repository) {
            *turn = Turn::Due(now.moment.plus(period));
        }
        let images = match answer {
            Ok(images) => images,
            Err(error) => {
                let event = Event::NotCompared { repository: repository.clone(), error };
                return self.out.emit(event, &self.rules);
            }
        };
        for (key, best) in images {
            let Some((_, image)) = best.filter(|_| self.rules.of(&key).contains_key(repository)) else { continue };
            let looked_at = (key.clone(), repository.clone());
            if self.comparison.looked_at.get(&looked_at) == Some(&image.digest) {
                continue;
            }
            let followed = self.state.contexts.get(&repository.aws).map(|known| known.followed_since(&repository.name));
            let known = self.state.services.get(&key);
            let Some(pushed_at) = unreported(known, followed, repository, &image) else { continue };
            self.comparison.looked_at.insert(looked_at, image.digest.clone());
            let seen = Some(FirstSeen { at: now.time, by: PushSource::Reconcile });
            let push = PushRef { seen, ..PushRef::reconciliation(pushed_at) };
            self.with(&key, now, |handler| handler.record_mut().add_pending(repository, push));
        }
    }
}

/// Whether a service may be compared.
fn is_at_rest(known: &ServiceState, repository: &RepositoryKey) -> bool {
    known.rollout.is_none() && known.service_hold.is_none() && !known.pending.contains_key(repository)
}

/// When an image was pushed, if nobody can have reported that push: it is newer than all that was decided, and than the service.
fn unreported(
    known: Option<&ServiceState>,
    followed: Option<Timestamp>,
    repository: &RepositoryKey,
    image: &ImageView,
) -> Option<Timestamp> {
    let known = known.filter(|known| is_at_rest(known, repository))?;
    let decided = known.decided.get(repository).map(|push| push.at);
    // Before it was known there was nothing to decide.
    let floor = [decided, known.known_since, followed].into_iter().flatten().max()?;
    if decided.is_none() && known.known_since.is_none() {
        return None;
    }
    // The times of pushes that were decided are whole seconds.
    let pushed_at = image.pushed_at?;
    let second = Timestamp::from_second(pushed_at.as_second()).unwrap_or(pushed_at);
    let is_newer = pushed_at > floor && decided.is_none_or(|decided| second > decided);
    let is = |digest: &Digest| digest == &image.digest;
    let deployed = known.deployed.as_ref().and_then(|deployed| deployed.targets.get(repository));
    let is_known = known.held.get(repository).is_some_and(|hold| is(&hold.digest))
        || known.replaced_externally.get(repository).is_some_and(|replaced| is(&replaced.digest))
        || deployed.is_some_and(|target| is(&target.digest));
    (is_newer && !is_known).then_some(second)
}

impl Handler<'_> {
    /// A rollout is decided that a comparison with ECR has asked for: nobody had reported the push.
    pub(super) fn note_missed(&mut self, roll: &Roll) {
        for (repository, target) in &roll.rollout.targets {
            let Some(seen) = target.push.seen.filter(|seen| seen.by == PushSource::Reconcile) else { continue };
            let Some(known) = self.state.contexts.get_mut(&repository.aws) else { continue };
            if known.sight_missed(&repository.name, &target.push, &target.digest) {
                let missed = Missed {
                    repository: repository.clone(),
                    tag: target.push.tag.clone(),
                    digest: target.digest.clone(),
                    pushed_at: target.push.at,
                    seen_after: seen.after(target.push.at),
                };
                self.out.emit(Event::PushMissed(missed), self.rules);
            }
        }
    }
}
