//! ECS: families of revisions, and services that roll from one deployment to the next as time passes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use ecs_deployd::aws::{AwsError, Ecs, Fault, Services};
use ecs_deployd::domain::state::{Phase, Rollout};
use ecs_deployd::domain::task_definition::{Registration, TaskDefinition};
use ecs_deployd::domain::types::{DeploymentId, Digest, EcsName, ServiceKey, TaskDefinitionArn};
use ecs_deployd::domain::view::{
    Controller, DeploymentView, Fate, RolloutState, RunningImages, Scheduling, ServiceEvent, ServiceView, Strategy,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::faults::{error, with_fate};
use super::{ACCOUNT, Inner, REGION, World};

/// How tasks with an image fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// They are stable after a while.
    After(Duration),
    /// They never are.
    Never,
    /// They stop, one after the other, and nothing gives them up.
    Stops,
    /// The circuit breaker gives them up after a while.
    BreaksAfter(Duration),
}

#[derive(Debug)]
pub struct Service {
    pub desired: i32,
    pub minimum: i32,
    pub maximum: i32,
    pub classic: bool,
    pub breaker_rolls_back: bool,
    pub active: bool,
    /// What the deployment that was complete last ran.
    ran: Digests,
    /// The same, whether or not it has baked.
    ran_unbaked: Digests,
    /// The revisions that it was set to, and since when.
    was: Vec<(Timestamp, String)>,
    /// Of a blue/green deployment: how long ECS keeps the old tasks after the new ones run.
    pub bake: SignedDuration,
    pub deployments: Vec<Deployment>,
    /// Every deployment that UpdateService started, in order.
    pub started: Vec<Started>,
    /// What DescribeServices still says until then, as ECS is eventually consistent.
    pub stale: Option<(Timestamp, ServiceView)>,
    /// How long that is.
    pub lag: SignedDuration,
}

/// A deployment that UpdateService started.
#[derive(Debug, Clone)]
pub struct Started {
    pub revision: String,
    pub at: Timestamp,
    /// The digests, by container.
    pub digests: Digests,
    /// Those of the deployment that it took the place of.
    pub replaces: Digests,
    /// Those of the last deployment that was complete.
    pub ran: Digests,
    /// The same, whether or not it had baked.
    pub ran_unbaked: Digests,
}

/// Digests by container.
pub type Digests = BTreeMap<String, Option<String>>;

#[derive(Debug, Clone)]
pub struct Deployment {
    id: String,
    revision: String,
    since: Timestamp,
    /// The digests, by container, that the tags resolved to when it began.
    digests: Digests,
    health: Health,
    state: RolloutState,
}

impl World {
    /// Registers a revision as an operator would. Gives its ARN.
    pub fn register(&self, family: &str, containers: &[(&str, &str)]) -> String {
        let containers: Vec<Value> = containers
            .iter()
            .map(|(name, image)| json!({"name": name, "image": image, "unknownToTheSdk": {"deep": [1, 2.5, null]}}))
            .collect();
        self.lock().add_revision(json!({"family": family, "containerDefinitions": containers, "cpu": "256"}))
    }

    /// Creates a service that runs a revision completely.
    pub fn create_service(&self, cluster: &str, name: &str, revision: &str, desired: i32) {
        let mut inner = self.lock();
        let mut deployment = inner.deployment(revision);
        deployment.state = RolloutState::Completed;
        let (ran, was) = (deployment.digests.clone(), vec![(deployment.since, revision.to_owned())]);
        let service = Service {
            desired,
            ran_unbaked: ran.clone(),
            ran,
            was,
            minimum: 100,
            maximum: 200,
            classic: false,
            breaker_rolls_back: false,
            active: true,
            bake: SignedDuration::ZERO,
            deployments: vec![deployment],
            started: Vec::new(),
            stale: None,
            lag: SignedDuration::ZERO,
        };
        inner.services.insert((cluster.to_owned(), name.to_owned()), service);
    }

    /// Changes a service as an operator would.
    pub fn edit_service(&self, cluster: &str, name: &str, edit: impl FnOnce(&mut Service)) {
        edit(self.lock().services.get_mut(&(cluster.to_owned(), name.to_owned())).unwrap());
    }

    /// Updates a service as another deployer would.
    pub fn interfere(&self, cluster: &str, name: &str, revision: &str) {
        let mut inner = self.lock();
        let service = &inner.services[&(cluster.to_owned(), name.to_owned())];
        if service.deployments[0].revision != revision {
            inner.start(cluster, name, revision).unwrap();
            let request = json!({"cluster": cluster, "service": name, "taskDefinition": revision});
            inner.record_change("UpdateService", "aws-cli/2.0", &request);
            inner.services.get_mut(&(cluster.to_owned(), name.to_owned())).unwrap().started.pop();
        }
    }

    /// Registers a copy of what a service is set to (or of the first revision of its family), changed as another deployer would, and
    /// sets the service to it.
    pub fn meddle(&self, cluster: &str, name: &str, with_the_first: bool) {
        let body = {
            let inner = self.lock();
            let current = &inner.services[&(cluster.to_owned(), name.to_owned())].deployments[0].revision;
            let mut body = inner.body(current).unwrap().clone();
            if with_the_first {
                body = inner.families[body["family"].as_str().unwrap()][0].clone();
            }
            body["cpu"] = if body["cpu"] == "256" { json!("512") } else { json!("256") };
            body
        };
        let revision = self.lock().add_revision(body);
        self.interfere(cluster, name, &revision);
    }

    /// Sets a service to an older revision of its family that it was set to before, as an operator would by hand. Whether there is one.
    pub fn revert(&self, cluster: &str, name: &str) -> bool {
        let older = {
            let inner = self.lock();
            let service = &inner.services[&(cluster.to_owned(), name.to_owned())];
            let current = &service.deployments[0].revision;
            service.was.iter().rev().map(|(_, revision)| revision).find(|revision| *revision != current).cloned()
        };
        if let Some(older) = &older {
            self.interfere(cluster, name, older);
        }
        older.is_some()
    }

    /// The digests of what a service is set to.
    pub fn digests_of(&self, cluster: &str, name: &str) -> Vec<String> {
        let inner = self.lock();
        let service = &inner.services[&(cluster.to_owned(), name.to_owned())];
        service.deployments[0].digests.values().flatten().cloned().collect()
    }

    /// Whether there is such a service.
    pub fn has_service(&self, cluster: &str, name: &str) -> bool {
        self.lock().services.contains_key(&(cluster.to_owned(), name.to_owned()))
    }

    /// Deletes a service.
    pub fn delete_service(&self, cluster: &str, name: &str) {
        self.lock().services.remove(&(cluster.to_owned(), name.to_owned()));
    }

    /// Forces a new deployment of the same revision, as an operator would.
    pub fn force(&self, cluster: &str, name: &str) {
        self.lock().force(cluster, name);
    }

    /// How tasks with this digest fare; by default they are stable after ten seconds.
    pub fn set_health(&self, digest: &str, health: Health) {
        self.lock().health.insert(digest.to_owned(), health);
    }

    /// How they fare, where that was said.
    pub fn health_of(&self, digest: &str) -> Option<Health> {
        self.lock().health.get(digest).copied()
    }

    /// The image that a container of a service runs, once nothing is under way.
    pub fn settled_image(&self, cluster: &str, name: &str, container: &str) -> Option<String> {
        let mut inner = self.lock();
        inner.turn();
        let service = &inner.services[&(cluster.to_owned(), name.to_owned())];
        let [only] = &service.deployments[..] else { return None };
        (only.state == RolloutState::Completed).then(|| only.digests.get(container).cloned().flatten()).flatten()
    }

    /// The revision that a service is set to.
    pub fn revision_of(&self, cluster: &str, name: &str) -> String {
        self.lock().services[&(cluster.to_owned(), name.to_owned())].deployments[0].revision.clone()
    }

    /// The revisions that UpdateService started deployments of.
    pub fn started(&self, cluster: &str, name: &str) -> Vec<String> {
        self.log_of(cluster, name).into_iter().map(|started| started.revision).collect()
    }

    /// The deployments that UpdateService started.
    pub fn log_of(&self, cluster: &str, name: &str) -> Vec<Started> {
        self.lock().services[&(cluster.to_owned(), name.to_owned())].started.clone()
    }

    /// Every revision of a family, as it was registered.
    pub fn revisions(&self, family: &str) -> Vec<Value> {
        self.lock().families.get(family).cloned().unwrap_or_default()
    }
}

impl Inner {
    fn add_revision(&mut self, mut body: Value) -> String {
        let family = body["family"].as_str().unwrap().to_owned();
        let revisions = self.families.entry(family.clone()).or_default();
        let revision = revisions.len() + 1;
        let arn = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{family}:{revision}");
        body["taskDefinitionArn"] = json!(arn);
        body["revision"] = json!(revision);
        body["status"] = json!("ACTIVE");
        body["registeredAt"] = json!(1.5);
        body["volumes"] = json!([]);
        revisions.push(body);
        arn
    }

    fn body(&self, which: &str) -> Option<&Value> {
        let short = which.rsplit('/').next().unwrap();
        match short.split_once(':') {
            Some((family, revision)) => self.families.get(family)?.get(revision.parse::<usize>().ok()? - 1),
            None => self.families.get(short)?.last(),
        }
    }

    fn deployment(&mut self, revision: &str) -> Deployment {
        let body = self.body(revision).expect("the revision exists").clone();
        let digests: BTreeMap<String, Option<String>> = body["containerDefinitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|container| {
                (container["name"].as_str().unwrap().to_owned(), self.resolve(container["image"].as_str().unwrap()))
            })
            .collect();
        let health = digests
            .values()
            .flatten()
            .filter_map(|digest| self.health.get(digest))
            .copied()
            .find(|health| !matches!(health, Health::After(_)))
            .unwrap_or_else(|| {
                let slow = digests.values().flatten().filter_map(|digest| match self.health.get(digest) {
                    Some(Health::After(after)) => Some(*after),
                    _ => None,
                });
                Health::After(slow.max().unwrap_or(Duration::from_secs(10)))
            });
        Deployment {
            id: self.next("ecs-svc/"),
            revision: revision.to_owned(),
            since: self.now(),
            digests,
            health,
            state: RolloutState::InProgress,
        }
    }

    /// UpdateService: the same revision starts nothing.
    fn start(&mut self, cluster: &str, name: &str, revision: &str) -> Result<(), AwsError> {
        self.turn();
        let key = (cluster.to_owned(), name.to_owned());
        let refused = |fault, code| Err(error("ecs", "UpdateService", fault, code));
        let Some(service) = self.services.get(&key).filter(|service| service.active) else {
            return refused(Fault::NotFound, "ServiceNotFoundException");
        };
        if self.body(revision).is_none() {
            return refused(Fault::Refused, "InvalidParameterException");
        }
        if service.deployments[0].revision == revision {
            return Ok(());
        }
        let (before, until) = (self.service_view(service), self.now() + service.lag);
        let deployment = self.deployment(revision);
        let service = self.services.get_mut(&key).unwrap();
        service.stale = Some((until, before));
        service.was.push((deployment.since, revision.to_owned()));
        service.started.push(Started {
            revision: revision.to_owned(),
            at: deployment.since,
            digests: deployment.digests.clone(),
            replaces: service.deployments[0].digests.clone(),
            ran: service.ran.clone(),
            ran_unbaked: service.ran_unbaked.clone(),
        });
        service.deployments.insert(0, deployment);
        Ok(())
    }

    /// What is written to ECS must be on the disk as an intention.
    fn assert_intended(&self, is: impl Fn(&ServiceKey, &Rollout) -> bool, operation: &str) {
        let Some(disk) = &self.witness else { return };
        let state = disk.durable_state().unwrap_or_else(|| panic!("{operation} without a durable state"));
        let intended =
            state.services.iter().any(|(key, known)| known.rollout.as_ref().is_some_and(|rollout| is(key, rollout)));
        assert!(intended, "{operation} without a durable intent: {state:#?}");
    }

    /// A revision says the same as what the service was set to, but for the images. Others may have changed that a moment ago, when the
    /// decision was made already: nobody can tell ECS to update only if nothing changed.
    fn assert_copy(&self, service: &Service, revision: &str) {
        let plain = |which: &str| {
            let mut body = self.body(which).unwrap().clone();
            for container in body["containerDefinitions"].as_array_mut().unwrap() {
                container["image"] = Value::Null;
            }
            for member in ["taskDefinitionArn", "revision"] {
                body[member] = Value::Null;
            }
            body
        };
        let moment = self.now() - SignedDuration::from_secs(120);
        let ended = |index: usize| service.was.get(index + 1).is_none_or(|(next, _)| *next >= moment);
        let mut lately = service.was.iter().enumerate().filter(|(index, _)| ended(*index)).map(|(_, (_, was))| was);
        let is_copy = lately.any(|was| plain(was) == plain(revision));
        // What it ran before; or the first one, which operators name.
        let is_back = revision.ends_with(":1") || service.was.iter().any(|(_, was)| was == revision);
        assert!(is_copy || is_back, "{revision} differs in more than its images from {:#?}", service.was);
    }

    /// Starts the same revision once more, as somebody who forces a new deployment does.
    pub(super) fn force(&mut self, cluster: &str, name: &str) {
        self.turn();
        let key = (cluster.to_owned(), name.to_owned());
        let revision = self.services[&key].deployments[0].revision.clone();
        let deployment = self.deployment(&revision);
        let service = self.services.get_mut(&key).unwrap();
        service.deployments.insert(0, deployment);
    }

    /// Lets time do its work: what is stable by now replaces what ran before.
    fn turn(&mut self) {
        let now = self.now();
        let mut breaks = Vec::new();
        for (key, service) in &mut self.services {
            let primary = &mut service.deployments[0];
            let age = now.duration_since(primary.since);
            let reached = |after: Duration| age >= SignedDuration::try_from(after).unwrap();
            match primary.health {
                _ if service.desired == 0 && primary.state == RolloutState::InProgress => {
                    service.ran = primary.digests.clone();
                    primary.state = RolloutState::Completed;
                }
                Health::After(after) if reached(after) => {
                    service.ran_unbaked = primary.digests.clone();
                    // As long as it bakes, ECS may go back by itself.
                    if age >= service.bake {
                        service.ran = primary.digests.clone();
                    }
                    primary.state = RolloutState::Completed;
                }
                Health::BreaksAfter(after) if reached(after) && primary.state == RolloutState::InProgress => {
                    primary.state = RolloutState::Failed;
                    if service.breaker_rolls_back {
                        breaks.push(key.clone());
                    }
                }
                _ => {}
            }
            if service.deployments[0].state == RolloutState::Completed {
                service.deployments.truncate(1);
            }
        }
        for key in breaks {
            let last_good = self.services[&key].deployments.last().unwrap().revision.clone();
            let deployment = self.deployment(&last_good);
            let service = self.services.get_mut(&key).unwrap();
            service.was.push((deployment.since, last_good));
            service.deployments.insert(0, deployment);
        }
    }

    /// What the service's own log says, newest first.
    fn events_of(&self, service: &Service) -> Vec<ServiceEvent> {
        let primary = &service.deployments[0];
        let ill = !matches!(primary.health, Health::After(_));
        let event = |at, message: &str| ServiceEvent { at, message: message.to_owned() };
        let mut events = vec![event(self.epoch, "has reached a steady state.")];
        if ill && service.desired > 0 {
            events.insert(0, event(primary.since, "was unable to place a task: simulated"));
        }
        events
    }

    fn service_view(&self, service: &Service) -> ServiceView {
        let now = self.now();
        let deployments = service
            .deployments
            .iter()
            .enumerate()
            .map(|(index, deployment)| {
                let done = deployment.state == RolloutState::Completed || index > 0;
                let age = now.duration_since(deployment.since).as_secs();
                let stops = deployment.health == Health::Stops && !done && service.desired > 0;
                DeploymentView {
                    id: DeploymentId::parse(&deployment.id).unwrap(),
                    primary: index == 0,
                    task_definition: TaskDefinitionArn::parse(&deployment.revision).unwrap(),
                    since: Some(deployment.since),
                    state: (!service.classic).then_some(deployment.state),
                    reason: String::new(),
                    desired: service.desired,
                    running: if done { service.desired } else { 0 },
                    pending: if done { 0 } else { service.desired },
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
            scheduling: Scheduling::Replica,
            strategy: if service.bake.is_zero() {
                Strategy::Rolling
            } else {
                Strategy::Shifting("BLUE_GREEN".to_owned())
            },
            bake: Duration::try_from(service.bake).unwrap(),
            load_balanced: service.classic,
            breaker: service.breaker_rolls_back,
            minimum_healthy_percent: Some(service.minimum),
            maximum_percent: Some(service.maximum),
            deployments,
            events: self.events_of(service),
        }
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
            let found = services.iter().filter_map(|name| {
                let service = inner.services.get(&(cluster.as_str().to_owned(), name.as_str().to_owned()))?;
                let stale =
                    service.stale.as_ref().filter(|(until, _)| *until > inner.now()).map(|(_, view)| view.clone());
                Some((name.clone(), Ok(stale.unwrap_or_else(|| inner.service_view(service)))))
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
            inner.assert_intended(
                |_, rollout| rollout.phase == Phase::Intended && intends(rollout),
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
            let (place, phase) = ((cluster, service), Phase::Registered { revision: revision.clone() });
            inner.assert_intended(
                |key, rollout| (&key.cluster, &key.service) == place && rollout.phase == phase,
                "UpdateService",
            );
            let named = (cluster.as_str().to_owned(), service.as_str().to_owned());
            if let (Some(_), Some(service)) = (&inner.witness, inner.services.get(&named)) {
                inner.assert_copy(service, revision.as_str());
            }
            inner.start(cluster.as_str(), service.as_str(), revision.as_str())?;
            let request =
                json!({"cluster": cluster.as_str(), "service": service.as_str(), "taskDefinition": revision.as_str()});
            inner.record_change("UpdateService", "aws-sdk-rust/1 app/ecs-deployd", &request);
            let service = &inner.services[&(cluster.as_str().to_owned(), service.as_str().to_owned())];
            Ok(inner.service_view(service).primary().unwrap().clone())
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
                for (container, digest) in &last.digests {
                    let digest = digest.as_deref().and_then(|digest| Digest::parse(digest).ok());
                    running.digests.entry(container.clone()).or_insert_with(BTreeSet::new).extend(digest);
                }
            }
            Ok(running)
        })
        .await
    }
}
