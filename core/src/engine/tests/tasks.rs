//! One-off tasks before rollouts: each is run once, whatever dies.

use serde_json::{Value, json};

use super::task_scene::{MIGRATES, PREPARES, RUNS, STARTED, definition, family, has_stopped, still_runs, with};
use super::{NOTHING_FOLLOWS, Scene, error};
use crate::domain::aws_error::{AwsError, Cause, Fault};
use crate::domain::rollout::Counts;
use crate::domain::task::{Started, StopCause, TaskProgress};
use crate::domain::test_support::{arn, digest, repository_key, service_key};
use crate::domain::types::ServiceKey;
use crate::domain::view::RolloutState;
use crate::engine::{Input, Write};

#[test]
fn a_task_runs_from_the_new_revision_before_the_service_is_updated() {
    let mut scene = Scene::of_tasks(MIGRATES);
    assert_eq!(scene.registered(2), ["event: web/hello registered hello:2", PREPARES, "commit"]);
    scene.committed();
    assert_eq!(scene.prepared(), ["commit"], "it is on the disk before ECS is told");
    assert_eq!(scene.committed(), [RUNS]);
    let request = scene.writes.iter().find_map(|write| match write {
        Write::RunTask { request, .. } => Some(request.as_ref().clone()),
        _ => None,
    });
    let mut request = request.unwrap();
    let token = request["clientToken"].take();
    assert_eq!(token.as_str().unwrap().len(), 64);
    assert_eq!(
        request,
        json!({
            "cluster": "web", "taskDefinition": arn(2).as_str(), "count": 1, "startedBy": "ecs-deployd", "clientToken": null,
            "launchType": "FARGATE", "platformVersion": "1.4.0", "enableExecuteCommand": true,
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
            "tags": [{"key": "team", "value": "a"}],
            "overrides": {"containerOverrides": [{"name": "app", "command": ["migrate"]}]},
        })
    );
    assert_eq!(scene.started("task/t1"), [STARTED, "commit"]);
    scene.committed();
    assert_eq!(scene.after(5), ["read: tasks web/hello task/t1"]);
    assert_eq!(scene.tasks(Ok(vec![still_runs()])), NOTHING_FOLLOWS);
    assert_eq!(
        scene.stops(Some(0), "Essential container in task exited"),
        ["event: web/hello before task 1 succeeded", "read: recheck web/hello", "commit"]
    );
    scene.committed();
    assert_eq!(scene.rechecked(), ["write: update web/hello to hello:2"]);
    scene.updated();
    scene.all_committed();
    scene.rolls("hello", RolloutState::Completed);
    assert_eq!(
        scene.watched(),
        ["event: web/hello stable, 17 s after its push", "event: web/hello ended completed hello:2", "commit"]
    );
    assert!(scene.known("hello").prepared.is_empty(), "nothing is left of it");
}

#[test]
fn a_task_that_fails_holds_the_digest_and_leaves_the_service_alone() {
    let mut scene = Scene::running(MIGRATES);
    let why = "exit code 1; Essential container in task exited";
    let ended = format!(
        "event: web/hello ended failed hello:2: the before task `migrate` failed: {why} (container app, task t1, log group /ecs/hello, stream web/app/t1)"
    );
    assert_eq!(
        scene.stops(Some(1), "Essential container in task exited"),
        [
            format!("event: web/hello before task 1 failed: {why}").as_str(),
            &ended,
            "event: web/hello holds hello@b",
            "commit"
        ]
    );
    assert_eq!(scene.committed(), ["notify: web/hello: deployment failed (hello:latest)"]);
    assert_eq!(scene.known("hello").held[&repository_key("hello")].digest, digest('b'));
    assert_eq!(scene.after(60), NOTHING_FOLLOWS, "the service is not touched");
}

#[test]
fn an_image_that_cannot_be_pulled_fails_it() {
    let mut scene = Scene::running(MIGRATES);
    let lines = scene.stops(None, "CannotPullContainerError: no");
    assert_eq!(
        lines,
        [
            "event: web/hello before task 1 failed: no exit code; CannotPullContainerError: no",
            "event: web/hello ended failed hello:2: the before task `migrate` failed: no exit code; CannotPullContainerError: no (container app, task t1, log group /ecs/hello, stream web/app/t1)",
            "event: web/hello holds hello@b",
            "commit"
        ]
    );
}

#[test]
fn a_task_that_takes_too_long_is_stopped_and_the_rollout_timed_out() {
    let mut scene = Scene::running(MIGRATES);
    scene.pass(290);
    scene.tasks(Ok(vec![still_runs()]));
    let lines = scene.after(10);
    assert_eq!(lines, ["read: tasks web/hello task/t1", "commit"], "that it is to stop is on the disk first");
    assert_eq!(scene.committed(), ["write: stop task task/t1 for web/hello"]);
    assert_eq!(scene.task_stopped(), NOTHING_FOLLOWS);
    let stopped = has_stopped(StopCause::StopTask, Some(0), "too long");
    let lines = scene.tasks(Ok(vec![stopped]));
    assert_eq!(
        lines,
        [
            "event: web/hello before task 1 timed_out: exit code 0; too long",
            "event: web/hello ended timed_out hello:2: the before task `migrate` was stopped at its timeout of 5m: exit code 0; too long (container app, task t1, log group /ecs/hello, stream web/app/t1)",
            "event: web/hello holds hello@b",
            "commit"
        ]
    );
}

#[test]
fn a_task_that_does_not_stop_is_given_up() {
    let mut scene = Scene::running(MIGRATES);
    scene.after(301);
    scene.all_committed();
    let lines = scene.after(301);
    assert_eq!(
        lines,
        [
            "event: web/hello before task 1 timed_out: it was told to stop, and has not stopped since",
            "event: web/hello ended timed_out hello:2: the before task `migrate` was stopped at its timeout of 5m: it was told to stop, and has not stopped since (container app, task t1, log group /ecs/hello, stream web/app/t1)",
            "event: web/hello holds hello@b",
            "commit"
        ]
    );
}

#[test]
fn resources_that_are_short_for_a_moment_are_waited_for_until_the_timeout() {
    let mut scene = Scene::about_to_run(MIGRATES);
    scene.all_committed();
    let short = || Ok(Started::Short("RESOURCE:MEMORY".to_owned()));
    let (_, first) = scene
        .writes
        .iter()
        .find_map(|write| match write {
            Write::RunTask { id, request } => Some((id.clone(), request.clone())),
            _ => None,
        })
        .unwrap();
    assert_eq!(scene.started_as(short()), ["event: web/hello call failed, next in 1 s", "commit"]);
    scene.committed();
    assert_eq!(scene.after(1), [RUNS]);
    let (id, second) = scene.run_task();
    assert_ne!(first["clientToken"], second["clientToken"], "nothing was started by the first one");
    scene.handle([Input::TaskStarted { id, answer: short() }]);
    scene.all_committed();
    scene.after(300);
    let lines = scene.started_as(short());
    assert_eq!(
        lines,
        [
            "event: web/hello before task 1 not_started: RESOURCE:MEMORY",
            "event: web/hello ended failed hello:2: the before task `migrate` was not started: RESOURCE:MEMORY",
            "event: web/hello holds hello@b",
            "commit"
        ]
    );
}

#[test]
fn other_failures_are_final() {
    let conflict = AwsError { cause: Cause::TokenTaken, ..error(Fault::Unavailable) };
    for (answer, why) in [
        (Ok(Started::Nothing("INACTIVE".to_owned())), "INACTIVE"),
        (Err(error(Fault::Refused)), "ecs:Simulated: simulated"),
        (Err(conflict), "ecs:Simulated: simulated"),
    ] {
        let mut scene = Scene::about_to_run(MIGRATES);
        scene.all_committed();
        assert_eq!(
            scene.started_as(answer),
            [
                &format!("event: web/hello before task 1 not_started: {why}"),
                &format!("event: web/hello ended failed hello:2: the before task `migrate` was not started: {why}"),
                "event: web/hello holds hello@b",
                "commit",
            ]
        );
    }
}

#[test]
fn after_an_answer_that_was_lost_the_same_is_sent_again() {
    for (fault, pause) in [(Fault::Unavailable, 1), (Fault::Throttled, 1), (Fault::Denied, 60), (Fault::Credentials, 1)]
    {
        let mut scene = Scene::about_to_run(MIGRATES);
        scene.all_committed();
        let (id, first) = scene.run_task();
        let answer = Err(error(fault));
        let failed = format!("event: web/hello call failed, next in {pause} s");
        assert_eq!(scene.handle([Input::TaskStarted { id, answer }]), [failed]);
        assert_eq!(scene.after(pause), [RUNS]);
        assert_eq!(scene.run_task().1, first, "{fault:?}");
    }
}

#[test]
fn a_restart_takes_each_step_up_where_it_was() {
    let config = with(MIGRATES);
    let mut scene = Scene::of_tasks(MIGRATES);
    scene.registered(2);
    scene.all_committed();
    assert_eq!(scene.progress(), TaskProgress::Preparing);
    let mut again = scene.restarted(&config);
    assert_eq!(again.begun(), [PREPARES, "commit"]);

    scene.prepared();
    scene.all_committed();
    let (_, first) = scene.run_task();
    let mut again = scene.restarted(&config);
    again.begun();
    assert_eq!(again.committed(), [RUNS]);
    assert_eq!(again.run_task().1, first, "the same request with the same token");
    // Another configuration does not change what is on its way.
    let mut again = scene.restarted(&with("[[repository.service.before]]\ncommand = [\"other\"]\n"));
    again.begun();
    again.committed();
    assert_eq!(again.run_task().1, first);

    let mut scene = Scene::running(MIGRATES);
    let mut again = scene.restarted(&config);
    again.begun();
    assert_eq!(again.all_committed(), NOTHING_FOLLOWS, "a task whose ARN is known is never run again");
    assert_eq!(again.after(5), ["read: tasks web/hello task/t1"]);
    assert_eq!(
        again.stops(Some(0), ""),
        ["event: web/hello before task 1 succeeded", "read: recheck web/hello", "commit"]
    );

    scene.stops(Some(0), "");
    scene.all_committed();
    let mut again = scene.restarted(&config);
    assert_eq!(again.begun(), ["read: inspect web/hello (registered hello:2)", "commit"]);
    again.inspected(Some(2));
    assert_eq!(again.all_committed(), ["write: update web/hello to hello:2"], "the task is not run again");
}

#[test]
fn a_task_that_ecs_does_not_know_any_more_has_failed() {
    let mut scene = Scene::running(MIGRATES);
    for failed in ["failed, next in 1 s", "failed again, next in 2 s", "failed again, next in 4 s"] {
        let lines = scene.tasks(Ok(Vec::new()));
        assert_eq!(lines, [format!("event: web/hello call {failed}")], "one answer is not believed");
        scene.pass(30);
    }
    let lines = scene.tasks(Ok(Vec::new()));
    assert_eq!(
        lines,
        [
            "event: web/hello before task 1 failed: ECS does not know the task any more, so that its result is unknown; it is not run again",
            "event: web/hello ended failed hello:2: the before task `migrate` failed: ECS does not know the task any more, so that its result is unknown; it is not run again (container app, task t1, log group /ecs/hello, stream web/app/t1)",
            "event: web/hello holds hello@b",
            "commit"
        ]
    );
}

#[test]
fn several_tasks_run_one_after_the_other() {
    let second = MIGRATES.replace("migrate", "seed");
    let mut scene = Scene::running(&format!("{MIGRATES}{second}"));
    let lines = scene.stops(Some(0), "");
    assert_eq!(lines, ["event: web/hello before task 1 succeeded", PREPARES, "commit"]);
    scene.all_committed();
    scene.prepared();
    assert_eq!(scene.all_committed(), ["write: run [\"seed\"] for web/hello from hello:2"]);
    assert_eq!(scene.started("task/t2"), ["event: web/hello started before task 2 as task/t2", "commit"]);
}

#[test]
fn a_task_of_another_family_gets_a_revision_with_the_image() {
    let tables = "[[repository.service.before]]\ncommand = [\"migrate\"]\nfamily = \"jobs\"\n";
    let mut scene = Scene::of_tasks(tables);
    assert_eq!(
        scene.registered(2),
        ["event: web/hello registered hello:2", "read: task for web/hello of hello:2 from jobs", "commit"]
    );
    scene.all_committed();
    assert_eq!(scene.prepared_as(|prepared| prepared.family = Some(Some(family('a', 4)))), ["commit"]);
    assert_eq!(scene.all_committed(), ["write: register for web/hello: helper=busybox job=hello@b"]);
    let (ids, _) = scene.registration();
    let registered: crate::domain::types::TaskDefinitionArn = family('b', 5).arn().clone();
    let lines = scene.handle([Input::Registered { ids, answer: Ok(registered) }]);
    assert_eq!(lines, ["event: web/hello registered jobs:5", "commit"]);
    assert_eq!(scene.all_committed(), ["write: run [\"migrate\"] for web/hello from jobs:5"]);
    let (_, request) = scene.run_task();
    assert_eq!(request["overrides"]["containerOverrides"][0]["name"], "job");
    assert_eq!(request["networkConfiguration"], Value::Null, "it has no network of its own");

    // An answer that was lost: what was registered is found.
    let mut scene = Scene::of_tasks(tables);
    scene.registered(2);
    scene.all_committed();
    scene.prepared_as(|prepared| prepared.family = Some(Some(family('b', 5))));
    assert_eq!(scene.all_committed(), ["write: run [\"migrate\"] for web/hello from jobs:5"]);

    for (family, why) in [
        (None, "ECS knows no task definition family jobs"),
        (Some(definition(&scene, 1)), "no container of hello:1 takes its image from hello"),
    ] {
        let mut scene = Scene::of_tasks(tables);
        scene.registered(2);
        scene.all_committed();
        scene.revisions.insert(1, vec![("app".to_owned(), "nginx".to_owned())]);
        let family = family.map(|_| definition(&scene, 1));
        assert_eq!(
            scene.prepared_as(|prepared| prepared.family = Some(family)),
            [
                &format!("event: web/hello before task 1 not_started: {why}"),
                &format!("event: web/hello ended failed hello:2: the before task `migrate` was not started: {why}"),
                "event: web/hello holds hello@b",
                "commit",
            ]
        );
    }
}

#[test]
fn a_service_of_two_repositories_runs_what_both_have_in_common_once() {
    let service = "[[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n";
    let repository =
        |name: &str| format!("[[repository]]\nname = \"{name}\"\ntags = [\"latest\"]\n{service}{MIGRATES}");
    let mut scene = Scene::of(&(repository("hello") + &repository("side")));
    let pages = vec![scene.pushed("hello", "latest", 'b'), scene.pushed("side", "latest", 'c')];
    scene.page(pages);
    scene.committed();
    scene.observed("hello");
    scene.all_committed();
    scene.registered(2);
    scene.all_committed();
    scene.prepared();
    scene.all_committed();
    scene.started("task/t1");
    scene.all_committed();
    assert_eq!(
        scene.stops(Some(0), ""),
        ["event: web/hello before task 1 succeeded", "read: recheck web/hello", "commit"],
        "there is no second one"
    );
    let key: ServiceKey = service_key("hello");
    assert_eq!(scene.engine.state().services[&key].prepared.len(), 2);
    assert_eq!(scene.engine.details().count(), 1);
    assert_eq!(scene.engine.details().next().unwrap().1.counts, None::<Counts>);
}
