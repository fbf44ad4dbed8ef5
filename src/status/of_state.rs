//! The configuration and the state, in the shape of the status.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    ContainerStatus, ContextStatus, DiscoveredStatus, HoldStatus, ImageStatus, Origin, OutcomeStatus, PushStatus,
    QueueStatus, RolloutStatus, Running, ServiceStatus, Status, Step, TableStatus, TaskStatus, VERSION, Way,
};
use crate::config::Config;
use crate::domain::discovery::Discovered;
use crate::domain::printable::{LONGEST, printable};
use crate::domain::state::{Direction, Outcome, Phase, Rolled, Rollout, ServiceState, State, Target};
use crate::domain::task::{RunningTask, TaskProgress, TaskRun};
use crate::domain::types::ServiceKey;
use crate::engine::Details;
use crate::state_store::table::Contents;

impl Status {
    /// What the configuration and the state say.
    #[must_use]
    pub fn of(config: &Config, state: &State, now: Timestamp) -> Self {
        let polled = config.polled_contexts();
        let contexts = state.contexts.iter().filter(|(name, _)| polled.contains(name));
        let contexts = contexts.map(|(name, context)| ContextStatus {
            aws: name.to_string(),
            since: context.baseline,
            read_to: context.cursor,
            polled_at: None,
            last_error: None,
            delivery: None,
            queue: config.aws.get(name).and_then(|settings| settings.queue.as_ref()).map(|url| QueueStatus {
                url: url.to_string(),
                received_at: None,
                last_error: None,
                delivery: None,
            }),
        });
        let mut keys: Vec<&ServiceKey> = config.services().map(|(_, rule)| &rule.key).collect();
        keys.extend(state.services.iter().filter(|(_, known)| known.rollout.is_some()).map(|(key, _)| key));
        keys.sort();
        keys.dedup();
        let nothing = ServiceState::default();
        let services = keys.into_iter().map(|key| {
            let known = state.services.get(key).unwrap_or(&nothing);
            let is_found = config.rules_of(key).values().any(|rule| rule.known_since.is_some());
            let discovered = known.discovered.as_ref().filter(|_| is_found).map(DiscoveredStatus::of);
            ServiceStatus { discovered, ..service(key, config.name_of(key), known) }
        });
        Self {
            version: VERSION,
            at: now,
            source: Origin::Daemon,
            daemon: None,
            table: None,
            contexts: contexts.collect(),
            services: services.collect(),
            pushes: state.decisions.iter().map(|decision| PushStatus::of(decision, config)).collect(),
            changes: Vec::new(),
        }
    }

    /// What the configuration and a table say.
    #[must_use]
    pub fn of_table(config: &Arc<Config>, contents: &Contents, active: Option<String>, now: Timestamp) -> Self {
        let table = TableStatus { active, written_at: contents.at };
        let config = config.with_discovered(&contents.state);
        Self { source: Origin::Table, table: Some(table), ..Self::of(&config, &contents.state, now) }
    }

    /// The entry of a service.
    pub fn service_mut(&mut self, key: &ServiceKey) -> Option<&mut ServiceStatus> {
        let wanted = (key.aws.as_str(), key.cluster.as_str(), key.service.as_str());
        let place = self
            .services
            .binary_search_by(|one| (one.aws.as_str(), one.cluster.as_str(), one.service.as_str()).cmp(&wanted));
        self.services.get_mut(place.ok()?)
    }

    /// What only the running daemon knows of a service.
    pub fn add_details(&mut self, key: &ServiceKey, details: &Details<'_>) {
        if let Some(found) = self.service_mut(key) {
            found.last_error = details.last_error.cloned();
            if let Some(rollout) = &mut found.rollout {
                rollout.tasks = details.counts;
                rollout.stage = details.stage.map(str::to_owned);
                rollout.traffic = details.traffic;
            }
        }
    }
}

fn service(key: &ServiceKey, name: String, known: &ServiceState) -> ServiceStatus {
    ServiceStatus {
        aws: key.aws.to_string(),
        cluster: key.cluster.to_string(),
        service: key.service.to_string(),
        name,
        discovered: None,
        deployed: known.deployed.as_ref().map(|deployed| Running {
            revision: deployed.revision.as_str().to_owned(),
            since: deployed.since,
            images: images(&deployed.targets),
            unproven: deployed.unproven.is_some(),
            containers: deployed
                .pinned
                .iter()
                .map(|(name, image)| ContainerStatus { name: name.clone(), image: printable(image, LONGEST) })
                .collect(),
        }),
        runs: None,
        rollout: known.rollout.as_ref().map(rollout),
        service_hold: known.service_hold.clone(),
        held: known
            .held
            .iter()
            .map(|(repository, hold)| HoldStatus {
                repository: repository.name.to_string(),
                digest: hold.digest.to_string(),
                since: hold.since,
                reason: hold.reason.clone(),
            })
            .collect(),
        waiting: known.what_waits().cloned(),
        undecided: known.pending.values().map(Vec::len).sum(),
        last_error: None,
        history: known.history.iter().map(OutcomeStatus::of).collect(),
        commands: known.commands.iter().cloned().collect(),
    }
}

impl DiscoveredStatus {
    fn of(known: &Discovered) -> Self {
        Self {
            tag: known.tag.clone(),
            policy: known.policy.clone(),
            since: known.since,
            repositories: known.repositories.iter().map(ToString::to_string).collect(),
        }
    }
}

fn images<'a>(
    targets: impl IntoIterator<Item = (&'a crate::domain::settings::RepositoryKey, &'a Target)>,
) -> Vec<ImageStatus> {
    let one = |(repository, target): (&crate::domain::settings::RepositoryKey, &Target)| ImageStatus {
        repository: repository.name.to_string(),
        tag: target.push.tag.as_ref().map(ToString::to_string),
        digest: target.digest.to_string(),
        pushed_at: target.push.at,
        event: target.push.event.to_string(),
        seen: target.push.seen,
    };
    targets.into_iter().map(one).collect()
}

fn rollout(rollout: &Rollout) -> RolloutStatus {
    let because = match &rollout.direction {
        Direction::Forward => None,
        Direction::Back { because } => Some(because.clone()),
    };
    let deployment = match &rollout.phase {
        Phase::Intended | Phase::Registered { .. } | Phase::Task { rolled: None, .. } => None,
        Phase::Rolling { deployment, .. } | Phase::Task { rolled: Some(Rolled { deployment, .. }), .. } => {
            Some(deployment.to_string())
        }
    };
    let task = match &rollout.phase {
        Phase::Task { run, .. } => Some(task(run)),
        Phase::Intended | Phase::Registered { .. } | Phase::Rolling { .. } => None,
    };
    RolloutStatus {
        direction: Way::of_direction(&rollout.direction),
        because,
        phase: Step::of_phase(&rollout.phase),
        revision: rollout.phase.revision().map(|revision| revision.as_str().to_owned()),
        deployment,
        decided_at: rollout.decided_at,
        images: images(&rollout.targets),
        tasks: None,
        stage: None,
        traffic: None,
        task,
    }
}

fn task(run: &TaskRun) -> TaskStatus {
    let running = match &run.progress {
        TaskProgress::Running { running } => Some(running),
        TaskProgress::Preparing | TaskProgress::Starting { .. } => None,
    };
    TaskStatus {
        kind: run.kind,
        number: run.number,
        following: run.next.len(),
        command: printable(&run.task.spec.to_string(), LONGEST),
        container: running.map(|task| task.container.clone()),
        arn: running.map(|task| task.arn.clone()),
        since: running.map(|task| task.since),
        log: running.and_then(RunningTask::log_text),
    }
}

impl OutcomeStatus {
    /// What is reported of an outcome.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        Self {
            result: outcome.result,
            decided_at: outcome.decided_at,
            ended_at: outcome.ended_at,
            revision: outcome.revision.as_ref().map(|revision| revision.as_str().to_owned()),
            images: images(&outcome.targets),
            detail: outcome.detail.clone(),
        }
    }
}
