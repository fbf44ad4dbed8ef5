//! What the program writes as JSON, with every member filled in at least once. A member that is added to a type is asked for here by the
//! compiler, or comes with the states that the properties of the state store are tried on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::Value;

use super::shapes::{CHECK, Document, HISTORY, PLAN, STATE, STATUS};
use crate::check::Placed;
use crate::cli::check;
use crate::cli::history::history_json;
use crate::domain::audit::Concern;
use crate::domain::deployment::HookTarget;
use crate::domain::finding::{Finding, Severity};
use crate::domain::operator_command::OperatorCommand;
use crate::domain::rollout::Counts;
use crate::domain::source::{FirstSeen, PushSource};
use crate::domain::state::{CommandRecord, OutcomeKind, ServiceHold};
use crate::domain::task::TaskKind;
use crate::domain::types::{Digest, RepositoryName, Tag};
use crate::domain::waiting::{Gate, Hook, Waiting};
use crate::plan::{ComparedService, ImageChange, PlanReport, PlannedPush};
use crate::state_store;
use crate::status::{
    ChangeStatus, Comparison, ContainerStatus, ContextStatus, DaemonStatus, DeliveryStatus, DiscoveredStatus,
    HoldStatus, ImageStatus, Origin, OutcomeStatus, PushDecision, PushForecast, PushStatus, QueueStatus, RolloutStatus,
    Running, RunsStatus, ServiceStatus, Status, Step, TableStatus, TaskStatus, Way,
};

/// States enough that each optional member is there in one of them. They are the same in each run.
const STATES: usize = 120;

pub(super) fn all() -> [(&'static Document, Vec<Value>); 5] {
    let status = status();
    let services: Vec<&ServiceStatus> = status.services.iter().collect();
    let history = history_json(&status, &services);
    [
        (&STATUS, vec![serde_json::to_value(&status).unwrap()]),
        (&HISTORY, vec![history]),
        (&PLAN, vec![serde_json::to_value(plan()).unwrap()]),
        (&CHECK, vec![check::json("config.toml", &[finding()])]),
        (&STATE, states()),
    ]
}

fn states() -> Vec<Value> {
    let mut runner = TestRunner::deterministic();
    let states = state_store::properties::state();
    let one = |_| {
        let state = states.new_tree(&mut runner).unwrap().current();
        serde_json::from_slice(&state_store::render(&state)).unwrap()
    };
    (0..STATES).map(one).collect()
}

fn text() -> String {
    "text".to_owned()
}

fn some() -> Option<String> {
    Some(text())
}

fn at() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn image() -> ImageStatus {
    ImageStatus { repository: text(), tag: some(), digest: text(), pushed_at: at(), event: text(), seen: Some(seen()) }
}

fn seen() -> FirstSeen {
    FirstSeen { at: at(), by: PushSource::Queue }
}

fn delivery() -> DeliveryStatus {
    DeliveryStatus { pushes: 1, last_seconds: 1.0, median_seconds: 1.0, longest_seconds: 1.0 }
}

fn given(command: OperatorCommand) -> CommandRecord {
    CommandRecord { at: at(), by: text(), command, answer: text() }
}

fn waiting() -> Waiting {
    Waiting {
        gate: Gate::Pause,
        since: at(),
        repository: RepositoryName::parse("team/api").unwrap(),
        tag: Some(Tag::parse("1.0").unwrap()),
        digest: Digest::parse(&format!("sha256:{}", "0".repeat(64))).unwrap(),
        reason: text(),
        until: Some(at()),
        stage: some(),
        hook: Some(Hook { id: text(), target: HookTarget::Pause, service_deployment: text() }),
        reported: true,
    }
}

fn service() -> ServiceStatus {
    ServiceStatus {
        aws: text(),
        cluster: text(),
        service: text(),
        name: text(),
        discovered: Some(DiscoveredStatus { tag: text(), policy: text(), since: at(), repositories: vec![text()] }),
        deployed: Some(Running {
            revision: text(),
            since: at(),
            images: vec![image()],
            unproven: true,
            containers: vec![ContainerStatus { name: text(), image: text() }],
        }),
        runs: Some(RunsStatus {
            seen_at: at(),
            revision: some(),
            since: Some(at()),
            desired: 1,
            running: 1,
            containers: vec![ContainerStatus { name: text(), image: text() }],
            last_error: some(),
        }),
        rollout: Some(RolloutStatus {
            direction: Way::Back,
            because: some(),
            phase: Step::Rolling,
            revision: some(),
            deployment: some(),
            decided_at: at(),
            images: vec![image()],
            tasks: Some(Counts::default()),
            stage: some(),
            traffic: Some(10.0),
            task: Some(TaskStatus {
                kind: TaskKind::Before,
                number: 1,
                following: 1,
                command: text(),
                container: some(),
                arn: some(),
                since: Some(at()),
                log: some(),
            }),
        }),
        service_hold: Some(ServiceHold { since: at(), by: text(), reason: text() }),
        held: vec![HoldStatus { repository: text(), digest: text(), since: at(), reason: text() }],
        undecided: 1,
        waiting: Some(waiting()),
        last_error: some(),
        history: vec![OutcomeStatus {
            result: OutcomeKind::Completed,
            decided_at: at(),
            ended_at: at(),
            revision: some(),
            images: vec![image()],
            detail: text(),
        }],
        commands: vec![
            given(OperatorCommand::Deploy),
            given(OperatorCommand::DeployNow),
            given(OperatorCommand::Release),
            given(OperatorCommand::Hold { reason: some() }),
            given(OperatorCommand::Rollback { to: some() }),
        ],
    }
}

fn status() -> Status {
    Status {
        version: 1,
        at: at(),
        source: Origin::Daemon,
        daemon: Some(DaemonStatus {
            program_version: text(),
            commit: text(),
            started_at: at(),
            state_error: some(),
            audit_errors: BTreeMap::from([(text(), text())]),
        }),
        table: Some(TableStatus { active: some(), written_at: Some(at()) }),
        contexts: vec![ContextStatus {
            aws: text(),
            since: at(),
            read_to: Some(at()),
            polled_at: Some(at()),
            last_error: some(),
            delivery: Some(delivery()),
            queue: Some(QueueStatus {
                url: text(),
                received_at: Some(at()),
                last_error: some(),
                delivery: Some(delivery()),
            }),
        }],
        services: vec![service()],
        pushes: vec![PushStatus {
            aws: text(),
            repository: some(),
            tag: some(),
            event: text(),
            pushed_at: at(),
            decided_at: at(),
            service: some(),
            decision: PushDecision::Deploy,
            detail: text(),
            seen: Some(seen()),
        }],
        changes: vec![ChangeStatus {
            aws: text(),
            event: text(),
            at: at(),
            call: text(),
            target: text(),
            who: text(),
            from: text(),
            agent: text(),
            concern: Concern::Watched,
            error: some(),
        }],
    }
}

fn plan() -> PlanReport {
    PlanReport {
        version: 1,
        at: at(),
        pushes: vec![PlannedPush {
            aws: text(),
            repository: some(),
            tag: some(),
            event: text(),
            pushed_at: at(),
            service: some(),
            decision: PushForecast::Deploy,
            detail: text(),
        }],
        services: vec![ComparedService {
            aws: text(),
            cluster: text(),
            service: text(),
            name: text(),
            revision: some(),
            state: Comparison::Differs,
            detail: text(),
            waiting: Some(waiting()),
            images: vec![ImageChange { container: text(), from: text(), to: text() }],
        }],
        errors: vec![text()],
    }
}

fn finding() -> Placed {
    Placed { line: Some(1), finding: Finding::new(Severity::Warning, "code", "subject", "message", "remedy") }
}
