//! The answers of ECS in the program's own types.

use std::time::Duration;

use aws_sdk_ecs::types::{
    Container, Deployment, DeploymentAlarms, DeploymentConfiguration, DeploymentControllerType,
    DeploymentLifecycleHook, DeploymentLifecycleHookAction, DeploymentLifecycleHookDetail,
    DeploymentLifecycleHookStatus, DeploymentLifecycleHookTargetType, DeploymentRolloutState, Failure,
    ResourceManagementType, SchedulingStrategy, Service, ServiceDeployment, ServiceDeploymentStatus, Task,
    TaskStopCode,
};

use crate::aws::call::timestamp;
use crate::domain::deployment::{HookAction, HookTarget, HookView, Lifecycle, LifecycleHook, ServiceDeploymentView};
use crate::domain::event::shorten;
use crate::domain::monitor;
use crate::domain::printable::{LONGEST, printable};
use crate::domain::task::{Started, StopCause, TaskContainer, TaskStop, TaskView};
use crate::domain::types::{DeploymentId, TaskDefinitionArn};
use crate::domain::view::{
    Controller, DeploymentView, Fate, Management, RolloutState, Scheduling, ServiceEvent, ServiceView, Strategy,
    Unrollable,
};

/// Service events that are kept: enough to say why a rollout does not move. Older ones are kept if they tell of tasks.
const EVENTS: usize = 10;

pub(super) fn fate_of(status: Option<&ServiceDeploymentStatus>) -> Fate {
    match status {
        Some(ServiceDeploymentStatus::Pending | ServiceDeploymentStatus::InProgress) => Fate::UnderWay,
        Some(ServiceDeploymentStatus::Successful) => Fate::Successful,
        _ => Fate::GivenUp,
    }
}

/// The answer to RunTask where nothing was started, for at least one reason.
pub(super) fn not_started(failures: &[Failure]) -> Started {
    let text = |failure: &Failure| {
        let texts = [failure.reason(), failure.detail()].into_iter().flatten();
        shorten(&texts.collect::<Vec<_>>().join(": "))
    };
    let texts: Vec<String> = failures.iter().map(text).collect();
    let why = texts.join("; ");
    if texts.iter().all(|text| lacks_resources(text)) { Started::Short(why) } else { Started::Nothing(why) }
}

/// Whether ECS says that it lacks the resources for a task (Amazon ECS Developer Guide, "API failure reasons").
pub(super) fn lacks_resources(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    reason.starts_with("resource") || reason.contains("capacity")
}

pub(super) fn task_view(task: &Task) -> Option<TaskView> {
    let container = |container: &Container| {
        Some(TaskContainer {
            name: container.name()?.to_owned(),
            exit_code: container.exit_code(),
            reason: container.reason().map(shorten).unwrap_or_default(),
        })
    };
    Some(TaskView {
        arn: task.task_arn()?.to_owned(),
        stopped: (task.last_status() == Some("STOPPED")).then(|| TaskStop {
            cause: match task.stop_code() {
                Some(TaskStopCode::UserInitiated) => StopCause::StopTask,
                other => StopCause::Other(other.map(|code| shorten(code.as_str())).unwrap_or_default()),
            },
            reason: task.stopped_reason().map(shorten).unwrap_or_default(),
        }),
        containers: task.containers().iter().filter_map(container).collect(),
    })
}

/// Why a task stopped: what ECS says ("Task failed ELB health checks ..."), and what its containers say ("CannotPullContainerError: ...").
pub(super) fn why(task: &Task) -> Option<String> {
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

pub(super) fn unrollable(service: &Service) -> Unrollable {
    let controller = service.deployment_controller().map_or("ECS", |controller| controller.r#type().as_str());
    let controller = shorten(controller);
    Unrollable(format!(
        "neither the service nor a PRIMARY deployment of it has a task definition (its deployment controller is {controller}), so ECS \
         cannot roll it"
    ))
}

pub(super) fn view(service: &Service) -> Option<ServiceView> {
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

pub(super) fn service_deployment(one: &ServiceDeployment) -> Option<ServiceDeploymentView> {
    let hook = |hook: &DeploymentLifecycleHookDetail| {
        Some(HookView {
            id: hook.hook_id()?.to_owned(),
            target: target_of(hook.target_type()),
            waits: matches!(
                hook.status(),
                Some(DeploymentLifecycleHookStatus::AwaitingAction | DeploymentLifecycleHookStatus::InProgress)
            ),
            expires_at: hook.expires_at().and_then(timestamp),
            timeout_action: match hook.timeout_action() {
                Some(DeploymentLifecycleHookAction::Continue) => Some(HookAction::Continue),
                Some(DeploymentLifecycleHookAction::Rollback) => Some(HookAction::Rollback),
                _ => None,
            },
        })
    };
    Some(ServiceDeploymentView {
        arn: one.service_deployment_arn()?.to_owned(),
        fate: fate_of(one.status()),
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
    fn a_task_has_stopped_when_its_last_status_says_so() {
        let task = || Task::builder().task_arn("task/t1").stopped_reason("why");
        let stopped = |task: Task| task_view(&task).unwrap().stopped;
        for status in ["PENDING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "NEW"] {
            assert_eq!(stopped(task().last_status(status).build()), None, "{status}");
        }
        let other = |word: &str| StopCause::Other(word.to_owned());
        for (code, cause) in [
            (Some("UserInitiated"), StopCause::StopTask),
            (Some("EssentialContainerExited"), other("EssentialContainerExited")),
            (Some("NewInAYear"), other("NewInAYear")),
            (None, other("")),
        ] {
            let one = task().last_status("STOPPED").set_stop_code(code.map(TaskStopCode::from)).build();
            assert_eq!(stopped(one), Some(TaskStop { cause, reason: "why".to_owned() }));
        }
    }

    #[test]
    fn what_was_not_started_may_be_started_in_a_moment_where_all_that_lacks_is_resources() {
        let failure = |reason: &str| Failure::builder().reason(reason).build();
        let cpu = || Failure::builder().reason("RESOURCE:CPU").detail("2048 units").build();
        for (failures, started) in [
            (
                vec![failure("RESOURCE:MEMORY"), cpu()],
                Started::Short("RESOURCE:MEMORY; RESOURCE:CPU: 2048 units".to_owned()),
            ),
            (
                vec![failure("Capacity is unavailable at this time.")],
                Started::Short("Capacity is unavailable at this time.".to_owned()),
            ),
            (
                vec![failure("RESOURCE:MEMORY"), failure("INACTIVE")],
                Started::Nothing("RESOURCE:MEMORY; INACTIVE".to_owned()),
            ),
            (vec![failure("AGENT")], Started::Nothing("AGENT".to_owned())),
        ] {
            assert_eq!(not_started(&failures), started);
        }
    }

    #[test]
    fn a_service_of_task_sets_has_no_revision() {
        let controller = DeploymentController::builder().r#type(DeploymentControllerType::External).build().unwrap();
        let external = Service::builder().status("ACTIVE").deployment_controller(controller).build();
        assert_eq!(view(&external), None);
        assert!(unrollable(&external).to_string().contains("EXTERNAL"));
    }
}
