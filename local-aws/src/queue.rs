//! An SQS queue, and what EventBridge would put into it.
//!
//! MiniStack's ECR tells EventBridge nothing, and nobody may send events in the name of `aws.ecr`. So the message is put into the queue as
//! a rule of EventBridge writes it.

use crate::client::{CallError, Client, SQS, unexpected};
use serde_json::{Value, json};

impl Client {
    /// Makes a queue and gives its URL.
    pub fn create_queue(&self, name: &str) -> Result<String, CallError> {
        let answer = self.call(SQS, "CreateQueue", &json!({"QueueName": name}))?;
        let url = answer["QueueUrl"].as_str().map(str::to_owned);
        url.ok_or_else(|| unexpected("CreateQueue", "QueueUrl", &answer.to_string()))
    }

    /// Puts a message into a queue.
    pub fn send_message(&self, queue: &str, body: &str) -> Result<(), CallError> {
        self.call(SQS, "SendMessage", &json!({"QueueUrl": queue, "MessageBody": body})).map(drop)
    }

    /// How many messages of a queue are not deleted.
    pub fn messages_left(&self, queue: &str) -> Result<u64, CallError> {
        let input = json!({"QueueUrl": queue, "AttributeNames": ["All"]});
        let answer = self.call(SQS, "GetQueueAttributes", &input)?;
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let counts = names.map(|name| answer["Attributes"][name].as_str().and_then(|text| text.parse::<u64>().ok()));
        counts
            .into_iter()
            .sum::<Option<u64>>()
            .ok_or_else(|| unexpected("GetQueueAttributes", "counts", &answer.to_string()))
    }

    /// EventBridge's event about a push, at a time such as `2026-11-22T10:00:07Z`.
    pub fn push_event(&self, id: &str, time: &str, repository: &str, tag: &str, digest: &str) -> Value {
        json!({
            "version": "0", "id": id, "detail-type": "ECR Image Action", "source": "aws.ecr",
            "account": self.account(), "time": time, "region": self.region(), "resources": [],
            "detail": {
                "result": "SUCCESS", "repository-name": repository, "image-digest": digest, "action-type": "PUSH",
                "image-tag": tag, "manifest-media-type": "application/vnd.docker.distribution.manifest.v2+json",
            },
        })
    }
}
