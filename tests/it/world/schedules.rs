//! EventBridge Scheduler and the rules of EventBridge.

use async_trait::async_trait;
use ecs_deployd::aws::{AwsError, Fault, Schedules, TargetPage};
use serde_json::{Map, Value};

use super::World;
use super::faults::{error, with_fate};

/// Targets on a page, fewer than AWS gives, so that a rule with many has several.
const PAGE: usize = 4;

impl World {
    /// Creates a schedule, or replaces it.
    pub fn set_schedule(&self, group: &str, name: &str, body: &Value) {
        let body = body.as_object().unwrap().clone();
        self.lock().schedules.insert((group.to_owned(), name.to_owned()), body);
    }

    /// What a schedule says.
    pub fn schedule_of(&self, group: &str, name: &str) -> Value {
        Value::Object(self.lock().schedules[&(group.to_owned(), name.to_owned())].clone())
    }

    /// Creates a rule with these targets, or replaces them.
    pub fn set_targets(&self, bus: &str, rule: &str, targets: &[Value]) {
        self.lock().rules.insert((bus.to_owned(), rule.to_owned()), targets.to_vec());
    }

    /// The targets of a rule.
    pub fn targets_of(&self, bus: &str, rule: &str) -> Vec<Value> {
        self.lock().rules[&(bus.to_owned(), rule.to_owned())].clone()
    }
}

#[async_trait]
impl Schedules for World {
    async fn schedule(&self, group: &str, name: &str) -> Result<Option<Map<String, Value>>, AwsError> {
        let fate = self.call("GetSchedule", format!("{group}/{name}")).await;
        let found = self.lock().schedules.get(&(group.to_owned(), name.to_owned())).cloned();
        with_fate(fate, "scheduler", "GetSchedule", || Ok(found)).await
    }

    async fn update_schedule(&self, name: &str, body: &Value) -> Result<(), AwsError> {
        const OPERATION: &str = "UpdateSchedule";
        let group = body["GroupName"].as_str().unwrap_or("default").to_owned();
        let fate = self.call(OPERATION, format!("{group}/{name}")).await;
        with_fate(fate, "scheduler", OPERATION, || {
            let mut inner = self.lock();
            let now = inner.now().as_second();
            let Some(known) = inner.schedules.get_mut(&(group, name.to_owned())) else {
                return Err(error("scheduler", OPERATION, Fault::Refused, "ResourceNotFoundException"));
            };
            // What the request leaves out is set back to its default; what AWS itself sets stays.
            let kept = known.iter().filter(|(member, _)| ["Arn", "Name", "CreationDate"].contains(&member.as_str()));
            let mut next: Map<String, Value> = kept.map(|(member, value)| (member.clone(), value.clone())).collect();
            assert!(!body.as_object().unwrap().contains_key("Arn"), "UpdateSchedule takes no Arn");
            next.extend(body.as_object().unwrap().clone());
            next.insert("LastModificationDate".to_owned(), Value::from(now));
            *known = next;
            Ok(())
        })
        .await
    }

    async fn targets(&self, bus: &str, rule: &str, next: Option<String>) -> Result<Option<TargetPage>, AwsError> {
        let fate = self.call("ListTargetsByRule", format!("{bus}/{rule} {next:?}")).await;
        let found = self.lock().rules.get(&(bus.to_owned(), rule.to_owned())).cloned();
        let page = |targets: Vec<Value>| {
            let begin: usize = next.and_then(|token| token.parse().ok()).unwrap_or_default();
            let end = targets.len().min(begin + PAGE);
            TargetPage {
                targets: targets.get(begin..end).unwrap_or_default().to_vec(),
                next: (end < targets.len()).then(|| end.to_string()),
            }
        };
        with_fate(fate, "events", "ListTargetsByRule", || Ok(found.map(page))).await
    }

    async fn put_targets(&self, bus: &str, rule: &str, targets: &[Value]) -> Result<(), AwsError> {
        const OPERATION: &str = "PutTargets";
        assert!(targets.len() <= 10, "PutTargets takes at most 10 targets");
        let fate = self.call(OPERATION, format!("{bus}/{rule}: {} targets", targets.len())).await;
        with_fate(fate, "events", OPERATION, || {
            let mut inner = self.lock();
            let Some(known) = inner.rules.get_mut(&(bus.to_owned(), rule.to_owned())) else {
                return Err(error("events", OPERATION, Fault::Refused, "ResourceNotFoundException"));
            };
            for target in targets {
                match known.iter_mut().find(|one| one["Id"] == target["Id"]) {
                    Some(one) => *one = target.clone(),
                    None => known.push(target.clone()),
                }
            }
            Ok(())
        })
        .await
    }
}
