//! The tasks that poll and deploy: all that a daemon does while it is the active one.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Process;
use crate::aws::Contexts;
use crate::config::Config;
use crate::deployer::{Deployer, Inbox, Parts, Reload, Request};
use crate::discoverer;
use crate::domain::discovery::Look;
use crate::domain::state::State;
use crate::domain::types::ContextName;
use crate::notify::Notifier;
use crate::queue;
use crate::scheduler::{self, Shared};
use crate::state_store::Store;

/// Pages of events that may wait for the deployer.
const WAITING_PAGES: usize = 4;
/// Looks at the tags of services that may wait for it.
const WAITING_LOOKS: usize = 4;
/// Requests that may wait for it beside those that wait for the process.
const WAITING_REQUESTS: usize = 4;

/// The tasks that do the work of an active replica.
#[derive(Debug)]
pub(super) struct Work {
    shared: Shared,
    looks: mpsc::Sender<Look>,
    queues: queue::Shared,
    sources: Vec<(ContextName, JoinHandle<()>)>,
    pub(super) deployer: JoinHandle<()>,
    pub(super) reloads: mpsc::Sender<Reload>,
    pub(super) asks: mpsc::Sender<Request>,
    pub(super) notifier: Notifier,
    stop: watch::Sender<bool>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.end_sources();
        self.deployer.abort();
    }
}

impl Work {
    /// Takes up the work where the state says it was left.
    pub(super) fn begin(process: &Process, contexts: Contexts, state_store: Arc<dyn Store>, state: State) -> Self {
        let Process { config, clock, metrics, health, .. } = process;
        let (batches, pages) = mpsc::channel(WAITING_PAGES);
        let (reloads, reloaded) = mpsc::channel(1);
        let (asks, requests) = mpsc::channel(WAITING_REQUESTS);
        let (looks, looked) = mpsc::channel(WAITING_LOOKS);
        let (sender, deliveries) = mpsc::channel(queue::WAITING_DELIVERIES);
        let queues = queue::Shared {
            clock: Arc::clone(clock),
            metrics: Arc::clone(metrics),
            health: Arc::clone(health),
            deliveries: sender,
        };
        let (stop, stopped) = watch::channel(false);
        let shared =
            Shared { clock: Arc::clone(clock), metrics: Arc::clone(metrics), health: Arc::clone(health), batches };
        let notifier = Notifier::start(&config.notify, &contexts, metrics);
        let mut sources = Vec::new();
        start(&mut sources, &shared, &looks, &queues, config, &contexts, &state);
        let parts = Parts {
            config: Arc::clone(config),
            contexts,
            state_store,
            state,
            clock: Arc::clone(clock),
            metrics: Arc::clone(metrics),
            health: Arc::clone(health),
            notifier: notifier.clone(),
        };
        let inbox = Inbox { batches: pages, deliveries, reloads: reloaded, looks: looked, requests, stop: stopped };
        let deployer = tokio::spawn(Deployer::new(parts).run(inbox));
        Self { shared, looks, queues, sources, deployer, reloads, asks, notifier, stop }
    }

    /// Starts the sources of pushes anew.
    pub(super) fn restart_sources(&mut self, config: &Config, contexts: &Contexts, state: &State) {
        self.end_sources();
        start(&mut self.sources, &self.shared, &self.looks, &self.queues, config, contexts, state);
    }

    /// Ends the sources. They hold nothing that must be kept.
    pub(super) fn end_sources(&mut self) {
        for (_, task) in self.sources.drain(..) {
            task.abort();
        }
    }

    /// Whether a source has ended, which none ever should.
    pub(super) fn has_ended(&self) -> bool {
        self.sources.iter().any(|(_, task)| task.is_finished())
    }

    /// Asks the deployer to write down what is under way, and to end.
    pub(super) fn ask_to_stop(&mut self) {
        self.end_sources();
        let _ = self.stop.send(true);
    }
}

fn start(
    sources: &mut Vec<(ContextName, JoinHandle<()>)>,
    shared: &Shared,
    looks: &mpsc::Sender<Look>,
    queues: &queue::Shared,
    config: &Config,
    contexts: &Contexts,
    state: &State,
) {
    shared.health.expect(&config.polled_contexts(), config.poll.interval);
    shared.health.expect_queues(&config.contexts_with_queues());
    for scheduler in scheduler::all(config, contexts, state, shared) {
        sources.push((scheduler.context.clone(), tokio::spawn(scheduler.run())));
    }
    for auditor in scheduler::auditors(config, contexts, state, shared) {
        sources.push((auditor.context().clone(), tokio::spawn(auditor.run())));
    }
    for reader in queue::readers(config, contexts, queues) {
        sources.push((reader.context().clone(), tokio::spawn(reader.run())));
    }
    for discoverer in discoverer::all(config, contexts) {
        sources.push((discoverer.context().clone(), tokio::spawn(discoverer.run(looks.clone()))));
    }
}
