//! What an operator may order, and what that means for the state of a service.

use jiff::{SignedDuration, Timestamp};

use super::settings::RepositoryKey;
pub use super::state::Order;
use super::state::{Direction, Freeze, Hold, Phase, PushRef, Rollout, ServiceState, WayBack};
use super::types::TaskDefinitionArn;

/// Why an order is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Holds a service: a rollout under way goes on, nothing new is begun.
pub fn hold(known: &mut ServiceState, by: &str, reason: Option<&str>, now: Timestamp) -> String {
    known.frozen = Some(Freeze { since: now, by: by.to_owned(), reason: reason.unwrap_or_default().to_owned() });
    match known.rollout {
        Some(_) => "held; the rollout under way goes on, nothing new is begun until a release".to_owned(),
        None => "held; nothing is deployed to it until a release".to_owned(),
    }
}

/// Ends every hold. What was held back meanwhile is deployed, if the policies still select it.
pub fn release(known: &mut ServiceState, repositories: &[RepositoryKey], now: Timestamp) -> String {
    let was_held = known.frozen.take().is_some() | !known.held.is_empty();
    known.held.clear();
    if !was_held {
        return "nothing was held".to_owned();
    }
    want_what_ecr_says(known, repositories, now);
    "released; it is rolled to what the policies select in ECR, if that is not what runs".to_owned()
}

/// Asks for a comparison with ECR.
///
/// # Errors
/// The service is held.
pub fn deploy(known: &mut ServiceState, repositories: &[RepositoryKey], now: Timestamp) -> Result<(), Refused> {
    if let Some(freeze) = &known.frozen {
        return Err(Refused(format!("{freeze}; release it first")));
    }
    want_what_ecr_says(known, repositories, now);
    Ok(())
}

/// Makes the service want what its policies select in ECR, in each of these repositories.
pub fn want_what_ecr_says(known: &mut ServiceState, repositories: &[RepositoryKey], at: Timestamp) {
    for repository in repositories {
        let _ = known.want(repository, PushRef::reconciliation(at));
    }
}

/// The way back that an operator orders, and holds what it takes away. `current` is the revision that the service is set to.
///
/// # Errors
/// There is nothing to go back to, or it is not the moment.
pub fn rollback(
    known: &mut ServiceState,
    current: &TaskDefinitionArn,
    to: Option<TaskDefinitionArn>,
    by: &str,
    now: Timestamp,
) -> Result<Rollout, Refused> {
    if to.as_ref() == Some(current) {
        return Err(Refused(format!("it runs {} already", current.short())));
    }
    let (targets, before) = match (&known.rollout, &known.deployed) {
        (Some(rollout), _) if rollout.direction != Direction::Forward => {
            return Err(Refused("it is being rolled back already".to_owned()));
        }
        (Some(rollout), _) if !matches!(rollout.phase, Phase::Rolling { .. }) => {
            return Err(Refused("a rollout is just being begun; try again in a moment".to_owned()));
        }
        (Some(rollout), _) => (rollout.targets.clone(), Some(rollout.way_back.clone())),
        (None, Some(deployed)) if &deployed.revision == current => {
            (deployed.targets.clone(), deployed.way_back.clone())
        }
        (None, _) => Default::default(),
    };
    let way_back = match (to, before) {
        (Some(revision), _) => WayBack { revision, pinned: Default::default(), targets: Default::default() },
        (None, Some(before)) => before,
        (None, None) => {
            let current = current.short();
            return Err(Refused(format!("what ran before {current} is not known here; name a revision with --to")));
        }
    };
    for (repository, target) in &targets {
        let reason = format!("rolled back by {by}");
        known.held.insert(repository.clone(), Hold::new(target, SignedDuration::ZERO, reason, now));
    }
    Ok(Rollout {
        direction: Direction::Back { because: format!("ordered by {by}") },
        targets,
        replaces: current.clone(),
        base: way_back.revision.clone(),
        images: way_back.pinned.clone(),
        way_back,
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::state::Deployed;
    use crate::domain::test_support::*;

    fn deployed() -> ServiceState {
        let forward = rollout(Phase::Intended);
        let deployed = Deployed {
            revision: arn(2),
            targets: forward.targets,
            since: at(5),
            names_tags: false,
            way_back: Some(WayBack {
                revision: arn(1),
                pinned: BTreeMap::from([("app".to_owned(), "x@y".to_owned())]),
                targets: BTreeMap::new(),
            }),
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
        let refused =
            |mut known: ServiceState, current, to| rollback(&mut known, &current, to, "alice", at(9)).unwrap_err().0;
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
        let back = rollback(&mut known, &arn(7), Some(arn(3)), "alice", at(9)).unwrap();
        assert_eq!((back.base, back.images.len(), known.held.len()), (arn(3), 0, 0));
        assert_eq!(revision("3", &arn(7)).unwrap(), "hello:3");
        assert_eq!(revision("other:3", &arn(7)).unwrap(), "other:3");
        assert_eq!(revision(arn(3).as_str(), &arn(7)).unwrap(), arn(3).as_str());
        for named in ["", "latest", "hello:", "hello:x", "-3"] {
            assert!(revision(named, &arn(7)).is_err(), "{named}");
        }
    }

    #[test]
    fn a_hold_stops_a_deployment_and_a_release_makes_up_for_it() {
        let repositories = [repository_key("hello")];
        let mut known = ServiceState::default();
        assert_eq!(release(&mut known, &repositories, at(1)), "nothing was held");
        assert!(known.wanted.is_empty());
        let _ = hold(&mut known, "alice", Some("fair of the year"), at(2));
        let refused = deploy(&mut known, &repositories, at(3)).unwrap_err().0;
        assert!(refused.contains("alice") && refused.contains("fair of the year"), "{refused}");
        assert!(release(&mut known, &repositories, at(4)).starts_with("released"));
        assert!(known.frozen.is_none());
        assert!(known.wanted[&repositories[0]][0].is_reconciliation());
        assert!(deploy(&mut known, &repositories, at(5)).is_ok());
        assert_eq!(known.wanted[&repositories[0]].len(), 1, "asked once is enough");
    }
}
