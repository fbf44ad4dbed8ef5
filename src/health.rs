//! Whether the tasks work: what `/healthz`, `/readyz` and the watchdog go by.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{self, Instant};
use crate::domain::types::ContextName;

/// A task that shows no sign of life for this long, beyond what it sleeps, hangs.
const HANGS_AFTER: Duration = Duration::from_secs(120);
/// A context is ready when it was polled within this many intervals.
const INTERVALS: u32 = 3;

/// The signs of life of all tasks.
#[derive(Debug)]
pub struct Health {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    interval: Duration,
    deployer: Instant,
    contexts: BTreeMap<ContextName, Polls>,
    /// Contexts in which changes to ECS cannot be read, and why.
    unaudited: BTreeMap<ContextName, String>,
    /// The queues that are read: when each last answered, and why it does not.
    queues: BTreeMap<ContextName, Queue>,
    /// What contexts wait for, and since when.
    awaited: BTreeMap<ContextName, (String, Instant)>,
}

#[derive(Debug, Clone)]
struct Polls {
    alive: Instant,
    succeeded: Option<Instant>,
    last_error: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Queue {
    received: Option<Instant>,
    last_error: Option<String>,
}

impl Health {
    /// Nothing was polled yet.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            interval: Duration::ZERO,
            deployer: clock::instant(),
            contexts: BTreeMap::new(),
            unaudited: BTreeMap::new(),
            queues: BTreeMap::new(),
            awaited: BTreeMap::new(),
        };
        Self { inner: Mutex::new(inner) }
    }

    /// Says which contexts are polled, and how often.
    pub fn expect(&self, contexts: &[&ContextName], interval: Duration) {
        let now = clock::instant();
        self.change(|inner| {
            inner.interval = interval;
            inner.contexts.retain(|name, _| contexts.contains(&name));
            inner.unaudited.clear();
            for name in contexts {
                inner.contexts.entry((*name).clone()).or_insert(Polls {
                    alive: now,
                    succeeded: None,
                    last_error: None,
                });
            }
        });
    }

    /// The deployer goes through its loop.
    pub fn deployer_lives(&self) {
        self.change(|inner| inner.deployer = clock::instant());
    }

    /// A scheduler goes through its loop.
    pub fn scheduler_lives(&self, context: &ContextName) {
        self.change(|inner| {
            if let Some(polls) = inner.contexts.get_mut(context) {
                polls.alive = clock::instant();
            }
        });
    }

    /// A context was polled successfully.
    pub fn polled(&self, context: &ContextName) {
        self.change(|inner| {
            if let Some(polls) = inner.contexts.get_mut(context) {
                polls.succeeded = Some(clock::instant());
                polls.last_error = None;
            }
        });
    }

    /// A context could not be polled.
    pub fn not_polled(&self, context: &ContextName, why: &str) {
        self.change(|inner| {
            if let Some(polls) = inner.contexts.get_mut(context) {
                polls.last_error = Some(why.to_owned());
            }
        });
    }

    /// A context waits for something that its calls need, such as credentials, or does not any more.
    pub fn awaits(&self, context: &ContextName, what: Option<&str>) {
        let now = clock::instant();
        self.change(|inner| match what {
            None => drop(inner.awaited.remove(context)),
            Some(what) => {
                let (text, _) = inner.awaited.entry(context.clone()).or_insert_with(|| (String::new(), now));
                what.clone_into(text);
            }
        });
    }

    /// Changes to ECS can be read in a context, or cannot.
    pub fn audited(&self, context: &ContextName, last_error: Option<&str>) {
        self.change(|inner| match last_error {
            Some(why) => drop(inner.unaudited.insert(context.clone(), why.to_owned())),
            None => drop(inner.unaudited.remove(context)),
        });
    }

    /// Says in which contexts a queue is read.
    pub fn expect_queues(&self, contexts: &[&ContextName]) {
        self.change(|inner| inner.queues = contexts.iter().map(|name| ((*name).clone(), Queue::default())).collect());
    }

    /// The queue of a context has answered, or cannot be read.
    pub fn queue(&self, context: &ContextName, last_error: Option<&str>) {
        let now = clock::instant();
        self.change(|inner| {
            let Some(queue) = inner.queues.get_mut(context) else { return };
            queue.last_error = last_error.map(str::to_owned);
            if last_error.is_none() {
                queue.received = Some(now);
            }
        });
    }

    /// How long ago the queue of a context answered, and why it does not.
    pub fn of_queue(&self, context: &str) -> Option<(Option<Duration>, Option<String>)> {
        let now = clock::instant();
        self.change(|inner| {
            let (_, queue) = inner.queues.iter().find(|(name, _)| name.as_str() == context)?;
            Some((queue.received.map(|at| now - at), queue.last_error.clone()))
        })
    }

    /// What is wrong although everything that has to work does: one line for each queue that cannot be read.
    pub fn remarks(&self) -> Vec<String> {
        self.change(|inner| {
            let lines = inner.queues.iter().filter_map(|(name, queue)| {
                let why = queue.last_error.as_ref()?;
                Some(format!(
                    "aws context {name}: the queue cannot be read, pushes are seen by CloudTrail alone: {why}"
                ))
            });
            lines.collect()
        })
    }

    /// In which contexts changes to ECS cannot be read, and why.
    pub fn unaudited(&self) -> Vec<(ContextName, String)> {
        self.change(|inner| inner.unaudited.iter().map(|(name, why)| (name.clone(), why.clone())).collect())
    }

    /// How long ago a context was polled successfully, and what it waits for, or what was wrong with it since.
    pub fn of_context(&self, context: &str) -> Option<(Option<Duration>, Option<String>)> {
        let now = clock::instant();
        self.change(|inner| {
            let (_, polls) = inner.contexts.iter().find(|(name, _)| name.as_str() == context)?;
            let awaited = inner.awaited.iter().find(|(name, _)| name.as_str() == context);
            let awaited = awaited.map(|(_, (what, _))| format!("waiting for {what}"));
            Some((polls.succeeded.map(|at| now - at), awaited.or_else(|| polls.last_error.clone())))
        })
    }

    /// Every context was polled successfully within three intervals. Otherwise: one line for each that was not, with what it waits for, or what
    /// the last poll met with. Before the first poll a context that waits for anything is not ready either.
    ///
    /// # Errors
    /// What is not ready.
    pub fn ready(&self) -> Result<(), Vec<String>> {
        let now = clock::instant();
        let late = self.change(|inner| {
            let limit = inner.interval * INTERVALS;
            let awaited = |name: &ContextName| {
                let (what, since) = inner.awaited.get(name)?;
                Some(format!("waiting for {what}, for {} seconds", (now - *since).as_secs()))
            };
            let line = |(name, polls): (&ContextName, &Polls)| {
                let late = match polls.succeeded {
                    None => "not polled successfully yet".to_owned(),
                    Some(at) if now - at > limit => {
                        format!("last polled successfully {} seconds ago", (now - at).as_secs())
                    }
                    Some(_) => return None,
                };
                let why = awaited(name)
                    .or_else(|| polls.last_error.clone())
                    .map_or_else(String::new, |why| format!(": {why}"));
                Some(format!("aws context {name}: {late}{why}"))
            };
            let starting = inner.awaited.keys().filter(|_| inner.contexts.is_empty());
            let starting = starting.filter_map(|name| Some(format!("aws context {name}: {}", awaited(name)?)));
            inner.contexts.iter().filter_map(line).chain(starting).collect::<Vec<_>>()
        });
        if late.is_empty() { Ok(()) } else { Err(late) }
    }

    /// Every task goes through its loop. Otherwise: which one hangs.
    ///
    /// # Errors
    /// The task that hangs.
    pub fn alive(&self) -> Result<(), String> {
        let now = clock::instant();
        self.change(|inner| {
            if now - inner.deployer > HANGS_AFTER {
                return Err("the deployer task hangs".to_owned());
            }
            let limit = inner.interval + HANGS_AFTER;
            match inner.contexts.iter().find(|(_, polls)| now - polls.alive > limit) {
                Some((name, _)) => Err(format!("the scheduler task of aws context {name} hangs")),
                None => Ok(()),
            }
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_context_is_ready_for_three_intervals_after_a_poll() {
        let health = Health::new();
        let name = ContextName::parse("default").unwrap();
        assert_eq!(health.ready(), Ok(()));
        health.expect(&[&name], Duration::from_secs(10));
        assert!(health.ready().is_err());
        health.polled(&name);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(health.ready(), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(health.ready().unwrap_err(), ["aws context default: last polled successfully 31 seconds ago"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_awaited_is_said_with_what_is_not_ready() {
        let health = Health::new();
        let name = ContextName::parse("default").unwrap();
        health.awaits(&name, Some("the Region"));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(health.ready().unwrap_err(), ["aws context default: waiting for the Region, for 7 seconds"]);
        health.awaits(&name, None);
        health.expect(&[&name], Duration::from_secs(10));
        health.awaits(&name, Some("credentials from here"));
        tokio::time::advance(Duration::from_secs(5)).await;
        health.awaits(&name, Some("credentials from there"));
        tokio::time::advance(Duration::from_secs(1)).await;
        let text =
            "aws context default: not polled successfully yet: waiting for credentials from there, for 6 seconds";
        assert_eq!(health.ready().unwrap_err(), [text]);
        let waiting = Some("waiting for credentials from there".to_owned());
        assert_eq!(health.of_context("default"), Some((None, waiting)));
        health.awaits(&name, None);
        health.not_polled(&name, "denied");
        assert_eq!(health.ready().unwrap_err(), ["aws context default: not polled successfully yet: denied"]);
        health.polled(&name);
        health.awaits(&name, Some("credentials from there"));
        assert_eq!(health.ready(), Ok(()), "while the last poll is recent enough");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_without_a_sign_of_life_hangs() {
        let health = Health::new();
        let name = ContextName::parse("default").unwrap();
        health.expect(&[&name], Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(100)).await;
        health.deployer_lives();
        assert_eq!(health.alive(), Ok(()));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(health.alive().unwrap_err(), "the scheduler task of aws context default hangs");
        health.scheduler_lives(&name);
        assert_eq!(health.alive(), Ok(()));
        tokio::time::advance(Duration::from_secs(125)).await;
        assert_eq!(health.alive().unwrap_err(), "the deployer task hangs");
    }
}
