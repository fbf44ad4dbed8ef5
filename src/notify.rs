//! Telling others: each receiver has a task and a bounded queue of its own, so that one that is dead or slow delays nobody and nothing else.
//!
//! A notification is sent until it is taken, for an hour at most; what the receiver refuses for good is given up. What waits outlives a
//! reload. Queues are in memory: the log, the history and the metrics have everything that a crash may lose here.

mod format;
mod queue;
mod webhook;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use queue::Queue;
use webhook::HttpClient;

use crate::aws::{Contexts, Fault, Message};
use crate::clock;
use crate::config::{NotifySettings, Receiver};
use crate::domain::notification::{Format, Notification};
use crate::metrics::{DeliveryOutcome, Metrics};

/// The first pause between two attempts; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// No longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Then a notification is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60 * 60);

/// How long a daemon that stops, or is not the active replica any more, waits for notifications to be delivered. What is left then is dropped.
pub const LAST_WITHIN: Duration = Duration::from_secs(10);

/// Why a notification was not taken.
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
pub struct Notifier {
    receivers: Arc<Vec<ConfiguredReceiver>>,
    /// Those that left the configuration while something waited for them.
    leaving: Arc<Vec<Arc<Outbox>>>,
}

/// A receiver under one configuration.
#[derive(Debug)]
struct ConfiguredReceiver {
    settings: NotifySettings,
    outbox: Arc<Outbox>,
    _open: Arc<Open>,
}

/// What a receiver keeps over a reload: what waits for it, what it was told already, and the task that carries it.
#[derive(Debug)]
struct Outbox {
    name: String,
    queue: Arc<Queue>,
    client: watch::Sender<Arc<Client>>,
    metrics: Arc<Metrics>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// As long as somebody has this, something may still be put into the queue.
#[derive(Debug)]
struct Open(Arc<Queue>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl ConfiguredReceiver {
    fn new(settings: &NotifySettings, client: Client, metrics: &Arc<Metrics>) -> Self {
        let queue = Arc::new(Queue::default());
        let (client, clients) = watch::channel(Arc::new(client));
        let worker =
            Worker { name: settings.name.clone(), clients, queue: Arc::clone(&queue), metrics: Arc::clone(metrics) };
        let task = Mutex::new(Some(tokio::spawn(worker.run())));
        let open = Arc::new(Open(Arc::clone(&queue)));
        let outbox = Outbox { name: settings.name.clone(), queue, client, metrics: Arc::clone(metrics), task };
        Self { settings: settings.clone(), outbox: Arc::new(outbox), _open: open }
    }

    /// The same receiver under another configuration: what waits goes where that one says.
    fn renewed(&self, settings: &NotifySettings, client: Client) -> Self {
        self.outbox.client.send_replace(Arc::new(client));
        Self { settings: settings.clone(), outbox: Arc::clone(&self.outbox), _open: Arc::clone(&self._open) }
    }
}

impl Notifier {
    /// Starts a task for each receiver.
    #[must_use]
    pub fn start(settings: &[NotifySettings], contexts: &Contexts, metrics: &Arc<Metrics>) -> Self {
        Self::default().reload(settings, contexts, metrics)
    }

    /// The receivers of another configuration. One that keeps its name keeps what waits for it and what it was told already; to one that is
    /// gone what waits is still delivered.
    #[must_use]
    pub fn reload(&self, settings: &[NotifySettings], contexts: &Contexts, metrics: &Arc<Metrics>) -> Self {
        metrics.expect_receivers(settings.iter().map(|one| one.name.as_str()));
        let http = HttpClient::new();
        let receiver = |one: &NotifySettings| {
            let client = Client::new(one, contexts, &http);
            match self.receivers.iter().find(|known| known.settings.name == one.name) {
                Some(known) => known.renewed(one, client),
                None => ConfiguredReceiver::new(one, client, metrics),
            }
        };
        let receivers: Vec<ConfiguredReceiver> = settings.iter().map(receiver).collect();
        let has_left =
            |known: &&ConfiguredReceiver| !receivers.iter().any(|one| one.settings.name == known.settings.name);
        let gone = self.receivers.iter().filter(has_left).map(|known| &known.outbox);
        // Until the deployer goes by the new configuration it may still tell something to one that has just left.
        let still_leaving = self.leaving.iter().filter(|outbox| outbox.queue.waiting() > 0);
        let leaving: Vec<Arc<Outbox>> = still_leaving.chain(gone).cloned().collect();
        Self { receivers: Arc::new(receivers), leaving: Arc::new(leaving) }
    }

    /// Tells whoever wants to hear it. Never waits.
    pub fn tell(&self, notification: &Arc<Notification>) {
        for receiver in self.receivers.iter().filter(|receiver| receiver.settings.interest.covers(notification)) {
            if let Some(dropped) = receiver.outbox.queue.push(Arc::clone(notification)) {
                receiver.outbox.metrics.notified(&receiver.settings.name, DeliveryOutcome::Dropped);
                warn!(
                    receiver = receiver.settings.name,
                    notification = dropped.id,
                    "too many notifications wait for this receiver: the oldest of the least important ones is dropped"
                );
            }
        }
    }

    /// Waits until everything was delivered, or for so long. What is lost then is said and counted.
    pub async fn finish(self, within: Duration) {
        let outboxes: Vec<&Arc<Outbox>> =
            self.receivers.iter().map(|receiver| &receiver.outbox).chain(self.leaving.iter()).collect();
        let mut tasks = Vec::new();
        for outbox in &outboxes {
            outbox.queue.close();
            tasks.extend(outbox.task.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
        if clock::within(within, futures_util::future::join_all(tasks.iter_mut())).await.is_none() {
            for task in &tasks {
                task.abort();
            }
        }
        for outbox in outboxes {
            let lost = outbox.queue.give_up();
            for _ in 0..lost {
                outbox.metrics.notified(&outbox.name, DeliveryOutcome::Dropped);
            }
            if lost > 0 {
                warn!(
                    receiver = outbox.name,
                    notifications = lost,
                    "stopped before these notifications were delivered: they are lost"
                );
            }
        }
    }
}

/// Sends one notification to each receiver, whatever it is interested in, once. For those who want to know whether that works.
pub async fn try_all(
    settings: &[NotifySettings],
    contexts: &Contexts,
    notification: &Notification,
) -> Vec<(String, Result<(), Undelivered>)> {
    let http = HttpClient::new();
    let sends = settings.iter().map(|one| {
        let client = Client::new(one, contexts, &http);
        async move { (one.name.clone(), client.send(notification).await) }
    });
    futures_util::future::join_all(sends).await
}

/// Where the notifications of a receiver are sent.
#[derive(Debug)]
enum Client {
    Topic { topic: String, sns: Arc<dyn crate::aws::Topics> },
    Webhook { http: HttpClient, url: crate::config::WebhookUrl, format: Format },
    Missing(String),
}

impl Client {
    fn new(settings: &NotifySettings, contexts: &Contexts, http: &HttpClient) -> Self {
        match &settings.receiver {
            Receiver::Topic { arn, aws } => match contexts.get(aws) {
                Some(context) => Self::Topic { topic: arn.clone(), sns: Arc::clone(&context.topics) },
                None => Self::Missing(format!("there is no AWS context {aws}")),
            },
            Receiver::Webhook { url, format } => {
                Self::Webhook { http: http.clone(), url: url.clone(), format: *format }
            }
        }
    }

    async fn send(&self, notification: &Notification) -> Result<(), Undelivered> {
        match self {
            Self::Missing(why) => Err(Undelivered::ForGood(why.clone())),
            Self::Webhook { http, url, format } => http.post(url, format::body(*format, notification)).await,
            Self::Topic { topic, sns } => {
                let message = Message {
                    subject: format::subject(notification),
                    text: format::body(Format::Json, notification),
                    attributes: format::attributes(notification),
                    id: notification.id.clone(),
                };
                sns.publish(topic, &message).await.map_err(|error| match error.fault {
                    Fault::NotFound | Fault::Refused => Undelivered::ForGood(error.to_string()),
                    Fault::Throttled | Fault::Denied | Fault::Credentials | Fault::Unavailable => {
                        Undelivered::ForNow(match error.remedy() {
                            Some(remedy) => format!("{error}; {remedy}"),
                            None => error.to_string(),
                        })
                    }
                })
            }
        }
    }
}

/// Carries the notifications of one receiver.
struct Worker {
    name: String,
    /// Where they go: a reload may say otherwise.
    clients: watch::Receiver<Arc<Client>>,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
}

impl Worker {
    async fn run(mut self) {
        while let Some(notification) = self.queue.next().await {
            let outcome = self.deliver(&notification).await;
            self.metrics.notified(&self.name, outcome);
            self.queue.done();
        }
    }

    async fn deliver(&mut self, notification: &Notification) -> DeliveryOutcome {
        let begun = clock::instant();
        let mut pause = FIRST_PAUSE;
        let mut warned = false;
        loop {
            let client = Arc::clone(&self.clients.borrow_and_update());
            match client.send(notification).await {
                Ok(()) => {
                    match warned {
                        true => {
                            info!(
                                receiver = self.name,
                                notification = notification.id,
                                "the notification was delivered after all"
                            );
                        }
                        false => debug!(receiver = self.name, notification = notification.id, "notification delivered"),
                    }
                    return DeliveryOutcome::Sent;
                }
                Err(Undelivered::ForNow(why)) if begun.elapsed() < GIVE_UP_AFTER => {
                    if !warned {
                        warn!(
                            receiver = self.name,
                            notification = notification.id,
                            error = why,
                            "a notification cannot be delivered; it is tried again for an hour"
                        );
                        warned = true;
                    }
                }
                Err(why) => {
                    error!(receiver = self.name, notification = notification.id, error = %why, "a notification was not delivered");
                    return DeliveryOutcome::Failed;
                }
            }
            tokio::select! {
                biased;
                () = clock::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                // A reload may have mended what is wrong.
                Ok(()) = self.clients.changed() => pause = FIRST_PAUSE,
            }
        }
    }
}

#[cfg(test)]
#[path = "notify/tests.rs"]
mod tests;
