//! Keeps writes to ECS, EventBridge and SQS within the lease: none is begun that could still be under way when the lease ends.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use super::{AwsContext, AwsError, Contexts, Ecs, Fault, Queue, QueueMessage, Services, Waiting};
use crate::domain::deployment::{HookAction, ServiceDeploymentView};
use crate::domain::queue_url::QueueUrl;
use crate::domain::schedule::Operations;
use crate::domain::task::{Started, TaskView};
use crate::domain::task_definition::{Registration, TaskDefinition};
use crate::domain::types::{DeploymentId, EcsName, TaskDefinitionArn};
use crate::domain::view::{DeploymentView, Fate, RunningImages};
use crate::lease::Tenure;

/// Contexts whose writes end with a tenure.
#[must_use]
pub fn fenced(contexts: Contexts, tenure: &Arc<Tenure>) -> Contexts {
    let fence = |context: AwsContext| AwsContext {
        ecs: Arc::new(Fenced { ecs: Arc::clone(&context.ecs), tenure: Arc::clone(tenure) }),
        queue: Arc::new(FencedQueue { queue: Arc::clone(&context.queue), tenure: Arc::clone(tenure) }),
        ..context
    };
    contexts.into_iter().map(|(name, context)| (name, fence(context))).collect()
}

#[derive(Debug)]
struct Fenced {
    ecs: Arc<dyn Ecs>,
    tenure: Arc<Tenure>,
}

/// Makes a write, if the lease leaves time for it, and gives it up before the lease ends. The end is looked at first: a process that was
/// stopped in the middle of this goes on with nothing.
async fn within<T>(
    tenure: &Tenure,
    (api, operation): (&'static str, &'static str),
    call: impl Future<Output = Result<T, AwsError>>,
) -> Result<T, AwsError> {
    let Some(end) = tenure.end_of_a_write() else {
        return Err(AwsError {
            api,
            operation,
            fault: Fault::Throttled,
            code: String::new(),
            message: "not begun, as the lease of this replica ends too soon".to_owned(),
        });
    };
    tokio::select! {
        biased;
        () = tenure.is_over(end) => Err(AwsError::timed_out(api, operation)),
        answer = call => answer,
    }
}

impl Fenced {
    async fn write<T>(
        &self,
        action: (&'static str, &'static str),
        call: impl Future<Output = Result<T, AwsError>>,
    ) -> Result<T, AwsError> {
        within(&self.tenure, action, call).await
    }
}

#[derive(Debug)]
struct FencedQueue {
    queue: Arc<dyn Queue>,
    tenure: Arc<Tenure>,
}

#[async_trait]
impl Queue for FencedQueue {
    async fn receive(&self, queue: &QueueUrl, waiting: Waiting) -> Result<Vec<QueueMessage>, AwsError> {
        self.queue.receive(queue, waiting).await
    }

    async fn delete(&self, queue: &QueueUrl, receipts: &[String]) -> Result<Vec<String>, AwsError> {
        within(&self.tenure, ("sqs", "DeleteMessage"), self.queue.delete(queue, receipts)).await
    }

    async fn hide(&self, queue: &QueueUrl, receipts: &[String]) -> Result<Vec<String>, AwsError> {
        within(&self.tenure, ("sqs", "ChangeMessageVisibility"), self.queue.hide(queue, receipts)).await
    }
}

#[async_trait]
impl Ecs for Fenced {
    async fn describe_services(&self, cluster: &EcsName, services: &[EcsName]) -> Result<Services, AwsError> {
        self.ecs.describe_services(cluster, services).await
    }

    async fn describe_task_definition(&self, which: &str) -> Result<TaskDefinition, AwsError> {
        self.ecs.describe_task_definition(which).await
    }

    async fn register_task_definition(&self, registration: &Registration) -> Result<TaskDefinitionArn, AwsError> {
        self.write(("ecs", "RegisterTaskDefinition"), self.ecs.register_task_definition(registration)).await
    }

    async fn update_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError> {
        // Among the services are schedules, which are not written to ECS.
        let action = service.schedule_in(cluster).map_or(("ecs", "UpdateService"), |schedule| {
            let Operations { api, write, .. } = schedule.operations();
            (api, write)
        });
        self.write(action, self.ecs.update_service(cluster, service, revision)).await
    }

    async fn update_express_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        service_arn: &str,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError> {
        let call = self.ecs.update_express_service(cluster, service, service_arn, revision);
        self.write(("ecs", "UpdateExpressGatewayService"), call).await
    }

    async fn deployed_since(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        since: Timestamp,
    ) -> Result<Vec<(TaskDefinitionArn, Fate)>, AwsError> {
        self.ecs.deployed_since(cluster, service, since).await
    }

    async fn service_deployments(&self, arns: &[String]) -> Result<Vec<ServiceDeploymentView>, AwsError> {
        self.ecs.service_deployments(arns).await
    }

    async fn describe_service_json(&self, cluster: &EcsName, service: &EcsName) -> Result<Option<Value>, AwsError> {
        self.ecs.describe_service_json(cluster, service).await
    }

    async fn run_task(&self, request: &Value) -> Result<Started, AwsError> {
        self.write(("ecs", "RunTask"), self.ecs.run_task(request)).await
    }

    async fn describe_tasks(&self, cluster: &EcsName, tasks: &[String]) -> Result<Vec<TaskView>, AwsError> {
        self.ecs.describe_tasks(cluster, tasks).await
    }

    async fn stop_task(&self, cluster: &EcsName, task: &str, reason: &str) -> Result<(), AwsError> {
        self.write(("ecs", "StopTask"), self.ecs.stop_task(cluster, task, reason)).await
    }

    async fn continue_deployment(&self, arn: &str, hook: &str, action: HookAction) -> Result<(), AwsError> {
        self.write(("ecs", "ContinueServiceDeployment"), self.ecs.continue_deployment(arn, hook, action)).await
    }

    async fn stop_deployment(&self, arn: &str) -> Result<(), AwsError> {
        self.write(("ecs", "StopServiceDeployment"), self.ecs.stop_deployment(arn)).await
    }

    async fn stopped_reasons(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        deployment: &DeploymentId,
    ) -> Result<Vec<String>, AwsError> {
        self.ecs.stopped_reasons(cluster, service, deployment).await
    }

    async fn list_running_tasks(&self, cluster: &EcsName, service: &EcsName) -> Result<Vec<String>, AwsError> {
        self.ecs.list_running_tasks(cluster, service).await
    }

    async fn describe_running_images(&self, cluster: &EcsName, tasks: &[String]) -> Result<RunningImages, AwsError> {
        self.ecs.describe_running_images(cluster, tasks).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::clock::{self, SystemClock};
    use crate::lease::Fence;

    /// A queue that never answers, and counts what was begun.
    #[derive(Debug, Default)]
    struct Silent(AtomicUsize);

    #[async_trait]
    impl Queue for Silent {
        async fn receive(&self, _: &QueueUrl, _: Waiting) -> Result<Vec<QueueMessage>, AwsError> {
            Ok(Vec::new())
        }

        async fn delete(&self, _: &QueueUrl, _: &[String]) -> Result<Vec<String>, AwsError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        }

        async fn hide(&self, queue: &QueueUrl, receipts: &[String]) -> Result<Vec<String>, AwsError> {
            self.delete(queue, receipts).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_neither_deleted_nor_hidden_beyond_the_lease() {
        let begun = clock::instant();
        let seconds = Duration::from_secs;
        let fence = Fence { holder: "one".to_owned(), term: 1 };
        let tenure = Arc::new(Tenure::new(fence, seconds(30), begun + seconds(30), Arc::new(SystemClock)));
        let silent = Arc::new(Silent::default());
        let queue = FencedQueue { queue: Arc::clone(&silent) as Arc<dyn Queue>, tenure };
        let url = QueueUrl::parse("https://sqs.eu-west-1.amazonaws.com/111111111111/pushes").unwrap();

        let error = queue.delete(&url, &["receipt".to_owned()]).await.unwrap_err();
        assert_eq!(error.operation, "DeleteMessage");
        assert_eq!(clock::instant(), begun + seconds(25), "it is given up before the lease ends");
        for answer in [queue.delete(&url, &[]).await, queue.hide(&url, &[]).await] {
            assert!(answer.unwrap_err().message.starts_with("not begun"), "none is begun so late");
        }
        assert_eq!(silent.0.load(Ordering::Relaxed), 1);
    }
}
