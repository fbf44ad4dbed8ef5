//! ECS: families of revisions, and services that roll from one deployment to the next as time passes.

mod answers;
mod rolling;
mod stages;

use std::collections::BTreeMap;
use std::time::Duration;

use ecs_deployd::domain::view::{RolloutState, ServiceView};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub use stages::LifecycleHook;
use stages::Reached;

use super::World;

/// How tasks with an image fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// They are stable after a while.
    After(Duration),
    /// They replace the old ones steadily, one after the other.
    Steady {
        /// The time that each takes.
        each: Duration,
    },
    /// They never are.
    Never,
    /// They stop, one after the other, and nothing gives them up.
    Stops,
    /// The circuit breaker gives them up after a while.
    BreaksAfter(Duration),
    /// They run, so that ECS completes the deployment; and each of them exits when it has run for so long, again and again.
    Exits {
        /// How long.
        after: Duration,
    },
}

#[derive(Debug)]
pub struct Service {
    pub desired: i32,
    pub minimum: i32,
    pub maximum: i32,
    pub classic: bool,
    pub breaker_rolls_back: bool,
    /// How long after a failure ECS begins to go back by itself.
    pub begins_back_after: SignedDuration,
    pub active: bool,
    created: Timestamp,
    /// What the deployment that was complete last ran.
    ran: Digests,
    /// The same, whether or not it has baked.
    ran_unbaked: Digests,
    /// The revisions that it was set to, and since when.
    was: Vec<(Timestamp, String)>,
    /// Of a blue/green deployment: how long ECS keeps the old tasks after the new ones run.
    pub bake: SignedDuration,
    /// How long old tasks drain after the new ones run.
    pub drains: SignedDuration,
    /// The bake time of its alarms, where it has alarms.
    pub alarm_bake: Option<SignedDuration>,
    /// The hook at which its deployments wait once their tasks run.
    pub hook: Option<LifecycleHook>,
    /// ECS manages its resources, and UpdateService takes no revision for it.
    pub express: bool,
    /// What was rolled back at the hook: when, and the digests.
    pub rolled_back: Vec<(Timestamp, Digests)>,
    /// How often ContinueServiceDeployment was called for it with an effect.
    pub hooks_answered: usize,
    /// So many answers of DescribeServices do not have it.
    pub hidden: u32,
    pub deployments: Vec<Deployment>,
    /// Every deployment that UpdateService started, in order.
    pub started: Vec<Started>,
    /// What DescribeServices still says until then, as ECS is eventually consistent.
    pub stale: Option<(Timestamp, ServiceView)>,
    /// How long that is.
    pub lag: SignedDuration,
    /// The deployment that is known to be complete, so that time changes nothing about it.
    settled: Option<String>,
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
    hook: Reached,
    /// When tasks were first wanted of a deployment that was complete without any.
    scaled_at: Option<Timestamp>,
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
            begins_back_after: SignedDuration::ZERO,
            active: true,
            created: deployment.since,
            bake: SignedDuration::ZERO,
            drains: SignedDuration::ZERO,
            alarm_bake: None,
            hook: None,
            express: false,
            rolled_back: Vec::new(),
            hooks_answered: 0,
            hidden: 0,
            deployments: vec![deployment],
            started: Vec::new(),
            stale: None,
            lag: SignedDuration::ZERO,
            settled: None,
        };
        inner.services.insert((cluster.to_owned(), name.to_owned()), service);
    }

    /// Changes a service as an operator would.
    pub fn edit_service(&self, cluster: &str, name: &str, edit: impl FnOnce(&mut Service)) {
        edit(self.lock().services.get_mut(&(cluster.to_owned(), name.to_owned())).unwrap());
    }

    /// Sets the desired count of a service. Its tasks are started anew, if there were none.
    pub fn scale(&self, cluster: &str, name: &str, desired: i32) {
        let mut inner = self.lock();
        let now = inner.now();
        let service = inner.services.get_mut(&(cluster.to_owned(), name.to_owned())).unwrap();
        if std::mem::replace(&mut service.desired, desired) == 0 {
            service.deployments[0].scaled_at = Some(now);
        }
    }

    /// Updates a service as another deployer would.
    pub fn interfere(&self, cluster: &str, name: &str, revision: &str) {
        let mut inner = self.lock();
        let service = &inner.services[&(cluster.to_owned(), name.to_owned())];
        if service.deployments[0].revision != revision {
            inner.start(cluster, name, revision).unwrap();
            let request = json!({"cluster": cluster, "service": name, "taskDefinition": revision});
            inner.record_change("UpdateService", "aws-cli/2.0", &request);
            let service = inner.services.get_mut(&(cluster.to_owned(), name.to_owned())).unwrap();
            service.started.pop();
            // They answer its hook themselves.
            service.deployments[0].hook = Reached::Passed;
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

    /// What of a container was rolled back at a hook, and when.
    pub fn rolled_back(&self, cluster: &str, name: &str, container: &str) -> Vec<(Timestamp, String)> {
        let inner = self.lock();
        let service = inner.services.get(&(cluster.to_owned(), name.to_owned()));
        let all = service.into_iter().flat_map(|service| &service.rolled_back);
        all.filter_map(|(at, digests)| Some((*at, digests.get(container)?.clone()?))).collect()
    }

    /// How often a hook of a service was answered by ContinueServiceDeployment.
    pub fn hooks_answered(&self, cluster: &str, name: &str) -> usize {
        self.lock().services.get(&(cluster.to_owned(), name.to_owned())).map_or(0, |service| service.hooks_answered)
    }

    /// Every revision of a family, as it was registered.
    pub fn revisions(&self, family: &str) -> Vec<Value> {
        self.lock().families.get(family).cloned().unwrap_or_default()
    }
}
