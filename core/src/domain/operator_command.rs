//! What an operator may command, and what that means for the state of a service.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::settings::RepositoryKey;
pub use super::state::OperatorCommand;
use super::state::{
    Approval, DigestHold, Direction, Phase, PushRef, RollbackTarget, Rollout, ServiceHold, ServiceState, Target,
    WindowPass,
};
use super::types::{Digest, TaskDefinitionArn};
use super::waiting::Waiting;

/// Why a command is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A revision that an operator names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The revision of the task definition.
    pub revision: TaskDefinitionArn,
    /// The images that it names by a tag in ECR, and what those tags mean now, as far as that is known.
    pub tags: Vec<(String, Digest)>,
}

/// Holds a service: what ECS rolls goes on, and so does going back; nothing else is begun. `may_be_updated`: UpdateService may have been called
/// for the rollout under way, and its answer is not known.
pub fn hold(known: &mut ServiceState, by: &str, reason: Option<&str>, may_be_updated: bool, now: Timestamp) -> String {
    known.service_hold =
        Some(ServiceHold { since: now, by: by.to_owned(), reason: reason.unwrap_or_default().to_owned() });
    let goes_on = |rollout: &Rollout| !rollout.is_forward() || rollout.phase.is_in_ecs();
    match &known.rollout {
        Some(rollout) if goes_on(rollout) => {
            "held; the rollout under way goes on, nothing new is begun until a release".to_owned()
        }
        Some(_) if may_be_updated => {
            "held; the rollout under way goes on if ECS has begun it, nothing new is begun until a release".to_owned()
        }
        Some(_) | None => "held; nothing is deployed to it until a release".to_owned(),
    }
}

/// Ends every hold. What was held back meanwhile is deployed, if the policies still select it (decision 28).
pub fn release(known: &mut ServiceState, repositories: &[RepositoryKey], now: Timestamp) -> String {
    let was_held = known.service_hold.take().is_some() | !known.held.is_empty() | !known.refused.is_empty();
    known.held.clear();
    known.refused.clear();
    known.replaced_externally.clear();
    if !was_held {
        return "nothing was held".to_owned();
    }
    add_commanded_reconciliation(known, repositories, now);
    "released; it is rolled to what the policies select in ECR, if that is not what runs".to_owned()
}

/// Asks for a comparison with ECR.
///
/// # Errors
/// The service is held.
pub fn deploy(known: &mut ServiceState, repositories: &[RepositoryKey], now: Timestamp) -> Result<(), Refused> {
    if let Some(service_hold) = &known.service_hold {
        return Err(Refused(format!("{service_hold}; release it first")));
    }
    add_commanded_reconciliation(known, repositories, now);
    Ok(())
}

/// The same outside of windows and in freezes: what was pushed until now may begin at any time.
///
/// # Errors
/// The service is held.
pub fn deploy_now(
    known: &mut ServiceState,
    repositories: &[RepositoryKey],
    by: &str,
    now: Timestamp,
) -> Result<(), Refused> {
    deploy(known, repositories, now)?;
    // The machine's clock may be behind the one that pushes go by.
    let pushed = known.pending.values().flatten().map(|push| push.at).max();
    let at = pushed.map_or(now, |pushed| pushed.max(now));
    known.passes_windows = Some(WindowPass { by: by.to_owned(), at });
    Ok(())
}

/// Approves the digest that waits at a gate.
///
/// # Errors
/// Nothing waits.
pub fn approve(known: &mut ServiceState, by: &str, now: Timestamp) -> Result<String, Refused> {
    let (repository, waiting) = at_a_gate(known)?;
    let image = waiting.image();
    known.approved.insert(repository, Approval { digest: waiting.digest, by: by.to_owned(), at: now });
    Ok(format!("approved {image}; it is rolled out as soon as its other gates are open"))
}

/// Holds the digest that waits at a gate.
///
/// # Errors
/// Nothing waits.
pub fn reject(known: &mut ServiceState, by: &str, reason: Option<&str>, now: Timestamp) -> Result<String, Refused> {
    let (repository, waiting) = at_a_gate(known)?;
    let image = waiting.image();
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let reason = format!("rejected by {by}{reason}");
    let pushes = known.pending.get(&repository).into_iter().flatten();
    let Some(push) = pushes.max_by_key(|push| push.rank()).cloned() else {
        return Err(Refused("nothing waits for an approval".to_owned()));
    };
    let target = Target { digest: waiting.digest, push, image_pushed_at: None };
    let hold = DigestHold::new(&target, SignedDuration::ZERO, reason.clone(), now);
    known.held.insert(repository.clone(), DigestHold { rejected: true, ..hold });
    known.approved.remove(&repository);
    Ok(format!("{reason}; {image} is held until a newer push or a release"))
}

fn at_a_gate(known: &ServiceState) -> Result<(RepositoryKey, Waiting), Refused> {
    let found = known.gated.as_ref().and_then(|waiting| {
        let repository = known.pending.keys().find(|repository| repository.name == waiting.repository)?;
        Some((repository.clone(), waiting.clone()))
    });
    found.ok_or_else(|| Refused("nothing waits for an approval".to_owned()))
}

/// Makes the service want what its policies select in ECR, in each of these repositories.
pub fn add_reconciliation(known: &mut ServiceState, repositories: &[RepositoryKey], at: Timestamp) {
    for repository in repositories {
        known.add_pending(repository, PushRef::reconciliation(at));
    }
}

/// The same because an operator says so. The machine's clock may be behind the one that pushes go by: a command never stands before what was
/// decided already.
pub fn add_commanded_reconciliation(known: &mut ServiceState, repositories: &[RepositoryKey], now: Timestamp) {
    for repository in repositories {
        let decided = known.decided.get(repository).map_or(now, |decided| decided.at);
        known.add_pending(repository, PushRef::commanded(now.max(decided)));
    }
}

/// The rollback that an operator commands. What it replaces is held. `current` is the revision that the service is set to.
///
/// # Errors
/// There is nothing to go back to, or it is not the moment.
pub fn rollback(
    known: &mut ServiceState,
    current: &TaskDefinitionArn,
    to: Option<Named>,
    by: &str,
    now: Timestamp,
) -> Result<Rollout, Refused> {
    if to.as_ref().is_some_and(|to| &to.revision == current) {
        return Err(Refused(format!("it runs {} already", current.short())));
    }
    let (targets, before) = match (&known.rollout, &known.deployed) {
        (Some(rollout), _) if rollout.direction != Direction::Forward => {
            return Err(Refused("it is being rolled back already".to_owned()));
        }
        (Some(Rollout { phase: Phase::Task { rolled: None, run, .. }, .. }), _) => {
            return Err(Refused(format!(
                "the task `{}` runs before a rollout; try again when it has ended",
                run.task.spec
            )));
        }
        (Some(rollout), _) if !rollout.phase.is_in_ecs() => {
            return Err(Refused("a rollout is just being begun; try again in a moment".to_owned()));
        }
        (Some(rollout), _) => (rollout.targets.clone(), Some(rollout.rollback_target.clone())),
        (None, Some(deployed)) if &deployed.revision == current => {
            (deployed.targets.clone(), deployed.rollback_target.clone())
        }
        (None, _) => match &known.failed_in_place {
            Some(left) if &left.revision == current => (left.targets.clone(), Some(left.rollback_target.clone())),
            _ => Default::default(),
        },
    };
    let rollback_target = match (to, before) {
        // What its tags meant when it ran is known.
        (Some(named), Some(before)) if named.revision == before.revision => before,
        (Some(named), _) => {
            let taken = |digest: &Digest| targets.values().any(|target| &target.digest == digest);
            if let Some((image, digest)) = named.tags.iter().find(|(_, digest)| taken(digest)) {
                return Err(Refused(format!(
                    "{} names {image}, which means {digest} by now: the very image that is to be taken away; name a revision that names \
                     digests",
                    named.revision.short()
                )));
            }
            RollbackTarget { revision: named.revision, pinned: BTreeMap::new(), targets: BTreeMap::new() }
        }
        (None, Some(before)) => before,
        (None, None) => {
            let current = current.short();
            return Err(Refused(format!("what ran before {current} is not known here; name a revision with --to")));
        }
    };
    for (repository, target) in &targets {
        let reason = format!("rolled back by {by}");
        known.held.insert(repository.clone(), DigestHold::new(target, SignedDuration::ZERO, reason, now));
    }
    Ok(Rollout {
        direction: Direction::Back { because: format!("ordered by {by}") },
        targets,
        replaces: current.clone(),
        base: rollback_target.revision.clone(),
        images: rollback_target.pinned.clone(),
        rollback_target,
        phase: Phase::Intended,
        decided_at: now,
        names_tags: false,
        supersedes: None,
    })
}

/// The revision that an operator names, of the family that the service runs where only a number is given.
///
/// # Errors
/// It is none.
pub fn revision(named: &str, current: &TaskDefinitionArn) -> Result<String, Refused> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(named) {
        return Ok(format!("{}:{named}", current.family()));
    }
    match named.rsplit_once(':') {
        Some((_, number)) if is_number(number) => Ok(named.to_owned()),
        _ => Err(Refused(format!("{named:?} is no revision: give a number, FAMILY:NUMBER or an ARN"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::state::{Deployed, FailedInPlace};
    use crate::domain::test_support::*;

    fn deployed() -> ServiceState {
        let forward = rollout(Phase::Intended);
        let deployed = Deployed {
            unproven: None,
            revision: arn(2),
            targets: forward.targets,
            since: at(5),
            names_tags: false,
            rollback_target: Some(RollbackTarget {
                revision: arn(1),
                pinned: BTreeMap::from([("app".to_owned(), "x@y".to_owned())]),
                targets: BTreeMap::new(),
            }),
            pinned: BTreeMap::new(),
        };
        ServiceState { deployed: Some(deployed), ..ServiceState::default() }
    }

    #[test]
    fn a_rollback_goes_to_what_ran_before_and_holds_what_runs() {
        let mut known = deployed();
        let back = rollback(&mut known, &arn(2), None, "alice", at(9)).unwrap();
        assert_eq!((back.base, back.replaces), (arn(1), arn(2)));
        assert_eq!(back.images["app"], "x@y", "pinned to what ran");
        assert_eq!(back.direction, Direction::Back { because: "ordered by alice".to_owned() });
        assert_eq!(known.held[&repository_key("hello")].digest, digest('b'));
    }

    #[test]
    fn a_rollback_needs_somewhere_to_go() {
        let refused = |mut known: ServiceState, current, to: Option<TaskDefinitionArn>| {
            let to = to.map(|revision| Named { revision, tags: Vec::new() });
            rollback(&mut known, &current, to, "alice", at(9)).unwrap_err().0
        };
        assert!(refused(ServiceState::default(), arn(2), None).contains("--to"));
        assert!(refused(deployed(), arn(7), None).contains("what ran before hello:7 is not known"));
        assert!(refused(deployed(), arn(2), Some(arn(2))).contains("already"));
        let back = Direction::Back { because: String::new() };
        for (under_way, text) in [
            (Rollout { direction: back, ..rollout(Phase::Intended) }, "already"),
            (rollout(Phase::Registered { revision: arn(2) }), "in a moment"),
        ] {
            let known = ServiceState { rollout: Some(under_way), ..ServiceState::default() };
            assert!(refused(known, arn(1), None).contains(text));
        }
    }

    #[test]
    fn a_named_revision_needs_no_memory() {
        let mut known = ServiceState::default();
        let named = Named { revision: arn(3), tags: vec![("x:latest".to_owned(), digest('b'))] };
        let back = rollback(&mut known, &arn(7), Some(named), "alice", at(9)).unwrap();
        assert_eq!((back.base, back.images.len(), known.held.len()), (arn(3), 0, 0));
        assert_eq!(revision("3", &arn(7)).unwrap(), "hello:3");
        assert_eq!(revision("other:3", &arn(7)).unwrap(), "other:3");
        assert_eq!(revision(arn(3).as_str(), &arn(7)).unwrap(), arn(3).as_str());
        for named in ["", "latest", "hello:", "hello:x", "-3"] {
            assert!(revision(named, &arn(7)).is_err(), "{named}");
        }
    }

    #[test]
    fn a_named_revision_means_what_ran_with_it() {
        let named = |revision, tags: &[(&str, char)]| Named {
            revision: arn(revision),
            tags: tags.iter().map(|(image, letter)| ((*image).to_owned(), digest(*letter))).collect(),
        };
        // By tag, but it is the one that ran before: the digests are known.
        let back = rollback(&mut deployed(), &arn(2), Some(named(1, &[("x:latest", 'b')])), "alice", at(9)).unwrap();
        assert_eq!(back.images["app"], "x@y");
        // Another one by tag, and the tag means what is to be taken away.
        let mut known = deployed();
        let refused = rollback(&mut known, &arn(2), Some(named(5, &[("x:latest", 'b')])), "alice", at(9)).unwrap_err();
        assert!(refused.0.contains("hello:5 names x:latest"), "{refused}");
        assert!(known.held.is_empty(), "a refused command changes nothing");
        let back = rollback(&mut deployed(), &arn(2), Some(named(5, &[("x:latest", 'c')])), "alice", at(9)).unwrap();
        assert_eq!((back.base, back.images.len()), (arn(5), 0));
    }

    #[test]
    fn what_was_left_in_place_can_be_taken_back() {
        let left = FailedInPlace {
            revision: arn(3),
            targets: rollout(Phase::Intended).targets,
            rollback_target: rollback_target(2),
        };
        let mut known = ServiceState { failed_in_place: Some(left), ..deployed() };
        let back = rollback(&mut known, &arn(3), None, "alice", at(9)).unwrap();
        assert_eq!(back.base, arn(2));
        assert!(known.held.contains_key(&repository_key("hello")));
    }

    fn rollback_target(revision: u64) -> RollbackTarget {
        RollbackTarget { revision: arn(revision), pinned: BTreeMap::new(), targets: BTreeMap::new() }
    }

    #[test]
    fn a_hold_stops_a_deployment_and_a_release_makes_up_for_it() {
        let repositories = [repository_key("hello")];
        let mut known = ServiceState::default();
        assert_eq!(release(&mut known, &repositories, at(1)), "nothing was held");
        assert!(known.pending.is_empty());
        let _ = hold(&mut known, "alice", Some("fair of the year"), false, at(2));
        let refused = deploy(&mut known, &repositories, at(3)).unwrap_err().0;
        assert!(refused.contains("alice") && refused.contains("fair of the year"), "{refused}");
        assert!(release(&mut known, &repositories, at(4)).starts_with("released"));
        assert!(known.service_hold.is_none());
        assert!(known.pending[&repositories[0]][0].is_reconciliation());
        assert!(deploy(&mut known, &repositories, at(5)).is_ok());
        assert_eq!(known.pending[&repositories[0]].len(), 1, "asked once is enough");
    }
}
