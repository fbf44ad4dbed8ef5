//! EventBridge Scheduler and EventBridge rules.
//!
//! What a schedule or a target says bypasses the SDK's types in both directions, as a task definition does: what the SDK does not know would be
//! lost, and what an update leaves out is set back to its default.

use async_trait::async_trait;
use aws_smithy_types::body::SdkBody;
use serde_json::{Map, Value, json};

use super::call::Caller;
use super::ecs::Captured;
use super::{AwsError, Fault, Schedules, TargetPage, error_of_code};

/// What GetSchedule and ListTargetsByRule say of what is not there.
const NOT_FOUND: &str = "ResourceNotFoundException";
/// Targets on a page: ListTargetsByRule gives at most 100.
const PAGE: i32 = 100;

#[derive(Debug)]
pub(super) struct SdkSchedules {
    pub(super) scheduler: aws_sdk_scheduler::Client,
    pub(super) events: aws_sdk_eventbridge::Client,
    pub(super) scheduler_caller: Caller,
    pub(super) events_caller: Caller,
}

#[async_trait]
impl Schedules for SdkSchedules {
    async fn schedule(&self, group: &str, name: &str) -> Result<Option<Map<String, Value>>, AwsError> {
        const OPERATION: &str = "GetSchedule";
        let body = Captured::default();
        let request = self.scheduler.get_schedule().group_name(group).name(name).customize().interceptor(body.clone());
        match self.scheduler_caller.call("GetSchedule", request.send()).await {
            Ok(_) => object(&body.take()).map(Some).map_err(|why| self.scheduler_caller.unusable(OPERATION, why)),
            Err(error) if error.code == NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn update_schedule(&self, name: &str, body: &Value) -> Result<(), AwsError> {
        let body = body.to_string();
        let request = self.scheduler.update_schedule().name(name).customize().mutate_request(move |request| {
            request.headers_mut().insert("content-length", body.len().to_string());
            *request.body_mut() = SdkBody::from(body.as_str());
        });
        self.scheduler_caller.call("UpdateSchedule", request.send()).await.map(drop)
    }

    async fn targets(&self, bus: &str, rule: &str, next: Option<String>) -> Result<Option<TargetPage>, AwsError> {
        const OPERATION: &str = "ListTargetsByRule";
        let body = Captured::default();
        let request = self
            .events
            .list_targets_by_rule()
            .event_bus_name(bus)
            .rule(rule)
            .limit(PAGE)
            .set_next_token(next)
            .customize()
            .interceptor(body.clone());
        let answer = match self.events_caller.call("ListTargetsByRule", request.send()).await {
            Ok(answer) => answer,
            Err(error) if error.code == NOT_FOUND => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut raw = object(&body.take()).map_err(|why| self.events_caller.unusable(OPERATION, why))?;
        let targets = match raw.remove("Targets") {
            Some(Value::Array(targets)) => targets,
            _ => Vec::new(),
        };
        Ok(Some(TargetPage { targets, next: answer.next_token }))
    }

    async fn put_targets(&self, bus: &str, rule: &str, targets: &[Value]) -> Result<(), AwsError> {
        const OPERATION: &str = "PutTargets";
        let body = json!({ "Rule": rule, "EventBusName": bus, "Targets": targets }).to_string();
        let request =
            self.events.put_targets().event_bus_name(bus).rule(rule).customize().mutate_request(move |request| {
                request.headers_mut().insert("content-length", body.len().to_string());
                *request.body_mut() = SdkBody::from(body.as_str());
            });
        let answer = self.events_caller.call("PutTargets", request.send()).await?;
        // What was not taken is reported with HTTP 200.
        let Some(first) = answer.failed_entries().first() else { return Ok(()) };
        let message = format!(
            "{} of {} targets were not taken; {}: {}",
            answer.failed_entries().len(),
            targets.len(),
            first.target_id().unwrap_or_default(),
            first.error_message().unwrap_or_default()
        );
        let code = first.error_code().unwrap_or_default();
        let fault = match code {
            "ConcurrentModificationException" => Fault::Unavailable,
            _ => Fault::Refused,
        };
        Err(error_of_code("events", OPERATION, fault, code, &message))
    }
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err("the answer is no object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
