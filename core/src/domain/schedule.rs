//! Scheduled tasks: schedules of EventBridge Scheduler, and rules of EventBridge, that run tasks of a task definition.
//!
//! For decisions a schedule is a service that ECS has rolled as soon as it is written: what is pushed, selected, held and gone back to is the
//! same. Its name stands where a service has its cluster and name: `schedule/GROUP/NAME`, or `schedule/rule/BUS/NAME`. No service is called so, as
//! names of services have no `/`.
//!
//! What a schedule says is kept as the JSON that AWS sent, and is changed in the ARN of the task definition alone, so that a member which this
//! program has never heard of survives.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use super::deployment::Lifecycle;
use super::image::ImageReference;
use super::task_definition::{Registration, TaskDefinition};
use super::types::{DeploymentId, TaskDefinitionArn};
use super::view::{Controller, DeploymentView, Management, RolloutState, Scheduling, ServiceView, Strategy};

/// What stands in place of the cluster.
pub const CLUSTER: &str = "schedule";
/// The group, and the event bus, that need not be written.
const DEFAULT: &str = "default";
/// What tells a rule from a schedule.
const RULE: &str = "rule/";
/// The members of GetSchedule that UpdateSchedule does not take (EventBridge Scheduler API Reference). `Name` stands in the path.
const READ_ONLY: [&str; 4] = ["Arn", "CreationDate", "LastModificationDate", "Name"];

/// Names what runs tasks at times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScheduleName {
    /// A schedule of EventBridge Scheduler.
    Scheduler {
        /// The group of the schedule.
        group: String,
        /// The name of it.
        name: String,
    },
    /// A rule of EventBridge.
    Rule {
        /// The event bus of the rule.
        bus: String,
        /// The name of it.
        name: String,
    },
}

impl ScheduleName {
    /// A schedule, as `GROUP/NAME` or `NAME`.
    ///
    /// # Errors
    /// What would be right.
    pub fn scheduler(text: &str) -> Result<Self, String> {
        let (group, name) = text.split_once('/').unwrap_or((DEFAULT, text));
        match is_name(group) && is_name(name) {
            true => Ok(Self::Scheduler { group: group.to_owned(), name: name.to_owned() }),
            false => Err(format!("expected a schedule as GROUP/NAME or NAME, found {text:?}")),
        }
    }

    /// A rule, as `BUS/NAME` or `NAME`. Names of partner event buses have slashes of their own.
    ///
    /// # Errors
    /// What would be right.
    pub fn rule(text: &str) -> Result<Self, String> {
        let (bus, name) = text.rsplit_once('/').unwrap_or((DEFAULT, text));
        match !bus.is_empty() && bus.split('/').all(is_name) && is_name(name) {
            true => Ok(Self::Rule { bus: bus.to_owned(), name: name.to_owned() }),
            false => Err(format!("expected a rule as BUS/NAME or NAME, found {text:?}")),
        }
    }

    /// The API that it is read from and written to, and the two operations.
    #[must_use]
    pub fn operations(&self) -> Operations {
        match self {
            Self::Scheduler { .. } => Operations { api: "scheduler", read: "GetSchedule", write: "UpdateSchedule" },
            Self::Rule { .. } => Operations { api: "events", read: "ListTargetsByRule", write: "PutTargets" },
        }
    }

    /// Reads what [`Display`](fmt::Display) writes: `GROUP/NAME`, or `rule/BUS/NAME`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(RULE).filter(|rest| rest.contains('/')) {
            Some(rest) => Self::rule(rest).ok(),
            None => text.contains('/').then(|| Self::scheduler(text).ok()).flatten(),
        }
    }
}

/// How schedules of one kind are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operations {
    /// The API that it belongs to.
    pub api: &'static str,
    /// The operation that reads one.
    pub read: &'static str,
    /// The operation that writes one.
    pub write: &'static str,
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduler { group, name } => write!(f, "{group}/{name}"),
            Self::Rule { bus, name } => write!(f, "{RULE}{bus}/{name}"),
        }
    }
}

/// Letters, digits, `.`, `_` and `-`: at most 64 for schedules, groups and rules; buses may be longer.
fn is_name(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The task definition that a target names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// One revision of a family.
    Revision(TaskDefinitionArn),
    /// A family: its tasks run the latest revision.
    Family(String),
}

impl Named {
    fn parse(arn: &str) -> Option<Self> {
        if let Ok(revision) = TaskDefinitionArn::parse(arn) {
            return Some(Self::Revision(revision));
        }
        let (_, family) = arn.split_once(":task-definition/")?;
        (!family.is_empty() && !family.contains(':')).then(|| Self::Family(family.to_owned()))
    }

    /// What DescribeTaskDefinition takes for it.
    #[must_use]
    pub fn which(&self) -> &str {
        match self {
            Self::Revision(arn) => arn.as_str(),
            Self::Family(family) => family,
        }
    }

    /// The family of task definitions.
    #[must_use]
    pub fn family(&self) -> &str {
        match self {
            Self::Revision(arn) => arn.family(),
            Self::Family(family) => family,
        }
    }
}

/// A target that may run tasks: `Target` of a schedule, or an entry of a rule's targets.
#[derive(Debug, Clone, PartialEq)]
pub struct Target(Value);

impl Target {
    /// The target of a schedule.
    #[must_use]
    pub fn of_schedule(schedule: &Map<String, Value>) -> Self {
        Self(schedule.get("Target").cloned().unwrap_or(Value::Null))
    }

    /// A target of a rule.
    #[must_use]
    pub fn of_rule(target: Value) -> Self {
        Self(target)
    }

    /// The task definition whose tasks it runs, if it runs tasks of ECS.
    #[must_use]
    pub fn runs(&self) -> Option<Named> {
        Named::parse(self.0["EcsParameters"]["TaskDefinitionArn"].as_str()?)
    }

    /// The role that it is carried out with.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.0["RoleArn"].as_str()
    }

    /// The same with another revision. A target that names a family alone stays as it is. `None` if nothing changes.
    #[must_use]
    pub fn with(&self, revision: &TaskDefinitionArn) -> Option<Self> {
        match self.runs()? {
            Named::Revision(now) if &now != revision => {
                let mut changed = self.0.clone();
                changed["EcsParameters"]["TaskDefinitionArn"] = Value::String(revision.as_str().to_owned());
                Some(Self(changed))
            }
            Named::Revision(_) | Named::Family(_) => None,
        }
    }

    /// The JSON to send.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.0
    }
}

/// The body of the UpdateSchedule request that sets a schedule to another target, and leaves all else as it is.
#[must_use]
pub fn update(schedule: &Map<String, Value>, target: &Target) -> Value {
    let mut body = schedule.clone();
    for member in READ_ONLY {
        body.remove(member);
    }
    // What is not set may be told as null, which no request takes.
    body.retain(|_, value| !value.is_null());
    body.insert("Target".to_owned(), target.0.clone());
    Value::Object(body)
}

/// The images of another family that follow: those of its containers that are from a repository of which `leading` names another image.
#[must_use]
pub fn following(leading: &TaskDefinition, other: &TaskDefinition) -> Option<Registration> {
    let images: BTreeMap<&str, &str> =
        leading.containers().map(|(_, image)| (ImageReference::split(image).name, image)).collect();
    let changed = other.containers().filter_map(|(name, image)| {
        let reference = ImageReference::split(image);
        let new = images.get(reference.name).filter(|new| **new != image)?;
        reference.registry().is_some().then(|| (name.to_owned(), (*new).to_owned()))
    });
    let changed: BTreeMap<String, String> = changed.collect();
    (!changed.is_empty()).then(|| other.with_images(&changed))
}

/// Whether both task definitions name images of a repository in ECR.
#[must_use]
pub fn share_a_repository(one: &TaskDefinition, other: &TaskDefinition) -> bool {
    let of_one: BTreeSet<&str> = one.containers().map(|(_, image)| ImageReference::split(image).name).collect();
    other
        .containers()
        .map(|(_, image)| ImageReference::split(image))
        .any(|reference| reference.registry().is_some() && of_one.contains(reference.name))
}

/// Whether a task definition names an image in ECR.
#[must_use]
pub fn runs_from_ecr(definition: &TaskDefinition) -> bool {
    definition.containers().any(|(_, image)| ImageReference::split(image).registry().is_some())
}

/// The deployment that a schedule would have, were it a service: it is complete.
#[must_use]
pub fn deployment(revision: &TaskDefinitionArn) -> Option<DeploymentView> {
    Some(DeploymentView {
        id: DeploymentId::parse(&format!("{CLUSTER}/{}", revision.short())).ok()?,
        primary: true,
        task_definition: revision.clone(),
        since: None,
        state: Some(RolloutState::Completed),
        reason: String::new(),
        desired: 1,
        running: 1,
        pending: 0,
        failed: 0,
    })
}

/// A schedule as a service: one that ECS replaces without downtime, as the next task runs what is written.
#[must_use]
pub fn view(revision: &TaskDefinitionArn) -> ServiceView {
    ServiceView {
        active: true,
        task_definition: revision.clone(),
        desired: 1,
        running: 1,
        controller: Controller::Ecs,
        management: Management::Customer,
        scheduling: Scheduling::Replica,
        strategy: Strategy::Rolling,
        load_balanced: true,
        breaker: true,
        rolls_back: false,
        bake: Duration::ZERO,
        minimum_healthy_percent: Some(100),
        maximum_percent: Some(200),
        lifecycle: Lifecycle::default(),
        deployments: deployment(revision).into_iter().collect(),
        events: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::test_support::{arn, definition, digest, image_name};
    use crate::domain::types::ServiceKey;

    #[test]
    fn a_name_survives_its_text_and_is_no_service() {
        for (name, text) in [
            (ScheduleName::scheduler("nightly"), "default/nightly"),
            (ScheduleName::scheduler("team-a/nightly"), "team-a/nightly"),
            (ScheduleName::scheduler("rule/nightly"), "rule/nightly"),
            (ScheduleName::rule("nightly"), "rule/default/nightly"),
            (ScheduleName::rule("aws.partner/example.com/1/nightly"), "rule/aws.partner/example.com/1/nightly"),
        ] {
            let name = name.unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(ScheduleName::parse(text), Some(name.clone()));
            let key = ServiceKey::try_from(format!("default/schedule/{text}")).unwrap();
            assert_eq!((key.schedule(), String::from(key.clone())), (Some(name), format!("default/schedule/{text}")));
        }
        assert_eq!(ServiceKey::try_from("default/schedule/nightly".to_owned()).unwrap().schedule(), None);
        for bad in ["", "/x", "a/b/c", "a b"] {
            assert!(ScheduleName::scheduler(bad).is_err(), "{bad}");
        }
        assert!(ScheduleName::rule("/nightly").is_err());
    }

    fn schedule(target: &str) -> Map<String, Value> {
        let schedule = json!({
            "Arn": "arn:aws:scheduler:eu-west-1:111111111111:schedule/default/nightly", "Name": "nightly", "GroupName": "default",
            "State": "DISABLED", "ScheduleExpression": "cron(0 3 * * ? *)", "ScheduleExpressionTimezone": "Europe/Berlin",
            "StartDate": 1.5, "CreationDate": 1, "LastModificationDate": 2, "FutureMember": {"deep": [1, null]},
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {
                "Arn": "arn:aws:ecs:eu-west-1:111111111111:cluster/web", "RoleArn": "arn:aws:iam::111111111111:role/scheduler",
                "Input": "{\"containerOverrides\": []}", "DeadLetterConfig": {"Arn": "arn:aws:sqs:eu-west-1:111111111111:dead"},
                "EcsParameters": {"TaskDefinitionArn": target, "TaskCount": 2, "FutureToo": true},
            },
        });
        schedule.as_object().unwrap().clone()
    }

    #[test]
    fn an_update_changes_the_revision_and_nothing_else() {
        let before = schedule(arn(1).as_str());
        let target = Target::of_schedule(&before);
        assert_eq!(
            (target.runs(), target.role()),
            (Some(Named::Revision(arn(1))), Some("arn:aws:iam::111111111111:role/scheduler"))
        );
        let changed = target.with(&arn(2)).unwrap();
        let body = update(&before, &changed);
        let mut expected = Value::Object(schedule(arn(2).as_str()));
        for member in READ_ONLY {
            expected.as_object_mut().unwrap().remove(member);
        }
        assert_eq!(body, expected);
        assert_eq!(target.with(&arn(1)), None, "it names the revision already");
    }

    #[test]
    fn a_target_that_names_a_family_alone_stays_as_it_is() {
        let family = "arn:aws:ecs:eu-west-1:111111111111:task-definition/hello";
        let target = Target::of_schedule(&schedule(family));
        assert_eq!(target.runs(), Some(Named::Family("hello".to_owned())));
        assert_eq!(target.with(&arn(2)), None);
        for other in ["", "arn:aws:lambda:eu-west-1:111111111111:function:x"] {
            assert_eq!(Target::of_schedule(&schedule(other)).runs(), None);
        }
        assert_eq!(Target::of_rule(json!({"Id": "1", "Arn": "x"})).runs(), None);
    }

    #[test]
    fn another_family_of_a_rule_takes_the_images_of_the_same_repositories() {
        let (old, new) = (digest('a'), digest('b'));
        let of = |digest: &super::super::types::Digest| format!("{}@{digest}", image_name("hello"));
        let leading = definition(2, &[("app", &of(&new)), ("side", "envoy:2")]);
        let other = definition(7, &[("job", &of(&old)), ("side", "envoy:1")]);
        let registration = following(&leading, &other).unwrap();
        let images: Vec<&str> = registration.body()["containerDefinitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|container| container["image"].as_str().unwrap())
            .collect();
        assert_eq!(images, [of(&new).as_str(), "envoy:1"]);
        assert_eq!(following(&leading, &leading), None);
        assert!(share_a_repository(&leading, &other));
        assert!(!share_a_repository(&leading, &definition(1, &[("side", "envoy:2")])), "it is in no ECR");
    }
}
