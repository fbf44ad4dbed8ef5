//! Amazon SQS: ReceiveMessage, DeleteMessageBatch, ChangeMessageVisibilityBatch.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
};
use aws_smithy_types::timeout::TimeoutConfig;

use super::call::Caller;
use super::{AwsError, Queue, QueueMessage, Waiting};
use crate::domain::queue_url::QueueUrl;

/// Messages that one call receives or names at most.
const MESSAGES: usize = 10;
/// How long SQS holds back its answer while there is no message: as long as it allows.
const LONG_POLL: i32 = 20;
/// A long poll that takes longer has lost its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(35);
/// A message that was received is hidden from others for this long.
const HIDDEN: Duration = Duration::from_secs(60);

/// A long poll outlasts the time-outs of other calls.
pub(super) fn time_outs(config: &aws_config::SdkConfig) -> TimeoutConfig {
    let common = config.timeout_config().cloned().unwrap_or_else(|| TimeoutConfig::builder().build());
    common.to_builder().operation_attempt_timeout(ANSWER_WITHIN).operation_timeout(ANSWER_WITHIN).build()
}

#[derive(Debug)]
pub(super) struct SdkQueue {
    pub(super) client: Client,
    pub(super) caller: Caller,
}

#[async_trait]
impl Queue for SdkQueue {
    async fn receive(&self, queue: &QueueUrl, waiting: Waiting) -> Result<Vec<QueueMessage>, AwsError> {
        let (wait, messages, hidden) = match waiting {
            Waiting::LongPoll => (LONG_POLL, i32::try_from(MESSAGES).unwrap_or(1), seconds(HIDDEN)),
            Waiting::Glance => (0, 1, 0),
        };
        let request = self
            .client
            .receive_message()
            .queue_url(queue.as_str())
            .wait_time_seconds(wait)
            .max_number_of_messages(messages)
            .visibility_timeout(hidden);
        let answer = self.caller.call("ReceiveMessage", request.send()).await?;
        let messages = answer.messages.unwrap_or_default().into_iter();
        let message = |message: aws_sdk_sqs::types::Message| {
            let receipt = message.receipt_handle?;
            Some(QueueMessage { receipt, body: message.body.unwrap_or_default() })
        };
        Ok(messages.filter_map(message).collect())
    }

    async fn delete(&self, queue: &QueueUrl, receipts: &[String]) -> Result<Vec<String>, AwsError> {
        const OPERATION: &str = "DeleteMessage";
        let entry = |(index, receipt): (usize, &String)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(receipt);
            entry.build().map_err(|error| self.caller.unusable(OPERATION, error.to_string()))
        };
        let entries = receipts.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        let request = self.client.delete_message_batch().queue_url(queue.as_str()).set_entries(Some(entries));
        let answer = self.caller.call(OPERATION, request.send()).await?;
        Ok(left(receipts, &answer.failed))
    }

    async fn hide(&self, queue: &QueueUrl, receipts: &[String]) -> Result<Vec<String>, AwsError> {
        const OPERATION: &str = "ChangeMessageVisibility";
        let entry = |(index, receipt): (usize, &String)| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
            let entry = entry.receipt_handle(receipt).visibility_timeout(seconds(HIDDEN));
            entry.build().map_err(|error| self.caller.unusable(OPERATION, error.to_string()))
        };
        let entries = receipts.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        let request =
            self.client.change_message_visibility_batch().queue_url(queue.as_str()).set_entries(Some(entries));
        let answer = self.caller.call(OPERATION, request.send()).await?;
        Ok(left(receipts, &answer.failed))
    }
}

fn seconds(span: Duration) -> i32 {
    i32::try_from(span.as_secs()).unwrap_or(i32::MAX)
}

/// The receipts of the entries that failed, of which SQS tells although the call as a whole succeeds.
fn left(receipts: &[String], failed: &[BatchResultErrorEntry]) -> Vec<String> {
    let receipt = |entry: &BatchResultErrorEntry| receipts.get(entry.id.parse::<usize>().ok()?).cloned();
    failed.iter().filter_map(receipt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_that_failed_are_named_by_their_place() {
        let receipts = ["a", "b", "c"].map(str::to_owned);
        let failed = |id: &str| {
            BatchResultErrorEntry::builder().id(id).sender_fault(false).code("InternalError").build().unwrap()
        };
        assert_eq!(left(&receipts, &[failed("2"), failed("9"), failed("x"), failed("0")]), ["c", "a"]);
    }
}
