//! The adapter of Amazon SNS: Publish.

use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::types::MessageAttributeValue;
use sha2::{Digest as _, Sha256};

use super::call::Caller;
use super::{AwsError, Message, Topics};

#[derive(Debug)]
pub(super) struct SdkTopics {
    pub(super) client: Client,
    pub(super) caller: Caller,
}

#[async_trait]
impl Topics for SdkTopics {
    async fn publish(&self, topic: &str, message: &Message) -> Result<(), AwsError> {
        const OPERATION: &str = "Publish";
        let mut request = self.client.publish().topic_arn(topic).subject(&message.subject).message(&message.text);
        for (name, value) in &message.attributes {
            let attribute = MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value)
                .build()
                .map_err(|error| self.caller.unusable(OPERATION, error.to_string()))?;
            request = request.message_attributes(*name, attribute);
        }
        // A FIFO topic wants to know what belongs together, and what is the same.
        if topic.ends_with(".fifo") {
            let id = Sha256::digest(message.id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            request = request.message_group_id("ecs-deployd").message_deduplication_id(id);
        }
        self.caller.call(OPERATION, request.send()).await.map(drop)
    }
}
