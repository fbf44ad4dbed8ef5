//! The two writes: their line, the last look before an update, revisions that services share, and answers that are not as they should be.

use super::stage::Stage;
use super::{HELLO, NOTHING_FOLLOWS, Scene, error, repositories, services};
use crate::domain::aws_error::{AwsError, Cause, Fault};
use crate::domain::test_support::deployment;
use crate::domain::view::RolloutState;
use crate::engine::Input;

const REFUSED: &str = "ecs:Simulated: simulated";

#[test]
fn a_revision_is_registered_and_then_the_service_is_updated() {
    let mut scene = Scene::at(Stage::RegisterUnderWay);
    assert_eq!(scene.registered(2), ["event: web/hello registered hello:2", "commit"]);
    assert_eq!(scene.committed(), ["write: update web/hello to hello:2"]);
    assert_eq!(scene.updated(), ["event: web/hello updated to hello:2 by d2", "commit"]);
    assert_eq!(scene.committed(), NOTHING_FOLLOWS);
}

#[test]
fn services_that_need_the_same_revision_share_it() {
    let mut scene = Scene::of(&services(&["one", "two"]));
    scene.push("latest", 'b');
    scene.observed("one");
    scene.observed("two");
    assert_eq!(scene.all_committed(), ["write: register for web/one, web/two: app=hello@b"]);
    assert_eq!(
        scene.registered(2),
        ["event: web/one registered hello:2", "event: web/two registered hello:2", "commit"]
    );
    assert_eq!(scene.committed(), ["write: update web/one to hello:2", "write: update web/two to hello:2"]);
}

#[test]
fn a_revision_is_used_by_whoever_needs_it_later() {
    let mut scene = Scene::of(&services(&["one", "two"]));
    scene.push("latest", 'b');
    scene.observed("one");
    scene.all_committed();
    scene.registered(2);
    scene.all_committed();
    scene.observed("two");
    assert_eq!(scene.committed(), ["write: update web/two to hello:2"]);
}

#[test]
fn nothing_is_registered_while_the_same_revision_is_being_registered_or_looked_for() {
    let mut scene = Scene::of(&services(&["one", "two"]));
    scene.push("latest", 'b');
    scene.observed("one");
    assert_eq!(scene.all_committed(), ["write: register for web/one: app=hello@b"]);
    scene.observed("two");
    assert_eq!(scene.all_committed(), NOTHING_FOLLOWS);

    let mut scene = Scene::of(&services(&["one", "two"]));
    scene.push("latest", 'b');
    scene.observed("one");
    scene.all_committed();
    scene.not_registered(Fault::Unavailable);
    assert_eq!(scene.after(1), ["read: inspect web/one (intended)"]);
    scene.observed("two");
    assert_eq!(scene.all_committed(), NOTHING_FOLLOWS);
}

#[test]
fn a_revision_that_is_being_registered_for_another_service_is_waited_for() {
    let mut scene = Scene::of(&services(&["one", "two"]));
    scene.push("latest", 'b');
    scene.observed("one");
    assert_eq!(scene.all_committed(), ["write: register for web/one: app=hello@b"]);
    scene.observed("two");
    assert_eq!(scene.all_committed(), NOTHING_FOLLOWS);
    scene.registered(2);
    assert_eq!(scene.all_committed(), ["write: update web/one to hello:2", "write: update web/two to hello:2"]);
}

#[test]
fn a_revision_that_may_have_been_registered_is_waited_for_as_well() {
    let mut scene = Scene::of(&services(&["one", "two"]));
    scene.push("latest", 'b');
    scene.observed("one");
    scene.all_committed();
    scene.not_registered(Fault::Unavailable);
    scene.all_committed();
    scene.after(1);
    scene.observed("two");
    assert_eq!(scene.all_committed(), NOTHING_FOLLOWS, "whether one's registration took place is being asked");
    scene.inspected(Some(2));
    scene.revisions.insert(2, scene.revisions[&1].clone());
    assert_eq!(scene.all_committed(), ["write: update web/one to hello:2", "write: update web/two to hello:2"]);
}

#[test]
fn a_revision_that_somebody_has_deregistered_is_registered_anew_for_the_next_service() {
    let mut scene = Scene::of(&services(&["one", "two"]));
    scene.push("latest", 'b');
    scene.observed("one");
    scene.all_committed();
    scene.registered(2);
    scene.all_committed();
    let (id, revision) = scene.update();
    let lost = AwsError { cause: Cause::LostRevision, ..error(Fault::Refused) };
    scene.handle([Input::Updated { id, revision, answer: Box::new(Err(lost)) }]);
    scene.observed("two");
    let writes: Vec<String> = scene.all_committed().into_iter().filter(|line| line.starts_with("write")).collect();
    assert_eq!(writes, ["write: register for web/two: app=hello@b"]);
}

#[test]
fn a_revision_that_failed_is_not_offered_to_others() {
    let mut scene = Scene::of(&services(&["one", "two"]));
    scene.push("latest", 'b');
    scene.observed("one");
    scene.all_committed();
    scene.registered(2);
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    scene.rolls("one", RolloutState::Failed);
    scene.watched();
    scene.stopped_tasks(&[]);
    scene.all_committed();
    scene.observed("two");
    assert_eq!(scene.all_committed(), ["write: register for web/two: app=hello@b"]);
}

#[test]
fn going_back_comes_first_and_then_the_oldest_push() {
    let mut scene = Scene::of(&repositories(&["back", "new", "old"]));
    scene.push_to("back", "latest", 'b');
    scene.observed("back");
    scene.all_committed();
    scene.registered(2);
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    scene.rolls("back", RolloutState::Failed);
    scene.watched();
    scene.stopped_tasks(&[]);
    scene.all_committed();
    scene.push_to("old", "latest", 'b');
    scene.pass(1);
    scene.push_to("new", "latest", 'b');
    scene.observed("new");
    scene.observed("old");
    scene.inspected(None);
    assert_eq!(
        scene.all_committed(),
        [
            "write: register for web/back: back=back@a new=new@a old=old@a",
            "write: register for web/old: back=back@a new=new@a old=old@b",
            "write: register for web/new: back=back@a new=new@b old=old@a",
        ]
    );
}

#[test]
fn registrations_beyond_the_rate_limit_go_on_one_a_second() {
    let names: Vec<String> = (1..=22).map(|number| format!("s{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut scene = Scene::of(&repositories(&names));
    let pushes = names.iter().map(|name| scene.pushed(name, "latest", 'b')).collect();
    scene.page(pushes);
    for name in &names {
        scene.observed(name);
    }
    let register = |name: &&str| {
        let image = |other: &&str| format!("{other}={other}@{}", if other == name { 'b' } else { 'a' });
        format!("write: register for web/{name}: {}", names.iter().map(image).collect::<Vec<_>>().join(" "))
    };
    let (burst, later) = names.split_at(19);
    assert_eq!(scene.all_committed(), burst.iter().map(register).collect::<Vec<_>>());
    assert_eq!(scene.wakes_in(), 500);
    for name in later {
        assert_eq!(scene.after(1), [register(name)]);
    }
    assert_eq!(scene.after(1), NOTHING_FOLLOWS);
}

#[test]
fn an_update_that_has_waited_for_long_is_looked_at_once_more() {
    let mut scene = Scene::at(Stage::UpdateWaiting);
    scene.pass(6);
    assert_eq!(scene.committed(), ["read: recheck web/hello"]);
    assert_eq!(scene.rechecked(), ["write: update web/hello to hello:2"]);
}

/// An answer may wait for its place in ECS's rate limits.
#[test]
fn what_an_answer_tells_is_as_old_as_the_question() {
    let mut scene = Scene::of(HELLO);
    scene.push("latest", 'b');
    scene.pass(6);
    scene.observed("hello");
    scene.all_committed();
    scene.registered(2);
    assert_eq!(scene.committed(), ["read: recheck web/hello"]);
    assert_eq!(scene.rechecked(), ["write: update web/hello to hello:2"]);

    let mut scene = Scene::at(Stage::RegisteredVerifying);
    scene.pass(6);
    scene.inspected(Some(2));
    assert_eq!(scene.all_committed(), ["read: recheck web/hello"]);
}

#[test]
fn the_time_that_the_registration_takes_does_not_count() {
    let mut scene = Scene::at(Stage::RegisterUnderWay);
    scene.pass(60);
    scene.registered(2);
    assert_eq!(scene.committed(), ["write: update web/hello to hello:2"]);
}

#[test]
fn a_last_look_that_finds_something_else_leads_to_an_inspection() {
    let mut scene = Scene::at(Stage::UpdateRechecking);
    scene.interfered("hello", 7);
    assert_eq!(scene.rechecked(), ["read: inspect web/hello (registered hello:2)"]);
    let mut scene = Scene::at(Stage::UpdateRechecking);
    scene.services.clear();
    assert_eq!(scene.rechecked(), ["read: inspect web/hello (registered hello:2)"]);
}

#[test]
fn a_last_look_that_fails_is_made_up_for_by_an_inspection() {
    let mut scene = Scene::at(Stage::UpdateRechecking);
    assert_eq!(scene.rechecked_as(Some(Fault::Throttled)), ["event: web/hello call failed, next in 1 s"]);
    assert_eq!(scene.after(1), ["read: inspect web/hello (registered hello:2)"]);
}

#[test]
fn ten_updates_of_a_cluster_are_looked_at_in_one_call() {
    let names: Vec<String> = (1..=12).map(|number| format!("s{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut scene = Scene::of(&services(&names));
    scene.push("latest", 'b');
    for name in &names {
        scene.observed(name);
    }
    scene.all_committed();
    scene.registered(2);
    scene.pass(6);
    let ten: Vec<String> = names[..10].iter().map(|name| format!("web/{name}")).collect();
    assert_eq!(scene.committed(), [format!("read: recheck {}", ten.join(", "))]);
    let updates: Vec<String> = ten.iter().map(|name| format!("write: update {name} to hello:2")).collect();
    assert_eq!(scene.rechecked(), updates);
    assert_eq!(scene.after(0), ["read: recheck web/s11, web/s12"], "the next of the line, when there is room");
}

#[test]
fn what_aws_refuses_ends_the_rollout() {
    for (fault, result) in [(Fault::Refused, "refused"), (Fault::NotFound, "failed")] {
        let mut scene = Scene::at(Stage::RegisterUnderWay);
        let ended = format!("event: web/hello ended {result}: {REFUSED}");
        assert_eq!(scene.not_registered(fault), [ended.as_str(), "commit"]);
        let told = format!("notify: web/hello: deployment {result} (hello:latest)");
        assert_eq!(scene.committed(), [told]);
        let mut scene = Scene::at(Stage::UpdateUnderWay);
        let ended = format!("event: web/hello ended {result} hello:2: {REFUSED}");
        assert_eq!(scene.not_updated(fault), [ended.as_str(), "commit"]);
    }
}

#[test]
fn what_aws_refuses_leaves_the_rollout_that_was_to_be_superseded() {
    let mut scene = superseding();
    let ended = format!("event: web/hello ended refused: {REFUSED}");
    assert_eq!(scene.not_registered(Fault::Refused), [ended.as_str(), "commit"]);
    assert_eq!(scene.stage("hello"), Stage::Rolling);
    assert!(scene.known("hello").rollout.as_ref().is_some_and(|rollout| rollout.supersedes.is_none()));
    assert!(scene.known("hello").pending.is_empty());
}

#[test]
fn what_is_denied_is_decided_anew_where_something_is_rolling() {
    let mut scene = superseding();
    assert_eq!(scene.not_registered(Fault::Denied), ["event: web/hello call failed, next in 60 s", "commit"]);
    assert_eq!(scene.stage("hello"), Stage::Rolling);
    scene.all_committed();
    scene.rolls("hello", RolloutState::InProgress);
    assert_eq!(scene.watched(), ["event: web/hello rolls, 0 of 2 after 5 s"], "it is watched meanwhile");
    assert_eq!(scene.after(50), ["read: watch web/hello d2"]);
    assert_eq!(scene.after(5), ["read: observe web/hello for hello:latest"]);
}

#[test]
fn what_is_denied_is_tried_again_where_nothing_is_rolling() {
    let mut scene = Scene::at(Stage::RegisterUnderWay);
    assert_eq!(scene.not_registered(Fault::Denied), ["event: web/hello call failed, next in 60 s"]);
    assert_eq!(scene.stage("hello"), Stage::IntendedUnverified);
    assert_eq!(scene.after(59), NOTHING_FOLLOWS);
    assert_eq!(scene.after(1), ["read: inspect web/hello (intended)"]);
}

#[test]
fn a_write_whose_answer_was_lost_is_looked_for_before_it_is_made_again() {
    let mut scene = Scene::at(Stage::UpdateUnderWay);
    assert_eq!(scene.not_updated(Fault::Unavailable), ["event: web/hello call failed, next in 1 s"]);
    assert_eq!(scene.wakes_in(), 1000);
    assert_eq!(scene.after(1), ["read: inspect web/hello (registered hello:2)"]);
    assert_eq!(scene.inspected(Some(2)), ["event: web/hello found not updated", "commit"]);
    assert_eq!(scene.committed(), ["write: update web/hello to hello:2"]);
    assert_eq!(
        scene.updated(),
        ["event: web/hello calls recovered", "event: web/hello updated to hello:2 by d2", "commit"]
    );
}

#[test]
fn an_update_after_which_another_revision_is_primary_is_doubted() {
    let mut scene = Scene::at(Stage::UpdateUnderWay);
    let (id, revision) = scene.update();
    let answer = Box::new(Ok(deployment("theirs", true, 7, None)));
    assert_eq!(scene.handle([Input::Updated { id, revision, answer }]), ["event: web/hello call failed, next in 1 s"]);
    assert_eq!(scene.stage("hello"), Stage::RegisteredUnverified);
}

#[test]
fn an_answer_for_a_rollout_that_is_over_changes_nothing() {
    let mut scene = Scene::at(Stage::UpdateUnderWay);
    let (id, revision) = scene.update();
    let answer = || Box::new(Err(error(Fault::Refused)));
    scene.handle([Input::Updated { id: id.clone(), revision: revision.clone(), answer: answer() }]);
    scene.all_committed();
    assert_eq!(scene.handle([Input::Updated { id, revision, answer: answer() }]), NOTHING_FOLLOWS);
}

/// `web/hello`, of which a newer rollout is being registered while ECS rolls revision 2.
fn superseding() -> Scene {
    let mut scene = Scene::at(Stage::Rolling);
    scene.push("latest", 'c');
    scene.observed("hello");
    scene.all_committed();
    assert_eq!(scene.stage("hello"), Stage::RegisterUnderWay);
    scene
}
