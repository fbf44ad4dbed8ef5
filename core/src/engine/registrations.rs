//! Which revisions were registered for whom: services that need the same one share it, however far apart their turns are
//! (decision 15).

use std::collections::BTreeMap;

use crate::domain::state::Rollout;
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

/// A revision, and the images that it names in the place of its base's.
#[derive(Debug)]
struct Registered {
    images: BTreeMap<String, String>,
    revision: TaskDefinitionArn,
}

/// The revisions that were registered and that another service may still need.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    known: BTreeMap<(ContextName, TaskDefinitionArn), Vec<Registered>>,
}

impl Registrations {
    /// The revision of a rollout was registered.
    pub(super) fn add<P>(&mut self, aws: &ContextName, rollout: &Rollout<P>, revision: TaskDefinitionArn) {
        let of_base = self.known.entry((aws.clone(), rollout.base.clone())).or_default();
        of_base.retain(|known| known.images != rollout.images);
        of_base.push(Registered { images: rollout.images.clone(), revision });
    }

    /// The revision that a rollout needs, if it was registered.
    pub(super) fn get<P>(&self, aws: &ContextName, rollout: &Rollout<P>) -> Option<&TaskDefinitionArn> {
        let of_base = self.known.get(&(aws.clone(), rollout.base.clone()))?;
        of_base.iter().find(|known| known.images == rollout.images).map(|known| &known.revision)
    }

    /// A revision proved to be of no use: it is not offered again.
    pub(super) fn forget(&mut self, revision: &TaskDefinitionArn) {
        for of_base in self.known.values_mut() {
            of_base.retain(|known| &known.revision != revision);
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
