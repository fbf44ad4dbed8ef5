//! What ECS answers.

use std::time::Duration;

use async_trait::async_trait;
use ecs_deployd::aws::{AwsError, Ecs, Fault, Services};
use ecs_deployd::domain::deployment::{HookAction, ServiceDeploymentView};
use ecs_deployd::domain::state::{Phase, Rollout};
use ecs_deployd::domain::task::{Started, TaskView};
use ecs_deployd::domain::task_definition::{Registration, TaskDefinition};
use ecs_deployd::domain::types::{DeploymentId, Digest, EcsName, TaskDefinitionArn};
use ecs_deployd::domain::view::{
    Controller, DeploymentView, Fate, Management, RolloutState, RunningImages, Scheduling, ServiceEvent, ServiceView,
    Strategy,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::faults::{error, with_fate};
use super::super::{ACCOUNT, Inner, REGION, World};
use super::{Health, Service};

impl Inner {
    /// What the service's own log says, newest first.
    fn events_of(&self, service: &Service) -> Vec<ServiceEvent> {
        let primary = &service.deployments[0];
        let ill = !matches!(primary.health, Health::After(_));
        let event = |at, message: &str| ServiceEvent { at, message: message.to_owned() };
        let started = format!("(service simulated) has started {} tasks: (task simulated).", service.desired);
        let mut events: Vec<ServiceEvent> =
            primary.exits(self.now()).0.into_iter().rev().map(|at| event(at, &started)).collect();
        if ill && service.desired > 0 {
            events.push(event(primary.since, "was unable to place a task: simulated"));
        }
        events.push(event(self.epoch, "has reached a steady state."));
        events.truncate(100);
        events
    }

    /// Whether this answer of DescribeServices does not have the service, although it is there.
    fn hides(&mut self, cluster: &EcsName, name: &EcsName) -> bool {
        let Some(service) = self.services.get_mut(&(cluster.as_str().to_owned(), name.as_str().to_owned())) else {
            return false;
        };
        let hidden = service.hidden > 0;
        service.hidden = service.hidden.saturating_sub(1);
        hidden
    }

    pub(super) fn service_view(&self, service: &Service) -> ServiceView {
        let now = self.now();
        let deployments = service
            .deployments
            .iter()
            .enumerate()
            .map(|(index, deployment)| {
                let done = deployment.state == RolloutState::Completed || index > 0;
                let mine = &service.deployments[0];
                let (new, old) = match mine.state {
                    RolloutState::InProgress if service.deployments.len() > 1 => {
                        service.tasks_in_progress(now.duration_since(mine.since))
                    }
                    RolloutState::Completed if !mine.exits(now).1 => {
                        let none = (service.desired, 0, service.desired);
                        (none, none)
                    }
                    _ if mine.scaled_at.is_some_and(|at| !mine.runs_after(now.duration_since(at))) => {
                        let none = (service.desired, 0, service.desired);
                        (none, none)
                    }
                    _ => {
                        let all = (service.desired, service.desired, 0);
                        (if done { all } else { (service.desired, 0, service.desired) }, all)
                    }
                };
                let (desired, running, pending) = if index == 0 { new } else { old };
                let age = now.duration_since(deployment.since).as_secs();
                let stops = deployment.health == Health::Stops && !done && service.desired > 0;
                DeploymentView {
                    id: DeploymentId::parse(&deployment.id).unwrap(),
                    primary: index == 0,
                    task_definition: TaskDefinitionArn::parse(&deployment.revision).unwrap(),
                    since: Some(deployment.since),
                    state: (!service.classic).then_some(deployment.state),
                    reason: String::new(),
                    desired,
                    running,
                    pending,
                    failed: if stops { i32::try_from(age / 15).unwrap_or(i32::MAX) } else { 0 },
                }
            })
            .collect();
        ServiceView {
            active: service.active,
            task_definition: TaskDefinitionArn::parse(&service.deployments[0].revision).unwrap(),
            desired: service.desired,
            running: service.desired,
            controller: Controller::Ecs,
            management: match service.express {
                true => Management::Ecs { service_arn: express_arn(service) },
                false => Management::Customer,
            },
            scheduling: Scheduling::Replica,
            strategy: if service.bake.is_zero() {
                Strategy::Rolling
            } else {
                Strategy::Shifting("BLUE_GREEN".to_owned())
            },
            bake: Duration::try_from(service.bake).unwrap(),
            load_balanced: service.classic,
            breaker: service.breaker_rolls_back,
            rolls_back: service.breaker_rolls_back,
            minimum_healthy_percent: Some(service.minimum),
            maximum_percent: Some(service.maximum),
            lifecycle: service.lifecycle(),
            deployments,
            events: self.events_of(service),
        }
    }
}

fn express_arn(service: &Service) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/express-since-{}", service.created.as_second())
}

impl Inner {
    /// Sets a service to a revision, as the daemon may only do where the disk says that it will. Gives the deployment.
    fn set_to(
        &mut self,
        cluster: &EcsName,
        service: &EcsName,
        revision: &TaskDefinitionArn,
        operation: &'static str,
    ) -> Result<DeploymentView, AwsError> {
        let (place, phase) = ((cluster, service), Phase::Registered { revision: revision.clone() });
        self.assert_intended(|key, rollout| (&key.cluster, &key.service) == place && rollout.phase == phase, operation);
        let named = (cluster.as_str().to_owned(), service.as_str().to_owned());
        if let (Some(_), Some(service)) = (&self.witness, self.services.get(&named)) {
            self.assert_copy(service, revision.as_str());
        }
        self.start(cluster.as_str(), service.as_str(), revision.as_str())?;
        let request =
            json!({"cluster": cluster.as_str(), "service": service.as_str(), "taskDefinition": revision.as_str()});
        self.record_change(operation, "aws-sdk-rust/1 app/ecs-deployd", &request);
        Ok(self.service_view(&self.services[&named]).primary().unwrap().clone())
    }
}

#[async_trait]
impl Ecs for World {
    async fn describe_services(&self, cluster: &EcsName, services: &[EcsName]) -> Result<Services, AwsError> {
        assert!((1..=10).contains(&services.len()), "DescribeServices takes 1 to 10 services");
        let fate = self.call("DescribeServices", format!("{cluster} {services:?}")).await;
        with_fate(fate, "ecs", "DescribeServices", || {
            let mut inner = self.lock();
            let names: Vec<&str> = services.iter().map(|name| name.as_str()).collect();
            inner.check_permission("DescribeServices", cluster.as_str(), &names)?;
            inner.turn();
            let services: Vec<&EcsName> = services.iter().filter(|name| !inner.hides(cluster, name)).collect();
            let found = services.iter().filter_map(|name| {
                let service = inner.services.get(&(cluster.as_str().to_owned(), name.as_str().to_owned()))?;
                let stale =
                    service.stale.as_ref().filter(|(until, _)| *until > inner.now()).map(|(_, view)| view.clone());
                Some(((*name).clone(), Ok(stale.unwrap_or_else(|| inner.service_view(service)))))
            });
            Ok(found.collect())
        })
        .await
    }

    async fn describe_task_definition(&self, which: &str) -> Result<TaskDefinition, AwsError> {
        let fate = self.call("DescribeTaskDefinition", which.to_owned()).await;
        with_fate(fate, "ecs", "DescribeTaskDefinition", || {
            let inner = self.lock();
            let body = inner
                .body(which)
                .ok_or_else(|| error("ecs", "DescribeTaskDefinition", Fault::Refused, "ClientException"))?;
            let mut body = body.clone();
            let tags = body.as_object_mut().unwrap().remove("tags").unwrap_or(Value::Null);
            Ok(TaskDefinition::from_answer(json!({"taskDefinition": body, "tags": tags})).unwrap())
        })
        .await
    }

    async fn register_task_definition(&self, registration: &Registration) -> Result<TaskDefinitionArn, AwsError> {
        let fate = self.call("RegisterTaskDefinition", String::new()).await;
        with_fate(fate, "ecs", "RegisterTaskDefinition", || {
            let mut inner = self.lock();
            let body = registration.body().clone();
            let names = |container: &str, image: &str| {
                let mut containers = body["containerDefinitions"].as_array().into_iter().flatten();
                containers.any(|one| one["name"] == container && one["image"] == image)
            };
            let intends = |rollout: &Rollout| {
                rollout.base.family() == body["family"]
                    && rollout.images.iter().all(|(container, image)| names(container, image))
            };
            // A task may have a family of its own.
            let for_task = |rollout: &Rollout| match &rollout.phase {
                Phase::Task { run, .. } => run.task.spec.family.as_deref() == body["family"].as_str(),
                Phase::Intended | Phase::Registered { .. } | Phase::Rolling { .. } => false,
            };
            inner.assert_intended(
                |_, rollout| (rollout.phase == Phase::Intended && intends(rollout)) || for_task(rollout),
                "RegisterTaskDefinition",
            );
            let arn = inner.add_revision(body);
            Ok(TaskDefinitionArn::parse(&arn).unwrap())
        })
        .await
    }

    async fn update_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError> {
        let fate = self.call("UpdateService", format!("{cluster}/{service} {revision}")).await;
        with_fate(fate, "ecs", "UpdateService", || {
            let mut inner = self.lock();
            inner.check_permission("UpdateService", cluster.as_str(), &[service.as_str()])?;
            let named = (cluster.as_str().to_owned(), service.as_str().to_owned());
            if inner.services.get(&named).is_some_and(|service| service.express) {
                return Err(error("ecs", "UpdateService", Fault::Refused, "UnsupportedFeatureException"));
            }
            inner.set_to(cluster, service, revision, "UpdateService")
        })
        .await
    }

    async fn update_express_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        service_arn: &str,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError> {
        let fate = self.call("UpdateExpressGatewayService", format!("{cluster}/{service} {revision}")).await;
        with_fate(fate, "ecs", "UpdateExpressGatewayService", || {
            let mut inner = self.lock();
            let named = (cluster.as_str().to_owned(), service.as_str().to_owned());
            let is_it = |known: &Service| known.express && express_arn(known) == service_arn;
            if !inner.services.get(&named).is_some_and(is_it) {
                return Err(error("ecs", "UpdateExpressGatewayService", Fault::Refused, "InvalidParameterException"));
            }
            inner.set_to(cluster, service, revision, "UpdateExpressGatewayService")
        })
        .await
    }

    async fn deployed_since(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        since: Timestamp,
    ) -> Result<Vec<(TaskDefinitionArn, Fate)>, AwsError> {
        let fate = self.call("ListServiceDeployments", format!("{cluster}/{service}")).await;
        with_fate(fate, "ecs", "ListServiceDeployments", || {
            let mut inner = self.lock();
            inner.turn();
            let key = (cluster.as_str().to_owned(), service.as_str().to_owned());
            let Some(service) = inner.services.get(&key) else {
                return Err(error("ecs", "ListServiceDeployments", Fault::NotFound, "ServiceNotFoundException"));
            };
            let primary = &service.deployments[0];
            let started = service.started.iter().rev().filter(|started| started.at >= since).map(|started| {
                let baked = inner.now().duration_since(started.at) > service.bake;
                let fate = match primary.state {
                    _ if primary.revision != started.revision => Fate::GivenUp,
                    RolloutState::Failed => Fate::GivenUp,
                    RolloutState::Completed if baked => Fate::Successful,
                    _ => Fate::UnderWay,
                };
                (TaskDefinitionArn::parse(&started.revision).unwrap(), fate)
            });
            Ok(started.collect())
        })
        .await
    }

    async fn service_deployments(&self, arns: &[String]) -> Result<Vec<ServiceDeploymentView>, AwsError> {
        assert!((1..=20).contains(&arns.len()), "DescribeServiceDeployments takes 1 to 20");
        let fate = self.call("DescribeServiceDeployments", format!("{arns:?}")).await;
        with_fate(fate, "ecs", "DescribeServiceDeployments", || {
            let mut inner = self.lock();
            inner.turn();
            Ok(arns.iter().filter_map(|arn| inner.service_deployment(arn)).collect())
        })
        .await
    }

    async fn describe_service_json(&self, cluster: &EcsName, service: &EcsName) -> Result<Option<Value>, AwsError> {
        let fate = self.call("DescribeServices", format!("{cluster} [{service}] as JSON")).await;
        with_fate(fate, "ecs", "DescribeServices", || {
            let mut inner = self.lock();
            inner.check_permission("DescribeServices", cluster.as_str(), &[service.as_str()])?;
            inner.turn();
            Ok(inner.service_json(cluster.as_str(), service.as_str()))
        })
        .await
    }

    async fn run_task(&self, request: &Value) -> Result<Started, AwsError> {
        let fate = self.call("RunTask", request.to_string()).await;
        with_fate(fate, "ecs", "RunTask", || self.lock().run_task(request)).await
    }

    async fn describe_tasks(&self, cluster: &EcsName, tasks: &[String]) -> Result<Vec<TaskView>, AwsError> {
        assert!((1..=100).contains(&tasks.len()), "DescribeTasks takes 1 to 100 tasks");
        let fate = self.call("DescribeTasks", format!("{cluster} {tasks:?}")).await;
        with_fate(fate, "ecs", "DescribeTasks", || Ok(self.lock().one_off_tasks(tasks))).await
    }

    async fn stop_task(&self, cluster: &EcsName, task: &str, reason: &str) -> Result<(), AwsError> {
        let fate = self.call("StopTask", format!("{cluster} {task} {reason}")).await;
        with_fate(fate, "ecs", "StopTask", || self.lock().stop_one_off(task, reason)).await
    }

    async fn continue_deployment(&self, arn: &str, hook: &str, action: HookAction) -> Result<(), AwsError> {
        let fate = self.call("ContinueServiceDeployment", format!("{arn} {hook} {action:?}")).await;
        with_fate(fate, "ecs", "ContinueServiceDeployment", || self.lock().answer_hook(arn, action)).await
    }

    async fn stop_deployment(&self, arn: &str) -> Result<(), AwsError> {
        let fate = self.call("StopServiceDeployment", arn.to_owned()).await;
        with_fate(fate, "ecs", "StopServiceDeployment", || self.lock().stop_service_deployment(arn)).await
    }

    async fn stopped_reasons(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        deployment: &DeploymentId,
    ) -> Result<Vec<String>, AwsError> {
        let fate = self.call("ListTasks", format!("{cluster}/{service} stopped")).await;
        with_fate(fate, "ecs", "ListTasks", || {
            let inner = self.lock();
            let key = (cluster.as_str().to_owned(), service.as_str().to_owned());
            let mut found = inner.services.get(&key).into_iter().flat_map(|service| &service.deployments);
            let ill = found.any(|one| one.id == deployment.as_str() && !matches!(one.health, Health::After(_)));
            Ok(if ill { vec!["app: CannotPullContainerError: simulated".to_owned(); 2] } else { Vec::new() })
        })
        .await
    }

    async fn list_running_tasks(&self, cluster: &EcsName, service: &EcsName) -> Result<Vec<String>, AwsError> {
        let fate = self.call("ListTasks", format!("{cluster}/{service}")).await;
        with_fate(fate, "ecs", "ListTasks", || Ok(vec![format!("task/{cluster}/{service}")])).await
    }

    async fn describe_running_images(&self, cluster: &EcsName, tasks: &[String]) -> Result<RunningImages, AwsError> {
        let fate = self.call("DescribeTasks", format!("{cluster} {tasks:?}")).await;
        with_fate(fate, "ecs", "DescribeTasks", || {
            let mut inner = self.lock();
            inner.turn();
            let mut running = RunningImages::default();
            for task in tasks {
                let name = task.rsplit('/').next().unwrap().to_owned();
                let Some(service) = inner.services.get(&(cluster.as_str().to_owned(), name)) else { continue };
                if service.desired == 0 {
                    continue;
                }
                let last = service.deployments.last().unwrap();
                let revision = TaskDefinitionArn::parse(&last.revision).unwrap();
                for (container, digest) in &last.digests {
                    if let Some(digest) = digest.as_deref().and_then(|digest| Digest::parse(digest).ok()) {
                        running.add(Some(revision.clone()), container, digest);
                    }
                }
            }
            Ok(running)
        })
        .await
    }
}
