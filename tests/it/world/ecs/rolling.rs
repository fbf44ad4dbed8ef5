//! How services roll from one deployment to the next, and what must hold whenever somebody writes.

use std::collections::BTreeMap;
use std::time::Duration;

use ecs_deployd::aws::{AwsError, Fault};
use ecs_deployd::domain::state::Rollout;
use ecs_deployd::domain::types::ServiceKey;
use ecs_deployd::domain::view::RolloutState;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::faults::error;
use super::super::{Inner, REGION};
use super::stages::{Reached, STARTS_WITHIN};
use super::{Deployment, Health, Service, Started};

impl Service {
    /// Whether time changes nothing about it: it runs what it was set to. Of thousands of services most do.
    fn is_settled(&self) -> bool {
        self.deployments.len() == 1 && self.settled.as_ref() == Some(&self.deployments[0].id)
    }

    /// Notes whether it runs what it was set to.
    fn settle(&mut self) {
        let [only] = &self.deployments[..] else { return };
        let is_stable = only.state == RolloutState::Completed && matches!(only.health, Health::After(_));
        if is_stable && only.digests == self.ran && only.digests == self.ran_unbaked {
            self.settled = Some(only.id.clone());
        }
    }
}

impl Inner {
    pub(super) fn add_revision(&mut self, mut body: Value) -> String {
        let family = body["family"].as_str().unwrap().to_owned();
        let (account, revisions) = (self.account, self.families.entry(family.clone()).or_default());
        let revision = revisions.len() + 1;
        let arn = format!("arn:aws:ecs:{REGION}:{account}:task-definition/{family}:{revision}");
        body["taskDefinitionArn"] = json!(arn);
        body["revision"] = json!(revision);
        body["status"] = json!("ACTIVE");
        body["registeredAt"] = json!(1.5);
        body["volumes"] = json!([]);
        revisions.push(body);
        arn
    }

    pub(in crate::world) fn body(&self, which: &str) -> Option<&Value> {
        let short = which.rsplit('/').next().unwrap();
        match short.split_once(':') {
            Some((family, revision)) => self.families.get(family)?.get(revision.parse::<usize>().ok()? - 1),
            None => self.families.get(short)?.last(),
        }
    }

    pub(super) fn deployment(&mut self, revision: &str) -> Deployment {
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
            hook: Reached::default(),
            scaled_at: None,
        }
    }

    /// UpdateService: the same revision starts nothing.
    pub(super) fn start(&mut self, cluster: &str, name: &str, revision: &str) -> Result<(), AwsError> {
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
    pub(in crate::world) fn assert_intended(&self, is: impl Fn(&ServiceKey, &Rollout) -> bool, operation: &str) {
        let Some(disk) = &self.witness else { return };
        let state = disk.durable_state().unwrap_or_else(|| panic!("{operation} without a durable state"));
        let intended =
            state.services.iter().any(|(key, known)| known.rollout.as_ref().is_some_and(|rollout| is(key, rollout)));
        assert!(intended, "{operation} without a durable intent: {state:#?}");
    }

    /// A revision says the same as what the service was set to, but for the images. Others may have changed that a moment ago, when the
    /// decision was made already: nobody can tell ECS to update only if nothing changed.
    pub(super) fn assert_copy(&self, service: &Service, revision: &str) {
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
    pub(in crate::world) fn force(&mut self, cluster: &str, name: &str) {
        self.turn();
        let key = (cluster.to_owned(), name.to_owned());
        let revision = self.services[&key].deployments[0].revision.clone();
        // Whoever forces it answers its hook.
        let deployment = Deployment { hook: Reached::Passed, ..self.deployment(&revision) };
        let service = self.services.get_mut(&key).unwrap();
        service.deployments.insert(0, deployment);
    }

    /// Lets time do its work: what is stable by now replaces what ran before.
    pub(super) fn turn(&mut self) {
        let now = self.now();
        let mut breaks = Vec::new();
        for (key, service) in self.services.iter_mut().filter(|(_, service)| !service.is_settled()) {
            let waits = Duration::try_from(service.waits_after()).unwrap();
            service.reach_hook(now);
            let primary = &mut service.deployments[0];
            let age = now.duration_since(primary.since);
            let reached = |after: Duration| age >= SignedDuration::try_from(after).unwrap();
            match primary.health {
                _ if service.desired == 0 && primary.state == RolloutState::InProgress => {
                    service.ran = primary.digests.clone();
                    primary.state = RolloutState::Completed;
                }
                _ if primary.hook == Reached::RolledBack && primary.state == RolloutState::InProgress => {
                    primary.state = RolloutState::Failed;
                    // What it ran before is good nevertheless.
                    if primary.digests != service.ran {
                        service.rolled_back.push((now, primary.digests.clone()));
                    }
                    breaks.push(key.clone());
                }
                _ if primary.waits_at_hook() => {}
                Health::Steady { each } if reached(each * u32::try_from(service.desired).unwrap()) => {
                    service.ran_unbaked = primary.digests.clone();
                    service.ran = primary.digests.clone();
                    primary.state = RolloutState::Completed;
                }
                Health::After(after) if reached(after + waits) => {
                    service.ran_unbaked = primary.digests.clone();
                    // As long as it bakes, ECS may go back by itself.
                    if age >= service.bake {
                        service.ran = primary.digests.clone();
                    }
                    primary.state = RolloutState::Completed;
                }
                Health::Exits { .. } if reached(STARTS_WITHIN + waits) && primary.state != RolloutState::Completed => {
                    service.ran_unbaked = primary.digests.clone();
                    service.ran = primary.digests.clone();
                    primary.state = RolloutState::Completed;
                }
                Health::BreaksAfter(after) if reached(after) && primary.state != RolloutState::Completed => {
                    primary.state = RolloutState::Failed;
                    let begins_back = after + Duration::try_from(service.begins_back_after).unwrap();
                    if service.breaker_rolls_back && reached(begins_back) && service.deployments.len() > 1 {
                        breaks.push(key.clone());
                    }
                }
                _ => {}
            }
            if service.deployments[0].state == RolloutState::Completed {
                service.deployments.truncate(1);
            }
            service.settle();
        }
        for key in breaks {
            let last_good = self.services[&key].deployments.last().unwrap().revision.clone();
            // ECS's own rollback calls no hooks.
            let deployment = Deployment { hook: Reached::Passed, ..self.deployment(&last_good) };
            let service = self.services.get_mut(&key).unwrap();
            service.was.push((deployment.since, last_good));
            service.deployments.insert(0, deployment);
        }
    }
}
