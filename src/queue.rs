//! The reading of one context's queue: pushes within seconds, beside CloudTrail.
//!
//! A message is deleted once what it brought is durable, and not before: until then it stays hidden from others, and whatever happens to this
//! process, SQS delivers it again. A queue that cannot be reached delays nothing: CloudTrail is read as well.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use crate::aws::{self, AwsError, Contexts, Identity, QueueMessage, Waiting};
use crate::clock::{self, Clock, Instant};
use crate::config::Config;
use crate::domain::event::ParsedEvent;
use crate::domain::image_event::{self, Home, Message};
use crate::domain::queue_url::QueueUrl;
use crate::domain::types::{AccountId, ContextName, Region};
use crate::health::Health;
use crate::metrics::{MessageOutcome, Metrics};

/// The pauses after calls that failed in a row.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(30),
];
/// A queue that answers at once although it is empty does not know long polling: it is asked once in this time.
const SHORT_POLL: Duration = Duration::from_secs(1);
/// How often messages are hidden anew while they wait for the disk.
const HIDE_EVERY: Duration = Duration::from_secs(20);
/// How often a message that SQS did not delete is tried again before it is left to be delivered again.
const DELETE_TRIES: usize = 3;
/// Deliveries that may wait for the deployer.
pub const WAITING_DELIVERIES: usize = 4;

/// Messages that were received at once.
#[derive(Debug)]
pub struct Delivery {
    /// The AWS context of the queue.
    pub context: ContextName,
    /// The pushes that the messages tell of.
    pub parsed_events: Vec<ParsedEvent>,
    /// Told when they are durable.
    pub receipt: oneshot::Sender<()>,
}

/// The reader of one queue.
#[derive(Debug)]
pub struct QueueReader {
    context: ContextName,
    url: QueueUrl,
    region: Region,
    queue: Arc<dyn aws::Queue>,
    identity: Arc<dyn Identity>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    deliveries: mpsc::Sender<Delivery>,
    /// What is wrong, and was said.
    last_error: Option<String>,
    failures: usize,
}

/// What the readers of all queues share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The metrics that they count in.
    pub metrics: Arc<Metrics>,
    /// Where they say what is wrong.
    pub health: Arc<Health>,
    /// Where the pushes go.
    pub deliveries: mpsc::Sender<Delivery>,
}

/// Nobody takes what is delivered any more.
#[derive(Debug)]
struct Closed;

/// The readers of a configuration, one for each context that a repository lives in and that has a queue.
#[must_use]
pub fn readers(config: &Config, contexts: &Contexts, shared: &Shared) -> Vec<QueueReader> {
    let one = |name: &ContextName| {
        let (context, url) = (contexts.get(name)?, config.aws.get(name)?.queue.clone()?);
        Some(QueueReader {
            context: name.clone(),
            url,
            region: context.region.clone(),
            queue: Arc::clone(&context.queue),
            identity: Arc::clone(&context.identity),
            clock: Arc::clone(&shared.clock),
            metrics: Arc::clone(&shared.metrics),
            health: Arc::clone(&shared.health),
            deliveries: shared.deliveries.clone(),
            last_error: None,
            failures: 0,
        })
    };
    config.contexts_with_queues().into_iter().filter_map(one).collect()
}

impl QueueReader {
    /// The context whose queue it is.
    #[must_use]
    pub fn context(&self) -> &ContextName {
        &self.context
    }

    /// Reads for ever, or until nobody takes what is delivered any more.
    pub async fn run(mut self) {
        let account = self.account().await;
        let home = Home { account, region: self.region.clone() };
        loop {
            let begun = clock::instant();
            match self.queue.receive(&self.url, Waiting::LongPoll).await {
                Ok(messages) => {
                    self.received();
                    if messages.is_empty() {
                        pass_the_time_of_a_short_poll(begun).await;
                    } else if self.take(messages, &home).await.is_err() {
                        return;
                    }
                }
                Err(error) => self.failed(&error).await,
            }
        }
    }

    /// The account of the context, by which pushes to other registries are told from those to ours.
    async fn account(&mut self) -> AccountId {
        loop {
            match self.identity.principal().await {
                Ok(principal) => return principal.account,
                Err(error) => self.failed(&error).await,
            }
        }
    }

    /// Hands the pushes on, and deletes the messages once they are durable.
    async fn take(&mut self, messages: Vec<QueueMessage>, home: &Home) -> Result<(), Closed> {
        let mut parsed_events = Vec::new();
        for message in &messages {
            parsed_events.extend(self.read(&message.body, home));
        }
        debug!(aws = %self.context, messages = messages.len(), pushes = parsed_events.len(), "received messages of the queue");
        let receipts: Vec<String> = messages.into_iter().map(|message| message.receipt).collect();
        if !parsed_events.is_empty() {
            let (receipt, received) = oneshot::channel();
            let delivery = Delivery { context: self.context.clone(), parsed_events, receipt };
            let handed_on = async {
                self.deliveries.send(delivery).await.map_err(|_| Closed)?;
                received.await.map_err(|_| Closed)
            };
            self.hidden_until(&receipts, handed_on).await?;
        }
        self.delete(receipts).await;
        Ok(())
    }

    /// The push that a message tells of; what it is otherwise is counted.
    fn read(&self, body: &str, home: &Home) -> Option<ParsedEvent> {
        match image_event::read(body, home) {
            Message::Event(event) => Some(event),
            Message::Foreign(why) => {
                debug!(aws = %self.context, why, "a message of the queue concerns nothing here");
                self.metrics.queue_message(&self.context, MessageOutcome::Foreign);
                None
            }
            Message::Malformed(why) => {
                warn!(
                    aws = %self.context, why, message = image_event::excerpt(body),
                    "a message of the queue is no event of ECR, and is deleted"
                );
                self.metrics.queue_message(&self.context, MessageOutcome::Malformed);
                None
            }
        }
    }

    /// Keeps messages hidden from others while something goes on.
    async fn hidden_until<T>(&self, receipts: &[String], end: impl Future<Output = T>) -> T {
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                biased;
                ended = &mut end => return ended,
                () = clock::sleep(HIDE_EVERY) => {}
            }
            let hidden = self.queue.hide(&self.url, receipts);
            let answer = tokio::select! {
                biased;
                ended = &mut end => return ended,
                answer = hidden => answer,
            };
            // What is not hidden is delivered again, and known by then.
            match answer {
                Ok(left) if left.is_empty() => {}
                Ok(left) => debug!(aws = %self.context, messages = left.len(), "messages are not hidden any longer"),
                Err(error) => debug!(aws = %self.context, %error, "messages are not hidden any longer"),
            }
        }
    }

    /// Deletes messages. What cannot be deleted comes again, and is a duplicate by then.
    async fn delete(&mut self, receipts: Vec<String>) {
        let mut left = receipts;
        for pause in PAUSES.into_iter().take(DELETE_TRIES) {
            match self.queue.delete(&self.url, &left).await {
                Ok(failed) if failed.is_empty() => return,
                Ok(failed) => {
                    debug!(aws = %self.context, messages = failed.len(), "messages of the queue were not deleted");
                    left = failed;
                }
                Err(error) => self.report_failure(&error),
            }
            clock::sleep(pause).await;
        }
        debug!(aws = %self.context, messages = left.len(), "messages that could not be deleted are left to come again");
    }

    fn received(&mut self) {
        self.failures = 0;
        self.metrics.queue_received(&self.context, self.clock.now());
        self.health.queue(&self.context, None);
        if self.last_error.take().is_some() {
            info!(aws = %self.context, queue = %self.url, "the queue can be read again");
        }
    }

    async fn failed(&mut self, error: &AwsError) {
        self.report_failure(error);
        let pause = PAUSES[self.failures.min(PAUSES.len() - 1)];
        self.failures += 1;
        clock::sleep(pause).await;
    }

    /// Says what is wrong once, and again when it changes.
    fn report_failure(&mut self, error: &AwsError) {
        let text = error.to_string();
        self.health.queue(&self.context, Some(&text));
        if self.last_error.as_ref() == Some(&text) {
            debug!(aws = %self.context, error = text, "the queue still cannot be read");
            return;
        }
        let remedy = error.remedy().unwrap_or_else(|| "none needed: it is tried again".to_owned());
        warn!(
            aws = %self.context, queue = %self.url, error = text, remedy,
            "the queue cannot be read; nothing is lost, CloudTrail tells of the same pushes some minutes later"
        );
        self.last_error = Some(text);
    }
}

async fn pass_the_time_of_a_short_poll(begun: Instant) {
    clock::sleep_until(begun + SHORT_POLL).await;
}
