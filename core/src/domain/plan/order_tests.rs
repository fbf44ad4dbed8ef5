//! Which of several images is wanted most, and what a push or a comparison stands against.

use super::tests::*;
use super::*;
use crate::domain::state::{Deployed, ReplacedExternally};
use crate::domain::test_support::*;

#[test]
fn the_highest_version_wins_and_a_lower_one_is_skipped() {
    let versions = versions();
    let state = with_pending(&[push_ref("e1", "1.4.1", 5)]);
    let mut snapshot = snapshot(by_digest('b'), REPOSITORY, &[]);
    snapshot.images.insert(repository_key(REPOSITORY), listed(('b', "1.5.0"), &[('c', "1.4.1")]));
    assert_eq!(reasons(&decide(&versions, &state, &snapshot)), [("e1", SkipReason::LowerVersion)]);
    snapshot.images.insert(repository_key(REPOSITORY), listed(('b', "1.5.0"), &[]));
    assert_eq!(reasons(&decide(&versions, &state, &snapshot)), [("e1", SkipReason::TagGone)]);
    snapshot.images.insert(repository_key(REPOSITORY), listed(('c', "1.4.1"), &[]));
    let roll = decide(&versions, &state, &snapshot).roll.unwrap();
    assert_eq!(roll.rollout.targets[&repository_key(REPOSITORY)].digest, digest('c'));
    snapshot.images.insert(repository_key(REPOSITORY), RepositorySnapshot::default());
    assert_eq!(
        reasons(&decide(&versions, &state, &snapshot)),
        [("e1", SkipReason::TagGone)],
        "an empty result selects nothing"
    );
}

#[test]
fn the_highest_version_is_deployed_for_its_own_push_whatever_was_pushed_after_it() {
    let mut snapshot = snapshot(by_digest('a'), REPOSITORY, &[]);
    snapshot.images.insert(repository_key(REPOSITORY), listed(('b', "1.5.0"), &[('c', "1.4.1")]));
    let mut state = with_pending(&[push_ref("high", "1.5.0", 5), push_ref("low", "1.4.1", 9)]);
    let plan = decide(&versions(), &state, &snapshot);
    assert_eq!(reasons(&plan), [("low", SkipReason::LowerVersion)]);
    let target = plan.roll.as_ref().unwrap().rollout.targets[&repository_key(REPOSITORY)].clone();
    assert_eq!((target.push.event.as_str(), target.push.at, target.digest), ("high", at(5), digest('b')));
    plan.write_down(&state.pending.clone(), &mut state);
    // It is reported later than a lower one that was pushed after it: that is no reason to drop it.
    let late = ServiceState {
        decided: BTreeMap::from([(repository_key(REPOSITORY), push_ref("low", "1.4.1", 9))]),
        ..with_pending(&[push_ref("high", "1.5.0", 5)])
    };
    assert!(decide(&versions(), &late, &snapshot).roll.is_some());
}

#[test]
fn a_lower_version_is_no_reason_to_deploy_a_higher_one_that_was_there_before() {
    let mut snapshot = snapshot(by_digest('a'), REPOSITORY, &[]);
    snapshot.images.insert(repository_key(REPOSITORY), listed(('b', "2.0.0"), &[('c', "1.1.0")]));
    let plan = decide(&versions(), &with_pending(&[push_ref("low", "1.1.0", 9)]), &snapshot);
    assert_eq!((reasons(&plan), &plan.roll), (vec![("low", SkipReason::LowerVersion)], &None));
    // What an operator orders, and a comparison with ECR, are.
    snapshot.running_in_ecr.insert(repository_key(REPOSITORY), vec![image('a', &["1.0.0"])]);
    for asked in [PushRef::commanded(at(9)), PushRef::reconciliation(at(9))] {
        assert!(decide(&versions(), &with_pending(&[asked]), &snapshot).roll.is_some());
    }
}

#[test]
fn a_tag_that_moved_on_stands_as_of_the_push_that_moved_it() {
    let moved = ImageView { pushed_at: Some(at(120)), ..image('d', &["latest"]) };
    let between = ImageView { pushed_at: Some(at(60)), ..image('c', &["release-5"]) };
    let snapshot = snapshot(by_digest('a'), REPOSITORY, &[moved, between]);
    let told = |letter| PushRef { digest: Some(digest(letter)), ..push_ref("first", "latest", 0) };
    for (letter, stands) in [('b', at(120)), ('d', at(0))] {
        let mut state = with_pending(&[told(letter)]);
        let plan = decide(&rule(), &state, &snapshot);
        plan.write_down(&state.pending.clone(), &mut state);
        let decided = &state.decided[&repository_key(REPOSITORY)];
        assert_eq!((decided.at, &decided.digest), (stands, &None), "reported {letter}");
        // What was pushed in between does not follow it.
        let second = ServiceState { decided: state.decided, ..with_pending(&[push_ref("second", "release-5", 60)]) };
        let superseded = reasons(&decide(&rule(), &second, &snapshot)) == [("second", SkipReason::Superseded)];
        assert_eq!(superseded, letter == 'b');
    }
}

fn deployed(revision: u64, letter: char, since: i64) -> Deployed {
    let target = Target { digest: digest(letter), push: push_ref("e0", "latest", 1), image_pushed_at: None };
    Deployed {
        unproven: None,
        revision: arn(revision),
        targets: BTreeMap::from([(repository_key(REPOSITORY), target)]),
        since: at(since),
        names_tags: false,
        rollback_target: None,
        pinned: BTreeMap::new(),
    }
}

#[test]
fn what_somebody_else_took_away_is_held_until_a_newer_push() {
    // Revision 9 brought b, and somebody set the service back to revision 1.
    let there = image('b', &["latest", "release-7"]);
    let mut snapshot = snapshot(by_digest('a'), REPOSITORY, std::slice::from_ref(&there));
    snapshot.images.get_mut(&repository_key(REPOSITORY)).unwrap().best = Some((tag("release-7"), there));
    let by_deployment = ServiceState { deployed: Some(deployed(9, 'b', 50)), ..ServiceState::default() };
    let replaced_externally = ReplacedExternally { digest: digest('b'), at: at(50) };
    let replaced_externally = ServiceState {
        replaced_externally: BTreeMap::from([(repository_key(REPOSITORY), replaced_externally)]),
        ..ServiceState::default()
    };
    for known in [by_deployment, replaced_externally] {
        for (push, rolls) in [
            (push_ref("twin", "release-7", 6), false),
            (push_ref("again", "latest", 60), true),
            (PushRef::reconciliation(at(90)), false),
            (PushRef::commanded(at(90)), true),
        ] {
            let mut state =
                ServiceState { pending: with_pending(std::slice::from_ref(&push)).pending, ..known.clone() };
            let plan = decide(&rule(), &state, &snapshot);
            assert_eq!(plan.roll.is_some(), rolls, "{push:?}");
            plan.write_down(&state.pending.clone(), &mut state);
            let held = state.held.get(&repository_key(REPOSITORY)).map(|hold| hold.digest.clone());
            assert_eq!(held, (!rolls).then(|| digest('b')), "{push:?}");
        }
    }
    // It is still there, if under another revision.
    let still =
        ServiceState { deployed: Some(deployed(9, 'b', 50)), ..with_pending(&[push_ref("twin", "release-7", 6)]) };
    let plan = decide(&rule(), &still, &ServiceSnapshot { current: Some(by_digest('b')), ..snapshot });
    assert_eq!((reasons(&plan), plan.holds.len()), (vec![("twin", SkipReason::AlreadyDeployed)], 0));
}

#[test]
fn a_comparison_goes_back_only_where_a_single_tag_says_so() {
    let there = image('a', &["latest"]);
    let mut snapshot = snapshot(by_digest('b'), REPOSITORY, std::slice::from_ref(&there));
    snapshot.images.get_mut(&repository_key(REPOSITORY)).unwrap().best = Some((tag("latest"), there));
    let runs = ImageView { pushed_at: Some(at(50)), ..image('b', &[]) };
    snapshot.running_in_ecr.insert(repository_key(REPOSITORY), vec![runs]);
    for (tags, push, rolls) in [
        (&["latest", "release-*"][..], PushRef::reconciliation(at(90)), false),
        (&["latest", "release-*"], PushRef::commanded(at(90)), true),
        (&["latest"], PushRef::reconciliation(at(90)), true),
    ] {
        let plan = decide(&service_rule("a", tags_policy(tags)), &with_pending(std::slice::from_ref(&push)), &snapshot);
        assert_eq!(plan.roll.is_some(), rolls, "{tags:?} {push:?}");
    }
}

#[test]
fn what_a_comparison_with_ecr_decides_stands_as_of_the_push_of_the_image() {
    let newest = ImageView { pushed_at: Some(at(50)), ..image('b', &["release-2"]) };
    let mut snapshot = snapshot(by_digest('a'), REPOSITORY, &[]);
    snapshot.images.get_mut(&repository_key(REPOSITORY)).unwrap().best = Some((tag("release-2"), newest));
    let omitted = |second| PushRef { tag: None, ..push_ref("omitted", "x", second) };
    for (asked, stands) in [(PushRef::reconciliation(at(90)), at(50)), (omitted(40), at(50)), (omitted(60), at(60))] {
        let mut state = with_pending(std::slice::from_ref(&asked));
        let plan = decide(&rule(), &state, &snapshot);
        plan.write_down(&state.pending.clone(), &mut state);
        assert_eq!(state.decided[&repository_key(REPOSITORY)].at, stands, "{asked:?}");
        assert!(state.pending.is_empty());
        // A push from before is superseded, one from after it is not.
        for (second, superseded) in [(45, true), (70, false)] {
            let later =
                ServiceState { decided: state.decided.clone(), ..with_pending(&[push_ref("e", "release-1", second)]) };
            let skips = decide(&rule(), &later, &snapshot).skips;
            assert_eq!(skips[0].reason == SkipReason::Superseded, superseded, "{asked:?}, then {second}");
        }
    }
}

#[test]
fn a_push_without_a_tag_brings_the_newest_image_of_its_second() {
    let newest = ImageView { pushed_at: Some(at(50)), ..image('c', &["release-8"]) };
    let told = ImageView { pushed_at: Some(at(50)), ..image('b', &["release-7"]) };
    let mut snapshot = snapshot(by_digest('a'), REPOSITORY, &[told]);
    snapshot.images.get_mut(&repository_key(REPOSITORY)).unwrap().best = Some((tag("release-8"), newest));
    let omitted = PushRef { tag: None, ..push_ref("e8", "x", 50) };
    let seven = push_ref("e7", "release-7", 50);
    let decided = BTreeMap::from([(repository_key(REPOSITORY), seven.clone())]);
    for state in [
        with_pending(&[omitted.clone(), seven.clone()]),
        with_pending(&[seven, omitted.clone()]),
        ServiceState { decided, ..with_pending(&[omitted]) },
    ] {
        let plan = decide(&rule(), &state, &snapshot);
        let target = plan.roll.as_ref().map(|roll| &roll.rollout.targets[&repository_key(REPOSITORY)]);
        assert_eq!(target.map(|target| target.digest.clone()), Some(digest('c')), "{plan:?}");
    }
}

#[test]
fn an_image_that_was_pushed_again_is_not_undone_by_one_that_ecr_takes_for_newer() {
    let newest = ImageView { pushed_at: Some(at(50)), ..image('b', &["release-2"]) };
    let again = ImageView { pushed_at: Some(at(10)), ..image('c', &["release-1", "release-3"]) };
    for (there, brings) in [(true, Some('c')), (false, None)] {
        let images = if there { vec![again.clone()] } else { Vec::new() };
        let mut snapshot = snapshot(by_digest('a'), REPOSITORY, &images);
        snapshot.images.get_mut(&repository_key(REPOSITORY)).unwrap().best = Some((tag("release-2"), newest.clone()));
        let decided = BTreeMap::from([(repository_key(REPOSITORY), push_ref("e3", "release-3", 60))]);
        let mut state = ServiceState { decided, ..with_pending(&[PushRef::reconciliation(at(90))]) };
        let plan = decide(&rule(), &state, &snapshot);
        let target = plan.roll.as_ref().map(|roll| &roll.rollout.targets[&repository_key(REPOSITORY)]);
        assert_eq!(target.map(|target| target.digest.clone()), brings.map(digest), "the newest push is there: {there}");
        plan.write_down(&state.pending.clone(), &mut state);
        assert_eq!(state.decided[&repository_key(REPOSITORY)].at, at(60), "what was decided stands");
    }
}

#[test]
fn of_two_pushes_in_one_second_the_tag_tells_in_a_comparison_too() {
    for (tags, brings) in [(("release-9", "release-10"), 'c'), (("release-10", "release-9"), 'b')] {
        let (listed, decided) = tags;
        let pushed_at = Some(at(60) + jiff::SignedDuration::from_millis(700));
        let newest = ImageView { pushed_at, ..image('b', &[listed]) };
        let again = ImageView { pushed_at: Some(at(10)), ..image('c', &["release-1", decided]) };
        let mut snapshot = snapshot(by_digest('a'), REPOSITORY, std::slice::from_ref(&again));
        snapshot.images.get_mut(&repository_key(REPOSITORY)).unwrap().best = Some((tag(listed), newest));
        let decided = BTreeMap::from([(repository_key(REPOSITORY), push_ref("e", decided, 60))]);
        let state = ServiceState { decided, ..with_pending(&[PushRef::reconciliation(at(90))]) };
        let roll = decide(&rule(), &state, &snapshot).roll.unwrap().rollout;
        assert_eq!(roll.targets[&repository_key(REPOSITORY)].digest, digest(brings), "{tags:?}");
    }
}

#[test]
fn a_comparison_with_ecr_does_not_hide_a_newer_push() {
    let best = ImageView { pushed_at: Some(at(10)), ..image('b', &["release-1", "release-3"]) };
    let mut snapshot = snapshot(by_digest('a'), REPOSITORY, std::slice::from_ref(&best));
    snapshot.images.get_mut(&repository_key(REPOSITORY)).unwrap().best = Some((tag("release-3"), best));
    let mut state = with_pending(&[push_ref("e3", "release-3", 60), PushRef::reconciliation(at(90))]);
    let plan = decide(&rule(), &state, &snapshot);
    assert_eq!(plan.skips[0].push.event, PushRef::reconciliation(at(90)).event);
    plan.write_down(&state.pending.clone(), &mut state);
    assert_eq!(state.decided[&repository_key(REPOSITORY)], push_ref("e3", "release-3", 60));
}
