//! What one-off tasks need, and how they go.

use super::{Observer, with_retries};
use crate::aws::AwsError;
use crate::domain::task::{Prepared, TaskView};
use crate::domain::types::{ContextName, EcsName, ServiceKey, TaskDefinitionArn};

impl Observer {
    /// How a service is set up, the revision that its rollout brings, and the latest one of the task's own family, where it has one.
    ///
    /// # Errors
    /// A call failed.
    pub async fn prepare_task(
        &self,
        key: &ServiceKey,
        revision: &TaskDefinitionArn,
        family: Option<&str>,
    ) -> Result<Prepared, AwsError> {
        let ecs = &self.context(&key.aws)?.ecs;
        let service = with_retries(|| ecs.describe_service_json(&key.cluster, &key.service)).await?;
        let revision = with_retries(|| ecs.describe_task_definition(revision.as_str())).await?;
        let family = match family {
            Some(family) => Some(self.definition(&key.aws, family).await?),
            None => None,
        };
        Ok(Prepared { service, revision, family })
    }

    /// These tasks (at most 100) of a cluster, as far as ECS knows them.
    ///
    /// # Errors
    /// The call failed.
    pub async fn tasks(
        &self,
        aws: &ContextName,
        cluster: &EcsName,
        arns: &[String],
    ) -> Result<Vec<TaskView>, AwsError> {
        let ecs = &self.context(aws)?.ecs;
        with_retries(|| ecs.describe_tasks(cluster, arns)).await
    }
}
