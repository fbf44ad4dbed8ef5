//! Amazon ECS.
//!
//! Task definitions bypass the SDK's types in both directions, because those drop what they do not know: the answer's body is read before
//! it is thrown away, and the request's body is put in place before it is signed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{
    Container, CreatedAt, Deployment, DeploymentAlarms, DeploymentConfiguration, DeploymentControllerType,
    DeploymentLifecycleHook, DeploymentLifecycleHookAction, DeploymentLifecycleHookDetail,
    DeploymentLifecycleHookStatus, DeploymentLifecycleHookTargetType, DeploymentRolloutState, DesiredStatus,
    ResourceManagementType, SchedulingStrategy, Service, ServiceDeployment, ServiceDeploymentStatus,
    StopServiceDeploymentStopType, Task, TaskDefinitionField,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use jiff::Timestamp;

use super::call::{Caller, timestamp};
use super::{AwsError, Ecs, Services, Unrollable};
use crate::domain::deployment::{HookAction, HookTarget, HookView, Lifecycle, LifecycleHook, ServiceDeploymentView};
use crate::domain::event::shorten;
use crate::domain::monitor;
use crate::domain::printable::{LONGEST, printable};
use crate::domain::task_definition::{Registration, TaskDefinition};
use crate::domain::types::{DeploymentId, Digest, EcsName, TaskDefinitionArn};
use crate::domain::view::{
    Controller, DeploymentView, Fate, Management, RolloutState, RunningImages, Scheduling, ServiceEvent, ServiceView,
    Strategy,
};

/// DescribeServiceRevisions takes at most 20.
const DEPLOYMENTS: i32 = 20;
/// Service events that are kept: enough to say why a rollout does not move. Older ones are kept if they tell of tasks.
const EVENTS: usize = 10;

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

fn fate_of(status: Option<&ServiceDeploymentStatus>) -> Fate {
    match status {
        Some(ServiceDeploymentStatus::Pending | ServiceDeploymentStatus::InProgress) => Fate::UnderWay,
        Some(ServiceDeploymentStatus::Successful) => Fate::Successful,
        _ => Fate::GivenUp,
    }
}

/// Why a task stopped: what ECS says ("Task failed ELB health checks ..."), and what its containers say ("CannotPullContainerError: ...").
fn why(task: &Task) -> Option<String> {
    let of_container = |container: &Container| {
        let name = container.name().unwrap_or("a container");
        match (container.reason(), container.exit_code()) {
            (Some(reason), _) if task.stopped_reason().is_some_and(|said| said.contains(reason)) => None,
            (Some(reason), _) => Some(format!("{name}: {reason}")),
            (None, Some(code)) if code != 0 => Some(format!("{name} exited with {code}")),
            _ => None,
        }
    };
    let containers: Vec<String> = task.containers().iter().filter_map(of_container).collect();
    let of_task = task.stopped_reason().filter(|reason| !reason.is_empty()).map(shorten);
    let of_containers = (!containers.is_empty()).then(|| shorten(&containers.join(", ")));
    let texts: Vec<String> = of_task.into_iter().chain(of_containers).collect();
    (!texts.is_empty()).then(|| texts.join(": "))
}

fn unrollable(service: &Service) -> Unrollable {
    let controller = service.deployment_controller().map_or("ECS", |controller| controller.r#type().as_str());
    let controller = shorten(controller);
    Unrollable(format!(
        "neither the service nor a PRIMARY deployment of it has a task definition (its deployment controller is {controller}), so ECS \
         cannot roll it"
    ))
}

fn view(service: &Service) -> Option<ServiceView> {
    let configuration = service.deployment_configuration();
    Some(ServiceView {
        active: service.status() == Some("ACTIVE"),
        task_definition: TaskDefinitionArn::parse(revision_of(service)?).ok()?,
        desired: service.desired_count(),
        running: service.running_count(),
        controller: match service.deployment_controller().map(|controller| controller.r#type()) {
            None | Some(DeploymentControllerType::Ecs) => Controller::Ecs,
            Some(other) => Controller::Other(shorten(other.as_str())),
        },
        management: match (service.resource_management_type(), service.service_arn()) {
            (Some(ResourceManagementType::Ecs), Some(arn)) => Management::Ecs { service_arn: arn.to_owned() },
            _ => Management::Customer,
        },
        scheduling: match service.scheduling_strategy() {
            Some(SchedulingStrategy::Daemon) => Scheduling::Daemon,
            _ => Scheduling::Replica,
        },
        strategy: match configuration
            .and_then(|configuration| configuration.strategy())
            .map(|strategy| strategy.as_str())
        {
            None | Some("ROLLING") => Strategy::Rolling,
            Some(other) => Strategy::Shifting(shorten(other)),
        },
        minimum_healthy_percent: configuration.and_then(|configuration| configuration.minimum_healthy_percent()),
        bake: bake_time(configuration),
        load_balanced: !service.load_balancers().is_empty(),
        breaker: configuration
            .and_then(|configuration| configuration.deployment_circuit_breaker())
            .is_some_and(|breaker| breaker.enable()),
        rolls_back: rolls_back(configuration),
        maximum_percent: configuration.and_then(|configuration| configuration.maximum_percent()),
        lifecycle: lifecycle(service),
        deployments: service.deployments().iter().filter_map(deployment).collect(),
        events: service
            .events()
            .iter()
            .enumerate()
            .filter(|(index, event)| *index < EVENTS || event.message().is_some_and(monitor::tells_of_tasks))
            .filter_map(|(_, event)| {
                Some(ServiceEvent {
                    at: timestamp(event.created_at()?)?,
                    message: printable(event.message()?, LONGEST),
                })
            })
            .collect(),
    })
}

/// The revision that a service is set to. Express Mode services do not name it; their PRIMARY deployment does.
fn revision_of(service: &Service) -> Option<&str> {
    let primary = || service.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"));
    service.task_definition().or_else(|| primary()?.task_definition())
}

fn lifecycle(service: &Service) -> Lifecycle {
    let configuration = service.deployment_configuration();
    let hook = |hook: &DeploymentLifecycleHook| LifecycleHook {
        target: target_of(hook.target_type()),
        stages: hook.lifecycle_stages().iter().map(|stage| stage.as_str().to_owned()).collect(),
    };
    let grace = service.health_check_grace_period_seconds().unwrap_or_default();
    Lifecycle {
        alarms: configuration.and_then(|configuration| configuration.alarms()).is_some_and(DeploymentAlarms::enable),
        hooks: configuration.map(|one| one.lifecycle_hooks().iter().map(hook).collect()).unwrap_or_default(),
        service_deployment: service.current_service_deployment().map(str::to_owned),
        grace: Duration::from_secs(u64::try_from(grace).unwrap_or_default()),
    }
}

/// Only a PAUSE hook has no target of its own; one that names none is Lambda's, as all were at first.
fn target_of(target: Option<&DeploymentLifecycleHookTargetType>) -> HookTarget {
    match target {
        Some(DeploymentLifecycleHookTargetType::Pause) => HookTarget::Pause,
        _ => HookTarget::Lambda,
    }
}

fn service_deployment(one: &ServiceDeployment) -> Option<ServiceDeploymentView> {
    let hook = |hook: &DeploymentLifecycleHookDetail| {
        Some(HookView {
            id: hook.hook_id()?.to_owned(),
            target: target_of(hook.target_type()),
            waits: matches!(
                hook.status(),
                Some(DeploymentLifecycleHookStatus::AwaitingAction | DeploymentLifecycleHookStatus::InProgress)
            ),
            expires_at: hook.expires_at().and_then(timestamp),
        })
    };
    Some(ServiceDeploymentView {
        arn: one.service_deployment_arn()?.to_owned(),
        status: one.status().map(|status| status.as_str().to_owned()).unwrap_or_default(),
        reason: one.status_reason().map(shorten).unwrap_or_default(),
        stage: one.lifecycle_stage().map(|stage| stage.as_str().to_owned()),
        traffic: one.target_service_revision().and_then(|target| target.requested_production_traffic_weight()),
        hooks: one.lifecycle_hook_details().iter().filter_map(hook).collect(),
        alarms: one.alarms().map(|alarms| alarms.triggered_alarm_names().to_vec()).unwrap_or_default(),
        breaker: one.deployment_circuit_breaker().map(|breaker| (breaker.failure_count(), breaker.threshold())),
    })
}

/// Whether the circuit breaker or the alarms of a service have ECS go back by itself.
fn rolls_back(configuration: Option<&DeploymentConfiguration>) -> bool {
    let breaker = configuration.and_then(|configuration| configuration.deployment_circuit_breaker());
    let alarms = configuration.and_then(|configuration| configuration.alarms());
    breaker.is_some_and(|breaker| breaker.enable() && breaker.rollback())
        || alarms.is_some_and(|alarms| alarms.enable() && alarms.rollback())
}

/// How long ECS itself waits in a deployment that shifts traffic, in all its steps.
fn bake_time(configuration: Option<&DeploymentConfiguration>) -> Duration {
    let Some(configuration) = configuration else { return Duration::ZERO };
    let end = configuration.bake_time_in_minutes().unwrap_or_default();
    let linear = configuration.linear_configuration().map_or(0, |linear| {
        let percent = linear.step_percent().unwrap_or(100.0).clamp(1.0, 100.0);
        // At most a hundred steps.
        #[expect(clippy::cast_possible_truncation, reason = "between 1 and 100")]
        let steps = (100.0 / percent).ceil() as i32;
        steps.saturating_mul(linear.step_bake_time_in_minutes().unwrap_or_default())
    });
    let canary = configuration
        .canary_configuration()
        .map_or(0, |canary| canary.canary_bake_time_in_minutes().unwrap_or_default());
    let minutes = end.saturating_add(linear).saturating_add(canary);
    Duration::from_secs(60 * u64::try_from(minutes).unwrap_or_default())
}

fn deployment(deployment: &Deployment) -> Option<DeploymentView> {
    Some(DeploymentView {
        id: DeploymentId::parse(deployment.id()?).ok()?,
        primary: deployment.status() == Some("PRIMARY"),
        task_definition: TaskDefinitionArn::parse(deployment.task_definition()?).ok()?,
        since: deployment.created_at().and_then(timestamp),
        state: deployment.rollout_state().map(|state| match state {
            DeploymentRolloutState::Completed => RolloutState::Completed,
            DeploymentRolloutState::Failed => RolloutState::Failed,
            _ => RolloutState::InProgress,
        }),
        reason: printable(deployment.rollout_state_reason().unwrap_or_default(), LONGEST),
        desired: deployment.desired_count(),
        running: deployment.running_count(),
        pending: deployment.pending_count(),
        failed: deployment.failed_tasks(),
    })
}

/// Keeps the body of an answer.
#[derive(Debug, Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn take(&self) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::builders::ServiceBuilder;
    use aws_sdk_ecs::types::{DeploymentAlarms, DeploymentCircuitBreaker, DeploymentController};

    use super::*;

    const OLD: &str = "arn:aws:ecs:eu-west-1:111111111111:task-definition/hello:1";
    const NEW: &str = "arn:aws:ecs:eu-west-1:111111111111:task-definition/hello:2";
    const ARN: &str = "arn:aws:ecs:eu-west-1:111111111111:service/web/hello";

    fn rolling() -> ServiceBuilder {
        let deployment = |id: &str, status: &str, revision: &str| {
            Deployment::builder().id(id).status(status).task_definition(revision).build()
        };
        let deployments = [deployment("ecs-svc/1", "ACTIVE", OLD), deployment("ecs-svc/2", "PRIMARY", NEW)];
        Service::builder().status("ACTIVE").set_deployments(Some(deployments.into()))
    }

    #[test]
    fn the_revision_is_that_of_the_service_or_of_its_primary_deployment() {
        let express = rolling().service_arn(ARN).resource_management_type(ResourceManagementType::Ecs).build();
        let seen = view(&express).unwrap();
        assert_eq!(seen.task_definition.as_str(), NEW);
        assert_eq!(seen.management, Management::Ecs { service_arn: ARN.to_owned() });
        let plain = view(&rolling().task_definition(OLD).build()).unwrap();
        assert_eq!((plain.task_definition.as_str(), plain.management), (OLD, Management::Customer));
        let customer = rolling().service_arn(ARN).resource_management_type(ResourceManagementType::Customer).build();
        assert_eq!(view(&customer).unwrap().management, Management::Customer);
    }

    #[test]
    fn ecs_goes_back_by_itself_where_an_enabled_breaker_or_enabled_alarms_say_so() {
        let breaker = |enable, rollback| DeploymentCircuitBreaker::builder().enable(enable).rollback(rollback).build();
        let alarms = |enable, rollback| {
            let alarms = DeploymentAlarms::builder().enable(enable).rollback(rollback).alarm_names("alarm");
            alarms.build().unwrap()
        };
        for enable in [false, true] {
            for rollback in [false, true] {
                let with_breaker =
                    DeploymentConfiguration::builder().deployment_circuit_breaker(breaker(enable, rollback));
                let with_alarms = DeploymentConfiguration::builder().alarms(alarms(enable, rollback));
                for configuration in [with_breaker.build(), with_alarms.build()] {
                    assert_eq!(rolls_back(Some(&configuration)), enable && rollback, "{configuration:?}");
                }
            }
        }
        assert!(!rolls_back(None) && !rolls_back(Some(&DeploymentConfiguration::builder().build())));
    }

    #[test]
    fn a_service_of_task_sets_has_no_revision() {
        let controller = DeploymentController::builder().r#type(DeploymentControllerType::External).build().unwrap();
        let external = Service::builder().status("ACTIVE").deployment_controller(controller).build();
        assert_eq!(view(&external), None);
        assert!(unrollable(&external).to_string().contains("EXTERNAL"));
    }
}
