//! Which pushes are decided by all their services: a push counts once, when the first service deploys it or the last one does not.

use std::collections::BTreeMap;

use super::event::Event;
use crate::domain::settings::RepositoryKey;
use crate::domain::skip::SkipReason;
use crate::domain::state::{PushRef, State};
use crate::domain::types::EventId;

/// The pushes that some service has not decided about.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    pushes: BTreeMap<EventId, Push>,
}

#[derive(Debug)]
struct Push {
    repository: RepositoryKey,
    undecided: usize,
    deployed: bool,
}

impl Unsettled {
    /// A push was read that so many services decide about.
    pub(super) fn add(&mut self, event: EventId, repository: RepositoryKey, services: usize) {
        self.pushes.insert(event, Push { repository, undecided: services, deployed: false });
    }

    /// One service has decided about a push.
    pub(super) fn decided(
        &mut self,
        push: &PushRef,
        repository: &RepositoryKey,
        skipped: Option<SkipReason>,
    ) -> Option<Event> {
        let known = self.pushes.get_mut(&push.event).filter(|known| &known.repository == repository)?;
        known.undecided = known.undecided.saturating_sub(1);
        let (last, first_deployed) = (known.undecided == 0, skipped.is_none() && !known.deployed);
        known.deployed |= first_deployed;
        let settled = first_deployed || (last && !known.deployed);
        if last {
            self.pushes.remove(&push.event);
        }
        settled.then(|| Event::PushSettled { repository: repository.name.clone(), skipped })
    }

    /// Counts anew what the state says is pending. A comparison with ECR is no push.
    pub(super) fn recount(&mut self, state: &State) {
        let before = std::mem::take(&mut self.pushes);
        for (repository, pushes) in state.services.values().flat_map(|known| &known.pending) {
            for push in pushes.iter().filter(|push| !push.is_reconciliation()) {
                let deployed = before.get(&push.event).is_some_and(|known| known.deployed);
                let new = || Push { repository: repository.clone(), undecided: 0, deployed };
                self.pushes.entry(push.event.clone()).or_insert_with(new).undecided += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_support::{event_id, push_ref, repository_key};

    fn settled(skips: &[Option<SkipReason>]) -> Vec<Option<SkipReason>> {
        let (repository, push) = (repository_key("hello"), push_ref("e1", "latest", 1));
        let mut unsettled = Unsettled::default();
        unsettled.add(event_id("e1"), repository.clone(), skips.len());
        let events = skips.iter().filter_map(|skip| unsettled.decided(&push, &repository, *skip));
        let settled = events.map(|event| match event {
            Event::PushSettled { skipped, .. } => skipped,
            other => panic!("{other:?}"),
        });
        let settled = settled.collect();
        assert!(unsettled.pushes.is_empty());
        settled
    }

    #[test]
    fn a_push_counts_once_as_deployed_by_its_first_service_or_as_skipped_by_its_last() {
        let (held, gone) = (Some(SkipReason::Held), Some(SkipReason::TagGone));
        assert_eq!(settled(&[None, None, held]), [None]);
        assert_eq!(settled(&[held, gone, None]), [None]);
        assert_eq!(settled(&[held, gone]), [gone]);
    }
}
