//! Which revisions were registered for whom: services that need the same one share it, however far apart their turns are
//! (decision 15).

use std::collections::{BTreeMap, VecDeque};

use crate::domain::state::{PENDING, Rollout};
use crate::domain::types::{ContextName, TaskDefinitionArn};

/// What makes two services need the same revision: they run in one AWS context, it is made from one revision, and it names the same images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RegistrationKey<'a> {
    aws: &'a ContextName,
    base: &'a TaskDefinitionArn,
    images: &'a BTreeMap<String, String>,
}

impl<'a> RegistrationKey<'a> {
    /// The key of a rollout's revision.
    pub(super) fn of<P>(aws: &'a ContextName, rollout: &'a Rollout<P>) -> Self {
        Self { aws, base: &rollout.base, images: &rollout.images }
    }
}

/// The revisions of a family that are remembered. A service keeps at most [`PENDING`] pushes of each of its repositories, which are few, so that
/// it does not want an older one.
const REMEMBERED: usize = 4 * PENDING;

/// A revision, and the images that it names in the place of its base's.
#[derive(Debug)]
struct Registered {
    base: TaskDefinitionArn,
    images: BTreeMap<String, String>,
    revision: TaskDefinitionArn,
}

impl Registered {
    fn is_for<P>(&self, rollout: &Rollout<P>) -> bool {
        self.base == rollout.base && self.images == rollout.images
    }
}

/// The revisions that were registered and that another service may still need, by family, oldest first.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    known: BTreeMap<(ContextName, String), VecDeque<Registered>>,
}

impl Registrations {
    /// The revision of a rollout was registered.
    pub(super) fn add<P>(&mut self, aws: &ContextName, rollout: &Rollout<P>, revision: TaskDefinitionArn) {
        let of_family = self.known.entry(family(aws, rollout)).or_default();
        of_family.retain(|known| !known.is_for(rollout));
        of_family.push_back(Registered { base: rollout.base.clone(), images: rollout.images.clone(), revision });
        of_family.drain(..of_family.len().saturating_sub(REMEMBERED));
    }

    /// The revision that a rollout needs, if it was registered.
    pub(super) fn get<P>(&self, aws: &ContextName, rollout: &Rollout<P>) -> Option<&TaskDefinitionArn> {
        let of_family = self.known.get(&family(aws, rollout))?;
        of_family.iter().find(|known| known.is_for(rollout)).map(|known| &known.revision)
    }

    /// A revision proved to be of no use: it is not offered again.
    pub(super) fn forget(&mut self, revision: &TaskDefinitionArn) {
        for of_family in self.known.values_mut() {
            of_family.retain(|known| &known.revision != revision);
        }
    }

    /// Keeps what a service of these contexts may still need.
    pub(super) fn retain(&mut self, is_busy: impl Fn(&ContextName) -> bool) {
        self.known.retain(|(aws, _), _| is_busy(aws));
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

fn family<P>(aws: &ContextName, rollout: &Rollout<P>) -> (ContextName, String) {
    (aws.clone(), rollout.base.family().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::state::Phase;
    use crate::domain::test_support::{arn, rollout};

    #[test]
    fn no_more_is_remembered_of_a_family_than_a_service_can_want() {
        let aws = ContextName::default();
        let of = |number: u64| {
            let images = BTreeMap::from([("app".to_owned(), format!("image-{number}"))]);
            Rollout { images, base: arn(number), ..rollout(Phase::Intended) }
        };
        let mut registrations = Registrations::default();
        for number in 1..=1000 {
            registrations.add(&aws, &of(number), arn(number + 1));
            registrations.add(&aws, &of(number), arn(number + 1));
        }
        let remembered: Vec<u64> =
            (1..=1000).filter(|number| registrations.get(&aws, &of(*number)).is_some()).collect();
        assert_eq!(remembered, (1001 - 64..=1000).collect::<Vec<u64>>());
        registrations.forget(&arn(1001));
        assert_eq!(registrations.get(&aws, &of(1000)), None);
        assert_eq!(registrations.get(&aws, &of(999)), Some(&arn(1000)));
    }
}
