//! Amazon ECS.
//!
//! Task definitions bypass the SDK's types in both directions, because those drop what they do not know: the answer's body is read before
//! it is thrown away, and the request's body is put in place before it is signed (decision 11).

mod answers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{
    CreatedAt, DeploymentLifecycleHookAction, DesiredStatus, ServiceField, StopServiceDeploymentStopType, Task,
    TaskDefinitionField,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use jiff::Timestamp;
use serde_json::Value;

use super::call::Caller;
use super::{AwsError, Ecs, Fault, Services};
use crate::domain::deployment::{HookAction, ServiceDeploymentView};
use crate::domain::task::{Started, TaskView};
use crate::domain::task_definition::{Registration, TaskDefinition};
use crate::domain::types::{DeploymentId, Digest, EcsName, TaskDefinitionArn};
use crate::domain::view::{DeploymentView, Fate, RunningImages};
use answers::{fate_of, lacks_resources, not_started, service_deployment, task_view, unrollable, view, why};

/// DescribeServiceRevisions takes at most 20.
const DEPLOYMENTS: i32 = 20;

#[derive(Debug)]
pub(super) struct SdkEcs {
    pub(super) client: Client,
    pub(super) caller: Caller,
}

#[async_trait]
impl Ecs for SdkEcs {
    async fn describe_services(&self, cluster: &EcsName, services: &[EcsName]) -> Result<Services, AwsError> {
        const OPERATION: &str = "DescribeServices";
        let names = services.iter().map(|name| name.as_str().to_owned()).collect();
        let request = self.client.describe_services().cluster(cluster.as_str()).set_services(Some(names));
        let answer = self.caller.call(OPERATION, request.send()).await?;
        let mut found = BTreeMap::new();
        for service in answer.services.unwrap_or_default() {
            let Some(name) = service.service_name().and_then(|name| EcsName::parse(name).ok()) else { continue };
            let view = view(&service).ok_or_else(|| unrollable(&service));
            found.insert(name, view);
        }
        Ok(found)
    }

    async fn describe_task_definition(&self, which: &str) -> Result<TaskDefinition, AwsError> {
        const OPERATION: &str = "DescribeTaskDefinition";
        let body = Captured::default();
        let request = self
            .client
            .describe_task_definition()
            .task_definition(which)
            .include(TaskDefinitionField::Tags)
            .customize()
            .interceptor(body.clone());
        self.caller.call(OPERATION, request.send()).await?;
        let answer =
            serde_json::from_slice(&body.take()).map_err(|error| self.caller.unusable(OPERATION, error.to_string()))?;
        TaskDefinition::from_answer(answer).map_err(|error| self.caller.unusable(OPERATION, error.to_string()))
    }

    async fn register_task_definition(&self, registration: &Registration) -> Result<TaskDefinitionArn, AwsError> {
        const OPERATION: &str = "RegisterTaskDefinition";
        let body = registration.body().to_string();
        let request = self.client.register_task_definition().customize().mutate_request(move |request| {
            request.headers_mut().insert("content-length", body.len().to_string());
            *request.body_mut() = SdkBody::from(body.as_str());
        });
        let answer = self.caller.call(OPERATION, request.send()).await?;
        answer
            .task_definition()
            .and_then(|definition| definition.task_definition_arn())
            .and_then(|arn| TaskDefinitionArn::parse(arn).ok())
            .ok_or_else(|| self.caller.unusable(OPERATION, "the answer names no revision"))
    }

    async fn update_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError> {
        const OPERATION: &str = "UpdateService";
        let request = self
            .client
            .update_service()
            .cluster(cluster.as_str())
            .service(service.as_str())
            .task_definition(revision.as_str());
        let answer = self.caller.call(OPERATION, request.send()).await?;
        answer
            .service()
            .and_then(view)
            .and_then(|view| view.primary().cloned())
            .ok_or_else(|| self.caller.unusable(OPERATION, "the answer names no PRIMARY deployment"))
    }

    async fn update_express_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        service_arn: &str,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError> {
        const OPERATION: &str = "UpdateExpressGatewayService";
        let request = self
            .client
            .update_express_gateway_service()
            .service_arn(service_arn)
            .task_definition_arn(revision.as_str());
        self.caller.call(OPERATION, request.send()).await?;
        let seen = self.describe_services(cluster, std::slice::from_ref(service)).await?.remove(service);
        let primary = seen.and_then(Result::ok).and_then(|service| service.primary().cloned());
        primary
            .filter(|deployment| &deployment.task_definition == revision)
            .ok_or_else(|| self.caller.unusable(OPERATION, "the service does not show its new deployment yet"))
    }

    async fn deployed_since(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        since: Timestamp,
    ) -> Result<Vec<(TaskDefinitionArn, Fate)>, AwsError> {
        let after = CreatedAt::builder().after(DateTime::from_secs(since.as_second())).build();
        let request = self
            .client
            .list_service_deployments()
            .cluster(cluster.as_str())
            .service(service.as_str())
            .created_at(after)
            .max_results(DEPLOYMENTS);
        let answer = self.caller.call("ListServiceDeployments", request.send()).await?;
        let mut deployments = answer.service_deployments.unwrap_or_default();
        deployments.sort_by_key(|deployment| {
            std::cmp::Reverse(deployment.created_at().map(|at| (at.secs(), at.subsec_nanos())))
        });
        let deployed: Vec<(String, Fate)> = deployments
            .into_iter()
            .filter_map(|deployment| {
                Some((deployment.target_service_revision_arn?, fate_of(deployment.status.as_ref())))
            })
            .collect();
        if deployed.is_empty() {
            return Ok(Vec::new());
        }
        let mut arns: Vec<String> = deployed.iter().map(|(arn, _)| arn.clone()).collect();
        arns.sort();
        arns.dedup();
        let request = self.client.describe_service_revisions().set_service_revision_arns(Some(arns));
        let answer = self.caller.call("DescribeServiceRevisions", request.send()).await?;
        let revisions = answer.service_revisions.unwrap_or_default();
        let revision_of = |arn: &str| {
            let found = revisions.iter().find(|one| one.service_revision_arn() == Some(arn))?;
            TaskDefinitionArn::parse(found.task_definition()?).ok()
        };
        Ok(deployed.into_iter().filter_map(|(arn, fate)| Some((revision_of(&arn)?, fate))).collect())
    }

    async fn service_deployments(&self, arns: &[String]) -> Result<Vec<ServiceDeploymentView>, AwsError> {
        let request = self.client.describe_service_deployments().set_service_deployment_arns(Some(arns.to_vec()));
        let answer = self.caller.call("DescribeServiceDeployments", request.send()).await?;
        Ok(answer.service_deployments().iter().filter_map(service_deployment).collect())
    }

    async fn describe_service_json(&self, cluster: &EcsName, service: &EcsName) -> Result<Option<Value>, AwsError> {
        const OPERATION: &str = "DescribeServices";
        let body = Captured::default();
        let request = self
            .client
            .describe_services()
            .cluster(cluster.as_str())
            .services(service.as_str())
            .include(ServiceField::Tags)
            .customize()
            .interceptor(body.clone());
        self.caller.call(OPERATION, request.send()).await?;
        let mut answer: Value =
            serde_json::from_slice(&body.take()).map_err(|error| self.caller.unusable(OPERATION, error.to_string()))?;
        let services = answer["services"].as_array_mut().map(std::mem::take).unwrap_or_default();
        Ok(services.into_iter().find(|one| one["serviceName"] == service.as_str()))
    }

    async fn run_task(&self, request: &Value) -> Result<Started, AwsError> {
        const OPERATION: &str = "RunTask";
        let body = request.to_string();
        let request = self.client.run_task().task_definition("").customize().mutate_request(move |request| {
            request.headers_mut().insert("content-length", body.len().to_string());
            *request.body_mut() = SdkBody::from(body.as_str());
        });
        let answer = match self.caller.call(OPERATION, request.send()).await {
            // With Fargate that may be an error in place of a failure in the answer.
            Err(error) if error.fault == Fault::Refused && lacks_resources(&error.message) => {
                return Ok(Started::Short(error.message));
            }
            other => other?,
        };
        if let Some(arn) = answer.tasks().iter().find_map(Task::task_arn) {
            return Ok(Started::Task(arn.to_owned()));
        }
        match answer.failures() {
            [] => Err(self.caller.unusable(OPERATION, "the answer has neither a task nor a failure")),
            failures => Ok(not_started(failures)),
        }
    }

    async fn describe_tasks(&self, cluster: &EcsName, tasks: &[String]) -> Result<Vec<TaskView>, AwsError> {
        let request = self.client.describe_tasks().cluster(cluster.as_str()).set_tasks(Some(tasks.to_vec()));
        let answer = self.caller.call("DescribeTasks", request.send()).await?;
        Ok(answer.tasks().iter().filter_map(task_view).collect())
    }

    async fn stop_task(&self, cluster: &EcsName, task: &str, reason: &str) -> Result<(), AwsError> {
        let request = self.client.stop_task().cluster(cluster.as_str()).task(task).reason(reason);
        self.caller.call("StopTask", request.send()).await.map(drop)
    }

    async fn continue_deployment(&self, arn: &str, hook: &str, action: HookAction) -> Result<(), AwsError> {
        let action = match action {
            HookAction::Continue => DeploymentLifecycleHookAction::Continue,
            HookAction::Rollback => DeploymentLifecycleHookAction::Rollback,
        };
        let request =
            self.client.continue_service_deployment().service_deployment_arn(arn).hook_id(hook).action(action);
        self.caller.call("ContinueServiceDeployment", request.send()).await.map(drop)
    }

    async fn stop_deployment(&self, arn: &str) -> Result<(), AwsError> {
        let request = self
            .client
            .stop_service_deployment()
            .service_deployment_arn(arn)
            .stop_type(StopServiceDeploymentStopType::Rollback);
        self.caller.call("StopServiceDeployment", request.send()).await.map(drop)
    }

    async fn stopped_reasons(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        deployment: &DeploymentId,
    ) -> Result<Vec<String>, AwsError> {
        let request = self
            .client
            .list_tasks()
            .cluster(cluster.as_str())
            .service_name(service.as_str())
            .desired_status(DesiredStatus::Stopped)
            .max_results(100);
        let tasks = self.caller.call("ListTasks", request.send()).await?.task_arns.unwrap_or_default();
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let request = self.client.describe_tasks().cluster(cluster.as_str()).set_tasks(Some(tasks));
        let answer = self.caller.call("DescribeTasks", request.send()).await?;
        // The tasks of a service are started by its deployment.
        let tasks = answer.tasks.unwrap_or_default().into_iter();
        Ok(tasks.filter(|task| task.started_by() == Some(deployment.as_str())).filter_map(|task| why(&task)).collect())
    }

    async fn list_running_tasks(&self, cluster: &EcsName, service: &EcsName) -> Result<Vec<String>, AwsError> {
        let request = self
            .client
            .list_tasks()
            .cluster(cluster.as_str())
            .service_name(service.as_str())
            .desired_status(DesiredStatus::Running)
            .max_results(100);
        let answer = self.caller.call("ListTasks", request.send()).await?;
        Ok(answer.task_arns.unwrap_or_default())
    }

    async fn describe_running_images(&self, cluster: &EcsName, tasks: &[String]) -> Result<RunningImages, AwsError> {
        let request = self.client.describe_tasks().cluster(cluster.as_str()).set_tasks(Some(tasks.to_vec()));
        let answer = self.caller.call("DescribeTasks", request.send()).await?;
        let mut running = RunningImages::default();
        let running_tasks =
            answer.tasks.unwrap_or_default().into_iter().filter(|task| task.last_status() == Some("RUNNING"));
        for task in running_tasks {
            let revision = task.task_definition_arn().and_then(|arn| TaskDefinitionArn::parse(arn).ok());
            for container in task.containers() {
                let digest = container.image_digest().and_then(|digest| Digest::parse(digest).ok());
                if let (Some(name), Some(digest)) = (container.name(), digest) {
                    running.add(revision.clone(), name, digest);
                }
            }
        }
        Ok(running)
    }
}

/// Keeps the body of an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Captured {
    fn name(&self) -> &'static str {
        "CapturedBody"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(bytes) = context.response().body().bytes() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bytes.to_vec();
        }
        Ok(())
    }
}
