//! SQS: a queue that an EventBridge rule fills with ECR's push events; best effort, at least once, in any order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ecs_deployd::aws::{AwsError, Identity, Queue, QueueMessage, Waiting};
use ecs_deployd::domain::queue_url::QueueUrl;
use ecs_deployd::domain::types::{AccountId, Partition, Principal};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::faults::with_fate;
use super::rng::Rng;
use super::{ACCOUNT, Inner, REGION, World, tokio_now};

/// The URL of the queue.
pub const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/111111111111/pushes";
/// The longest that a call waits for a message.
const LONG_POLL: Duration = Duration::from_secs(20);

/// The queue, and the rule that fills it.
#[derive(Debug, Default)]
pub struct PushQueue {
    /// Whether there is a rule.
    filled: bool,
    /// What may happen to events on their way.
    way: Option<Rng>,
    messages: Vec<Stored>,
    deliveries: u64,
    /// How often a message was received that had been received before.
    redelivered: usize,
    deleted: usize,
    arrived: Arc<Notify>,
}

#[derive(Debug)]
struct Stored {
    id: String,
    body: String,
    visible_at: Timestamp,
    /// The receipt of the last delivery.
    receipt: Option<String>,
}

impl World {
    /// From here on a rule sends ECR's push events to the queue.
    pub fn fill_queue(&self) {
        self.lock().queue.filled = true;
    }

    /// Events come late, out of order, twice or not at all.
    pub fn set_queue_way(&self, way: Option<Rng>) {
        self.lock().queue.way = way;
    }

    /// Puts a message into the queue.
    pub fn put_message(&self, body: &str) {
        let mut inner = self.lock();
        let now = inner.now();
        inner.put_message(body, now);
    }

    /// The newest message, as its sender wrote it.
    pub fn last_message(&self) -> String {
        self.lock().queue.messages.last().unwrap().body.clone()
    }

    /// The newest message never comes.
    pub fn lose_last_message(&self) {
        self.lock().queue.messages.pop();
    }

    /// The newest message comes after a while.
    pub fn delay_last_message(&self, seconds: i64) {
        let mut inner = self.lock();
        let at = inner.now() + SignedDuration::from_secs(seconds);
        inner.queue.messages.last_mut().unwrap().visible_at = at;
    }

    /// Messages that are neither lost nor deleted.
    pub fn queued(&self) -> usize {
        self.lock().queue.messages.len()
    }

    /// How many messages were deleted, and how many deliveries were repetitions.
    pub fn deleted_and_redelivered(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.queue.deleted, inner.queue.redelivered)
    }

    async fn until_a_message_shows(&self) {
        let end = tokio_now() + LONG_POLL;
        loop {
            let (next, now, arrived) = {
                let inner = self.lock();
                let next = inner.queue.messages.iter().map(|message| message.visible_at).min();
                (next, inner.now(), Arc::clone(&inner.queue.arrived))
            };
            if next.is_some_and(|at| at <= now) || tokio_now() >= end {
                return;
            }
            let due = next.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
            let until = due.map_or(end, |due| (tokio_now() + due).min(end));
            tokio::select! {
                biased;
                () = arrived.notified() => {}
                () = ecs_deployd::clock::sleep_until(until) => {}
            }
        }
    }
}

impl Inner {
    /// The rule sees a push.
    pub(super) fn tell_queue(&mut self, repository: &str, tag: Option<&str>, digest: &str) {
        if !self.queue.filled {
            return;
        }
        let now = self.now();
        let id = self.next("message-");
        let mut way = self.queue.way.take();
        let mut below = |bound: u64| way.as_mut().map_or(0, |rng| i64::try_from(rng.below(bound)).unwrap());
        let lost = below(100) >= 88;
        // The two sources need not have the very same second.
        let time = Timestamp::from_second(now.as_second() + below(3)).unwrap();
        let mut detail =
            json!({"result": "SUCCESS", "repository-name": repository, "image-digest": digest, "action-type": "PUSH"});
        if let Some(tag) = tag {
            detail["image-tag"] = json!(tag);
        }
        let event = json!({
            "version": "0", "id": id, "detail-type": "ECR Image Action", "source": "aws.ecr", "account": ACCOUNT,
            "time": time.to_string(), "region": REGION, "resources": [], "detail": detail,
        });
        let event = if below(10) == 9 { json!({"Type": "Notification", "Message": event.to_string()}) } else { event };
        let late = |below: &mut dyn FnMut(u64) -> i64| match below(10) {
            0..=6 => 0,
            7..=8 => below(120),
            _ => below(3 * 3600),
        };
        let copies = if below(10) == 9 { 2 } else { 1 };
        for _ in 0..copies {
            let at = now + SignedDuration::from_secs(late(&mut below));
            if !lost {
                self.put_message(&event.to_string(), at);
            }
        }
        self.queue.way = way;
    }

    fn put_message(&mut self, body: &str, visible_at: Timestamp) {
        let id = self.next("in-queue-");
        self.queue.messages.push(Stored { id, body: body.to_owned(), visible_at, receipt: None });
        self.queue.arrived.notify_one();
    }

    fn receive_messages(&mut self, waiting: Waiting) -> Vec<QueueMessage> {
        let now = self.now();
        let (most, hidden) = match waiting {
            Waiting::LongPoll => (10, SignedDuration::from_secs(60)),
            Waiting::Glance => (1, SignedDuration::ZERO),
        };
        let queue = &mut self.queue;
        let mut received = Vec::new();
        for message in queue.messages.iter_mut().filter(|message| message.visible_at <= now).take(most) {
            queue.deliveries += 1;
            queue.redelivered += usize::from(message.receipt.is_some());
            let receipt = format!("{}-{}", message.id, queue.deliveries);
            message.receipt = Some(receipt.clone());
            message.visible_at = now + hidden;
            received.push(QueueMessage { receipt, body: message.body.clone() });
        }
        received
    }
}

#[async_trait]
impl Queue for World {
    async fn receive(&self, _: &QueueUrl, waiting: Waiting) -> Result<Vec<QueueMessage>, AwsError> {
        let fate = self.call("ReceiveMessage", String::new()).await;
        if waiting == Waiting::LongPoll && fate.is_none() {
            self.until_a_message_shows().await;
        }
        with_fate(fate, "sqs", "ReceiveMessage", || Ok(self.lock().receive_messages(waiting))).await
    }

    async fn delete(&self, _: &QueueUrl, receipts: &[String]) -> Result<Vec<String>, AwsError> {
        let fate = self.call("DeleteMessage", receipts.join(" ")).await;
        with_fate(fate, "sqs", "DeleteMessage", || {
            let mut inner = self.lock();
            let before = inner.queue.messages.len();
            // A receipt of an earlier delivery deletes nothing.
            inner.queue.messages.retain(|message| !message.receipt.as_ref().is_some_and(|own| receipts.contains(own)));
            inner.queue.deleted += before - inner.queue.messages.len();
            Ok(Vec::new())
        })
        .await
    }

    async fn hide(&self, _: &QueueUrl, receipts: &[String]) -> Result<Vec<String>, AwsError> {
        let fate = self.call("ChangeMessageVisibility", receipts.join(" ")).await;
        with_fate(fate, "sqs", "ChangeMessageVisibility", || {
            let mut inner = self.lock();
            let until = inner.now() + SignedDuration::from_secs(60);
            let is_named = |message: &&mut Stored| message.receipt.as_ref().is_some_and(|own| receipts.contains(own));
            inner.queue.messages.iter_mut().filter(is_named).for_each(|message| message.visible_at = until);
            Ok(Vec::new())
        })
        .await
    }
}

#[async_trait]
impl Identity for World {
    async fn arn(&self) -> Result<String, AwsError> {
        Ok(format!("arn:aws:sts::{ACCOUNT}:assumed-role/ecs-deployd/simulated"))
    }

    async fn principal(&self) -> Result<Principal, AwsError> {
        let fate = self.call("GetCallerIdentity", String::new()).await;
        with_fate(fate, "sts", "GetCallerIdentity", || {
            let (account, partition) = (AccountId::parse(ACCOUNT).unwrap(), Partition::parse("aws").unwrap());
            Ok(Principal { account, partition })
        })
        .await
    }
}

/// Changes a message, straight or in an envelope.
pub fn edited(body: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut event: Value = serde_json::from_str(body).unwrap();
    edit(&mut event);
    event.to_string()
}
