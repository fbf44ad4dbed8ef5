//! Whether ECS can replace the tasks of a service without downtime.
//!
//! ECS rounds `minimumHealthyPercent` of the desired count up and `maximumPercent` down (Amazon ECS Developer Guide,
//! "Deployment configuration").

use super::task_definition::TaskDefinition;
use super::view::{Controller, Scheduling, ServiceView, Strategy};

/// Why replacing the tasks would, or could, interrupt the service; with the setting to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downtime {
    /// A sentence for the operator.
    pub reason: String,
}

/// Looks at the settings of a service. `None`: ECS can replace its tasks without downtime.
#[must_use]
pub fn of_replacing(service: &ServiceView) -> Option<Downtime> {
    if let Strategy::Shifting(_) = service.strategy {
        // A second, whole set of tasks is started before the first one is stopped.
        return None;
    }
    if service.desired <= 0 {
        return None;
    }
    let room = Room::of(service);
    if room.keeps >= room.desired && room.may_run <= room.desired {
        return Some(room.stuck());
    }
    // Where there is room ECS can start a new task first; where there is none it has to stop an old one, and some must stay.
    if room.keeps > 0 || room.may_run > room.desired {
        return None;
    }
    match service.scheduling {
        // It stops the task of an instance before it starts the next one there. That is what everybody's DAEMON services do.
        Scheduling::Daemon if room.desired > 1 => None,
        Scheduling::Daemon => Some(Downtime {
            reason: "a DAEMON service on 1 instance with minimumHealthyPercent 0: the only task stops before the new one starts; run it on \
                     a second instance, or set maximumPercent to 200 and minimumHealthyPercent to 100"
                .to_owned(),
        }),
        Scheduling::Replica => Some(room.all_stop()),
    }
}

/// How many tasks ECS keeps, and how many it may run, while it replaces them.
#[derive(Debug, Clone, Copy)]
struct Room {
    desired: i64,
    minimum_percent: i64,
    maximum_percent: i64,
    keeps: i64,
    may_run: i64,
}

impl Room {
    fn of(service: &ServiceView) -> Self {
        let (minimum, maximum) = match service.scheduling {
            Scheduling::Replica => (100, 200),
            Scheduling::Daemon => (0, 100),
        };
        let desired = i64::from(service.desired);
        let minimum_percent = i64::from(service.minimum_healthy_percent.unwrap_or(minimum));
        let maximum_percent = i64::from(service.maximum_percent.unwrap_or(maximum));
        Self {
            desired,
            minimum_percent,
            maximum_percent,
            keeps: (desired * minimum_percent + 99) / 100,
            may_run: desired * maximum_percent / 100,
        }
    }

    fn stuck(self) -> Downtime {
        let Self { desired, minimum_percent, maximum_percent, .. } = self;
        Downtime {
            reason: format!(
                "minimumHealthyPercent {minimum_percent} and maximumPercent {maximum_percent} with desiredCount {desired}: no task may stop \
                 and none may start, the rollout would never end; set maximumPercent to 200"
            ),
        }
    }

    fn all_stop(self) -> Downtime {
        let Self { desired, minimum_percent, maximum_percent, .. } = self;
        let (tasks, new) = match desired {
            1 => ("the only task stops".to_owned(), "the new one starts"),
            _ => (format!("all {desired} tasks stop"), "the new ones start"),
        };
        Downtime {
            reason: format!(
                "minimumHealthyPercent {minimum_percent} with desiredCount {desired}: {tasks} before {new}, as maximumPercent \
                 {maximum_percent} leaves no room for one more; set maximumPercent to 200, and minimumHealthyPercent to 100"
            ),
        }
    }
}

/// Why a replacement without downtime cannot be relied on, although it is possible; with the setting to change.
#[must_use]
pub fn of_doubtful(service: &ServiceView, definition: &TaskDefinition) -> Option<Downtime> {
    of_daemons(service).or_else(|| of_unproven(service, definition))
}

/// Nothing keeps ECS from stopping the tasks of a DAEMON service on all instances at the same time.
pub(super) fn of_daemons(service: &ServiceView) -> Option<Downtime> {
    let room = Room::of(service);
    let rolling = service.scheduling == Scheduling::Daemon && service.strategy == Strategy::Rolling;
    (rolling && room.desired > 1 && room.keeps == 0 && room.may_run <= room.desired).then(|| Downtime {
        reason: format!(
            "a DAEMON service with minimumHealthyPercent 0: ECS may stop the tasks of all {} instances at the same time; set \
             minimumHealthyPercent to 50",
            room.desired
        ),
    })
}

/// ECS could take new tasks for healthy that do not work yet, and stop old ones too early.
pub(super) fn of_unproven(service: &ServiceView, definition: &TaskDefinition) -> Option<Downtime> {
    if service.desired <= 0 || service.load_balanced || definition.has_health_check() {
        return None;
    }
    Some(Downtime {
        reason: format!(
            "{} has no health check and the service no load balancer: ECS takes a task that has started for one that works, and stops an \
             old one; add a healthCheck to the container that does the work, or set downtime to \"allow\" if nobody waits for it",
            definition.arn().short()
        ),
    })
}

/// Why UpdateService would be refused for a service, if it would.
#[must_use]
pub fn not_ours_to_roll(service: &ServiceView) -> Option<String> {
    match &service.controller {
        Controller::Ecs => None,
        Controller::Other(name) => Some(format!(
            "the service's deployment controller is {name}, which does not take UpdateService with a new task definition; only services \
             of the controller ECS can be rolled"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::types::TaskDefinitionArn;

    fn service(desired: i32, minimum: i32, maximum: i32) -> ServiceView {
        ServiceView {
            lifecycle: crate::domain::deployment::Lifecycle::default(),
            active: true,
            task_definition: TaskDefinitionArn::parse("arn:aws:ecs:r:1:task-definition/f:1").unwrap(),
            desired,
            running: desired,
            controller: Controller::Ecs,
            management: crate::domain::view::Management::Customer,
            scheduling: Scheduling::Replica,
            strategy: Strategy::Rolling,
            bake: std::time::Duration::ZERO,
            load_balanced: false,
            breaker: false,
            rolls_back: false,
            minimum_healthy_percent: Some(minimum),
            maximum_percent: Some(maximum),
            deployments: Vec::new(),
            events: Vec::new(),
        }
    }

    #[test]
    fn replicas_by_ecs_rounding() {
        // desired, minimum, maximum -> safe
        for (desired, minimum, maximum, safe) in [
            (1, 100, 200, true),
            (2, 50, 200, true),
            (2, 50, 100, true),
            (1, 50, 100, false), // keeps ceil(0.5) = 1, may run 1: nothing can move
            (1, 0, 100, false),
            (1, 0, 200, true),
            (1, 0, 199, false), // may run floor(1.99) = 1
            (2, 0, 100, false),
            (3, 1, 100, true),    // keeps ceil(0.03) = 1
            (1, 100, 100, false), // stuck
            (4, 100, 125, true),
            (3, 100, 125, false), // may run floor(3.75) = 3: stuck
            (0, 0, 100, true),
        ] {
            let found = of_replacing(&service(desired, minimum, maximum));
            assert_eq!(found.is_none(), safe, "{desired} {minimum} {maximum}: {found:?}");
        }
    }

    #[test]
    fn the_reason_names_the_numbers_and_the_setting() {
        let reason = of_replacing(&service(1, 0, 100)).unwrap().reason;
        assert_eq!(
            reason,
            "minimumHealthyPercent 0 with desiredCount 1: the only task stops before the new one starts, as maximumPercent 100 leaves no \
             room for one more; set maximumPercent to 200, and minimumHealthyPercent to 100"
        );
    }

    #[test]
    fn a_second_set_of_tasks_is_safe_and_a_lone_daemon_is_not() {
        let blue_green = ServiceView { strategy: Strategy::Shifting("BLUE_GREEN".to_owned()), ..service(1, 0, 100) };
        assert_eq!(of_replacing(&blue_green), None);
        let daemon = ServiceView { scheduling: Scheduling::Daemon, ..service(1, 0, 100) };
        assert!(of_replacing(&daemon).is_some());
        let daemons = |desired, minimum, maximum| ServiceView {
            scheduling: Scheduling::Daemon,
            load_balanced: true,
            ..service(desired, minimum, maximum)
        };
        let plain = crate::domain::test_support::definition(1, &[("app", "x")]);
        assert_eq!(of_replacing(&daemons(3, 0, 100)), None);
        assert!(of_doubtful(&daemons(3, 0, 100), &plain).unwrap().reason.contains("all 3 instances"));
        assert_eq!(of_doubtful(&daemons(3, 50, 100), &plain), None);
        assert!(of_replacing(&daemons(3, 100, 100)).unwrap().reason.contains("never end"));
        let unset = ServiceView { minimum_healthy_percent: None, maximum_percent: None, ..daemons(1, 0, 0) };
        assert!(of_replacing(&unset).is_some(), "DAEMON has other defaults");
    }

    #[test]
    fn tasks_that_nobody_examines_are_warned_of() {
        let plain = crate::domain::test_support::definition(1, &[("app", "x")]);
        let checked = TaskDefinition::from_answer(serde_json::json!({"taskDefinition": {
            "taskDefinitionArn": plain.arn().as_str(), "family": "hello",
            "containerDefinitions": [{"name": "app", "image": "x", "healthCheck": {"command": ["CMD", "true"]}}],
        }}))
        .unwrap();
        let load_balanced = ServiceView { load_balanced: true, ..service(2, 100, 200) };
        assert!(of_unproven(&service(2, 100, 200), &plain).unwrap().reason.contains("no health check"));
        assert_eq!(of_unproven(&service(2, 100, 200), &checked), None);
        assert_eq!(of_unproven(&load_balanced, &plain), None);
        assert_eq!(of_unproven(&service(0, 100, 200), &plain), None);
    }

    #[test]
    fn another_controller_is_named() {
        let other = ServiceView { controller: Controller::Other("CODE_DEPLOY".to_owned()), ..service(1, 100, 200) };
        assert!(not_ours_to_roll(&other).unwrap().contains("CODE_DEPLOY"));
    }
}
