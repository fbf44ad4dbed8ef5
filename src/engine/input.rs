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
use crate::domain::gate::{Found, Question};
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
        /// The configuration that it was asked under.
        generation: u64,
        /// When it was asked.
        asked_at: Moment,
        /// The answers.
        answers: Vec<(ObservationRequest, Result<Observation, AwsError>)>,
    },
    /// How far an unfinished rollout got.
    Inspected {
        /// The rollout.
        id: RolloutId,
        /// The answer.
        answer: Box<Result<Inspected, AwsError>>,
    },
    /// What services are set to that are about to be updated.
    Rechecked {
        /// The rollouts.
        ids: Vec<RolloutId>,
        /// The answers.
        answers: ByService<Option<Seen>>,
    },
    /// A revision was registered, or not.
    Registered {
        /// The rollouts that wait for it.
        ids: Vec<RolloutId>,
        /// The answer.
        answer: Result<TaskDefinitionArn, AwsError>,
    },
    /// A service was updated, or not. The answer is its PRIMARY deployment.
    Updated {
        /// The rollout.
        id: RolloutId,
        /// The revision that it was to be set to.
        revision: TaskDefinitionArn,
        /// The answer.
        answer: Box<Result<DeploymentView, AwsError>>,
    },
    /// How rollouts go.
    Watched {
        /// The cluster.
        place: Place,
        /// When it was asked.
        asked_at: Moment,
        /// What was asked about.
        services: Vec<(ServiceKey, DeploymentId)>,
        /// The answers.
        answers: ByService<Option<Seen>>,
    },
    /// The stage of a service deployment.
    Staged {
        /// The service.
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
        /// The service.
        service: ServiceKey,
        /// The answers.
        answers: Vec<(Question, Result<Found, AwsError>)>,
    },
    /// ECS took the answer to a hook, or did not.
    Continued {
        /// The rollout.
        id: RolloutId,
        /// The answer.
        answer: Result<(), AwsError>,
    },
    /// What a one-off task needs.
    TaskPrepared {
        /// The rollout.
        id: RolloutId,
        /// The answer.
        answer: Box<Result<Prepared, AwsError>>,
    },
    /// RunTask was answered, or not.
    TaskStarted {
        /// The rollout.
        id: RolloutId,
        /// The answer.
        answer: Result<Started, AwsError>,
    },
    /// ECS stops a task, or does not.
    TaskStopped {
        /// The rollout.
        id: RolloutId,
        /// The answer.
        answer: Result<(), AwsError>,
    },
    /// How one-off tasks go.
    TasksSeen {
        /// The cluster.
        place: Place,
        /// What was asked about: the rollouts, with the ARNs of their tasks.
        tasks: Vec<(RolloutId, String)>,
        /// The tasks that ECS knows.
        answer: Result<Vec<TaskView>, AwsError>,
    },
    /// ECS stops a deployment, or does not.
    Stopped {
        /// The service.
        service: ServiceKey,
        /// The answer.
        answer: Result<(), AwsError>,
    },
    /// What the policies of a repository select in ECR.
    Compared {
        /// The repository.
        repository: RepositoryKey,
        /// The answer.
        answer: Result<BestImages, AwsError>,
    },
    /// Why tasks of a deployment stopped; empty, if there are no reasons or they were not told in time.
    StoppedTasks {
        /// The service.
        service: ServiceKey,
        /// The deployment.
        deployment: DeploymentId,
        /// The answer.
        answer: Result<Vec<String>, AwsError>,
    },
    /// How the deployments of a service fared.
    Deployments {
        /// The service.
        service: ServiceKey,
        /// The deployment that it was asked for.
        deployment: DeploymentId,
        /// The answer.
        answer: Result<Vec<(TaskDefinitionArn, Fate)>, AwsError>,
    },
    /// What a rollback needs to know.
    Located {
        /// The command.
        command: CommandId,
        /// The service.
        service: ServiceKey,
        /// The answer.
        answer: Result<Location, Unlocated>,
    },
    /// The state is durable.
    Committed {
        /// The proof.
        receipt: Receipt,
    },
    /// The state could not be made durable.
    CommitFailed {
        /// Why.
        error: String,
    },
    /// A command of an operator.
    Command {
        /// Its name.
        id: CommandId,
        /// `CLUSTER/SERVICE`, or `AWS/CLUSTER/SERVICE`.
        service: String,
        /// What to do.
        order: OperatorCommand,
        /// The operator.
        by: String,
    },
    /// AWS's answers have shown that the clock was wrong: this was added to it.
    ClockCorrected(SignedDuration),
    /// Another configuration is in force.
    Reload(Rules),
    /// The services that have a tag.
    Looked(Box<Look>),
    /// Time has passed.
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
    /// Changes to ECS.
    pub changes: Vec<Change>,
    /// How far the changes are read, once they are durable.
    pub audited: Option<AuditProgress>,
}
