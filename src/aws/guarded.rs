//! ECS with something around each call. What that is goes by what is declared of the call here: its rate limit, and whether it changes
//! something.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use super::{AwsError, Ecs, Services};
use crate::domain::deployment::{HookAction, ServiceDeploymentView};
use crate::domain::rate_limit::Group;
use crate::domain::schedule::Operations;
use crate::domain::task::{Started, TaskView};
use crate::domain::task_definition::{Registration, TaskDefinition};
use crate::domain::types::{DeploymentId, EcsName, TaskDefinitionArn};
use crate::domain::view::{DeploymentView, Fate, RunningImages};

/// A call of [`Ecs`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// The rate limit that its requests count against.
    pub(super) group: Group,
    /// How many requests it makes.
    pub(super) requests: u32,
    /// The API and the operation, where it changes something.
    pub(super) write: Option<(&'static str, &'static str)>,
}

impl Call {
    const fn read(group: Group) -> Self {
        Self { group, requests: 1, write: None }
    }

    const fn write(group: Group, operation: &'static str) -> Self {
        Self { group, requests: 1, write: Some(("ecs", operation)) }
    }

    const fn twice(self) -> Self {
        Self { requests: 2, ..self }
    }
}

/// What is done around each call.
pub(super) trait Guard: fmt::Debug + Send + Sync {
    /// Makes a call, which has not begun before it is awaited.
    fn around<T: Send>(
        &self,
        call: Call,
        answer: impl Future<Output = Result<T, AwsError>> + Send,
    ) -> impl Future<Output = Result<T, AwsError>> + Send;
}

/// ECS with a guard.
#[derive(Debug)]
pub(super) struct Guarded<G> {
    pub(super) ecs: Arc<dyn Ecs>,
    pub(super) guard: G,
}

#[async_trait]
impl<G: Guard> Ecs for Guarded<G> {
    async fn describe_services(&self, cluster: &EcsName, services: &[EcsName]) -> Result<Services, AwsError> {
        let call = Call::read(Group::ServiceReads);
        self.guard.around(call, self.ecs.describe_services(cluster, services)).await
    }

    async fn describe_task_definition(&self, which: &str) -> Result<TaskDefinition, AwsError> {
        let call = Call::read(Group::TaskDefinitions);
        self.guard.around(call, self.ecs.describe_task_definition(which)).await
    }

    async fn register_task_definition(&self, registration: &Registration) -> Result<TaskDefinitionArn, AwsError> {
        let call = Call::write(Group::Register, "RegisterTaskDefinition");
        self.guard.around(call, self.ecs.register_task_definition(registration)).await
    }

    async fn update_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError> {
        let mut call = Call::write(Group::ServiceWrites, "UpdateService");
        // Among the services are schedules, which are not written to ECS.
        if let Some(schedule) = service.schedule_in(cluster) {
            let Operations { api, write, .. } = schedule.operations();
            call.write = Some((api, write));
        }
        self.guard.around(call, self.ecs.update_service(cluster, service, revision)).await
    }

    async fn update_express_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        service_arn: &str,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError> {
        let call = Call::write(Group::ServiceWrites, "UpdateExpressGatewayService");
        let answer = self.ecs.update_express_service(cluster, service, service_arn, revision);
        self.guard.around(call, answer).await
    }

    async fn deployed_since(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        since: Timestamp,
    ) -> Result<Vec<(TaskDefinitionArn, Fate)>, AwsError> {
        let call = Call::read(Group::ServiceDeployments).twice();
        self.guard.around(call, self.ecs.deployed_since(cluster, service, since)).await
    }

    async fn service_deployments(&self, arns: &[String]) -> Result<Vec<ServiceDeploymentView>, AwsError> {
        let call = Call::read(Group::ServiceDeployments);
        self.guard.around(call, self.ecs.service_deployments(arns)).await
    }

    async fn describe_service_json(&self, cluster: &EcsName, service: &EcsName) -> Result<Option<Value>, AwsError> {
        let call = Call::read(Group::ServiceReads);
        self.guard.around(call, self.ecs.describe_service_json(cluster, service)).await
    }

    async fn run_task(&self, request: &Value) -> Result<Started, AwsError> {
        let call = Call::write(Group::Tasks, "RunTask");
        self.guard.around(call, self.ecs.run_task(request)).await
    }

    async fn describe_tasks(&self, cluster: &EcsName, tasks: &[String]) -> Result<Vec<TaskView>, AwsError> {
        let call = Call::read(Group::Tasks);
        self.guard.around(call, self.ecs.describe_tasks(cluster, tasks)).await
    }

    async fn stop_task(&self, cluster: &EcsName, task: &str, reason: &str) -> Result<(), AwsError> {
        let call = Call::write(Group::Tasks, "StopTask");
        self.guard.around(call, self.ecs.stop_task(cluster, task, reason)).await
    }

    async fn continue_deployment(&self, arn: &str, hook: &str, action: HookAction) -> Result<(), AwsError> {
        let call = Call::write(Group::ServiceDeployments, "ContinueServiceDeployment");
        self.guard.around(call, self.ecs.continue_deployment(arn, hook, action)).await
    }

    async fn stop_deployment(&self, arn: &str) -> Result<(), AwsError> {
        let call = Call::write(Group::ServiceDeployments, "StopServiceDeployment");
        self.guard.around(call, self.ecs.stop_deployment(arn)).await
    }

    async fn stopped_reasons(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        deployment: &DeploymentId,
    ) -> Result<Vec<String>, AwsError> {
        let call = Call::read(Group::Tasks).twice();
        self.guard.around(call, self.ecs.stopped_reasons(cluster, service, deployment)).await
    }

    async fn list_running_tasks(&self, cluster: &EcsName, service: &EcsName) -> Result<Vec<String>, AwsError> {
        let call = Call::read(Group::Tasks);
        self.guard.around(call, self.ecs.list_running_tasks(cluster, service)).await
    }

    async fn describe_running_images(&self, cluster: &EcsName, tasks: &[String]) -> Result<RunningImages, AwsError> {
        let call = Call::read(Group::Tasks);
        self.guard.around(call, self.ecs.describe_running_images(cluster, tasks)).await
    }
}
