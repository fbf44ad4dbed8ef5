//! What comes in: a closed set.

use jiff::SignedDuration;

use super::comparison::BestImages;
use super::deliveries::Delivery;
use super::durability::Receipt;
use super::effect::{CommandId, Place, RolloutId};
use super::now::Moment;
use super::observation::{ByService, Inspected, Location, Observation, ObservationRequest, Seen, Unlocated};
use super::rules::Rules;
use crate::domain::audit::Change;
use crate::domain::aws_error::AwsError;
use crate::domain::deployment::ServiceDeploymentView;
use crate::domain::discovery::Look;
use crate::domain::event::ParsedEvent;
use crate::domain::gate::{ImageReport, ImageRequest};
use crate::domain::settings::RepositoryKey;
use crate::domain::state::{AuditProgress, OperatorCommand, ReadingProgress};
use crate::domain::task::{Prepared, Started, TaskView};
use crate::domain::types::{ContextName, DeploymentId, ServiceKey, TaskDefinitionArn};
use crate::domain::view::{DeploymentView, Fate, ServiceView};

/// Something that happened outside.
#[derive(Debug)]
pub enum Input {
    /// A page of events.
    Page(Page),
    /// What a queue has delivered.
    Delivery(Delivery),
    /// What was found out about services with pending pushes.
    Observed {
        /// When it was asked.
        asked_at: Moment,
        /// What AWS says of each of them.
        answers: Vec<(ObservationRequest, Result<Observation, AwsError>)>,
    },
    /// How far an unfinished rollout got.
    Inspected {
        /// The rollout that it is for.
        id: RolloutId,
        /// What AWS says, or how the call failed.
        answer: Box<Result<Inspected, AwsError>>,
    },
    /// What services are set to that are about to be updated.
    Rechecked {
        /// The rollouts that it is for.
        ids: Vec<RolloutId>,
        /// What AWS says of each of them.
        answers: ByService<Option<Seen>>,
    },
    /// A revision was registered, or not.
    Registered {
        /// The rollouts that wait for it.
        ids: Vec<RolloutId>,
        /// What AWS says, or how the call failed.
        answer: Result<TaskDefinitionArn, AwsError>,
    },
    /// A service was updated, or not. The answer is its PRIMARY deployment.
    Updated {
        /// The rollout that it is for.
        id: RolloutId,
        /// The revision that it was to be set to.
        revision: TaskDefinitionArn,
        /// What AWS says, or how the call failed.
        answer: Box<Result<DeploymentView, AwsError>>,
    },
    /// How ECS says that rollouts go.
    Watched {
        /// The cluster of the services.
        place: Place,
        /// When it was asked.
        asked_at: Moment,
        /// What was asked about.
        services: Vec<(ServiceKey, DeploymentId)>,
        /// What AWS says of each of them.
        answers: ByService<Option<Seen>>,
    },
    /// The stage of a service deployment.
    Staged {
        /// The service that it is about.
        service: ServiceKey,
        /// The deployment that is watched.
        deployment: DeploymentId,
        /// The service as it was seen before.
        seen: Box<ServiceView>,
        /// When that was asked.
        asked_at: Moment,
        /// The answer; `None` if ECS does not know the service deployment.
        answer: Box<Result<Option<ServiceDeploymentView>, AwsError>>,
    },
    /// What ECR says of images whose scans or signatures a gate judges.
    AtGates {
        /// The service that it is about.
        service: ServiceKey,
        /// What AWS says of each of them.
        answers: Vec<(ImageRequest, Result<ImageReport, AwsError>)>,
    },
    /// ECS took the answer to a hook, or did not.
    Continued {
        /// The rollout that it is for.
        id: RolloutId,
        /// What AWS says, or how the call failed.
        answer: Result<(), AwsError>,
    },
    /// What a one-off task needs.
    TaskPrepared {
        /// The rollout that it is for.
        id: RolloutId,
        /// What AWS says, or how the call failed.
        answer: Box<Result<Prepared, AwsError>>,
    },
    /// RunTask was answered, or not.
    TaskStarted {
        /// The rollout that it is for.
        id: RolloutId,
        /// What AWS says, or how the call failed.
        answer: Result<Started, AwsError>,
    },
    /// ECS stops a task, or does not.
    TaskStopped {
        /// The rollout that it is for.
        id: RolloutId,
        /// What AWS says, or how the call failed.
        answer: Result<(), AwsError>,
    },
    /// How one-off tasks go.
    TasksSeen {
        /// The cluster of the services.
        place: Place,
        /// What was asked about: the rollouts, with the ARNs of their tasks.
        tasks: Vec<(RolloutId, String)>,
        /// The tasks that ECS knows.
        answer: Result<Vec<TaskView>, AwsError>,
    },
    /// ECS stops a deployment, or does not.
    Stopped {
        /// The service that it is about.
        service: ServiceKey,
        /// What AWS says, or how the call failed.
        answer: Result<(), AwsError>,
    },
    /// What the policies of a repository select in ECR.
    Compared {
        /// The repository that was pushed to.
        repository: RepositoryKey,
        /// What AWS says, or how the call failed.
        answer: Result<BestImages, AwsError>,
    },
    /// Why tasks of a deployment stopped; empty, if there are no reasons or they were not told in time.
    StoppedTasks {
        /// The service that it is about.
        service: ServiceKey,
        /// The deployment that is asked about.
        deployment: DeploymentId,
        /// What AWS says, or how the call failed.
        answer: Result<Vec<String>, AwsError>,
    },
    /// How the deployments of a service fared.
    Deployments {
        /// The service that it is about.
        service: ServiceKey,
        /// The deployment that it was asked for.
        deployment: DeploymentId,
        /// What AWS says, or how the call failed.
        answer: Result<Vec<(TaskDefinitionArn, Fate)>, AwsError>,
    },
    /// What a rollback needs to know.
    Located {
        /// The command that needs it.
        command: CommandId,
        /// The service that it is about.
        service: ServiceKey,
        /// What AWS says, or how the call failed.
        answer: Result<Location, Unlocated>,
    },
    /// The state is durable.
    Committed {
        /// The proof that this state is on the disk.
        receipt: Receipt,
    },
    /// The state could not be made durable.
    CommitFailed {
        /// Why it could not be written.
        error: String,
    },
    /// A command of an operator.
    Command {
        /// The name by which its answer is given.
        id: CommandId,
        /// The service, as `CLUSTER/SERVICE` or `AWS/CLUSTER/SERVICE`.
        service: String,
        /// The command that was given.
        command: OperatorCommand,
        /// The operator who gave the command.
        by: String,
    },
    /// AWS's answers have shown that the clock was wrong: this was added to it.
    ClockCorrected(SignedDuration),
    /// Another configuration is in force.
    Reload(Rules),
    /// The services that have a tag.
    Looked(Box<Look>),
    /// Nothing but time has passed.
    Time,
}

/// A page of CloudTrail's events.
#[derive(Debug)]
pub struct Page {
    /// The AWS context that it was read in.
    pub context: ContextName,
    /// The push events, newest first.
    pub parsed_events: Vec<ParsedEvent>,
    /// How far the events are read, once the page is durable.
    pub progress: Option<ReadingProgress>,
    /// The changes to ECS that the page reports.
    pub changes: Vec<Change>,
    /// How far the changes are read, once they are durable.
    pub audited: Option<AuditProgress>,
}
