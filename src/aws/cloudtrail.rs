//! The adapter of AWS CloudTrail: LookupEvents.

use async_trait::async_trait;
use aws_sdk_cloudtrail::Client;
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use aws_smithy_types::DateTime;

use super::call::{Caller, timestamp};
use super::{AwsError, CloudTrail, LookupPage};
use crate::domain::event::Record;
use crate::domain::polling::Request;

#[derive(Debug)]
pub(super) struct SdkCloudTrail {
    pub(super) client: Client,
    pub(super) caller: Caller,
}

#[async_trait]
impl CloudTrail for SdkCloudTrail {
    async fn lookup(&self, event: &str, request: &Request) -> Result<LookupPage, AwsError> {
        const OPERATION: &str = "LookupEvents";
        let attribute = LookupAttribute::builder()
            .attribute_key(LookupAttributeKey::EventName)
            .attribute_value(event)
            .build()
            .map_err(|error| self.caller.unusable(OPERATION, error.to_string()))?;
        let lookup = self
            .client
            .lookup_events()
            .lookup_attributes(attribute)
            .start_time(DateTime::from_secs(request.window.start.as_second()))
            .end_time(DateTime::from_secs(request.window.end.as_second()))
            .max_results(i32::from(request.limit))
            .set_next_token(request.token.clone());
        let answer = self.caller.call(OPERATION, lookup.send()).await?;
        let records = answer
            .events
            .unwrap_or_default()
            .into_iter()
            .map(|event| Record {
                time: event.event_time.as_ref().and_then(timestamp),
                id: event.event_id,
                body: event.cloud_trail_event,
            })
            .collect();
        Ok(LookupPage { records, next: answer.next_token.filter(|token| !token.is_empty()) })
    }
}
