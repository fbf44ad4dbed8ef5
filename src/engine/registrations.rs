//! Which revisions were registered for whom: services that need the same one share it, however far apart their turns are
//! (decision 15).

use std::collections::BTreeMap;

use crate::domain::state::Rollout;
use crate::domain::types::{ContextName, TaskDefinitionArn};

/// What makes two services need the same revision: they run in one AWS context, it is made from one revision, and it names the same images.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RegistrationKey {
    aws: ContextName,
    base: TaskDefinitionArn,
    images: BTreeMap<String, String>,
}

impl RegistrationKey {
    /// The key of a rollout's revision.
    pub(super) fn of<P>(aws: &ContextName, rollout: &Rollout<P>) -> Self {
        Self { aws: aws.clone(), base: rollout.base.clone(), images: rollout.images.clone() }
    }
}

/// The revisions that were registered and that another service may still need.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    known: BTreeMap<RegistrationKey, TaskDefinitionArn>,
}

impl Registrations {
    /// The revision was registered.
    pub(super) fn add(&mut self, key: RegistrationKey, revision: TaskDefinitionArn) {
        self.known.insert(key, revision);
    }

    /// The revision, if it was registered.
    pub(super) fn get(&self, key: &RegistrationKey) -> Option<&TaskDefinitionArn> {
        self.known.get(key)
    }

    /// A revision proved to be of no use: it is not offered again.
    pub(super) fn forget(&mut self, revision: &TaskDefinitionArn) {
        self.known.retain(|_, known| known != revision);
    }

    /// Keeps what a service of these contexts may still need.
    pub(super) fn retain(&mut self, is_busy: impl Fn(&ContextName) -> bool) {
        self.known.retain(|key, _| is_busy(&key.aws));
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
