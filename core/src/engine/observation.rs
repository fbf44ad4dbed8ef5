//! What is asked about a service before its pushes are decided, and what was found out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::Config;
use crate::domain::aws_error::AwsError;
use crate::domain::gate::{Other, after};
use crate::domain::operator_command::{Named, Refused};
use crate::domain::plan::{Pushes, ServiceSnapshot};
use crate::domain::policy::Policy;
use crate::domain::settings::{Base, RepositoryKey};
use crate::domain::state::ServiceState;
use crate::domain::task_definition::{Registration, TaskDefinition};
use crate::domain::types::{Digest, EcsName, ServiceKey, Tag, TaskDefinitionArn};
use crate::domain::view::{Fate, ImageView, ServiceView, Unrollable};

/// A service as ECS describes it, or why it is none that could be rolled.
pub type Seen = Result<ServiceView, Unrollable>;

/// An answer for each of several services of one cluster.
pub type ByService<T> = BTreeMap<EcsName, Result<T, AwsError>>;

/// What has to be found out about one service.
#[derive(Debug, Clone)]
pub struct ObservationRequest {
    /// The service that it is about.
    pub key: ServiceKey,
    /// The pushes to decide, by repository.
    pub pushes: Pushes,
    /// The policy and the container of each repository.
    pub rules: BTreeMap<RepositoryKey, (Arc<dyn Policy>, Option<String>)>,
    /// The tags of the newest pushes that were decided, by repository.
    pub decided: BTreeMap<RepositoryKey, Tag>,
    /// What a new revision is made from.
    pub base: Base,
    /// Whether the rollback target is known already, because a rollout is being superseded: then what runs need not be asked.
    pub has_rollback_target: bool,
    /// The services that the service comes after.
    pub after: Vec<ServiceKey>,
    /// The digests that those may have proven: whether the service's own repositories have them.
    pub promotable: BTreeMap<RepositoryKey, BTreeSet<Digest>>,
}

impl ObservationRequest {
    /// What has to be found out to decide these pushes of a service; `None` for one that is not in the configuration.
    #[must_use]
    pub fn of(config: &Config, key: &ServiceKey, known: &ServiceState, pushes: Pushes) -> Option<Self> {
        let (_, first) = config.rules_by_repository(key).next()?;
        let decided =
            known.decided.iter().filter_map(|(repository, push)| Some((repository.clone(), push.tag.clone()?)));
        let base = first.deploy.base;
        let rules = config
            .rules_by_repository(key)
            .map(|(repository, rule)| (repository.clone(), (Arc::clone(&rule.policy), rule.container.clone())));
        Some(Self {
            key: key.clone(),
            pushes,
            decided: decided.collect(),
            base,
            rules: rules.collect(),
            has_rollback_target: known.rollout.is_some(),
            after: first.deploy.gates.after.clone(),
            promotable: BTreeMap::new(),
        })
    }

    /// The same with what the services before may have proven, by their records.
    #[must_use]
    pub fn promoting<'a>(self, record: impl Fn(&ServiceKey) -> Option<&'a ServiceState>) -> Self {
        let names: Vec<Other<'a>> =
            self.after.iter().map(|key| Other { name: "", known: record(key), seen: None }).collect();
        let digests = after::candidates(&names);
        let promotable = match digests.is_empty() {
            true => BTreeMap::new(),
            false => self.pushes.keys().map(|repository| (repository.clone(), digests.clone())).collect(),
        };
        Self { promotable, ..self }
    }
}

/// What was found out about one service.
#[derive(Debug, Clone)]
pub struct Observation {
    /// What AWS says of the service and its images.
    pub snapshot: ServiceSnapshot,
    /// Repositories that could not be asked: what was pushed to them cannot be decided yet, what was pushed to others can.
    pub unanswered: BTreeMap<RepositoryKey, AwsError>,
    /// What its gates need to know.
    pub at_gates: AtGates,
}

/// What the gates of a service need to know beside the record.
#[derive(Debug, Clone, Default)]
pub struct AtGates {
    /// The services that it comes after, as ECS describes them; `None` for one that is not there.
    pub services: BTreeMap<ServiceKey, Option<ServiceView>>,
    /// The images that may be promoted, of each of its repositories.
    pub promoted: BTreeMap<RepositoryKey, Vec<ImageView>>,
}

/// The services that a service comes after, with what operators call them.
#[must_use]
pub fn names_of(config: &Config, key: &ServiceKey) -> Vec<(ServiceKey, String)> {
    let rules = config.rules_of(key);
    let after = rules.values().next().map(|rule| rule.deploy.gates.after.as_slice()).unwrap_or_default();
    after.iter().map(|other| (other.clone(), config.name_of(other))).collect()
}

/// What a look at an unfinished rollout found.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// ECS knows no service of that name.
    pub missing: bool,
    /// The service, if there is one that is active.
    pub service: Option<ServiceView>,
    /// The intended revision, if it is there.
    pub registered: Option<TaskDefinitionArn>,
    /// The service's deployments and how they fared, where it may have been updated to the revision and runs another one.
    pub deployments: Option<Result<Vec<(TaskDefinitionArn, Fate)>, AwsError>>,
    /// What to register, if the revision is not there. Neither: the revision that it would be made from is gone.
    pub registration: Option<Registration>,
}

/// What a rollback needs to know.
#[derive(Debug, Clone)]
pub struct Location {
    /// The revision that the service is set to.
    pub current: TaskDefinitionArn,
    /// The revision that the operator names.
    pub to: Option<Named>,
}

/// Why a rollback does not get to know it.
#[derive(Debug, Clone)]
pub enum Unlocated {
    /// ECS has no such service.
    NoService,
    /// What the operator names is no revision.
    NotARevision(Refused),
    /// ECS has no such revision.
    UnknownRevision(String),
    /// A call to AWS failed.
    Failed(AwsError),
}

/// Whether a task definition names an image in ECR by a tag, which may mean another image later.
#[must_use]
pub fn names_tags(definition: &TaskDefinition) -> bool {
    definition.containers().any(|(_, image)| crate::domain::image::ImageReference::split(image).is_movable())
}
