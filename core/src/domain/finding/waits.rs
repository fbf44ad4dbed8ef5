//! What a rollout of a service waits for by rule, and whether the timeout leaves room for it.

use std::time::Duration;

use humantime::format_duration as span;

use super::{Finding, Severity};
use crate::domain::deployment::{HookTarget, LifecycleHook};
use crate::domain::view::{ServiceView, Strategy};

/// What ECS waits for in each deployment of the service, and a timeout that cannot fit.
pub(super) fn of_service(name: &str, service: &ServiceView, timeout: Duration) -> Vec<Finding> {
    let mut found = Vec::new();
    let waits = waits(name, service);
    if !waits.is_empty() {
        let message =
            format!("a rollout waits for {}; meanwhile deploy.timeout does not run", waits.join(", and for "));
        found.push(Finding::new(Severity::Note, "waits", name, message, "none needed"));
    }
    let grace = service.lifecycle.grace;
    if !grace.is_zero() && timeout <= grace {
        let message = format!(
            "deploy.timeout is {}, and its healthCheckGracePeriodSeconds {}: a task that takes the grace period to get healthy makes no progress for longer than the timeout, and its rollout fails",
            span(timeout),
            span(grace)
        );
        let remedy = format!("set timeout to more than {} for this service, or shorten the grace period", span(grace));
        found.push(Finding::new(Severity::Warning, "timeout_too_short", name, message, remedy));
    }
    found
}

fn waits(name: &str, service: &ServiceView) -> Vec<String> {
    let mut waits = Vec::new();
    if service.lifecycle.alarms {
        waits.push("the bake time that ECS computes from its CloudWatch alarms".to_owned());
    }
    if let (Strategy::Shifting(_), false) = (&service.strategy, service.bake.is_zero()) {
        waits.push(format!("the {} of its traffic shift and bake time", span(service.bake)));
    }
    waits.extend(service.lifecycle.hooks.iter().map(|hook| at_hook(name, hook)));
    waits
}

fn at_hook(name: &str, hook: &LifecycleHook) -> String {
    let stages = hook.stages.join(", ");
    match hook.target {
        HookTarget::Pause => {
            format!("its PAUSE hook at {stages}, which `ecs-deployd approve {name}` and `reject {name}` answer")
        }
        HookTarget::Lambda => format!("the Lambda function of its lifecycle hook at {stages}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_support;

    fn codes(change: impl Fn(&mut ServiceView), timeout: u64) -> Vec<(Severity, &'static str, String)> {
        let mut service = test_support::service(1, Vec::new());
        change(&mut service);
        let found = of_service("web/hello", &service, Duration::from_secs(timeout));
        found.into_iter().map(|finding| (finding.severity, finding.code, finding.message)).collect()
    }

    #[test]
    fn a_plain_service_waits_for_nothing() {
        assert_eq!(codes(|_| {}, 900), []);
    }

    #[test]
    fn each_thing_that_a_rollout_waits_for_is_named() {
        let hook = |target| LifecycleHook { target, stages: vec!["POST_SCALE_UP".to_owned()] };
        let found = codes(
            |service| {
                service.lifecycle.alarms = true;
                service.lifecycle.hooks = vec![hook(HookTarget::Pause), hook(HookTarget::Lambda)];
            },
            900,
        );
        let [(Severity::Note, "waits", message)] = &found[..] else { panic!("{found:?}") };
        for part in ["CloudWatch alarms", "approve web/hello", "Lambda function", "POST_SCALE_UP"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }

    #[test]
    fn a_timeout_has_to_be_longer_than_the_grace_period() {
        let grace = |seconds| move |service: &mut ServiceView| service.lifecycle.grace = Duration::from_secs(seconds);
        for (seconds, timeout, fits) in [(0, 900, true), (899, 900, true), (900, 900, false), (1800, 900, false)] {
            let found = codes(grace(seconds), timeout);
            assert_eq!(found.is_empty(), fits, "{seconds}: {found:?}");
            assert!(
                found.iter().all(|(severity, code, _)| (*severity, *code) == (Severity::Warning, "timeout_too_short"))
            );
        }
    }
}
