//! What AWS was seen to say about services and images: the facts that decisions are made from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::artifact;
use super::deployment::Lifecycle;
use super::glob::Glob;
use super::image::Registry;
use super::types::{DeploymentId, Digest, Tag, TaskDefinitionArn};

/// A service as DescribeServices gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// `ACTIVE`; anything else is being deleted or is gone.
    pub active: bool,
    /// The revision that the service is set to run.
    pub task_definition: TaskDefinitionArn,
    /// How many tasks the service shall run.
    pub desired: i32,
    /// The number of tasks that run.
    pub running: i32,
    /// Who carries deployments out.
    pub controller: Controller,
    /// Who looks after the resources around the service.
    pub management: Management,
    /// How tasks are scheduled.
    pub scheduling: Scheduling,
    /// How ECS replaces tasks: `deploymentConfiguration.strategy`.
    pub strategy: Strategy,
    /// Whether a load balancer looks after its tasks.
    pub load_balanced: bool,
    /// Whether ECS's own circuit breaker ends a deployment whose tasks keep failing.
    pub breaker: bool,
    /// Whether ECS itself goes back to the last deployment that completed, after its circuit breaker or an alarm has ended one.
    pub rolls_back: bool,
    /// How long ECS itself waits before a deployment that shifts traffic is complete.
    pub bake: Duration,
    /// `minimumHealthyPercent`, where ECS gives it.
    pub minimum_healthy_percent: Option<i32>,
    /// `maximumPercent`, where ECS gives it.
    pub maximum_percent: Option<i32>,
    /// What ECS itself waits for in the deployments of the service.
    pub lifecycle: Lifecycle,
    /// The deployments, PRIMARY and others.
    pub deployments: Vec<DeploymentView>,
    /// The newest service events, newest first: a few, and of those before them the ones that tell of tasks.
    pub events: Vec<ServiceEvent>,
}

/// Why a service cannot even be looked at as one that ECS rolls: it has no task definition (decision 20).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unrollable(pub String);

impl ServiceView {
    /// The PRIMARY deployment, which ECS rolls or has rolled.
    #[must_use]
    pub fn primary(&self) -> Option<&DeploymentView> {
        self.deployments.iter().find(|deployment| deployment.primary)
    }

    /// The last deployment that completed, where the PRIMARY one has not: it is still being rolled out, or has failed. Behind a Classic Load
    /// Balancer ECS does not say which one has completed.
    #[must_use]
    pub fn completed_before_primary(&self) -> Option<&DeploymentView> {
        match self.primary()?.state {
            None | Some(RolloutState::Completed) => None,
            Some(RolloutState::InProgress | RolloutState::Failed) => self
                .deployments
                .iter()
                .filter(|deployment| !deployment.primary && deployment.state == Some(RolloutState::Completed))
                .max_by_key(|deployment| deployment.since),
        }
    }

    /// A deployment by its id.
    #[must_use]
    pub fn deployment(&self, id: &DeploymentId) -> Option<&DeploymentView> {
        self.deployments.iter().find(|deployment| &deployment.id == id)
    }
}

/// One line of a service's event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEvent {
    /// When ECS logged it.
    pub at: Timestamp,
    /// The message that ECS logged.
    pub message: String,
}

/// What rolls the service: `deploymentController.type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Controller {
    /// ECS itself rolls the service.
    Ecs,
    /// CODE_DEPLOY, EXTERNAL or one that is not known yet: UpdateService is refused.
    Other(String),
}

/// Who manages its resources: `resourceManagementType`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Management {
    /// Whoever created the service looks after its load balancer, scaling and the like.
    Customer,
    /// ECS does: it is an Express Mode service.
    Ecs {
        /// The ARN of the service, by which Express Mode's own calls name it.
        service_arn: String,
    },
}

impl Management {
    /// The call to make in place of one that ECS refused for good; `None` if there is no other for this service.
    ///
    /// AWS does not document whether UpdateService takes a new revision for an Express Mode service. It is tried first, because it changes
    /// nothing but the revision; the call of Express Mode's own is what remains.
    #[must_use]
    pub fn after_refusal_of(&self, refused: &RevisionWrite) -> Option<RevisionWrite> {
        match (refused, self) {
            (RevisionWrite::UpdateService, Self::Ecs { service_arn }) => {
                Some(RevisionWrite::UpdateExpressGatewayService { service_arn: service_arn.clone() })
            }
            (RevisionWrite::UpdateService, Self::Customer)
            | (RevisionWrite::UpdateExpressGatewayService { .. }, Self::Customer | Self::Ecs { .. }) => None,
        }
    }
}

/// A call that sets a service to a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevisionWrite {
    /// UpdateService, which ECS takes for every service of its own deployment controller.
    UpdateService,
    /// UpdateExpressGatewayService, for an Express Mode service.
    UpdateExpressGatewayService {
        /// The ARN of the service.
        service_arn: String,
    },
}

/// How its tasks are placed: `schedulingStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduling {
    /// A number of tasks.
    Replica,
    /// One task on each instance.
    Daemon,
}

/// How ECS replaces tasks: `deploymentConfiguration.strategy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// Tasks are replaced a few at a time.
    Rolling,
    /// BLUE_GREEN, LINEAR, CANARY: a whole second set of tasks, then traffic moves.
    Shifting(String),
}

/// One deployment of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentView {
    /// The id of the deployment.
    pub id: DeploymentId,
    /// Whether it is the PRIMARY one.
    pub primary: bool,
    /// The revision it brings.
    pub task_definition: TaskDefinitionArn,
    /// When it was created.
    pub since: Option<Timestamp>,
    /// `rolloutState`; ECS gives none behind a Classic Load Balancer.
    pub state: Option<RolloutState>,
    /// Why it has that state: `rolloutStateReason`.
    pub reason: String,
    /// Tasks it shall run.
    pub desired: i32,
    /// The number of tasks that run.
    pub running: i32,
    /// Tasks that are starting.
    pub pending: i32,
    /// Tasks that failed in a row.
    pub failed: i32,
}

/// `rolloutState` of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutState {
    /// `IN_PROGRESS`, and what ECS may add.
    InProgress,
    /// `COMPLETED`: ECS is done with it.
    Completed,
    /// `FAILED`: the circuit breaker or an alarm ended it.
    Failed,
}

/// How a deployment fared, by ListServiceDeployments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// ECS is at it.
    UnderWay,
    /// ECS is done with it.
    Successful,
    /// It was stopped, or rolled back.
    GivenUp,
}

/// An image as DescribeImages gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageView {
    /// The registry that the image is in.
    pub registry: Registry,
    /// The digest; of an image index for a multi-architecture image.
    pub digest: Digest,
    /// The tags that point to it now.
    pub tags: Vec<Tag>,
    /// When it was pushed.
    pub pushed_at: Option<Timestamp>,
    /// The media type of its manifest: `imageManifestMediaType`.
    pub manifest_type: Option<String>,
    /// `artifactMediaType`: the artifact type that the manifest names, or the media type of its configuration.
    pub artifact_type: Option<String>,
    /// Whether it refers to another image: a signature or attestation by the OCI 1.1 rules.
    pub refers: bool,
}

impl ImageView {
    /// Whether it is an index of images for several platforms.
    #[must_use]
    pub fn is_index(&self) -> bool {
        const INDEX: [&str; 2] =
            ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
        self.manifest_type.as_deref().is_some_and(|kind| INDEX.contains(&kind))
    }

    /// Why this is not a container image, if it is none.
    #[must_use]
    pub fn not_an_image(&self) -> Option<String> {
        if self.refers {
            return Some("it refers to another image (subject)".to_owned());
        }
        let kind = self.artifact_type.as_deref()?;
        (!artifact::is_image(kind, self.manifest_type.as_deref())).then(|| format!("its artifact type is {kind}"))
    }
}

/// A repository as DescribeRepositories gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryView {
    /// The name of the repository.
    pub name: String,
    /// Whether a tag in it can be pushed only once.
    pub immutable: bool,
    /// Tags for which the opposite holds: texts in which `*` stands for anything.
    pub except: Vec<String>,
}

impl RepositoryView {
    /// Whether this tag can be pushed only once.
    #[must_use]
    pub fn fixes(&self, tag: &Tag) -> bool {
        let fits = |filter: &String| Glob::parse(filter).is_ok_and(|glob| glob.is_match(tag.as_str()));
        let excepted = self.except.iter().any(fits);
        self.immutable != excepted
    }
}

/// The digests that the running tasks of a service use, by revision and container name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunningImages {
    /// Several revisions, and several digests of a container, while a deployment is under way. The revision of a task may be untold.
    digests: BTreeMap<Option<TaskDefinitionArn>, BTreeMap<String, BTreeSet<Digest>>>,
}

impl RunningImages {
    /// Adds what a container of a running task uses.
    pub fn add(&mut self, revision: Option<TaskDefinitionArn>, container: &str, digest: Digest) {
        let containers = self.digests.entry(revision).or_default();
        containers.entry(container.to_owned()).or_default().insert(digest);
    }

    /// The digests that running tasks use for a container.
    #[must_use]
    pub fn all(&self, container: &str) -> BTreeSet<&Digest> {
        self.digests.values().filter_map(|containers| containers.get(container)).flatten().collect()
    }

    /// The digests that the running tasks of one revision use for a container.
    #[must_use]
    pub fn of(&self, revision: &TaskDefinitionArn, container: &str) -> BTreeSet<&Digest> {
        let of_revision = self.digests.iter().filter(|(of, _)| of.as_ref() == Some(revision));
        of_revision.filter_map(|(_, containers)| containers.get(container)).flatten().collect()
    }

    /// The one digest that every running task uses for a container; `None` if there are none or several.
    #[must_use]
    pub fn only(&self, container: &str) -> Option<&Digest> {
        let mut all = self.all(container).into_iter();
        all.next().filter(|_| all.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_express_mode_service_has_a_second_call_and_only_one() {
        let service_arn = "arn:aws:ecs:eu-west-1:111111111111:service/web/hello".to_owned();
        let express = RevisionWrite::UpdateExpressGatewayService { service_arn: service_arn.clone() };
        let (of_ecs, of_customer) = (Management::Ecs { service_arn }, Management::Customer);
        assert_eq!(of_ecs.after_refusal_of(&RevisionWrite::UpdateService), Some(express.clone()));
        assert_eq!(of_ecs.after_refusal_of(&express), None);
        assert_eq!(of_customer.after_refusal_of(&RevisionWrite::UpdateService), None);
        assert_eq!(of_customer.after_refusal_of(&express), None);
    }

    #[test]
    fn the_last_completed_deployment_is_told_where_the_primary_one_has_not_completed() {
        use RolloutState::{Completed, Failed, InProgress};

        use crate::domain::test_support::{at, deployment, service};
        let old = |revision, state, second| DeploymentView {
            since: Some(at(second)),
            ..deployment(&format!("d{revision}"), false, revision, state)
        };
        let found = |primary, others: &[DeploymentView]| {
            let primary = deployment("d9", true, 9, primary);
            let service = service(9, others.iter().cloned().chain([primary]).collect());
            service.completed_before_primary().map(|deployment| deployment.task_definition.revision())
        };
        let completed = [old(3, Some(Completed), 3), old(5, Some(Completed), 5), old(7, Some(InProgress), 7)];
        for state in [InProgress, Failed] {
            assert_eq!(found(Some(state), &completed), Some(5), "{state:?}");
            assert_eq!(found(Some(state), &completed[2..]), None, "{state:?}");
        }
        assert_eq!(found(Some(Completed), &completed), None, "it is the last one itself");
        assert_eq!(found(None, &[old(3, None, 3)]), None, "behind a Classic Load Balancer nobody says");
    }

    #[test]
    fn running_images_are_known_by_revision() {
        use crate::domain::test_support::{arn, digest};
        let mut running = RunningImages::default();
        assert_eq!(running.only("app"), None);
        running.add(Some(arn(1)), "app", digest('a'));
        assert_eq!(running.only("app"), Some(&digest('a')));
        running.add(Some(arn(2)), "app", digest('b'));
        running.add(None, "app", digest('c'));
        assert_eq!((running.all("app").len(), running.only("app")), (3, None));
        assert_eq!(running.of(&arn(1), "app"), BTreeSet::from([&digest('a')]));
        assert!(running.of(&arn(1), "side").is_empty() && running.of(&arn(3), "app").is_empty());
    }

    #[test]
    fn what_is_excepted_is_the_other_way_round() {
        let view = |immutable, except: &[&str]| RepositoryView {
            name: "hello".to_owned(),
            immutable,
            except: except.iter().map(|filter| (*filter).to_owned()).collect(),
        };
        let fixes = |view: &RepositoryView, tag: &str| view.fixes(&Tag::parse(tag).unwrap());
        assert!(fixes(&view(true, &[]), "latest") && !fixes(&view(false, &[]), "latest"));
        let mostly = view(true, &["latest", "dev-*"]);
        assert_eq!(["latest", "dev-1", "dev", "v1"].map(|tag| fixes(&mostly, tag)), [false, false, true, true]);
        let few = view(false, &["v*.*-final"]);
        assert_eq!(["v1.2-final", "v1-final", "v1.2-finally"].map(|tag| fixes(&few, tag)), [true, false, false]);
    }
}
