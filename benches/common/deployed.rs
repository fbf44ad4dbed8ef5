//! A state in which every service has been deployed once.

use std::collections::BTreeMap;
use std::sync::Arc;

use ecs_deployd::config::Config;
use ecs_deployd::deployer;
use ecs_deployd::domain::state::{Deployed, Outcome, OutcomeKind, State, Target};
use ecs_deployd::domain::types::{Digest, ServiceKey, TaskDefinitionArn};
use jiff::Timestamp;

/// The state of a daemon that has deployed to each service of the configuration what it runs now. `runs` says what that is.
pub fn state(config: &str, now: Timestamp, mut runs: impl FnMut(&ServiceKey) -> (Digest, TaskDefinitionArn)) -> State {
    let config =
        Arc::new(Config::parse("measured", &format!("[state]\nwhen_missing = \"reconcile\"\n{config}")).unwrap());
    let mut state = deployer::begin(None, &config, now).state;
    let keys: Vec<_> = state.services.keys().cloned().collect();
    for key in keys {
        let (digest, revision) = runs(&key);
        let known = state.services.get_mut(&key).unwrap();
        let (repository, pushes) = known.pending.pop_first().unwrap();
        let target = Target { digest, push: pushes[0].clone(), image_pushed_at: None };
        known.decided.insert(repository.clone(), pushes[0].clone());
        known.remember(Outcome {
            result: OutcomeKind::Completed,
            revision: Some(revision.clone()),
            targets: [(repository.clone(), target.clone())].into(),
            decided_at: now,
            ended_at: now,
            detail: String::new(),
        });
        known.deployed = Some(Deployed {
            unproven: None,
            pinned: BTreeMap::new(),
            revision,
            targets: [(repository, target)].into(),
            since: now,
            names_tags: false,
            rollback_target: None,
        });
    }
    state
}
