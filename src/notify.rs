//! Telling others: each receiver has a task and a bounded queue of its own, so that one that is dead or slow delays nobody and nothing else.
//!
//! A notice is sent until it is taken, for an hour at most; what the receiver refuses for good is given up at once. Queues are in memory:
//! the log, the history and the metrics have everything that a crash may lose here.

mod format;
mod queue;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use queue::Queue;
use webhook::Client;

use crate::aws::{Contexts, Fault, Message};
use crate::clock;
use crate::config::{NotifySettings, Receiver};
use crate::domain::notice::{Format, Notice};
use crate::metrics::{DeliveryOutcome, Metrics};

/// From one attempt to the next, at first; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// No longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Then a notice is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60 * 60);

/// Why a notice was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Undelivered {
    /// It may be taken later.
    #[error("{0}")]
    ForNow(String),
    /// It will never be.
    #[error("{0}")]
    ForGood(String),
}

/// The receivers. Cheap to clone; when the last clone is dropped, the queues are emptied and their tasks end.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    receivers: Arc<Vec<Mailbox>>,
}

#[derive(Debug)]
struct Mailbox {
    settings: NotifySettings,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Notices {
    /// Starts a task for each receiver.
    #[must_use]
    pub fn start(settings: &[NotifySettings], contexts: &Contexts, metrics: &Arc<Metrics>) -> Self {
        metrics.expect_receivers(settings.iter().map(|one| one.name.as_str()));
        let client = Client::new();
        let mailbox = |one: &NotifySettings| {
            let queue = Arc::new(Queue::default());
            let post = Post {
                name: one.name.clone(),
                door: Door::new(one, contexts, &client),
                queue: Arc::clone(&queue),
                metrics: Arc::clone(metrics),
            };
            let task = std::sync::Mutex::new(Some(tokio::spawn(post.run())));
            Mailbox { settings: one.clone(), queue, metrics: Arc::clone(metrics), task }
        };
        Self { receivers: Arc::new(settings.iter().map(mailbox).collect()) }
    }

    /// Tells whoever wants to hear it. Never waits.
    pub fn tell(&self, notice: &Arc<Notice>) {
        for receiver in self.receivers.iter().filter(|receiver| receiver.settings.interest.covers(notice)) {
            if let Some(dropped) = receiver.queue.push(Arc::clone(notice)) {
                receiver.metrics.notified(&receiver.settings.name, DeliveryOutcome::Dropped);
                warn!(
                    receiver = receiver.settings.name,
                    notice = dropped.id,
                    "too many notices wait for this receiver: the oldest is dropped"
                );
            }
        }
    }

    /// Waits until everything was delivered, or for so long.
    pub async fn finish(self, within: Duration) {
        let mut tasks = Vec::new();
        for receiver in self.receivers.iter() {
            receiver.queue.close();
            let task = receiver.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            tasks.extend(task);
        }
        let all = futures_util::future::join_all(tasks);
        if clock::within(within, all).await.is_none() {
            for receiver in self.receivers.iter().filter(|receiver| receiver.queue.waiting() > 0) {
                warn!(
                    receiver = receiver.settings.name,
                    notices = receiver.queue.waiting(),
                    "stopped before these notices were delivered"
                );
            }
        }
    }
}

/// Sends one notice to each receiver, whatever it is interested in, once. For those who want to know whether that works.
pub async fn try_all(
    settings: &[NotifySettings],
    contexts: &Contexts,
    notice: &Notice,
) -> Vec<(String, Result<(), Undelivered>)> {
    let client = Client::new();
    let sends = settings.iter().map(|one| {
        let door = Door::new(one, contexts, &client);
        async move { (one.name.clone(), door.send(notice).await) }
    });
    futures_util::future::join_all(sends).await
}

/// Where notices go.
#[derive(Debug)]
enum Door {
    Topic { topic: String, sns: Arc<dyn crate::aws::Topics> },
    Webhook { client: Client, url: crate::config::WebhookUrl, format: Format },
    Missing(String),
}

impl Door {
    fn new(settings: &NotifySettings, contexts: &Contexts, client: &Client) -> Self {
        match &settings.receiver {
            Receiver::Topic { arn, aws } => match contexts.get(aws) {
                Some(context) => Self::Topic { topic: arn.clone(), sns: Arc::clone(&context.topics) },
                None => Self::Missing(format!("there is no AWS context {aws}")),
            },
            Receiver::Webhook { url, format } => {
                Self::Webhook { client: client.clone(), url: url.clone(), format: *format }
            }
        }
    }

    async fn send(&self, notice: &Notice) -> Result<(), Undelivered> {
        match self {
            Self::Missing(why) => Err(Undelivered::ForGood(why.clone())),
            Self::Webhook { client, url, format } => client.post(url, format::body(*format, notice)).await,
            Self::Topic { topic, sns } => {
                let message = Message {
                    subject: format::subject(notice),
                    text: format::body(Format::Json, notice),
                    attributes: format::attributes(notice),
                    id: notice.id.clone(),
                };
                sns.publish(topic, &message).await.map_err(|error| match error.fault {
                    Fault::NotFound | Fault::Refused => Undelivered::ForGood(error.to_string()),
                    _ => Undelivered::ForNow(match error.remedy() {
                        Some(remedy) => format!("{error}; {remedy}"),
                        None => error.to_string(),
                    }),
                })
            }
        }
    }
}

/// Carries the notices of one receiver.
struct Post {
    name: String,
    door: Door,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
}

impl Post {
    async fn run(self) {
        while let Some(notice) = self.queue.next().await {
            let outcome = self.deliver(&notice).await;
            self.metrics.notified(&self.name, outcome);
            self.queue.done();
        }
    }

    async fn deliver(&self, notice: &Notice) -> DeliveryOutcome {
        let begun = clock::instant();
        let mut pause = FIRST_PAUSE;
        let mut complained = false;
        loop {
            match self.door.send(notice).await {
                Ok(()) => {
                    match complained {
                        true => info!(receiver = self.name, notice = notice.id, "the notice was delivered after all"),
                        false => debug!(receiver = self.name, notice = notice.id, "notice delivered"),
                    }
                    return DeliveryOutcome::Sent;
                }
                Err(Undelivered::ForNow(why)) if begun.elapsed() < GIVE_UP_AFTER => {
                    if !complained {
                        warn!(
                            receiver = self.name,
                            notice = notice.id,
                            error = why,
                            "a notice cannot be delivered; it is tried again for an hour"
                        );
                        complained = true;
                    }
                }
                Err(why) => {
                    error!(receiver = self.name, notice = notice.id, error = %why, "a notice was not delivered");
                    return DeliveryOutcome::Failed;
                }
            }
            clock::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
#[path = "notify/tests.rs"]
mod tests;
