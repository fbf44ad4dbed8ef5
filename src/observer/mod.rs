//! The observer: every read of ECR and ECS, for the deployer, `plan`, `check`, the status page and rollbacks alike.
//!
//! It reads and nothing else. What an answer means is the engine's business; so is what an error means, except that a read which quickly
//! met with something that passes is made again on the spot.

mod gates;
mod inspection;
mod pending;
pub(crate) mod retry;
mod shared;
mod tasks;

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::aws::{AwsContext, AwsError, CLUSTER_NOT_FOUND, Contexts, Fault, Services};
use crate::domain::deployment::ServiceDeploymentView;
use crate::domain::types::{ContextName, DeploymentId, EcsName, ServiceKey, TaskDefinitionArn};
use crate::domain::view::Fate;
use crate::engine::{ByService, Seen};

pub use pending::Round;
use retry::with_retries;

/// Asks AWS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Observer {
    contexts: Contexts,
}

impl Observer {
    /// Asks by these clients.
    #[must_use]
    pub fn new(contexts: Contexts) -> Self {
        Self { contexts }
    }

    /// The clients of all AWS contexts.
    #[must_use]
    pub fn contexts(&self) -> &Contexts {
        &self.contexts
    }

    pub(crate) fn context(&self, aws: &ContextName) -> Result<&AwsContext, AwsError> {
        self.contexts.get(aws).ok_or_else(|| no_context(aws))
    }

    /// Describes at most 10 services of one cluster, each with an answer of its own.
    ///
    /// IAM denies the whole call where it denies one of the services: then each is asked about alone, so that a permission that is missing
    /// for one does not keep the others from being seen (decision 31).
    pub async fn services(&self, aws: &ContextName, cluster: &EcsName, names: &[EcsName]) -> ByService<Option<Seen>> {
        match self.together(aws, cluster, names).await {
            Ok(found) => names.iter().map(|name| (name.clone(), Ok(found.get(name).cloned()))).collect(),
            Err(error) if names.len() > 1 && matches!(error.fault, Fault::Denied | Fault::Refused) => {
                let alone = names.iter().map(|name| async move {
                    let answer = self.together(aws, cluster, std::slice::from_ref(name)).await;
                    (name.clone(), answer.map(|mut found| found.remove(name)))
                });
                join_all(alone).await.into_iter().collect()
            }
            Err(error) => names.iter().map(|name| (name.clone(), Err(error.clone()))).collect(),
        }
    }

    async fn service(&self, key: &ServiceKey) -> Result<Option<Seen>, AwsError> {
        let names = std::slice::from_ref(&key.service);
        self.together(&key.aws, &key.cluster, names).await.map(|mut found| found.remove(&key.service))
    }

    async fn together(&self, aws: &ContextName, cluster: &EcsName, names: &[EcsName]) -> Result<Services, AwsError> {
        let context = self.context(aws)?;
        match with_retries(|| context.ecs.describe_services(cluster, names)).await {
            // Without the cluster there is no service in it.
            Err(error) if error.code == CLUSTER_NOT_FOUND => Ok(Services::new()),
            other => other,
        }
    }

    /// Whether ECS says that there is no cluster of the name that a service gives. Whoever may describe the service learns that.
    pub async fn lacks_cluster(&self, key: &ServiceKey) -> bool {
        let Ok(context) = self.context(&key.aws) else { return false };
        let asked = context.ecs.describe_services(&key.cluster, std::slice::from_ref(&key.service)).await;
        asked.is_err_and(|error| error.code == CLUSTER_NOT_FOUND)
    }

    /// A service deployment, if ECS knows it.
    ///
    /// # Errors
    /// The call failed.
    pub async fn service_deployment(
        &self,
        key: &ServiceKey,
        arn: &str,
    ) -> Result<Option<ServiceDeploymentView>, AwsError> {
        let arns = [arn.to_owned()];
        let found = self.context(&key.aws)?.ecs.service_deployments(&arns).await?;
        Ok(found.into_iter().find(|one| one.arn == arn))
    }

    /// Why tasks of a deployment stopped.
    ///
    /// # Errors
    /// The call failed.
    pub async fn stopped_tasks(&self, key: &ServiceKey, deployment: &DeploymentId) -> Result<Vec<String>, AwsError> {
        self.context(&key.aws)?.ecs.stopped_reasons(&key.cluster, &key.service, deployment).await
    }

    /// The revisions that deployments of a service brought since a time, newest first, and how each fared.
    ///
    /// # Errors
    /// The call failed.
    pub async fn deployments(
        &self,
        key: &ServiceKey,
        since: Timestamp,
    ) -> Result<Vec<(TaskDefinitionArn, Fate)>, AwsError> {
        self.context(&key.aws)?.ecs.deployed_since(&key.cluster, &key.service, since).await
    }
}

fn no_context(aws: &ContextName) -> AwsError {
    let message = format!("the aws context {aws} is not in the configuration any more");
    AwsError { fault: Fault::Refused, ..AwsError::unusable("config", "context", message) }
}
