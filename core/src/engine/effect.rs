//! What the engine wants done. The executor carries it out as it stands, and chooses nothing.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::deliveries::DeliveryId;
use super::durability::{Durable, Snapshot};
use super::event::Event;
use super::now::Moment;
use super::observation::ObservationRequest;
use crate::domain::deployment::HookAction;
use crate::domain::gate::ImageRequest;
use crate::domain::notification::Notification;
use crate::domain::operator_command::Refused;
use crate::domain::policy::Policy;
use crate::domain::settings::RepositoryKey;
use crate::domain::state::Rollout;
use crate::domain::task_definition::Registration;
use crate::domain::types::{ContextName, DeploymentId, EcsName, ServiceKey, TaskDefinitionArn};
use crate::domain::view::{RevisionWrite, ServiceView};
use crate::domain::waiting::Hook;

/// Names a rollout: the answer to a call that was made for it counts for no other one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RolloutId {
    /// The service that it is about.
    pub service: ServiceKey,
    /// When the rollout was decided.
    pub decided_at: Timestamp,
}

/// A cluster in an AWS context.
pub type Place = (ContextName, EcsName);

/// Names a command of an operator, so that its answer reaches whoever gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// The answer to a command.
pub type Answer = Result<String, Refused>;

/// One thing to do.
#[derive(Debug)]
pub enum Effect {
    /// A read, which changes nothing and may begin at once.
    Read(Read),
    /// The state is to be made durable.
    Commit(Snapshot),
    /// A write to ECS. There is none before the commit that says that it will be made.
    Write(Durable<Write>),
    /// A notification. There is none before the commit of what it tells.
    Notify(Durable<Arc<Notification>>),
    /// A source is told that what it has delivered is durable: it may forget it.
    Acknowledge(Durable<DeliveryId>),
    /// The answer to a command. There is none before the commit of what it says.
    Reply(Durable<(CommandId, Answer)>),
    /// A command is not carried out, or the commit of what it did has failed, which the text says: there is no commit to wait for.
    Refuse(CommandId, Refused),
    /// An event for the log, the metrics and the page.
    Tell(Event),
}

/// A request that only reads.
#[derive(Debug, Clone)]
pub enum Read {
    /// What the pending pushes of services need to be decided. The reads are shared over all of them.
    Observe {
        /// When it is asked.
        asked_at: Moment,
        /// What has to be found out about each service.
        requests: Vec<ObservationRequest>,
    },
    /// How far an unfinished rollout got.
    Inspect {
        /// The rollout that it is for.
        id: RolloutId,
        /// The rollout as it is on record.
        rollout: Box<Rollout>,
    },
    /// What services are set to, right before they are updated: at most ten, of one cluster.
    Recheck {
        /// The cluster of the services.
        place: Place,
        /// The rollouts that it is for.
        ids: Vec<RolloutId>,
    },
    /// How rollouts go: at most ten services of one cluster.
    Watch {
        /// The cluster of the services.
        place: Place,
        /// When it is asked.
        asked_at: Moment,
        /// The services, with the deployments that are watched.
        services: Vec<(ServiceKey, DeploymentId)>,
    },
    /// The stage of a service deployment, and the hooks that it waits at. It is judged together with the service as it was seen.
    Stages {
        /// The service that it is about.
        service: ServiceKey,
        /// The deployment that is watched.
        deployment: DeploymentId,
        /// The service deployment's ARN.
        arn: String,
        /// The service as it was seen.
        seen: Box<ServiceView>,
        /// When the service was seen so.
        asked_at: Moment,
    },
    /// What a one-off task needs: how the service is set up, and its task definition.
    PrepareTask {
        /// The rollout that it is for.
        id: RolloutId,
        /// The revision that the rollout brings.
        revision: TaskDefinitionArn,
        /// The task's own family, where it has one.
        family: Option<String>,
    },
    /// How one-off tasks go: at most a hundred tasks of one cluster.
    Tasks {
        /// The cluster of the services.
        place: Place,
        /// The rollouts, with the ARNs of their tasks.
        tasks: Vec<(RolloutId, String)>,
    },
    /// What ECR says of images whose scans or signatures a gate judges.
    Gates {
        /// The service that it is about.
        service: ServiceKey,
        /// What is asked of each image.
        requests: Vec<ImageRequest>,
    },
    /// What the policies of services select in their repository.
    Compare {
        /// The repository that was pushed to.
        repository: RepositoryKey,
        /// The services, with their policies.
        policies: Vec<(ServiceKey, Arc<dyn Policy>)>,
    },
    /// Why tasks of a deployment stopped.
    StoppedTasks {
        /// The service that it is about.
        service: ServiceKey,
        /// The deployment that is asked about.
        deployment: DeploymentId,
    },
    /// The deployments of a service since a time, and how they fared.
    Deployments {
        /// The service that it is about.
        service: ServiceKey,
        /// The deployment that it is asked for.
        deployment: DeploymentId,
        /// Deployments from before are left out.
        since: Timestamp,
    },
    /// What a service is set to, and what a revision that an operator names says.
    Locate {
        /// The command that needs it.
        command: CommandId,
        /// The service that it is about.
        service: ServiceKey,
        /// The revision, as the operator names it.
        to: Option<String>,
    },
}

/// A write to ECS.
#[derive(Debug, Clone)]
pub enum Write {
    /// Registers a revision by RegisterTaskDefinition.
    Register {
        /// The AWS context that it belongs to.
        aws: ContextName,
        /// The rollouts that wait for the revision.
        ids: Vec<RolloutId>,
        /// The revision that is registered or set.
        registration: Box<Registration>,
    },
    /// UpdateService, or what an Express Mode service has in its place.
    Update {
        /// The rollout that it is for.
        id: RolloutId,
        /// The revision that is registered or set.
        revision: TaskDefinitionArn,
        /// The operation that sets the service to it.
        by: RevisionWrite,
    },
    /// Answers a hook by ContinueServiceDeployment.
    Continue {
        /// The rollout that it is for.
        id: RolloutId,
        /// The hook that ECS waits at.
        hook: Hook,
        /// What is done about it.
        action: HookAction,
    },
    /// The call RunTask, which starts a one-off task.
    RunTask {
        /// The rollout that it is for.
        id: RolloutId,
        /// The request, with its client token.
        request: Box<Value>,
    },
    /// The call StopTask, for a task whose time is over.
    StopTask {
        /// The rollout that it is for.
        id: RolloutId,
        /// The ARN of the task.
        arn: String,
    },
    /// StopServiceDeployment, with a rollback.
    Stop {
        /// The service that it is about.
        service: ServiceKey,
        /// The service deployment's ARN.
        arn: String,
    },
}
