use std::collections::BTreeMap;

use super::*;
use crate::domain::state::Direction;
use crate::domain::test_support::{arn, at, deployment, rollout, service};
use crate::domain::view::ServiceEvent;

const TIMEOUT: Duration = Duration::from_secs(900);

fn rolling() -> Rollout {
    rollout(Phase::Rolling {
        revision: arn(2),
        deployment: DeploymentId::parse("mine").unwrap(),
        since: at(3),
        progressed_at: None,
        monitored: None,
    })
}

fn judged(service: &ServiceView, elapsed: u64) -> Progress {
    progress(&rolling(), Some(service), since(elapsed), TIMEOUT).unwrap()
}

/// A rollout that was watched from its beginning.
fn since(seconds: u64) -> Elapsed {
    Elapsed { rolling: Duration::from_secs(seconds), watched: Duration::from_secs(seconds) }
}

#[test]
fn complete_means_my_deployment_is_complete() {
    let done = service(2, vec![deployment("mine", true, 2, Some(RolloutState::Completed))]);
    assert!(matches!(judged(&done, 1), Progress::Completed(_)));
    // Stable is not enough: this is what a finished roll-back looks like.
    let back = service(1, vec![deployment("other", true, 1, Some(RolloutState::Completed))]);
    assert!(matches!(judged(&back, 60), Progress::Failed(_)));
    let other = service(7, vec![deployment("other", true, 7, Some(RolloutState::Completed))]);
    assert!(matches!(judged(&other, 60), Progress::Superseded(_)));
}

#[test]
fn an_answer_from_before_the_update_is_not_believed() {
    let before = service(1, vec![deployment("old", true, 1, Some(RolloutState::Completed))]);
    assert!(matches!(judged(&before, 5), Progress::InProgress(_)));
    assert!(matches!(progress(&rolling(), None, since(5), TIMEOUT), Some(Progress::InProgress(_))));
    // After a restart the wall clock says that much time has passed. It may have jumped.
    let jumped = Elapsed { rolling: Duration::from_secs(60), watched: Duration::from_secs(1) };
    assert!(matches!(progress(&rolling(), Some(&before), jumped, TIMEOUT), Some(Progress::InProgress(_))));
}

#[test]
fn behind_a_classic_load_balancer_alone_and_all_running_is_complete() {
    let mine = deployment("mine", true, 2, None);
    assert!(matches!(judged(&service(2, vec![mine.clone()]), 1), Progress::Completed(_)));
    let with_old = service(2, vec![mine.clone(), deployment("old", false, 1, None)]);
    assert!(matches!(judged(&with_old, 1), Progress::InProgress(_)));
    for (running, pending) in [(1, 0), (1, 1), (2, 1)] {
        let mut not_yet = mine.clone();
        (not_yet.running, not_yet.pending) = (running, pending);
        assert!(matches!(judged(&service(2, vec![not_yet]), 1), Progress::InProgress(_)), "{running} {pending}");
    }
    // ECS has not set the deployment's own desired count yet.
    let mut empty = mine;
    (empty.running, empty.desired) = (0, 0);
    assert!(matches!(judged(&service(2, vec![empty]), 1), Progress::InProgress(_)));
}

#[test]
fn desired_count_zero_completes() {
    let mut mine = deployment("mine", true, 2, None);
    (mine.running, mine.desired) = (0, 0);
    let stopped = ServiceView { desired: 0, running: 0, ..service(2, vec![mine]) };
    assert!(matches!(judged(&stopped, 1), Progress::Completed(_)));
}

#[test]
fn a_failure_names_the_reason_and_the_last_events_of_its_time() {
    let mut mine = deployment("mine", true, 2, Some(RolloutState::Failed));
    mine.reason = "ECS deployment circuit breaker: tasks failed to start.".to_owned();
    mine.failed = 3;
    let mut failed = service(2, vec![mine]);
    let event = |second, message: &str| ServiceEvent { at: at(second), message: message.to_owned() };
    failed.events = vec![
        event(9, "deployment failed"),
        event(8, "unable to place a task"),
        event(7, "unable to place a task"),
        event(-3600, "has reached a steady state"),
    ];
    assert_eq!(
        judged(&failed, 1),
        Progress::Failed(
            "ECS deployment circuit breaker: tasks failed to start. (3 tasks failed); last service events: deployment \
             failed | unable to place a task"
                .to_owned()
        )
    );
}

#[test]
fn tasks_that_keep_stopping_are_a_failure_unless_the_breaker_counts_them() {
    // desired, failed in a row, breaker -> failed
    for (desired, failed, breaker, expected) in [
        (1, 2, false, false),
        (1, 3, false, true),
        (1, 3, true, false),
        (7, 3, false, false),
        (7, 4, false, true),
        (1000, 199, false, false),
        (1000, 200, false, true),
    ] {
        let mut mine = deployment("mine", true, 2, Some(RolloutState::InProgress));
        (mine.desired, mine.running, mine.failed) = (desired, 0, failed);
        let view = ServiceView { desired, breaker, ..service(2, vec![mine]) };
        let found = matches!(judged(&view, 1), Progress::Failed(_));
        assert_eq!(found, expected, "{failed} of {desired}, breaker {breaker}");
    }
}

#[test]
fn in_a_deployment_that_shifts_traffic_ecs_itself_gives_up() {
    let mut mine = deployment("mine", true, 2, Some(RolloutState::InProgress));
    (mine.running, mine.failed) = (0, 200);
    let view = ServiceView { strategy: Strategy::Shifting("CANARY".to_owned()), ..service(2, vec![mine]) };
    assert!(matches!(judged(&view, 1), Progress::InProgress(_)));
}

#[test]
fn an_older_revision_means_that_somebody_took_it_back_and_a_newer_one_that_somebody_took_over() {
    let long_ago = Rollout {
        replaces: arn(5),
        rollback_target: crate::domain::state::RollbackTarget {
            revision: arn(5),
            pinned: BTreeMap::new(),
            targets: BTreeMap::new(),
        },
        phase: Phase::Rolling {
            revision: arn(6),
            deployment: DeploymentId::parse("mine").unwrap(),
            since: at(3),
            progressed_at: None,
            monitored: None,
        },
        ..rolling()
    };
    let set_to = |revision| {
        let view = service(revision, vec![deployment("other", true, revision, Some(RolloutState::InProgress))]);
        progress(&long_ago, Some(&view), since(60), TIMEOUT).unwrap()
    };
    assert!(matches!(set_to(3), Progress::TakenBack(_)));
    assert!(matches!(set_to(5), Progress::Failed(_)), "what ran before: the rollback has been made already");
    assert!(matches!(set_to(7), Progress::Superseded(_)));
    // As long as mine is still there and was not given up by ECS, somebody else decided so.
    let mut view = service(
        5,
        vec![deployment("other", true, 5, None), deployment("mine", false, 6, Some(RolloutState::InProgress))],
    );
    let judged = |view: &ServiceView| progress(&long_ago, Some(view), since(60), TIMEOUT).unwrap();
    assert!(matches!(judged(&view), Progress::TakenBack(_)));
    view.deployments[1].state = Some(RolloutState::Failed);
    assert!(matches!(judged(&view), Progress::Failed(_)));
}

#[test]
fn the_rollback_of_the_breaker_is_a_failure() {
    let failed_and_displaced = service(
        1,
        vec![
            deployment("ecs", true, 1, Some(RolloutState::InProgress)),
            deployment("mine", false, 2, Some(RolloutState::Failed)),
        ],
    );
    assert!(matches!(judged(&failed_and_displaced, 1), Progress::Failed(_)));
}

#[test]
fn a_rollout_times_out_unless_it_is_complete() {
    let moving = service(2, vec![deployment("mine", true, 2, Some(RolloutState::InProgress))]);
    assert!(matches!(judged(&moving, 899), Progress::InProgress(_)));
    let Progress::TimedOut(why) = judged(&moving, 900) else { panic!() };
    assert_eq!(why, "not stable, and no progress for 15m: 2 of 2 tasks run, 0 starting, 0 failed");
    let done = service(2, vec![deployment("mine", true, 2, Some(RolloutState::Completed))]);
    assert!(matches!(judged(&done, 10_000), Progress::Completed(_)));
}

#[test]
fn a_forced_deployment_of_the_same_revision_is_adopted() {
    let forced = service(2, vec![deployment("forced", true, 2, Some(RolloutState::InProgress))]);
    assert_eq!(judged(&forced, 60), Progress::Adopted(DeploymentId::parse("forced").unwrap()));
}

#[test]
fn a_service_that_is_gone_is_gone() {
    assert!(matches!(progress(&rolling(), None, since(60), TIMEOUT), Some(Progress::Gone(_))));
    let draining = ServiceView { active: false, ..service(2, vec![]) };
    assert!(matches!(judged(&draining, 60), Progress::Gone(_)));
    assert!(matches!(judged(&service(2, vec![]), 60), Progress::Gone(_)));
}

#[test]
fn only_a_rolling_rollout_has_progress() {
    assert_eq!(progress(&rollout(Phase::Intended), None, since(0), TIMEOUT), None);
}

#[test]
fn an_unfinished_rollout_goes_on_where_the_world_says() {
    let before = service(1, vec![deployment("old", true, 1, Some(RolloutState::Completed))]);
    let after = service(2, vec![deployment("mine", true, 2, Some(RolloutState::InProgress))]);
    let changed = service(9, vec![deployment("other", true, 9, Some(RolloutState::Completed))]);
    let mine = DeploymentId::parse("mine").unwrap();
    let intended = rollout(Phase::Intended);
    let registered = rollout(Phase::Registered { revision: arn(2) });
    let two = arn(2);
    for (rollout, service, found, expected) in [
        (&intended, &before, None, Resume::Register),
        (&intended, &before, Some(&two), Resume::Update(arn(2))),
        (&intended, &after, Some(&two), Resume::Watch(arn(2), mine.clone())),
        (&registered, &before, None, Resume::Update(arn(2))),
        (&registered, &after, None, Resume::Watch(arn(2), mine)),
    ] {
        assert_eq!(resume(rollout, Some(service), found, false), expected);
    }
    for rollout in [&intended, &registered] {
        assert!(matches!(resume(rollout, Some(&changed), None, false), Resume::Replan(_)));
        assert!(matches!(resume(rollout, None, None, false), Resume::Gone(_)));
    }
}

#[test]
fn a_rollback_is_made_whatever_the_failed_rollout_left() {
    let back = crate::domain::plan::roll_back(&rolling(), "because", at(9)).unwrap();
    let before = arn(1);
    let failed = service(2, vec![deployment("mine", true, 2, Some(RolloutState::InProgress))]);
    assert_eq!(resume(&back, Some(&failed), Some(&before), false), Resume::Update(arn(1)));
    let ecs_was_quicker = service(1, vec![deployment("ecs", true, 1, Some(RolloutState::InProgress))]);
    assert_eq!(
        resume(&back, Some(&ecs_was_quicker), Some(&before), false),
        Resume::Watch(arn(1), DeploymentId::parse("ecs").unwrap())
    );
    let operator_was_quicker = service(9, vec![deployment("other", true, 9, Some(RolloutState::InProgress))]);
    assert!(matches!(resume(&back, Some(&operator_was_quicker), Some(&before), false), Resume::Replan(_)));
}

#[test]
fn a_revision_that_ecs_gave_up_while_nobody_looked_is_not_tried_again() {
    let registered = rollout(Phase::Registered { revision: arn(2) });
    let given_up = service(
        1,
        vec![
            deployment("ecs", true, 1, Some(RolloutState::Completed)),
            deployment("mine", false, 2, Some(RolloutState::Failed)),
        ],
    );
    assert!(
        matches!(resume(&registered, Some(&given_up), None, false), Resume::Failed(revision, _) if revision == arn(2))
    );
}

#[test]
fn a_revision_that_was_tried_and_undone_is_not_tried_again() {
    let before = service(1, vec![deployment("ecs", true, 1, Some(RolloutState::Completed))]);
    let registered = rollout(Phase::Registered { revision: arn(2) });
    assert!(
        matches!(resume(&registered, Some(&before), None, true), Resume::Failed(revision, _) if revision == arn(2))
    );
}

#[test]
fn ecs_is_given_a_minute_to_go_back_by_itself() {
    let back = crate::domain::plan::roll_back(&rolling(), "x", at(10)).unwrap();
    let failed = |state, revision| service(revision, vec![deployment("d1", true, revision, Some(state))]);
    let seen = |rolls_back| ServiceView { rolls_back, ..failed(RolloutState::Failed, 2) };
    let time =
        |rollout: &Rollout, service: &ServiceView, second| time_for_own_rollback(rollout, Some(service), at(second));
    assert_eq!(time(&back, &seen(true), 10), Some(Duration::from_secs(60)));
    assert_eq!(time(&back, &seen(true), 40), Some(Duration::from_secs(30)));
    assert_eq!(time(&back, &seen(true), 70), None, "it did not begin");
    assert_eq!(time(&back, &seen(true), 9), None, "the clock was set back");
    assert_eq!(time(&back, &seen(false), 10), None, "it is not set to");
    let forward = Rollout { direction: Direction::Forward, ..back.clone() };
    assert_eq!(time(&forward, &seen(true), 10), None);
    for other in
        [failed(RolloutState::InProgress, 2), failed(RolloutState::Failed, 3), failed(RolloutState::Completed, 1)]
    {
        assert_eq!(time(&back, &ServiceView { rolls_back: true, ..other }, 10), None, "something else is PRIMARY");
    }
    assert_eq!(time_for_own_rollback(&back, None, at(10)), None);
}
