//! Where ECS waits on purpose: for tasks that drain, for the bake time of alarms, at a PAUSE hook.

use std::time::Duration;

use ecs_deployd::aws::{AwsError, Fault};
use ecs_deployd::domain::deployment::{
    self as domain, HookAction, HookTarget, HookView, Lifecycle, ServiceDeploymentView,
};
use ecs_deployd::domain::view::{Fate, RolloutState};
use jiff::{SignedDuration, Timestamp};

use super::super::faults::error;
use super::super::{Inner, World};
use super::{Deployment, Health, Service};

/// A hook at POST_SCALE_UP, that is, once all new tasks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifecycleHook {
    pub target: HookTarget,
    /// How long ECS waits there, and what it does then. A Lambda function answers by itself in this time.
    pub ends: Option<(SignedDuration, HookAction)>,
}

impl LifecycleHook {
    /// ECS pauses there until somebody answers.
    pub const PAUSE: Self = Self { target: HookTarget::Pause, ends: None };
}

/// What has become of the hook in a deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reached {
    #[default]
    NotYet,
    Waits {
        since: Timestamp,
    },
    Passed,
    RolledBack,
}

/// How long tasks that exit take to start, the first time.
pub(super) const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// How long a task that has exited takes to be replaced.
const REPLACED_WITHIN: Duration = Duration::from_secs(2);

/// Tasks of a deployment: desired, running, pending.
pub(super) type Tasks = (i32, i32, i32);

impl Service {
    pub(super) fn lifecycle(&self) -> Lifecycle {
        let stages = || vec!["POST_SCALE_UP".to_owned()];
        Lifecycle {
            alarms: self.alarm_bake.is_some(),
            hooks: self
                .hook
                .map(|hook| domain::LifecycleHook { target: hook.target, stages: stages() })
                .into_iter()
                .collect(),
            service_deployment: Some(arn_of(&self.deployments[0])),
            grace: Duration::ZERO,
        }
    }

    /// The latest deployment comes to the hook, or ECS stops waiting there, as time passes.
    pub(super) fn reach_hook(&mut self, now: Timestamp) {
        let Some(hook) = self.hook.filter(|_| self.desired > 0) else { return };
        let primary = &mut self.deployments[0];
        if let (Reached::NotYet, Health::After(after), RolloutState::InProgress) =
            (primary.hook, primary.health, primary.state)
        {
            let since = primary.since + SignedDuration::try_from(after).unwrap();
            if since <= now {
                primary.hook = Reached::Waits { since };
            }
        }
        if let (Reached::Waits { since }, Some((within, action))) = (primary.hook, hook.ends)
            && since + within <= now
        {
            primary.answer(action);
        }
    }

    /// How long a deployment whose new tasks all run stays in progress.
    pub(super) fn waits_after(&self) -> SignedDuration {
        self.drains.max(self.alarm_bake.unwrap_or_default())
    }

    /// The tasks of the new deployment, and those of the ones before it, while it is in progress.
    pub(super) fn tasks_in_progress(&self, age: SignedDuration) -> (Tasks, Tasks) {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap().max(1);
        match self.deployments[0].health {
            Health::Steady { each } => {
                let running = i32::try_from(age.as_secs() / seconds(each)).unwrap().min(self.desired);
                ((self.desired, running, self.desired - running), (self.desired - running, self.desired - running, 0))
            }
            Health::Exits { .. } if age >= SignedDuration::try_from(STARTS_WITHIN).unwrap() => {
                ((self.desired, self.desired, 0), (0, 0, 0))
            }
            Health::After(after) if age >= SignedDuration::try_from(after).unwrap() => {
                let draining = age < SignedDuration::try_from(after).unwrap() + self.drains;
                if self.deployments[0].waits_at_hook() {
                    return ((self.desired, self.desired, 0), (self.desired, self.desired, 0));
                }
                ((self.desired, self.desired, 0), (0, if draining { self.desired } else { 0 }, 0))
            }
            _ => ((self.desired, 0, self.desired), (self.desired, self.desired, 0)),
        }
    }
}

impl Deployment {
    pub(super) fn waits_at_hook(&self) -> bool {
        matches!(self.hook, Reached::Waits { .. })
    }

    fn answer(&mut self, action: HookAction) {
        self.hook = match action {
            HookAction::Continue => Reached::Passed,
            HookAction::Rollback => Reached::RolledBack,
        };
    }

    /// When its tasks were replaced since it is complete, the last hundred times up to now, and whether they run now.
    pub(super) fn exits(&self, now: Timestamp) -> (Vec<Timestamp>, bool) {
        let Health::Exits { after } = self.health else { return (Vec::new(), true) };
        let first = self.since + SignedDuration::try_from(STARTS_WITHIN + after).unwrap();
        let Ok(gone) = Duration::try_from(now.duration_since(first)) else { return (Vec::new(), true) };
        let period = after + REPLACED_WITHIN;
        let periods = u32::try_from(gone.as_nanos() / period.as_nanos()).unwrap();
        let runs = gone - period * periods >= REPLACED_WITHIN;
        let replaced = periods + u32::from(runs);
        let at = |count: u32| first + SignedDuration::try_from(period * count + REPLACED_WITHIN).unwrap();
        ((replaced.saturating_sub(100)..replaced).map(at).collect(), runs)
    }

    /// Whether its tasks run so long after they were started.
    pub(super) fn runs_after(&self, age: SignedDuration) -> bool {
        matches!(self.health, Health::After(after) if age >= SignedDuration::try_from(after).unwrap())
    }
}

fn arn_of(deployment: &Deployment) -> String {
    format!("arn:aws:ecs:eu-west-1:111111111111:service-deployment/{}", deployment.id)
}

impl Inner {
    pub(super) fn service_deployment(&self, arn: &str) -> Option<ServiceDeploymentView> {
        let mut all =
            self.services.values().flat_map(|service| service.deployments.iter().map(move |one| (service, one)));
        let (service, deployment) = all.find(|(_, one)| arn_of(one) == arn)?;
        let waits = deployment.waits_at_hook();
        let ends = service.hook.and_then(|hook| hook.ends);
        let expires_at = match (deployment.hook, ends) {
            (Reached::Waits { since }, Some((within, _))) => Some(since + within),
            _ => None,
        };
        let hook = service.hook.filter(|_| deployment.hook != Reached::NotYet).map(|hook| HookView {
            id: "hook-1".to_owned(),
            target: hook.target,
            waits,
            expires_at,
            timeout_action: ends.map(|(_, action)| action),
        });
        Some(ServiceDeploymentView {
            arn: arn.to_owned(),
            fate: if deployment.state == RolloutState::InProgress { Fate::UnderWay } else { Fate::Successful },
            reason: String::new(),
            stage: Some(if waits { "POST_SCALE_UP" } else { "SCALE_UP" }.to_owned()),
            traffic: None,
            hooks: hook.into_iter().collect(),
            alarms: Vec::new(),
            breaker: None,
        })
    }

    /// ContinueServiceDeployment. A Lambda function alone answers its hook.
    pub(super) fn answer_hook(&mut self, arn: &str, action: HookAction) -> Result<(), AwsError> {
        self.turn();
        let is_paused = |service: &&mut Service| {
            let pauses = service.hook.is_some_and(|hook| hook.target == HookTarget::Pause);
            let primary = &service.deployments[0];
            pauses && arn_of(primary) == arn && primary.waits_at_hook()
        };
        let found = self.services.values_mut().find(is_paused);
        let service = found
            .ok_or_else(|| error("ecs", "ContinueServiceDeployment", Fault::Refused, "InvalidParameterException"))?;
        service.hooks_answered += 1;
        service.deployments[0].answer(action);
        Ok(())
    }

    pub(super) fn stop_service_deployment(&mut self, arn: &str) -> Result<(), AwsError> {
        self.turn();
        let mut primaries = self.services.values_mut().map(|service| &mut service.deployments[0]);
        let found = primaries.find(|one| arn_of(one) == arn && one.state == RolloutState::InProgress);
        let refused = || error("ecs", "StopServiceDeployment", Fault::Refused, "InvalidParameterException");
        found.ok_or_else(refused)?.answer(HookAction::Rollback);
        Ok(())
    }
}

impl World {
    /// The latest deployment of a service waits at its hook.
    pub fn is_paused(&self, cluster: &str, name: &str) -> bool {
        let mut inner = self.lock();
        inner.turn();
        let service = inner.services.get(&(cluster.to_owned(), name.to_owned()));
        service.is_some_and(|service| service.deployments[0].waits_at_hook())
    }
}
