//! What AWS answers in a scene: what ECS and ECR hold, unless a test says otherwise.

use std::collections::BTreeMap;

use super::{Scene, error, lines};
use crate::domain::aws_error::{AwsError, Fault};
use crate::domain::deployment::ServiceDeploymentView;
use crate::domain::plan::{RepositorySnapshot, ServiceSnapshot};
use crate::domain::settings::RepositoryKey;
use crate::domain::task_definition::{Registration, TaskDefinition};
use crate::domain::test_support::{self, arn, definition, deployment, service_key};
use crate::domain::types::{ServiceKey, TaskDefinitionArn};
use crate::domain::view::{DeploymentView, Fate, RolloutState, RunningImages, ServiceView};
use crate::engine::{
    Input, Inspected, Location, Moment, Observation, ObservationRequest, Read, RolloutId, Unlocated, Write,
};

impl Scene {
    /// ECS and ECR answer what was asked about a service.
    pub(super) fn observed(&mut self, service: &str) -> Vec<String> {
        self.observed_but(service, |_| {})
    }

    /// The same, with something else in the answer.
    pub(super) fn observed_but(&mut self, service: &str, change: impl FnOnce(&mut Observation)) -> Vec<String> {
        let (asked_at, request) = self.question(service);
        let mut observation = Observation {
            snapshot: self.snapshot(&request),
            unanswered: BTreeMap::new(),
            at_gates: self.at_gates(&request),
        };
        change(&mut observation);
        self.handle([Input::Observed { asked_at, answers: vec![(request, Ok(observation))] }])
    }

    pub(super) fn not_observed(&mut self, service: &str, fault: Fault) -> Vec<String> {
        let (asked_at, request) = self.question(service);
        self.handle([Input::Observed { asked_at, answers: vec![(request, Err(error(fault)))] }])
    }

    pub(super) fn question(&mut self, service: &str) -> (Moment, ObservationRequest) {
        let place = self.questions.iter().position(|(_, request)| request.key == service_key(service));
        self.questions.remove(place.expect("nothing was asked about it"))
    }

    pub(super) fn snapshot(&self, request: &ObservationRequest) -> ServiceSnapshot {
        let view = self.services.get(&request.key).cloned();
        let missing = view.is_none();
        let current = view.as_ref().map(|view| self.definition(&view.task_definition));
        let answers = |repository: &RepositoryKey| {
            let images = self.images.get(repository).cloned().unwrap_or_default();
            let newest = images.iter().filter(|image| !image.tags.is_empty()).max_by_key(|image| image.pushed_at);
            let best = newest.map(|image| (image.tags[0].clone(), image.clone()));
            RepositorySnapshot { best, ..test_support::answers(&images) }
        };
        let named: Vec<String> =
            current.iter().flat_map(|one| one.containers().map(|(_, image)| image.to_owned())).collect();
        let running_in_ecr = |repository: &RepositoryKey| {
            let images = self.images.get(repository).into_iter().flatten();
            images.filter(|image| named.iter().any(|one| one.ends_with(image.digest.as_str()))).cloned().collect()
        };
        ServiceSnapshot {
            service: view,
            missing,
            unrollable: None,
            base: current.clone(),
            current,
            running: RunningImages::default(),
            images: request.pushes.keys().map(|key| (key.clone(), answers(key))).collect(),
            completed: None,
            running_in_ecr: request.pushes.keys().map(|key| (key.clone(), running_in_ecr(key))).collect(),
        }
    }

    pub(super) fn definition(&self, revision: &TaskDefinitionArn) -> TaskDefinition {
        let number = lines::number(revision);
        let containers = self.revisions.get(&number).expect("a revision that is registered");
        let containers: Vec<(&str, &str)> =
            containers.iter().map(|(name, image)| (name.as_str(), image.as_str())).collect();
        definition(number, &containers)
    }

    /// ECS registers what it was to register.
    pub(super) fn registered(&mut self, revision: u64) -> Vec<String> {
        let (ids, registration) = self.registration();
        let containers = registration.body()["containerDefinitions"].as_array().unwrap().clone();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let containers = containers.iter().map(|one| (text(&one["name"]), text(&one["image"])));
        self.revisions.insert(revision, containers.collect());
        self.handle([Input::Registered { ids, answer: Ok(arn(revision)) }])
    }

    pub(super) fn not_registered(&mut self, fault: Fault) -> Vec<String> {
        let (ids, _) = self.registration();
        self.handle([Input::Registered { ids, answer: Err(error(fault)) }])
    }

    pub(super) fn registration(&mut self) -> (Vec<RolloutId>, Box<Registration>) {
        let place = self.writes.iter().position(|write| matches!(write, Write::Register { .. }));
        match self.writes.remove(place.expect("no registration is under way")) {
            Write::Register { ids, registration, .. } => (ids, registration),
            Write::Update { .. }
            | Write::Continue { .. }
            | Write::RunTask { .. }
            | Write::StopTask { .. }
            | Write::Stop { .. } => unreachable!(),
        }
    }

    /// ECS begins the deployment that it was to begin: `d2` for revision 2, and `d2b` if it had one of that revision before.
    pub(super) fn updated(&mut self) -> Vec<String> {
        let (id, revision) = self.update();
        let number = lines::number(&revision);
        let view = self.services.get_mut(&id.service).expect("a service");
        let before = view.deployments.iter().filter(|other| other.task_definition == revision).count();
        let mine =
            deployment(&format!("d{number}{}", "b".repeat(before)), true, number, Some(RolloutState::InProgress));
        let mine = DeploymentView { running: 0, ..mine };
        view.task_definition = revision.clone();
        for other in &mut view.deployments {
            other.primary = false;
        }
        view.deployments.insert(0, mine.clone());
        self.handle([Input::Updated { id, revision, answer: Box::new(Ok(mine)) }])
    }

    pub(super) fn not_updated(&mut self, fault: Fault) -> Vec<String> {
        let (id, revision) = self.update();
        self.handle([Input::Updated { id, revision, answer: Box::new(Err(error(fault))) }])
    }

    pub(super) fn update(&mut self) -> (RolloutId, TaskDefinitionArn) {
        let place = self.writes.iter().position(|write| matches!(write, Write::Update { .. }));
        match self.writes.remove(place.expect("no update is under way")) {
            Write::Update { id, revision, by: _ } => (id, revision),
            Write::Register { .. }
            | Write::Continue { .. }
            | Write::RunTask { .. }
            | Write::StopTask { .. }
            | Write::Stop { .. } => unreachable!(),
        }
    }

    pub(super) fn read(&mut self, is_it: impl Fn(&Read) -> bool) -> Read {
        let place = self.reads.iter().position(is_it);
        self.reads.remove(place.expect("nothing of the kind was asked"))
    }

    /// ECS says how far a rollout got; `registered` is the revision that was found to be the intended one.
    pub(super) fn inspected(&mut self, registered: Option<u64>) -> Vec<String> {
        self.inspected_but(registered, |_| {})
    }

    pub(super) fn inspected_but(
        &mut self,
        registered: Option<u64>,
        change: impl FnOnce(&mut Inspected),
    ) -> Vec<String> {
        let Read::Inspect { id, rollout } = self.read(|read| matches!(read, Read::Inspect { .. })) else {
            unreachable!()
        };
        let mut found = Inspected {
            missing: !self.services.contains_key(&id.service),
            service: self.services.get(&id.service).cloned(),
            registered: registered.map(arn),
            deployments: None,
            registration: Some(self.definition(&rollout.base).with_images(&rollout.images)),
        };
        change(&mut found);
        self.handle([Input::Inspected { id, answer: Box::new(Ok(found)) }])
    }

    pub(super) fn inspection_failed(&mut self, fault: Fault) -> Vec<String> {
        let Read::Inspect { id, .. } = self.read(|read| matches!(read, Read::Inspect { .. })) else { unreachable!() };
        self.handle([Input::Inspected { id, answer: Box::new(Err(error(fault))) }])
    }

    /// ECS says what services are set to that are about to be updated.
    pub(super) fn rechecked(&mut self) -> Vec<String> {
        self.rechecked_as(None)
    }

    pub(super) fn rechecked_as(&mut self, fault: Option<Fault>) -> Vec<String> {
        let Read::Recheck { ids, .. } = self.read(|read| matches!(read, Read::Recheck { .. })) else { unreachable!() };
        let answer = |id: &RolloutId| match fault {
            Some(fault) => Err(error(fault)),
            None => Ok(self.services.get(&id.service).cloned().map(Ok)),
        };
        let answers = ids.iter().map(|id| (id.service.service.clone(), answer(id))).collect();
        self.handle([Input::Rechecked { ids, answers }])
    }

    /// ECS says how rollouts go.
    pub(super) fn watched(&mut self) -> Vec<String> {
        self.ensure_watched();
        self.watch_answered(None)
    }

    pub(super) fn not_watched(&mut self, fault: Fault) -> Vec<String> {
        self.ensure_watched();
        self.watch_answered(Some(fault))
    }

    /// Lets the time pass until the next look at the rollouts.
    pub(super) fn ensure_watched(&mut self) {
        if !self.reads.iter().any(|read| matches!(read, Read::Watch { .. })) {
            self.after(5);
        }
    }

    pub(super) fn watch_answered(&mut self, fault: Option<Fault>) -> Vec<String> {
        let Read::Watch { place, asked_at, services } = self.read(|read| matches!(read, Read::Watch { .. })) else {
            unreachable!()
        };
        let answer = |key: &ServiceKey| match fault {
            Some(fault) => Err(error(fault)),
            None => Ok(self.services.get(key).cloned().map(Ok)),
        };
        let answers = services.iter().map(|(key, _)| (key.service.clone(), answer(key))).collect();
        self.handle([Input::Watched { place, asked_at, services, answers }])
    }

    /// ECS says at which stage a deployment is, and at which hooks it waits.
    pub(super) fn staged(&mut self, seen: ServiceDeploymentView) -> Vec<String> {
        self.stages_answered(Ok(Some(seen)))
    }

    pub(super) fn not_staged(&mut self, fault: Fault) -> Vec<String> {
        self.stages_answered(Err(error(fault)))
    }

    fn stages_answered(&mut self, answer: Result<Option<ServiceDeploymentView>, AwsError>) -> Vec<String> {
        let read = self.read(|read| matches!(read, Read::Stages { .. }));
        let Read::Stages { service, deployment, seen, asked_at, .. } = read else { unreachable!() };
        self.handle([Input::Staged { service, deployment, seen, asked_at, answer: Box::new(answer) }])
    }

    /// ECS takes the answer to a hook, or does not.
    pub(super) fn continued(&mut self, answer: Result<(), AwsError>) -> Vec<String> {
        let Write::Continue { id, .. } = self.write(|write| matches!(write, Write::Continue { .. })) else {
            unreachable!()
        };
        self.handle([Input::Continued { id, answer }])
    }

    /// ECS stops a deployment, or does not.
    pub(super) fn stopped(&mut self, answer: Result<(), AwsError>) -> Vec<String> {
        let Write::Stop { service, .. } = self.write(|write| matches!(write, Write::Stop { .. })) else {
            unreachable!()
        };
        self.handle([Input::Stopped { service, answer }])
    }

    pub(super) fn write(&mut self, is_it: impl Fn(&Write) -> bool) -> Write {
        let place = self.writes.iter().position(is_it);
        self.writes.remove(place.expect("nothing of the kind was written"))
    }

    /// ECS tells why tasks stopped.
    pub(super) fn stopped_tasks(&mut self, reasons: &[&str]) -> Vec<String> {
        self.diagnosed(Ok(reasons.iter().map(|reason| (*reason).to_owned()).collect()))
    }

    pub(super) fn diagnosed(&mut self, answer: Result<Vec<String>, AwsError>) -> Vec<String> {
        let read = self.read(|read| matches!(read, Read::StoppedTasks { .. }));
        let Read::StoppedTasks { service, deployment } = read else { unreachable!() };
        self.handle([Input::StoppedTasks { service, deployment, answer }])
    }

    /// ECS tells how the deployments of a service fared, newest first.
    pub(super) fn deployments(&mut self, deployed: &[(u64, Fate)]) -> Vec<String> {
        self.confirmed(Ok(deployed.iter().map(|(revision, fate)| (arn(*revision), *fate)).collect()))
    }

    pub(super) fn confirmed(&mut self, answer: Result<Vec<(TaskDefinitionArn, Fate)>, AwsError>) -> Vec<String> {
        let read = self.read(|read| matches!(read, Read::Deployments { .. }));
        let Read::Deployments { service, deployment, .. } = read else { unreachable!() };
        self.handle([Input::Deployments { service, deployment, answer }])
    }

    /// ECS says what a service is set to that is to be rolled back.
    pub(super) fn located(&mut self) -> Vec<String> {
        let key = service_key("hello");
        let current = self.services.get(&key).map(|view| view.task_definition.clone());
        let current = current.ok_or(Unlocated::NoService);
        self.located_as(current.map(|current| Location { current, to: None }))
    }

    pub(super) fn located_as(&mut self, answer: Result<Location, Unlocated>) -> Vec<String> {
        let read = self.read(|read| matches!(read, Read::Locate { .. }));
        let Read::Locate { command, service, .. } = read else { unreachable!() };
        self.handle([Input::Located { command, service, answer }])
    }

    /// ECS does not know `web/hello`, which is believed only after the answers that this has given.
    pub(super) fn not_known(&mut self, answer: impl Fn(&mut Self) -> Vec<String>) {
        self.services.clear();
        for failed in ["failed, next in 1 s", "failed again, next in 2 s", "failed again, next in 4 s"] {
            assert_eq!(answer(self), [format!("event: web/hello call {failed}")]);
            self.after(60);
        }
    }

    /// What ECS says of a service, to change it.
    pub(super) fn ecs(&mut self, service: &str) -> &mut ServiceView {
        self.services.get_mut(&service_key(service)).expect("a service")
    }

    /// The state of a service's PRIMARY deployment.
    pub(super) fn rolls(&mut self, service: &str, state: RolloutState) {
        let primary = &mut self.ecs(service).deployments[0];
        primary.state = Some(state);
        primary.running = if state == RolloutState::Completed { primary.desired } else { 0 };
    }

    /// Somebody else sets a service to a revision.
    pub(super) fn interfered(&mut self, service: &str, revision: u64) {
        let view = self.ecs(service);
        view.task_definition = arn(revision);
        for other in &mut view.deployments {
            other.primary = false;
        }
        let theirs = deployment(&format!("theirs{revision}"), true, revision, Some(RolloutState::InProgress));
        view.deployments.insert(0, theirs);
    }
}
