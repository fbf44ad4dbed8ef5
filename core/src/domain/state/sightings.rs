//! The pushes that sources have reported, so that two events which report one push are found.
//!
//! The identifiers of two sources have nothing in common. So an event of one source stands for at most one of the other: of the same
//! repository, tag and digest, the nearest in time, within five minutes. Which events belong together depends on all that were told, in
//! whatever order they come: one that is nearer takes the place of one that was taken for it before.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::event::EventRef;
use super::super::source::PushSource;
use super::super::types::{Digest, EventId, RepositoryName, Tag};
use super::SharedMap;

/// The times that two sources have for one push are no further apart.
const APART: SignedDuration = SignedDuration::from_mins(5);
/// Pushes to one repository that are remembered, the newest ones.
const SIGHTINGS: usize = 1_000;

/// What the sources of a context have told, where there is more than one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sightings {
    /// Nothing is known of pushes before this time, but that CloudTrail has reported them, or will.
    since: Timestamp,
    /// The pushes of which was told, by repository.
    #[serde(default, skip_serializing_if = "SharedMap::is_empty")]
    pushes: SharedMap<RepositoryName, Vec<Sighting>>,
}

/// One event of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The event that reported the push.
    pub event: EventId,
    /// The source that the event came from.
    pub source: PushSource,
    /// The tag that was pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// The digest, as far as it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// When it was pushed.
    pub at: Timestamp,
    /// The event of another source that tells of the same push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    twin: Option<EventId>,
    /// Whether it is this event by which the push was taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    taken: bool,
}

impl Sighting {
    /// An event that tells of a push.
    #[must_use]
    pub fn new(event: &EventRef, source: PushSource, tag: Option<Tag>, digest: Option<Digest>) -> Self {
        Self { event: event.id.clone(), source, tag, digest, at: event.time, twin: None, taken: false }
    }

    fn apart(&self, other: &Self) -> SignedDuration {
        self.at.duration_since(other.at).abs()
    }

    /// Whether both may tell of one push. A record of CloudTrail need not tell the digest.
    fn may_be(&self, other: &Self) -> bool {
        let digests = self.digest.as_ref().zip(other.digest.as_ref());
        let told = self.tag.is_some() || digests.is_some();
        told && self.source != other.source
            && self.tag == other.tag
            && digests.is_none_or(|(one, other)| one == other)
            && self.apart(other) <= APART
    }
}

/// What an event turned out to be beside those of other sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighted {
    /// The source that has reported the same push before; none, if this is the first that is heard of it.
    pub told_by: Option<PushSource>,
    /// Events that were taken for a second telling before, and are pushes of their own after all.
    pub resurfaced: Vec<Sighting>,
}

impl Sightings {
    /// Nothing was told yet. Pushes before this time are left to CloudTrail.
    #[must_use]
    pub fn new(since: Timestamp) -> Self {
        Self { since, pushes: SharedMap::default() }
    }

    /// Whether nobody can know any more, or knew, what was reported of a push of that time.
    #[must_use]
    pub fn are_unknown(&self, at: Timestamp) -> bool {
        at < self.since
    }

    /// The time that [`Self::are_unknown`] goes by, to correct it.
    pub fn since_mut(&mut self) -> &mut Timestamp {
        &mut self.since
    }

    /// Takes an event that is told for the first time.
    pub fn add(&mut self, repository: &RepositoryName, new: Sighting) -> Sighted {
        let all = self.pushes.get_or_default(repository.clone());
        let sighted = add(all, new);
        if all.len() > SIGHTINGS
            && let Some(oldest) = (0..all.len()).min_by_key(|index| all[*index].at)
        {
            all.swap_remove(oldest);
        }
        sighted
    }

    /// Takes what a comparison with ECR has found. False if it was found, or reported, before.
    pub fn add_missed(&mut self, repository: &RepositoryName, found: Sighting) -> bool {
        let is_it = |one: &Sighting| {
            one.tag == found.tag && (one.digest.is_none() || one.digest == found.digest) && one.apart(&found) <= APART
        };
        let known = self.pushes.get(repository).is_some_and(|all| all.iter().any(is_it));
        !known && self.add(repository, found).told_by.is_none()
    }

    /// Forgets the events whose time does not satisfy a condition. Up to `read_to` CloudTrail has told what it has to tell.
    pub(super) fn forget(&mut self, keep: impl Fn(Timestamp) -> bool, read_to: Timestamp) {
        // The other source's time may be on the other side of the border.
        let keep = |at: Timestamp| {
            let near = [at.checked_sub(APART), at.checked_add(APART)];
            near.into_iter().flatten().any(&keep)
        };
        self.since = self.since.max(read_to);
        let has_old = |all: &Vec<Sighting>| all.iter().any(|one| !keep(one.at));
        let old: Vec<RepositoryName> =
            self.pushes.iter().filter(|(_, all)| has_old(all)).map(|(name, _)| name.clone()).collect();
        for name in old {
            if let Some(all) = self.pushes.get_mut(&name) {
                all.retain(|one| keep(one.at));
            }
        }
        self.pushes.retain(|_, all| !all.is_empty());
    }

    /// The events by repository, to keep them apart from the rest.
    #[must_use]
    pub fn by_repository(&self) -> &SharedMap<RepositoryName, Vec<Sighting>> {
        &self.pushes
    }

    /// The same with other events.
    #[must_use]
    pub fn with(&self, pushes: SharedMap<RepositoryName, Vec<Sighting>>) -> Self {
        Self { since: self.since, pushes }
    }

    /// How many events are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pushes.values().map(Vec::len).sum()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn add(all: &mut Vec<Sighting>, mut new: Sighting) -> Sighted {
    // What a comparison with ECR has found is the push that the first source tells of afterwards.
    let found = |one: &Sighting| one.source == PushSource::Reconcile && one.may_be(&new);
    let found = all.iter().enumerate().filter(|(_, one)| found(one)).min_by_key(|(_, one)| one.apart(&new));
    if let Some((index, _)) = found {
        all.swap_remove(index);
        new.taken = true;
        all.push(new);
        return Sighted { told_by: Some(PushSource::Reconcile), resurfaced: Vec::new() };
    }
    let is_new = all.len();
    all.push(new);
    let mut touched = Vec::new();
    let mut single = Some(is_new);
    while let Some(index) = single {
        touched.push(index);
        single = nearest(all, index).and_then(|other| join(all, index, other));
    }
    let mut resurfaced = Vec::new();
    let mut told_by = None;
    for index in touched {
        let twin = twin_of(all, index);
        let known = twin.filter(|twin| all[*twin].taken);
        if index == is_new {
            told_by = known.map(|twin| all[twin].source);
        }
        if !all[index].taken && known.is_none() {
            all[index].taken = true;
            if index != is_new {
                resurfaced.push(all[index].clone());
            }
        }
    }
    Sighted { told_by, resurfaced }
}

/// The nearest event of another source that none stands for which is nearer.
fn nearest(all: &[Sighting], index: usize) -> Option<usize> {
    let one = &all[index];
    let is_free =
        |other: &Sighting, at: usize| twin_of(all, at).is_none_or(|twin| other.apart(&all[twin]) > other.apart(one));
    let is_told = |other: &Sighting| other.source != PushSource::Reconcile;
    let candidates =
        all.iter().enumerate().filter(|(at, other)| is_told(other) && one.may_be(other) && is_free(other, *at));
    let rank = |other: &Sighting| (other.apart(one), other.digest != one.digest, other.at);
    candidates.min_by_key(|(_, other)| rank(other)).map(|(at, _)| at)
}

/// Has two events stand for one push. Gives the one that stood for it before.
fn join(all: &mut [Sighting], index: usize, other: usize) -> Option<usize> {
    let displaced = twin_of(all, other);
    if let Some(displaced) = displaced {
        all[displaced].twin = None;
    }
    all[index].twin = Some(all[other].event.clone());
    all[other].twin = Some(all[index].event.clone());
    displaced
}

fn twin_of(all: &[Sighting], index: usize) -> Option<usize> {
    let (one, twin) = (&all[index], all[index].twin.as_ref()?);
    all.iter().position(|other| &other.event == twin && other.source != one.source)
}

#[cfg(test)]
#[path = "sightings_tests.rs"]
mod tests;
