//! Where ECS waits on purpose: for tasks that drain, for the bake time of alarms, at a PAUSE hook.

use std::time::Duration;

use ecs_deployd::aws::{AwsError, Fault};
use ecs_deployd::domain::deployment::{
    HookAction, HookTarget, HookView, Lifecycle, LifecycleHook, ServiceDeploymentView,
};
use ecs_deployd::domain::view::RolloutState;
use jiff::{SignedDuration, Timestamp};

use super::super::faults::error;
use super::super::{Inner, World};
use super::{Deployment, Health, Service};

/// What has become of the PAUSE hook in a deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pause {
    #[default]
    NotCalled,
    Waits,
    Continued,
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
        let hook = LifecycleHook { target: HookTarget::Pause, stages: vec!["POST_SCALE_UP".to_owned()] };
        Lifecycle {
            alarms: self.alarm_bake.is_some(),
            hooks: self.pauses.then_some(hook).into_iter().collect(),
            service_deployment: Some(arn_of(&self.deployments[0])),
            grace: Duration::ZERO,
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
                ((self.desired, self.desired, 0), (0, if draining { self.desired } else { 0 }, 0))
            }
            _ => ((self.desired, 0, self.desired), (self.desired, self.desired, 0)),
        }
    }
}

impl Deployment {
    /// When its tasks were replaced since it is complete, up to now, and whether they run now.
    pub(super) fn exits(&self, now: Timestamp) -> (Vec<Timestamp>, bool) {
        let Health::Exits { after } = self.health else { return (Vec::new(), true) };
        let (mut at, mut replaced) =
            (self.since + SignedDuration::try_from(STARTS_WITHIN + after).unwrap(), Vec::new());
        while at <= now {
            let next = at + SignedDuration::try_from(REPLACED_WITHIN).unwrap();
            if next > now {
                return (replaced, false);
            }
            replaced.push(next);
            at = next + SignedDuration::try_from(after).unwrap();
        }
        (replaced, true)
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
        let deployment =
            self.services.values().flat_map(|service| &service.deployments).find(|one| arn_of(one) == arn)?;
        let waits = deployment.pause == Pause::Waits;
        let hook = HookView { id: "hook-1".to_owned(), target: HookTarget::Pause, waits, expires_at: None };
        Some(ServiceDeploymentView {
            arn: arn.to_owned(),
            status: if deployment.state == RolloutState::InProgress { "IN_PROGRESS" } else { "SUCCESSFUL" }.to_owned(),
            reason: String::new(),
            stage: Some(if waits { "POST_SCALE_UP" } else { "SCALE_UP" }.to_owned()),
            traffic: None,
            hooks: (deployment.pause != Pause::NotCalled).then_some(hook).into_iter().collect(),
            alarms: Vec::new(),
            breaker: None,
        })
    }

    pub(super) fn answer_hook(&mut self, arn: &str, action: HookAction) -> Result<(), AwsError> {
        let waits = |one: &&mut Deployment| arn_of(one) == arn && one.pause == Pause::Waits;
        let mut all = self.services.values_mut().flat_map(|service| &mut service.deployments);
        let found = all.find(waits);
        let refused = || error("ecs", "ContinueServiceDeployment", Fault::Refused, "InvalidParameterException");
        found.ok_or_else(refused)?.pause = match action {
            HookAction::Continue => Pause::Continued,
            HookAction::Rollback => Pause::RolledBack,
        };
        Ok(())
    }

    pub(super) fn stop_service_deployment(&mut self, arn: &str) -> Result<(), AwsError> {
        let mut all = self.services.values_mut().flat_map(|service| &mut service.deployments);
        let found = all.find(|one| arn_of(one) == arn && one.state == RolloutState::InProgress);
        let refused = || error("ecs", "StopServiceDeployment", Fault::Refused, "InvalidParameterException");
        found.ok_or_else(refused)?.pause = Pause::RolledBack;
        Ok(())
    }
}

impl World {
    /// The latest deployment of a service waits at its hook.
    pub fn is_paused(&self, cluster: &str, name: &str) -> bool {
        let mut inner = self.lock();
        inner.turn();
        inner.services[&(cluster.to_owned(), name.to_owned())].deployments[0].pause == Pause::Waits
    }
}
