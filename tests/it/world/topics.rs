//! SNS: topics that keep what is published to them.

use async_trait::async_trait;
use ecs_deployd::aws::{AwsError, Fault, Message, Topics};

use super::World;
use super::faults::{error, with_fate};

#[derive(Debug, Default)]
pub struct Topic {
    messages: Vec<Message>,
    fault: Option<Fault>,
}

impl World {
    /// What a topic was told, in order.
    pub fn messages(&self, topic: &str) -> Vec<Message> {
        self.lock().topics.get(topic).map(|topic| topic.messages.clone()).unwrap_or_default()
    }

    /// Every message to this topic fails from here on, or none any more.
    pub fn break_topic(&self, topic: &str, fault: Option<Fault>) {
        self.lock().topics.entry(topic.to_owned()).or_default().fault = fault;
    }
}

#[async_trait]
impl Topics for World {
    async fn publish(&self, topic: &str, message: &Message) -> Result<(), AwsError> {
        let fate = self.call("Publish", topic.to_owned()).await;
        with_fate(fate, "sns", "Publish", || {
            let mut inner = self.lock();
            let topic = inner.topics.entry(topic.to_owned()).or_default();
            match topic.fault {
                Some(fault) => Err(error("sns", "Publish", fault, "")),
                None => {
                    topic.messages.push(message.clone());
                    Ok(())
                }
            }
        })
        .await
    }
}
