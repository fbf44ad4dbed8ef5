//! What ECS itself waits for in a deployment, and whether a deployment moves: by DescribeServices and DescribeServiceDeployments.

use std::time::Duration;

use jiff::Timestamp;

use super::types::DeploymentId;
use super::view::{DeploymentView, Fate, RolloutState, ServiceView, Strategy};
use super::words::{words, words_in_json};

/// How ECS carries out the deployments of a service, beside the counts of tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// CloudWatch alarms are watched: after the new tasks run and the old ones are gone, ECS stays `IN_PROGRESS` for a bake time that it
    /// computes from the alarms (Amazon ECS Developer Guide, "How CloudWatch alarms detect Amazon ECS deployment failures").
    pub alarms: bool,
    /// The hooks at which a deployment waits.
    pub hooks: Vec<LifecycleHook>,
    /// `currentServiceDeployment`, which DescribeServiceDeployments takes.
    pub service_deployment: Option<String>,
    /// `healthCheckGracePeriodSeconds`: for so long the health checks of a load balancer do not count.
    pub grace: Duration,
}

/// A hook of a service's deployments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleHook {
    /// What acts at it.
    pub target: HookTarget,
    /// The stages at which it is called.
    pub stages: Vec<String>,
}

words! {
    /// What acts at a lifecycle hook.
    pub enum HookTarget {
        Lambda = "lambda", "A Lambda function.";
        Pause = "pause", "Nothing: the deployment pauses until somebody continues it.";
    }
}

words_in_json!(HookTarget);

/// What is done about a PAUSE hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookAction {
    /// The deployment goes on.
    Continue,
    /// ECS rolls it back.
    Rollback,
}

/// A service deployment as DescribeServiceDeployments gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceDeploymentView {
    /// The ARN of the service deployment.
    pub arn: String,
    /// How the service deployment fares.
    pub fate: Fate,
    /// Why it fares so, as ECS says it.
    pub reason: String,
    /// `lifecycleStage`, such as `POST_SCALE_UP`.
    pub stage: Option<String>,
    /// The share of the production traffic that the new tasks get, in percent.
    pub traffic: Option<f64>,
    /// The hooks that were called.
    pub hooks: Vec<HookView>,
    /// The alarms that went off.
    pub alarms: Vec<String>,
    /// Failures that the circuit breaker counted, and how many it takes.
    pub breaker: Option<(i32, i32)>,
}

/// A hook that was called in a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookView {
    /// Its id, which ContinueServiceDeployment takes.
    pub id: String,
    /// What acts at it.
    pub target: HookTarget,
    /// Whether ECS waits there.
    pub waits: bool,
    /// When ECS stops waiting.
    pub expires_at: Option<Timestamp>,
    /// What ECS does then.
    pub timeout_action: Option<HookAction>,
}

impl HookView {
    /// What ECS does where nobody answers in time, for people; nothing where ECS does not tell.
    #[must_use]
    pub fn without_an_answer(&self) -> Option<&'static str> {
        self.expires_at?;
        Some(match self.timeout_action? {
            HookAction::Continue => "without an answer ECS goes on with it",
            HookAction::Rollback => "without an answer ECS rolls it back",
        })
    }
}

impl ServiceDeploymentView {
    /// The hook at which ECS waits, if it does.
    #[must_use]
    pub fn waits_at(&self) -> Option<&HookView> {
        self.hooks.iter().find(|hook| hook.waits)
    }

    /// Why the deployment failed, as far as it tells more than DescribeServices.
    #[must_use]
    pub fn why_it_failed(&self) -> Option<String> {
        let alarms = (!self.alarms.is_empty()).then(|| format!("alarms went off: {}", self.alarms.join(", ")));
        let breaker = self.breaker.filter(|(failures, threshold)| *threshold > 0 && failures >= threshold);
        let breaker = breaker
            .map(|(failures, threshold)| format!("the circuit breaker counted {failures} of {threshold} failures"));
        let reason = Some(self.reason.clone()).filter(|reason| !reason.is_empty());
        let texts: Vec<String> = [reason, alarms, breaker].into_iter().flatten().collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

impl ServiceView {
    /// Whether DescribeServiceDeployments tells what DescribeServices does not: where ECS waits at hooks or for alarms, or moves traffic.
    #[must_use]
    pub fn has_stages(&self) -> bool {
        self.lifecycle.alarms || !self.lifecycle.hooks.is_empty() || matches!(self.strategy, Strategy::Shifting(_))
    }
}

/// What has been reached of a deployment: whoever reaches more makes progress.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Milestones {
    running: i32,
    old: Option<i32>,
    stage: Option<String>,
    traffic: Option<f64>,
}

impl Milestones {
    /// Notes what is seen of a deployment. Whether that is progress: the new deployment has more running tasks than ever, the old ones have
    /// fewer, or ECS's lifecycle stage or the weight of its traffic has moved.
    pub fn reach(
        &mut self,
        mine: &DeploymentView,
        service: &ServiceView,
        seen: Option<&ServiceDeploymentView>,
    ) -> bool {
        let old = service.deployments.iter().filter(|other| other.id != mine.id).map(|other| other.running).sum();
        let more = mine.running > self.running;
        let fewer = self.old.is_some_and(|before| old < before);
        let moved = seen.is_some_and(|seen| seen.stage != self.stage || seen.traffic != self.traffic);
        self.running = self.running.max(mine.running);
        self.old = Some(self.old.map_or(old, |before| before.min(old)));
        if let Some(seen) = seen {
            self.stage.clone_from(&seen.stage);
            self.traffic = seen.traffic;
        }
        more || fewer || moved
    }
}

/// Whether ECS waits on purpose, so that no progress is no failure: at a hook; for old tasks that drain; or, while all new tasks run and the
/// old ones are gone, for the bake time of alarms.
#[must_use]
pub fn waits_on_purpose(id: &DeploymentId, service: &ServiceView, seen: Option<&ServiceDeploymentView>) -> bool {
    if seen.is_some_and(|seen| seen.waits_at().is_some()) {
        return true;
    }
    let Some(mine) = service.deployment(id).filter(|mine| mine.state == Some(RolloutState::InProgress)) else {
        return false;
    };
    let others: Vec<&DeploymentView> = service.deployments.iter().filter(|other| other.id != mine.id).collect();
    let all_new_run = mine.desired > 0 && mine.running >= mine.desired && mine.pending == 0;
    let old_are_stopped = others.iter().all(|other| other.desired == 0);
    let draining = others.iter().any(|other| other.running > 0);
    all_new_run && old_are_stopped && (draining || service.lifecycle.alarms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_support::{deployment, service};

    fn seen(stage: &str, traffic: f64, waits: bool) -> ServiceDeploymentView {
        let hook =
            HookView { id: "h1".to_owned(), target: HookTarget::Pause, waits, expires_at: None, timeout_action: None };
        ServiceDeploymentView {
            arn: "arn".to_owned(),
            fate: Fate::UnderWay,
            reason: String::new(),
            stage: Some(stage.to_owned()),
            traffic: Some(traffic),
            hooks: vec![hook],
            alarms: Vec::new(),
            breaker: None,
        }
    }

    /// The new deployment d2 with so many running tasks of 10, and the old one d1.
    fn view(running: i32, pending: i32, (old_desired, old_running): (i32, i32)) -> ServiceView {
        let tasks = |id, primary, desired, running, pending| DeploymentView {
            desired,
            running,
            pending,
            ..deployment(id, primary, 2, Some(RolloutState::InProgress))
        };
        service(2, vec![tasks("d2", true, 10, running, pending), tasks("d1", false, old_desired, old_running, 0)])
    }

    fn d2() -> DeploymentId {
        DeploymentId::parse("d2").unwrap()
    }

    #[test]
    fn progress_is_more_new_tasks_fewer_old_ones_or_another_stage_or_weight() {
        let mut reached = Milestones::default();
        let mut reach = |running, old, stage: Option<(&str, f64)>| {
            let view = view(running, 1, (10, old));
            let seen = stage.map(|(stage, traffic)| seen(stage, traffic, false));
            reached.reach(view.deployment(&d2()).unwrap(), &view, seen.as_ref())
        };
        assert!(!reach(0, 10, None), "nothing runs yet");
        assert!(reach(1, 10, None) && !reach(1, 10, None), "one more task");
        assert!(!reach(0, 10, None) && !reach(1, 10, None), "a task that stops and is replaced is no progress");
        assert!(reach(1, 9, None) && !reach(1, 10, None) && !reach(1, 9, None), "one old task fewer");
        assert!(reach(1, 9, Some(("SCALE_UP", 0.0))) && !reach(1, 9, Some(("SCALE_UP", 0.0))));
        assert!(reach(1, 9, Some(("SCALE_UP", 10.0))) && reach(1, 9, Some(("BAKE_TIME", 10.0))));
    }

    #[test]
    fn ecs_waits_on_purpose_at_hooks_for_draining_tasks_and_for_alarms() {
        let alarmed = |view: ServiceView| {
            let lifecycle = Lifecycle { alarms: true, ..Lifecycle::default() };
            ServiceView { lifecycle, ..view }
        };
        for (view, waits, what) in [
            (view(10, 0, (0, 3)), true, "all new tasks run, and the old ones drain"),
            (view(10, 0, (10, 10)), false, "the old tasks still serve"),
            (view(9, 1, (0, 3)), false, "a new task is still starting"),
            (view(10, 0, (0, 0)), false, "nothing is left to wait for"),
            (alarmed(view(10, 0, (0, 0))), true, "ECS bakes it by its alarms"),
            (alarmed(view(9, 1, (0, 0))), false, "the alarms wait for all new tasks"),
        ] {
            assert_eq!(waits_on_purpose(&d2(), &view, None), waits, "{what}");
        }
        let paused = seen("POST_SCALE_UP", 0.0, true);
        assert!(waits_on_purpose(&d2(), &view(0, 10, (10, 10)), Some(&paused)), "a hook");
        assert!(!waits_on_purpose(&d2(), &view(0, 10, (10, 10)), Some(&seen("SCALE_UP", 0.0, false))));
    }
}
