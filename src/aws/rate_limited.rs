//! Keeps the calls to ECS within its rate limits: whoever makes one waits until it fits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use super::{AwsError, Ecs, Services};
use crate::clock::{self, Instant};
use crate::domain::deployment::{HookAction, ServiceDeploymentView};
use crate::domain::rate_limit::{Bucket, Group};
use crate::domain::task::{Started, TaskView};
use crate::domain::task_definition::{Registration, TaskDefinition};
use crate::domain::types::{DeploymentId, EcsName, TaskDefinitionArn};
use crate::domain::view::{DeploymentView, Fate, RunningImages};

/// ECS with the token buckets of one account and Region.
#[derive(Debug)]
pub(super) struct RateLimited {
    ecs: Arc<dyn Ecs>,
    begun: Instant,
    buckets: Mutex<BTreeMap<Group, Bucket>>,
}

impl RateLimited {
    pub(super) fn new(ecs: Arc<dyn Ecs>) -> Self {
        Self { ecs, begun: clock::instant(), buckets: Mutex::default() }
    }

    /// Waits until a call of the group fits.
    async fn take(&self, group: Group) {
        while let Err(wait) = self.try_take(group) {
            clock::sleep(wait).await;
        }
    }

    fn try_take(&self, group: Group) -> Result<(), std::time::Duration> {
        let now = self.begun.elapsed();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.entry(group).or_insert_with(|| Bucket::new(group, now)).take(now)
    }
}

#[async_trait]
impl Ecs for RateLimited {
    async fn describe_services(&self, cluster: &EcsName, services: &[EcsName]) -> Result<Services, AwsError> {
        self.take(Group::ServiceReads).await;
        self.ecs.describe_services(cluster, services).await
    }

    async fn describe_task_definition(&self, which: &str) -> Result<TaskDefinition, AwsError> {
        self.take(Group::TaskDefinitions).await;
        self.ecs.describe_task_definition(which).await
    }

    async fn register_task_definition(&self, registration: &Registration) -> Result<TaskDefinitionArn, AwsError> {
        self.take(Group::Register).await;
        self.ecs.register_task_definition(registration).await
    }

    async fn update_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError> {
        self.take(Group::ServiceWrites).await;
        self.ecs.update_service(cluster, service, revision).await
    }

    async fn update_express_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        service_arn: &str,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError> {
        self.take(Group::ServiceWrites).await;
        self.ecs.update_express_service(cluster, service, service_arn, revision).await
    }

    async fn deployed_since(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        since: Timestamp,
    ) -> Result<Vec<(TaskDefinitionArn, Fate)>, AwsError> {
        // It takes two calls.
        self.take(Group::ServiceDeployments).await;
        self.take(Group::ServiceDeployments).await;
        self.ecs.deployed_since(cluster, service, since).await
    }

    async fn service_deployments(&self, arns: &[String]) -> Result<Vec<ServiceDeploymentView>, AwsError> {
        self.take(Group::ServiceDeployments).await;
        self.ecs.service_deployments(arns).await
    }

    async fn describe_service_json(&self, cluster: &EcsName, service: &EcsName) -> Result<Option<Value>, AwsError> {
        self.take(Group::ServiceReads).await;
        self.ecs.describe_service_json(cluster, service).await
    }

    async fn run_task(&self, request: &Value) -> Result<Started, AwsError> {
        self.take(Group::Tasks).await;
        self.ecs.run_task(request).await
    }

    async fn describe_tasks(&self, cluster: &EcsName, tasks: &[String]) -> Result<Vec<TaskView>, AwsError> {
        self.take(Group::Tasks).await;
        self.ecs.describe_tasks(cluster, tasks).await
    }

    async fn stop_task(&self, cluster: &EcsName, task: &str, reason: &str) -> Result<(), AwsError> {
        self.take(Group::Tasks).await;
        self.ecs.stop_task(cluster, task, reason).await
    }

    async fn continue_deployment(&self, arn: &str, hook: &str, action: HookAction) -> Result<(), AwsError> {
        self.take(Group::ServiceDeployments).await;
        self.ecs.continue_deployment(arn, hook, action).await
    }

    async fn stop_deployment(&self, arn: &str) -> Result<(), AwsError> {
        self.take(Group::ServiceDeployments).await;
        self.ecs.stop_deployment(arn).await
    }

    async fn stopped_reasons(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        deployment: &DeploymentId,
    ) -> Result<Vec<String>, AwsError> {
        // It takes two calls.
        self.take(Group::Tasks).await;
        self.take(Group::Tasks).await;
        self.ecs.stopped_reasons(cluster, service, deployment).await
    }

    async fn list_running_tasks(&self, cluster: &EcsName, service: &EcsName) -> Result<Vec<String>, AwsError> {
        self.take(Group::Tasks).await;
        self.ecs.list_running_tasks(cluster, service).await
    }

    async fn describe_running_images(&self, cluster: &EcsName, tasks: &[String]) -> Result<RunningImages, AwsError> {
        self.take(Group::Tasks).await;
        self.ecs.describe_running_images(cluster, tasks).await
    }
}
