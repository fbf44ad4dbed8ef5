//! The gate `after`: a digest is rolled out only where other services run it, and have for long enough.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Other, Verdict, Wait};
use crate::domain::state::Direction;
use crate::domain::types::Digest;
use crate::domain::waiting::Gate;

/// Whether each of the services runs the digest, completed and not held, and has for so long without a break.
#[must_use]
pub fn judge(others: &[Other<'_>], bake: Duration, digest: &Digest, now: Timestamp) -> Verdict {
    let mut until: Option<(Timestamp, Timestamp, &str)> = None;
    for other in others {
        match runs_since(other, digest) {
            Ok(since) => {
                let baked = SignedDuration::try_from(bake).ok().and_then(|bake| since.checked_add(bake).ok());
                let baked = baked.unwrap_or(Timestamp::MAX);
                if baked > now && until.is_none_or(|(latest, ..)| baked > latest) {
                    until = Some((baked, since, other.name));
                }
            }
            Err(Closed { why, ask_again }) => {
                return Verdict::Wait(Wait { gate: Gate::After, why, until: None, ask_again });
            }
        }
    }
    let Some((until, since, name)) = until else { return Verdict::Open };
    let bake = humantime::format_duration(bake);
    Verdict::Wait(Wait {
        gate: Gate::After,
        why: format!("{name} has run it since {since:.0}, and has to for {bake}"),
        until: Some(until),
        ask_again: false,
    })
}

/// The digests that each of the services runs, and has for long enough.
#[must_use]
pub fn proven(others: &[Other<'_>], bake: Duration, now: Timestamp) -> BTreeSet<Digest> {
    let is_proven = |digest: &Digest| judge(others, bake, digest, now) == Verdict::Open;
    candidates(others).into_iter().filter(is_proven).collect()
}

/// The digests that were deployed to the first of the services: all that may come through the gate.
#[must_use]
pub fn candidates(others: &[Other<'_>]) -> BTreeSet<Digest> {
    let deployed = others.first().and_then(|other| other.known?.deployed.as_ref());
    deployed.into_iter().flat_map(|deployed| deployed.targets.values()).map(|target| target.digest.clone()).collect()
}

/// Why a service does not let a digest through.
struct Closed {
    why: String,
    /// Only ECS can tell when that changes.
    ask_again: bool,
}

/// Since when a service runs the digest without a break.
fn runs_since(other: &Other<'_>, digest: &Digest) -> Result<Timestamp, Closed> {
    let name = other.name;
    let closed = |why: String| Closed { why, ask_again: false };
    let nothing = || closed(format!("{name} does not run it: nothing was deployed to it yet"));
    let known = other.known.ok_or_else(nothing)?;
    if let Some(rollout) = &known.rollout {
        let brings = rollout.targets.values().any(|target| &target.digest == digest);
        return Err(closed(match &rollout.direction {
            Direction::Back { .. } => format!("{name} is being rolled back"),
            Direction::Forward if brings => format!("{name} is being rolled to it"),
            Direction::Forward => format!("{name} is being rolled to another image"),
        }));
    }
    if let Some(hold) = known.held.values().find(|hold| &hold.digest == digest) {
        return Err(closed(format!("{name} holds it: {}", hold.reason)));
    }
    if let Some(hold) = &known.service_hold {
        return Err(closed(format!("{name} is {hold}")));
    }
    let deployed = known.deployed.as_ref().ok_or_else(nothing)?;
    if !deployed.targets.values().any(|target| &target.digest == digest) {
        return Err(closed(format!("{name} does not run it")));
    }
    if deployed.unproven.is_some() {
        return Err(closed(format!("no task of {name} has run it yet, as its desired count is 0")));
    }
    if let Some(seen) = other.seen {
        let ask_again = true;
        match seen.filter(|seen| seen.active) {
            None => return Err(Closed { why: format!("ECS does not know {name} any more"), ask_again }),
            Some(seen) if seen.task_definition != deployed.revision => {
                let runs = seen.task_definition.short();
                return Err(Closed { why: format!("{name} was set to {runs} by somebody else"), ask_again });
            }
            Some(_) => {}
        }
    }
    Ok(known.last_release().map_or(deployed.since, |broken| broken.max(deployed.since)))
}
