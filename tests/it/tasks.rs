//! One-off tasks before and after rollouts, in the simulated world.

use std::time::Duration;

use ecs_deployd::domain::aws_error::Fault;

use crate::harness::pass;
use crate::scene::Scene;
use crate::world::{Fate, TaskEnd};

const MIGRATES: &str = "[[repository.service.before]]\ncommand = [\"./manage.py\", \"migrate\"]\ntimeout = \"5m\"\n";
const VERIFIES: &str = "[[repository.service.verify]]\ncommand = [\"./smoke\"]\n";

fn scene(tables: &str) -> Scene {
    let text = "[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n";
    Scene::hello().configured(&format!("{text}{tables}"))
}

/// How many tasks of this kind ended so. A series of a service exists from its first count on.
fn tasks(scene: &Scene, kind: &str, outcome: &str) -> f64 {
    let labels = format!(r#"cluster="web",kind="{kind}",outcome="{outcome}",service="hello""#);
    let text = String::from_utf8(scene.process().metrics.render().unwrap()).unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix(&format!("ecs_deployd_tasks_total{{{labels}}}"))?.trim().parse().ok())
        .unwrap_or(0.0)
}

#[tokio::test(start_paused = true)]
async fn a_migration_runs_once_before_the_service_is_updated() {
    let scene = scene(MIGRATES).started().await;
    let digest = scene.push("v1");
    scene.until("the task runs", 60, |scene| scene.world.jobs().len() == 1).await;
    assert_eq!(scene.rollouts(), 0, "the service is as it was");
    let service = scene.service().await;
    let task = service.rollout.unwrap().task.unwrap();
    assert_eq!((task.text().as_str(), task.arn.is_some()), ("before task `./manage.py migrate` runs", true));
    pass(120).await;
    assert_eq!((scene.runs().as_ref(), scene.ended("completed")), (Some(&digest), 1.0));
    let jobs = scene.world.jobs();
    assert_eq!((jobs.len(), jobs[0].digests["app"].as_ref()), (1, Some(&digest)));
    assert_eq!(tasks(&scene, "before", "succeeded"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_migration_that_fails_hangs_or_has_no_image_leaves_the_service_alone() {
    for (end, outcome, counted) in [
        (TaskEnd::Exits { code: 1, after: Duration::from_secs(5) }, "failed", "failed"),
        (TaskEnd::NotPulled, "failed", "failed"),
        (TaskEnd::Hangs, "timed_out", "timed_out"),
    ] {
        let scene = scene(MIGRATES).started().await;
        let digest = scene.push("v1");
        scene.world.set_task_end(&digest, end);
        pass(600).await;
        assert_eq!((scene.ended(outcome), scene.ended("rolled_back"), scene.held()), (1.0, 0.0, 1.0), "{end:?}");
        assert_eq!((scene.rollouts(), scene.runs()), (0, Some(scene.v0.clone())), "{end:?}");
        assert_eq!((tasks(&scene, "before", counted), scene.world.jobs().len()), (1.0, 1), "{end:?}");
        scene.deployed("v2").await;
    }
}

#[tokio::test(start_paused = true)]
async fn capacity_that_is_short_for_a_moment_is_waited_for() {
    for (times, deployed) in [(4, true), (1000, false)] {
        let scene = scene(MIGRATES).started().await;
        scene.world.set_short_of_capacity(times);
        let digest = scene.push("v1");
        pass(900).await;
        assert_eq!(scene.runs() == Some(digest), deployed);
        assert_eq!(tasks(&scene, "before", "not_started") == 1.0, !deployed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_verification_that_fails_takes_the_service_back() {
    let scene = scene(VERIFIES).started().await;
    scene.deployed("good").await;
    assert_eq!(tasks(&scene, "verify", "succeeded"), 1.0);
    let good = scene.runs();
    let bad = scene.push("bad");
    scene.world.set_task_end(&bad, TaskEnd::Exits { code: 2, after: Duration::from_secs(5) });
    pass(300).await;
    assert_eq!((scene.ended("failed"), scene.ended("rolled_back"), scene.ended("completed")), (1.0, 1.0, 1.0));
    assert_eq!((scene.runs(), scene.held()), (good, 1.0));
}

/// The calls of a deployment with a migration and a verification, each killed before and after it takes effect, and with its answer lost.
#[tokio::test(start_paused = true)]
async fn killed_at_every_call_each_task_runs_once() {
    let tables = format!("{MIGRATES}{VERIFIES}");
    let calls = {
        let scene = scene(&tables).started().await;
        scene.world.forget_calls();
        scene.push("v1");
        pass(180).await;
        assert_eq!(scene.ended("completed"), 1.0);
        scene.world.calls()
    };
    let last = calls.iter().rposition(|call| call.operation == "DescribeTasks").unwrap();
    let mut table = Vec::new();
    for (number, call) in calls.iter().enumerate().take(last + 1) {
        let mut runs = Vec::new();
        for fate in [Fate::HangsBefore, Fate::HangsAfter, Fate::AnswerLost, Fate::Fails(Fault::Unavailable)] {
            let mut scene = scene(&tables).started().await;
            scene.world.forget_calls();
            scene.world.set_fate(number, fate);
            let digest = scene.push("v1");
            scene.until("the call", 180, |scene| scene.world.calls().len() > number).await;
            if matches!(fate, Fate::HangsBefore | Fate::HangsAfter) {
                pass(1).await;
                scene.world.clear_fates();
                scene.restart().await;
            }
            pass(300).await;
            let kinds: Vec<String> =
                scene.world.jobs().iter().map(|job| job.request["overrides"].to_string()).collect();
            assert_eq!(kinds.len(), 2, "{} ({number}) {fate:?}: {kinds:#?}", call.operation);
            assert!(kinds[0].contains("migrate") && kinds[1].contains("smoke"), "{kinds:?}");
            assert_eq!((scene.runs(), scene.rollouts()), (Some(digest), 1), "{} ({number}) {fate:?}", call.operation);
            runs.push(kinds.len() / 2);
        }
        table.push((call.operation, runs));
    }
    assert!(table.iter().any(|(operation, _)| *operation == "RunTask"), "{table:#?}");
    println!("task runs, killed before and after each call, and with its answer lost or refused: {table:?}");
}

#[tokio::test(start_paused = true)]
async fn a_push_during_a_migration_waits_for_its_end() {
    let scene = scene(MIGRATES).started().await;
    let one = scene.push("one");
    scene.until("the task runs", 60, |scene| scene.world.jobs().len() == 1).await;
    let two = scene.push("two");
    pass(300).await;
    let ran: Vec<_> = scene.world.jobs().iter().map(|job| job.digests["app"].clone().unwrap()).collect();
    assert_eq!(ran, [one, two.clone()], "each once, one after the other");
    assert_eq!(scene.runs(), Some(two));
}

#[tokio::test(start_paused = true)]
async fn the_same_image_pushed_again_is_migrated_again() {
    let scene = scene(MIGRATES).started().await;
    for content in ["a", "b", "a"] {
        scene.deployed(content).await;
    }
    assert_eq!(scene.world.jobs().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn services_that_share_a_repository_run_it_once_each_in_the_order_that_after_says() {
    let migrates = |what: &str| MIGRATES.replace("migrate", what);
    let scene = scene(&migrates("staging"));
    let fixed = scene.revision_of_v0(&[]);
    let comes_after = format!("after = [\"web/hello\"]\n{}", migrates("production"));
    let scene = scene.running(&fixed).and_with("prod", &comes_after).started().await;
    let v1 = scene.push("v1");
    scene.until("the second task runs", 300, |scene| scene.world.jobs().len() == 2).await;
    assert_eq!((scene.runs(), scene.ended("completed")), (Some(v1.clone()), 1.0), "the first service runs it");
    assert_eq!(scene.runs_in("prod", "app"), Some(scene.v0.clone()));
    pass(600).await;
    assert_eq!(scene.runs_in("prod", "app"), Some(v1.clone()));
    let ran: Vec<(String, Option<String>)> = scene
        .world
        .jobs()
        .iter()
        .map(|job| {
            let command = &job.request["overrides"]["containerOverrides"][0]["command"][1];
            (command.as_str().unwrap().to_owned(), job.digests["app"].clone())
        })
        .collect();
    assert_eq!(ran, [("staging".to_owned(), Some(v1.clone())), ("production".to_owned(), Some(v1))]);
}
