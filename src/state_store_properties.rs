//! Whatever the state is, it is read as it was written; and a part of it is never read as something else.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::text::Text;
use super::{parse, render};
use crate::domain::deployment::HookTarget;
use crate::domain::discovery::Discovered;
use crate::domain::event::EventRef;
use crate::domain::monitor::Monitored;
use crate::domain::operator_command::OperatorCommand;
use crate::domain::printable::{LONGEST, printable};
use crate::domain::settings::RepositoryKey;
use crate::domain::skip::SkipReason;
use crate::domain::source::{FirstSeen, PushSource};
use crate::domain::state::{
    Approval, AuditRound, AuditState, CommandRecord, ContextState, Decision, Deployed, DigestHold, Direction,
    FailedInPlace, GateRefusal, Outcome, OutcomeKind, Phase, PushRef, ReadingProgress, ReplacedExternally,
    RollbackTarget, Rolled, Rollout, Seen, ServiceHold, ServiceState, Sighting, Sightings, Span, State, Target,
    WindowPass,
};
use crate::domain::task::{
    LogLocation, PlannedTask, RunningTask, TaskKind, TaskProgress, TaskRequest, TaskRun, TaskSpec,
};
use crate::domain::test_support::{arn, digest, event_id, repository_key, service_key, tag};
use crate::domain::types::{ContextName, DeploymentId, RepositoryName};
use crate::domain::waiting::{Gate, Hook, Waiting};

fn time() -> impl Strategy<Value = Timestamp> {
    (0..4_000_000_000i64, 0..1_000_000_000i32).prop_map(|(second, nano)| Timestamp::new(second, nano).unwrap())
}

/// A text as it comes in: what is not fit to be shown is taken out of it again when it is read.
fn text() -> impl Strategy<Value = String> {
    ".{0,40}".prop_map(|text| printable(&text, LONGEST))
}

fn push() -> impl Strategy<Value = PushRef> {
    let told = prop::option::of(prop::sample::select(vec!['a', 'b', 'c']));
    ("[!-~]{1,40}", prop::option::of("[a-z0-9][a-z0-9.-]{0,20}"), time(), told, first_seen()).prop_map(
        |(event, named, at, letter, seen)| PushRef {
            event: event_id(&event),
            tag: named.map(|text| tag(&text)),
            at,
            digest: letter.map(digest),
            seen,
        },
    )
}

fn first_seen() -> impl Strategy<Value = Option<FirstSeen>> {
    let by = prop::sample::select(PushSource::ALL.to_vec());
    prop::option::of((time(), by).prop_map(|(at, by)| FirstSeen { at, by }))
}

/// What two sources have told: some pushes that both tell of, and some that one does.
fn sightings() -> impl Strategy<Value = Option<Sightings>> {
    let push = ("[a-z]{2,9}", prop::char::range('a', 'f'), time(), any::<bool>());
    let pushes = prop::collection::vec(push, 0..4);
    prop::option::of((time(), pushes).prop_map(|(since, pushes)| {
        let mut sightings = Sightings::new(since);
        for (number, (name, letter, time, both)) in pushes.into_iter().enumerate() {
            let repository = RepositoryName::parse(&name).unwrap();
            let mut told = |source: PushSource| {
                let event = EventRef { id: event_id(&format!("{source}-{number}")), shared_id: None, time };
                sightings.add(&repository, Sighting::new(&event, source, Some(tag("latest")), Some(digest(letter))));
            };
            told(PushSource::Queue);
            if both {
                told(PushSource::CloudTrail);
            }
        }
        sightings
    }))
}

fn of_repositories<T: std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = BTreeMap<RepositoryKey, T>> {
    prop::collection::btree_map("[a-z]{2,9}".prop_map(|name| repository_key(&name)), value, 0..3)
}

fn target() -> impl Strategy<Value = Target> {
    (prop::char::range('a', 'f'), push(), prop::option::of(time())).prop_map(|(c, push, image_pushed_at)| Target {
        digest: digest(c),
        push,
        image_pushed_at,
    })
}

fn rollback_target() -> impl Strategy<Value = RollbackTarget> {
    let pinned = prop::collection::btree_map(text(), text(), 0..3);
    (1..99u64, pinned, of_repositories(target())).prop_map(|(revision, pinned, targets)| RollbackTarget {
        revision: arn(revision),
        pinned,
        targets,
    })
}

fn phase() -> BoxedStrategy<Phase> {
    let monitored = (time(), 0..99, prop::option::of(time()), 0..9)
        .prop_map(|(since, desired, events_from, stopped)| Monitored { since, desired, events_from, stopped });
    let deployment = |(revision, since, progressed_at, monitored)| Phase::Rolling {
        revision: arn(revision),
        deployment: DeploymentId::parse("ecs-svc/1234").unwrap(),
        since,
        progressed_at,
        monitored,
    };
    let rolled = (time(), prop::option::of(0..99)).prop_map(|(since, desired)| Rolled {
        deployment: DeploymentId::parse("ecs-svc/1234").unwrap(),
        since,
        desired,
    });
    let task = (1..99u64, prop::option::of(rolled), task_run()).prop_map(|(revision, rolled, run)| Phase::Task {
        revision: arn(revision),
        rolled,
        run: Box::new(run),
    });
    prop_oneof![
        task,
        Just(Phase::Intended),
        (1..99u64).prop_map(|revision| Phase::Registered { revision: arn(revision) }),
        (1..99u64, time(), prop::option::of(time()), prop::option::of(monitored)).prop_map(deployment),
    ]
    .boxed()
}

fn planned_task() -> BoxedStrategy<PlannedTask> {
    let command = prop::collection::vec("[a-z]{1,5}", 0..3);
    let name = || prop::option::of("[a-z]{1,5}");
    let spec = (command, name(), 1..9000u64, name());
    let planned = spec.prop_map(|(command, container, timeout_seconds, family)| PlannedTask {
        repository: repository_key("hello"),
        spec: TaskSpec { command, container, timeout_seconds, family },
    });
    planned.boxed()
}

fn task_run() -> BoxedStrategy<TaskRun> {
    let log = || {
        prop::option::of(
            prop::option::of("[a-z]{1,5}").prop_map(|prefix| LogLocation { group: "/logs".to_owned(), prefix }),
        )
    };
    let container = "app".to_owned();
    let request = (log(), 1..9u32, prop::option::of(time())).prop_map({
        let container = container.clone();
        move |(log, attempt, short_since)| TaskProgress::Starting {
            request: TaskRequest { body: "{}".to_owned(), container: container.clone(), log },
            attempt,
            short_since,
        }
    });
    let running = (log(), time(), prop::option::of(time())).prop_map(move |(log, since, late_since)| {
        let (arn, container) = ("arn:task/1".to_owned(), container.clone());
        TaskProgress::Running { running: RunningTask { arn, container, log, since, late_since } }
    });
    let progress = prop_oneof![Just(TaskProgress::Preparing), request, running];
    let kind = prop_oneof![Just(TaskKind::Before), Just(TaskKind::Verify)];
    (kind, 1..9u32, planned_task(), prop::collection::vec(planned_task(), 0..2), progress)
        .prop_map(|(kind, number, task, next, progress)| TaskRun { kind, number, task, next, progress })
        .boxed()
}

fn rollout() -> BoxedStrategy<Rollout> {
    let direction = prop_oneof![Just(Direction::Forward), text().prop_map(|because| Direction::Back { because })];
    let images = prop::collection::btree_map(text(), text(), 0..3);
    let plain = (direction, of_repositories(target()), images, rollback_target(), phase(), time(), prop::bool::ANY);
    let rollout = plain.prop_map(|(direction, targets, images, rollback_target, phase, decided_at, names_tags)| {
        let replaces = arn(3);
        Rollout {
            direction,
            targets,
            replaces,
            base: arn(3),
            images,
            rollback_target,
            phase,
            decided_at,
            names_tags,
            supersedes: None,
        }
    });
    rollout.boxed()
}

fn superseding() -> impl Strategy<Value = Rollout> {
    (rollout(), prop::option::of(rollout())).prop_map(|(new, old)| Rollout { supersedes: old.map(Box::new), ..new })
}

fn deployed() -> impl Strategy<Value = Deployed> {
    let pinned = prop::collection::btree_map(text(), text(), 0..3);
    let back = (prop::option::of(rollback_target()), prop::option::of(rollout()));
    (1..99u64, of_repositories(target()), time(), prop::bool::ANY, back, pinned).prop_map(
        |(revision, targets, since, names_tags, (rollback_target, unproven), pinned)| Deployed {
            unproven: unproven.map(Box::new),
            revision: arn(revision),
            targets,
            since,
            names_tags,
            rollback_target,
            pinned,
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let kind = prop::sample::select(OutcomeKind::ALL.to_vec());
    (kind, prop::option::of(1..99u64), of_repositories(target()), time(), time(), text()).prop_map(
        |(result, revision, targets, decided_at, ended_at, detail)| Outcome {
            result,
            revision: revision.map(arn),
            targets,
            decided_at,
            ended_at,
            detail,
        },
    )
}

fn given() -> impl Strategy<Value = CommandRecord> {
    let command = prop_oneof![
        Just(OperatorCommand::Deploy),
        Just(OperatorCommand::DeployNow),
        Just(OperatorCommand::Release),
        prop::option::of(text()).prop_map(|reason| OperatorCommand::Hold { reason }),
        prop::option::of(text()).prop_map(|to| OperatorCommand::Rollback { to }),
        prop::option::of(text()).prop_map(|image| OperatorCommand::Approve { image }),
        prop::option::of(text()).prop_map(|reason| OperatorCommand::Reject { reason }),
    ];
    (time(), text(), command, text()).prop_map(|(at, by, command, answer)| CommandRecord { at, by, command, answer })
}

fn waiting() -> impl Strategy<Value = Waiting> {
    let hook = (text(), prop::sample::select(HookTarget::ALL.to_vec()), text());
    let hook = hook.prop_map(|(id, target, service_deployment)| Hook { id, target, service_deployment });
    let ends = (prop::option::of(time()), prop::option::of(text()), prop::option::of(hook), prop::bool::ANY);
    let gate = prop::sample::select(Gate::ALL.to_vec());
    (gate, time(), target(), text(), ends).prop_map(|(gate, since, target, reason, (until, stage, hook, reported))| {
        Waiting {
            gate,
            reported,
            since,
            repository: repository_key("hello").name,
            tag: target.push.tag,
            digest: target.digest,
            reason,
            until,
            stage,
            hook,
        }
    })
}

fn discovered() -> impl Strategy<Value = Discovered> {
    let repositories = prop::collection::btree_set("[a-z]{2,9}".prop_map(|name| repository_key(&name).name), 0..3);
    (text(), text(), repositories, time(), 0..3u32).prop_map(|(tag, policy, repositories, since, absences)| {
        Discovered { tag, policy, repositories, since, absences }
    })
}

fn service() -> impl Strategy<Value = ServiceState> {
    let hold = (target(), text(), time(), prop::bool::ANY).prop_map(|(target, reason, now, rejected)| DigestHold {
        rejected,
        ..DigestHold::new(&target, SignedDuration::ZERO, reason, now)
    });
    let service_hold = (time(), text(), text()).prop_map(|(since, by, reason)| ServiceHold { since, by, reason });
    let history = prop::collection::vec_deque(outcome(), 0..3);
    let commands = prop::collection::vec_deque(given(), 0..3);
    let pending = of_repositories(prop::collection::vec(push(), 1..3));
    let asked = (pending, of_repositories(push()), prop::option::of(deployed()), prop::option::of(superseding()));
    let failed_in_place =
        (1..99u64, of_repositories(target()), rollback_target()).prop_map(|(revision, targets, rollback_target)| {
            FailedInPlace { revision: arn(revision), targets, rollback_target }
        });
    let replaced_externally = time().prop_map(|at| ReplacedExternally { digest: digest('b'), at });
    let against = (
        of_repositories(hold),
        prop::option::of(service_hold),
        of_repositories(replaced_externally),
        prop::option::of(failed_in_place),
    );
    let approval = (time(), text()).prop_map(|(at, by)| Approval { digest: digest('b'), by, at });
    let pass = (time(), text()).prop_map(|(at, by)| WindowPass { by, at });
    let refusal = (time(), prop::sample::select(SkipReason::ALL.to_vec())).prop_map(|(at, reason)| GateRefusal {
        digest: digest('b'),
        reason,
        at,
    });
    let at_gates =
        (prop::option::of(waiting()), of_repositories(approval), prop::option::of(pass), of_repositories(refusal));
    let known_since = prop::option::of(time());
    let marks = (prop::option::of(waiting()), prop::option::of(discovered()));
    let after = (history, commands, of_repositories(target()));
    (asked, against, marks, at_gates, after, known_since).prop_map(
        |(
            (pending, decided, deployed, rollout),
            (held, service_hold, replaced_externally, failed_in_place),
            (waiting, discovered),
            (gated, approved, passes_windows, refused),
            (history, commands, prepared),
            known_since,
        )| ServiceState {
            gated,
            approved,
            passes_windows,
            refused,
            prepared,
            known_since,
            waiting,
            discovered,
            pending,
            decided,
            deployed,
            rollout,
            failed_in_place,
            held,
            replaced_externally,
            service_hold,
            history,
            commands,
        },
    )
}

fn decision() -> impl Strategy<Value = Decision> {
    let skipped = prop::option::of(prop::sample::select(SkipReason::ALL.to_vec()));
    let service = prop::option::of("[a-z]{1,9}".prop_map(|name| service_key(&name)));
    (push(), time(), service, skipped, text()).prop_map(|(push, decided_at, service, skipped, detail)| Decision {
        aws: ContextName::parse("default").unwrap(),
        repository: push.tag.as_ref().map(|_| repository_key("hello").name),
        tag: push.tag,
        event: push.event,
        pushed_at: push.at,
        decided_at,
        service,
        skipped,
        detail,
        seen: push.seen,
    })
}

/// Any state that the program may write.
pub(crate) fn state() -> impl Strategy<Value = State> {
    let seen = || {
        let one = ("[!-~]{1,40}".prop_map(|text| event_id(&text)), time());
        prop::collection::vec(one, 0..5).prop_map(|all| {
            let unique: BTreeMap<_, _> = all.into_iter().collect();
            unique.into_iter().collect::<Seen>()
        })
    };
    let span = || (time(), time()).prop_map(|(from, to)| Span { from, to });
    let context_name = || "[a-z]{1,9}".prop_map(|name| ContextName::parse(&name).unwrap());
    let progress = (
        prop::option::of(time()),
        prop::option::of(time()),
        prop::collection::vec(span(), 0..3),
        prop::option::of(span()),
        prop::option::of(time()),
    )
        .prop_map(|(cursor, recent, unread, reread, reread_to)| ReadingProgress {
            cursor,
            recent,
            unread,
            reread,
            reread_to,
        });
    let repository = "[a-z]{2,9}".prop_map(|name| RepositoryName::parse(&name).unwrap());
    let followed = prop::option::of(prop::collection::btree_map(repository, time(), 0..3));
    let tags = prop::collection::btree_set(text(), 0..2);
    let context = (time(), progress, followed, tags, seen(), sightings());
    let context = context.prop_map(|(baseline, progress, followed, tags, seen, sightings)| {
        let followed = followed.map(|followed| followed.into_iter().collect());
        let compares_found = tags;
        let new = ContextState::new(baseline);
        let mut context = ContextState { followed, compares_found, seen, baseline, sightings, ..new };
        context.advance(progress);
        context
    });
    let contexts = prop::collection::btree_map(context_name(), context, 0..3);
    let services = prop::collection::btree_map("[a-z]{1,9}".prop_map(|name| service_key(&name)), service(), 0..4);
    let round = (time(), time(), time()).prop_map(|(from, to, below)| AuditRound {
        from,
        to,
        event: "RunTask".to_owned(),
        below,
    });
    let audit = (time(), prop::option::of(time()), prop::option::of(round), prop::option::of(time()), seen())
        .prop_map(|(since, cursor, round, forgotten_to, seen)| AuditState { since, cursor, round, forgotten_to, seen });
    let audits = prop::collection::btree_map(context_name(), audit, 0..3);
    let decisions = prop::collection::vec_deque(decision(), 0..4);
    (contexts, services, audits, decisions).prop_map(|(contexts, services, audits, decisions)| {
        let services = services.into_iter().collect();
        State { contexts, services, audits, decisions }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_state_is_read_as_it_was_written(state in state()) {
        prop_assert_eq!(parse(Path::new("state"), &render(&state)).unwrap(), state);
    }

    #[test]
    fn the_text_does_not_depend_on_what_was_rendered_before(changes in prop::collection::vec((0..6usize, prop::option::of(service())), 1..12)) {
        let (mut state, mut text) = (State::default(), Text::default());
        for (number, change) in changes {
            let key = service_key(&format!("s{number}"));
            match change {
                Some(known) => *state.services.get_or_default(key) = known,
                // As after a start with another file: services are gone.
                None => state.services = state.services.iter().filter(|(other, _)| **other != key).map(|(key, known)| (key.clone(), known.clone())).collect(),
            }
            let copy = state.clone();
            prop_assert_eq!(String::from_utf8(text.render(&copy).to_vec()).unwrap(), String::from_utf8(render(&state)).unwrap());
        }
    }

    #[test]
    fn a_torn_state_is_corrupt(state in state(), cut in 0.0..1.0f64) {
        let text = render(&state);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
        let length = ((text.len() - 2) as f64 * cut) as usize;
        prop_assert!(parse(Path::new("state"), &text[..length]).is_err());
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(Path::new("state"), &bytes);
    }
}

/// What version 1 looks like: whoever changes the format without a new version breaks this.
#[test]
fn a_recorded_state_of_version_1_is_read_and_written_as_it_is() {
    let recorded = include_str!("../tests/data/state/v1.json");
    let state = parse(Path::new("v1.json"), recorded.as_bytes()).unwrap();
    let known = &state.services[&service_key("hello")];
    assert!(
        known.rollout.as_ref().unwrap().supersedes.is_some() && known.service_hold.is_some() && !known.held.is_empty()
    );
    assert!(
        known.deployed.as_ref().unwrap().rollback_target.is_some()
            && !known.history.is_empty()
            && !known.commands.is_empty()
    );
    assert!(!known.pending.is_empty() && !known.decided.is_empty() && state.contexts.len() == 1);
    assert_eq!(String::from_utf8(render(&state)).unwrap(), recorded);
}
