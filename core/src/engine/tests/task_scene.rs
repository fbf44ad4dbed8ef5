//! What the tests of one-off tasks have in common: a service with tasks, and what ECS answers.

use serde_json::{Value, json};

use super::{HELLO, Scene, error, image_of};
use crate::domain::aws_error::{AwsError, Fault};
use crate::domain::state::{Phase, State};
use crate::domain::task::{Prepared, Started, StopCause, TaskContainer, TaskProgress, TaskStop, TaskView};
use crate::domain::task_definition::TaskDefinition;
use crate::domain::test_support::{arn, repository_key};
use crate::engine::{Engine, Input, Read, RolloutId, Write};

pub(super) const MIGRATES: &str = "[[repository.service.before]]\ncommand = [\"migrate\"]\ntimeout = \"5m\"\n";
pub(super) const VERIFIES: &str = "[[repository.service.verify]]\ncommand = [\"smoke\"]\n";
pub(super) const PREPARES: &str = "read: task for web/hello of hello:2";
pub(super) const RUNS: &str = "write: run [\"migrate\"] for web/hello from hello:2";
pub(super) const STARTED: &str = "event: web/hello started before task 1 as task/t1";

pub(super) fn with(tables: &str) -> String {
    format!("{HELLO}{tables}")
}

/// What the log of the container is, and its network.
pub(super) fn definition(scene: &Scene, revision: u64) -> TaskDefinition {
    let mut body = json!({
        "taskDefinitionArn": arn(revision).as_str(), "family": "hello", "networkMode": "awsvpc",
        "containerDefinitions": [],
    });
    let containers = scene.revisions[&revision].iter().map(|(name, image)| {
        let options = json!({"awslogs-group": "/ecs/hello", "awslogs-stream-prefix": "web"});
        json!({"name": name, "image": image, "logConfiguration": {"logDriver": "awslogs", "options": options}})
    });
    body["containerDefinitions"] = containers.collect();
    TaskDefinition::from_answer(json!({ "taskDefinition": body })).unwrap()
}

/// A revision of the family `jobs`, whose container `job` runs an image of `hello`.
pub(super) fn family(letter: char, revision: u64) -> TaskDefinition {
    let containers = json!([
        {"name": "helper", "image": "busybox"},
        {"name": "job", "image": image_of(&repository_key("hello"), letter)},
    ]);
    let name = format!("arn:aws:ecs:eu-west-1:111111111111:task-definition/jobs:{revision}");
    let body = json!({"taskDefinitionArn": name, "family": "jobs", "containerDefinitions": containers});
    TaskDefinition::from_answer(json!({ "taskDefinition": body })).unwrap()
}

pub(super) fn service() -> Value {
    json!({
        "serviceName": "hello", "status": "ACTIVE", "launchType": "FARGATE", "platformVersion": "1.4.0",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}, "enableExecuteCommand": true,
        "tags": [{"key": "team", "value": "a"}, {"key": "aws:x", "value": "y"}],
    })
}

impl Scene {
    /// `web/hello`, whose new revision 2 of digest `b` is registered.
    pub(super) fn of_tasks(tables: &str) -> Self {
        let mut scene = Self::of(&with(tables));
        scene.push("latest", 'b');
        scene.committed();
        scene.observed("hello");
        scene.committed();
        scene
    }

    /// The same, with its task prepared, and RunTask about to be called.
    pub(super) fn about_to_run(tables: &str) -> Self {
        let mut scene = Self::of_tasks(tables);
        scene.registered(2);
        scene.all_committed();
        scene.prepared();
        scene
    }

    /// The same, with its task started.
    pub(super) fn running(tables: &str) -> Self {
        let mut scene = Self::about_to_run(tables);
        scene.all_committed();
        scene.started("task/t1");
        scene.all_committed();
        scene
    }

    pub(super) fn prepared(&mut self) -> Vec<String> {
        self.prepared_as(|_| {})
    }

    pub(super) fn prepared_as(&mut self, change: impl FnOnce(&mut Prepared)) -> Vec<String> {
        let Read::PrepareTask { id, .. } = self.read(|read| matches!(read, Read::PrepareTask { .. })) else {
            unreachable!()
        };
        let mut prepared = Prepared { service: Some(service()), revision: definition(self, 2), family: None };
        change(&mut prepared);
        self.handle([Input::TaskPrepared { id, answer: Box::new(Ok(prepared)) }])
    }

    pub(super) fn not_prepared(&mut self, fault: Fault) -> Vec<String> {
        let Read::PrepareTask { id, .. } = self.read(|read| matches!(read, Read::PrepareTask { .. })) else {
            unreachable!()
        };
        self.handle([Input::TaskPrepared { id, answer: Box::new(Err(error(fault))) }])
    }

    /// ECS takes the call StopTask.
    pub(super) fn task_stopped(&mut self) -> Vec<String> {
        let Write::StopTask { id, .. } = self.write(|write| matches!(write, Write::StopTask { .. })) else {
            unreachable!()
        };
        self.handle([Input::TaskStopped { id, answer: Ok(()) }])
    }

    pub(super) fn run_task(&mut self) -> (RolloutId, Value) {
        let place = self.writes.iter().position(|write| matches!(write, Write::RunTask { .. }));
        match self.writes.remove(place.expect("no task is being started")) {
            Write::RunTask { id, request } => (id, *request),
            _ => unreachable!(),
        }
    }

    pub(super) fn started(&mut self, arn: &str) -> Vec<String> {
        self.started_as(Ok(Started::Task(arn.to_owned())))
    }

    pub(super) fn started_as(&mut self, answer: Result<Started, AwsError>) -> Vec<String> {
        let (id, _) = self.run_task();
        self.handle([Input::TaskStarted { id, answer }])
    }

    /// Answers the call DescribeTasks.
    pub(super) fn tasks(&mut self, answer: Result<Vec<TaskView>, AwsError>) -> Vec<String> {
        while !self.reads.iter().any(|read| matches!(read, Read::Tasks { .. })) {
            self.after(5);
        }
        let Read::Tasks { place, tasks } = self.read(|read| matches!(read, Read::Tasks { .. })) else { unreachable!() };
        self.handle([Input::TasksSeen { place, tasks, answer }])
    }

    pub(super) fn stops(&mut self, code: Option<i32>, reason: &str) -> Vec<String> {
        let cause = StopCause::Other("EssentialContainerExited".to_owned());
        self.tasks(Ok(vec![has_stopped(cause, code, reason)]))
    }

    /// The process dies, and another one starts.
    pub(super) fn restarted(&self, config: &str) -> Self {
        let state: State = self.engine.state().clone();
        let mut again = Self::resumed(config, state.clone());
        again.services.clone_from(&self.services);
        again.revisions.clone_from(&self.revisions);
        again.images.clone_from(&self.images);
        again.now.time = self.now.time;
        again.engine = Engine::new(super::rules(config, &["default"]), state, again.now);
        again
    }

    pub(super) fn progress(&self) -> TaskProgress {
        match &self.known("hello").rollout.as_ref().unwrap().phase {
            Phase::Task { run, .. } => run.progress.clone(),
            other => panic!("no task runs: {other:?}"),
        }
    }
}

/// The task, as long as it runs.
pub(super) fn still_runs() -> TaskView {
    seen(None, None)
}

/// The task, once it has stopped.
pub(super) fn has_stopped(cause: StopCause, code: Option<i32>, reason: &str) -> TaskView {
    seen(Some(TaskStop { cause, reason: reason.to_owned() }), code)
}

fn seen(stopped: Option<TaskStop>, code: Option<i32>) -> TaskView {
    let container = |name: &str, exit_code| TaskContainer { name: name.to_owned(), exit_code, reason: String::new() };
    TaskView {
        arn: "task/t1".to_owned(),
        stopped,
        containers: vec![container("sidecar", code.map(|_| 137)), container("app", code)],
    }
}
