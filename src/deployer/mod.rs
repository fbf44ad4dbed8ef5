//! The deployer task: the single owner of the ledger and of all rollouts, and the only writer of ECS.
//!
//! One loop. What comes in (pages of events, answers of AWS, time) changes the state; then the state is committed; then whatever the
//! state calls for is begun. A read that fails changes nothing but the moment of its next try; a write that fails is looked at before it is
//! tried again. Calls run side by side in jobs of their own, so that a slow service holds up no other; their answers come back to the loop.

pub mod execute;
pub mod observe;
pub mod pace;

mod apply;
mod audit;
mod begin;
mod commit;
mod decisions;
mod inquire;
mod launch;
mod lookout;
mod outcome;
mod patience;
mod recent;
mod reload;
mod report;
mod rest;
mod steer;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::aws::{AwsError, Contexts};
use crate::clock::{self, Clock, Instant};
use crate::config::Config;
use crate::domain::intake::{self, Fate};
use crate::domain::notice::Notice;
use crate::domain::opening;
use crate::domain::plan::Pushes;
use crate::domain::rollout::Counts;
use crate::domain::settings::RepositoryKey;
use crate::domain::skip::SkipReason;
use crate::domain::state::State;
use crate::domain::steering::Refused;
use crate::domain::task_definition::Registration;
use crate::domain::types::{ContextName, DeploymentId, EcsName, EventId, ServiceKey, TaskDefinitionArn};
use crate::domain::view::DeploymentView;
use crate::health::Health;
use crate::ledger::Store;
use crate::metrics::Metrics;
use crate::notify::Notices;
use crate::scheduler::Batch;

pub use begin::{Beginning, begin};
pub use rest::Rest;
pub use steer::{Answer, OrderOf, Request};
use trouble::{Kind, Trouble};

/// The loop turns at least this often, to show that it lives.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How long a stop waits for calls under way.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What the deployer works with.
#[derive(Debug)]
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// The doors to AWS.
    pub contexts: Contexts,
    /// Where the state is made durable.
    pub ledger: Arc<dyn Store>,
    /// What it held.
    pub state: State,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Where it shows that it lives.
    pub health: Arc<Health>,
    /// Who is told of what.
    pub notices: Notices,
}

/// A new configuration, and the doors that go with it.
#[derive(Debug, Clone)]
pub struct Reload {
    /// The configuration.
    pub config: Arc<Config>,
    /// The doors.
    pub contexts: Contexts,
    /// Who is told of what.
    pub notices: Notices,
}

/// What comes in.
#[derive(Debug)]
pub struct Inbox {
    /// Pages of events.
    pub batches: mpsc::Receiver<Batch>,
    /// New configurations.
    pub reloads: mpsc::Receiver<Reload>,
    /// What operators ask and order.
    pub requests: mpsc::Receiver<Request>,
    /// The end.
    pub stop: watch::Receiver<bool>,
}

/// The deployer.
#[derive(Debug)]
pub struct Deployer {
    config: Arc<Config>,
    contexts: Contexts,
    ledger: Arc<dyn Store>,
    state: State,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    pace: pace::Pace,
    /// The state has something that must be on disk before the next write to ECS.
    dirty: bool,
    /// The state has something that should be on disk some time.
    stale_since: Option<Instant>,
    commit_again: Option<Instant>,
    commit_complaint: Option<String>,
    /// When it was last looked for what there is to do.
    settled_at: Instant,
    /// The start, and the cursors that were found then.
    begun: (Instant, BTreeMap<ContextName, Timestamp>),
    /// Counts the configurations: what was asked under an older one is not judged by a newer one.
    generation: u64,
    runs: BTreeMap<ServiceKey, Run>,
    watches: BTreeMap<Place, Watch>,
    jobs: JoinSet<Done>,
    /// Deployments that operators ordered and that are not decided yet.
    orders: Vec<steer::Pending>,
    /// Answers that wait for the disk.
    replies: Vec<steer::Reply>,
    /// Pushes of which some services are undecided, and whether one of them deploys it.
    open: BTreeMap<EventId, OpenPush>,
    recent: recent::Recent,
    lookout: lookout::Lookout,
    started_at: Timestamp,
    /// The correction of the clock that the state knows of.
    correction: SignedDuration,
    notices: Notices,
    /// What is told once it is on the disk.
    untold: Vec<Arc<Notice>>,
}

/// A cluster in a context.
type Place = (ContextName, EcsName);

/// What is known of a service's work in this process only.
#[derive(Debug, Default)]
struct Run {
    /// A job is under way.
    busy: bool,
    /// What is wrong with looking.
    reads: Trouble,
    /// What is wrong with doing.
    writes: Trouble,
    /// What is wrong with watching a rollout.
    watching: Trouble,
    /// Whether the phase on disk is all that has happened, and the facts it was decided on are fresh. Not so after a restart, after an
    /// answer was lost, or after waiting.
    certain: bool,
    /// What to register.
    registration: Option<Registration>,
    /// Something is being found out before the rollout is ended.
    inquiring: Option<inquire::Inquiring>,
    /// ECS said that the rollout still bakes.
    still_bakes: bool,
    /// The tasks of the rollout, as they were seen last.
    counts: Option<Counts>,
    /// Since when the rollout is watched, and how long it was rolling before that.
    rolling: Option<(Instant, Duration)>,
}

impl Run {
    /// What is wrong, if something is.
    fn complaint(&self) -> Option<&String> {
        [&self.writes, &self.watching, &self.reads].into_iter().find_map(|trouble| trouble.complaint.as_ref())
    }
}

#[derive(Debug)]
struct Watch {
    due: Instant,
    /// Calls under way.
    busy: usize,
}

#[derive(Debug)]
struct OpenPush {
    repository: RepositoryKey,
    undecided: usize,
    deployed: bool,
}

/// What a job works for: a service, and the rollout that was decided at that time. Its answer means nothing to another rollout.
type Job = (ServiceKey, Timestamp);

/// What was asked about services with undecided pushes.
#[derive(Debug)]
struct Asked {
    /// Under which configuration.
    generation: u64,
    at: Instant,
    pushes: BTreeMap<ServiceKey, Pushes>,
    /// Those that were being rolled then, so that what runs was not asked: the rollout under way has the way back.
    rolling: BTreeSet<ServiceKey>,
}

/// The answer of a job.
#[derive(Debug)]
enum Done {
    Observed(Asked, observe::Observed),
    Looked(Job, Result<execute::Looked, AwsError>),
    Registered(Vec<Job>, Result<TaskDefinitionArn, AwsError>),
    Updated(Job, TaskDefinitionArn, Result<DeploymentView, AwsError>),
    Inquired(ServiceKey, DeploymentId, inquire::Finding),
    Placed(steer::Pending, Result<steer::Place, Refused>),
    Watched(Place, Instant, Vec<(ServiceKey, DeploymentId)>, observe::ByService<Option<observe::Seen>>),
}

impl Deployer {
    /// Takes up the work where the state says it was left.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { config, contexts, ledger, state, clock, metrics, health, notices } = parts;
        let cursors = state.contexts.iter().filter_map(|(name, context)| Some((name.clone(), context.cursor?)));
        let begun = (clock::instant(), cursors.collect());
        let (started_at, correction) = (clock.now(), clock.correction());
        let mut deployer = Self {
            config,
            contexts,
            ledger,
            state,
            clock,
            metrics,
            health,
            pace: pace::Pace::default(),
            dirty: true,
            stale_since: None,
            commit_again: None,
            commit_complaint: None,
            settled_at: clock::instant(),
            begun,
            generation: 0,
            runs: BTreeMap::new(),
            watches: BTreeMap::new(),
            jobs: JoinSet::new(),
            orders: Vec::new(),
            replies: Vec::new(),
            open: BTreeMap::new(),
            recent: recent::Recent::default(),
            lookout: lookout::Lookout::default(),
            started_at,
            correction,
            notices,
            untold: Vec::new(),
        };
        deployer.take_up();
        deployer
    }

    /// Works until it is told to stop, and then until what is under way is written down.
    pub async fn run(mut self, inbox: Inbox) {
        self.work(inbox, |_| false).await;
        self.stop().await;
    }

    /// Works until nothing is left to do.
    pub async fn run_to_rest(mut self, inbox: Inbox) -> Rest {
        let begun = self.clock.now();
        self.work(inbox, Self::is_at_rest).await;
        self.stop().await;
        self.rest(begun)
    }

    async fn work(&mut self, inbox: Inbox, is_over: impl Fn(&Self) -> bool) {
        let Inbox { mut batches, mut reloads, mut requests, mut stop } = inbox;
        let mut all_read = false;
        loop {
            self.health.deployer_lives();
            self.settle().await;
            if all_read && is_over(self) {
                return;
            }
            let wake = self.next_wake();
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                Some(reload) = reloads.recv() => self.reload(reload),
                Some(request) = requests.recv() => self.requested(request),
                Some(done) = self.jobs.join_next() => self.done(done),
                Some(round) = self.lookout.finished() => self.looked_around(round),
                batch = batches.recv(), if !all_read => match batch {
                    Some(batch) => self.take(batch),
                    None => all_read = true,
                },
                () = clock::sleep_until(wake) => {}
            }
            self.tell_waiting(false);
            // What is ready already is taken together, so that one commit serves it all.
            while let Some(done) = self.jobs.try_join_next() {
                self.done(done);
            }
        }
    }

    /// Commits, if there is something to commit, and begins what the state calls for.
    async fn settle(&mut self) {
        self.settled_at = clock::instant();
        self.launch_reads();
        if self.dirty || self.cursor_is_due() {
            if self.commit_again.is_some_and(|again| again > clock::instant()) {
                return;
            }
            self.commit().await;
        }
        if !self.dirty {
            self.launch_writes();
        }
        self.launch_watches();
    }

    fn next_wake(&self) -> Instant {
        let now = clock::instant();
        let watches = self.watches.values().filter(|watch| watch.busy == 0).map(|watch| watch.due);
        let runs = self
            .runs
            .values()
            .flat_map(|run| [run.reads.not_before, run.writes.not_before, run.watching.not_before])
            .flatten();
        // What fell due since, while the state was written, is due now.
        watches
            .chain(runs)
            .chain(self.commit_again)
            .chain(self.lookout.due())
            .filter(|at| *at > self.settled_at)
            .min()
            .unwrap_or(now + HEARTBEAT)
            .min(now + HEARTBEAT)
    }

    /// A page of events.
    fn take(&mut self, batch: Batch) {
        let correction = self.clock.correction();
        opening::clock_corrected(&mut self.state, correction - self.correction);
        self.correction = correction;
        let now = self.clock.now();
        let Batch { context, readings, scanned_to, changes, audited_to } = batch;
        self.changed(&context, changes, audited_to);
        let opening = self.state.contexts.get(&context).is_some_and(|known| known.cursor.is_none());
        for reading in &readings {
            let verdict = intake::take(&mut self.state, &self.config.repositories, &context, reading, opening);
            let Some(verdict) = verdict else { continue };
            report::seen(&self.metrics, &context, &verdict, now);
            self.note_verdict(&context, &verdict, now);
            let Some(repository) = verdict.configured else { continue };
            if let Fate::Wanted(services) = verdict.fate {
                self.dirty = true;
                let open = OpenPush { repository: repository.clone(), undecided: services.len(), deployed: false };
                self.open.insert(verdict.event.id, open);
                for key in &services {
                    self.gauge(key);
                }
            }
            // Where many newer ones wait, that may be the push itself.
            for push in &verdict.displaced {
                info!(repository = %repository.name, event = %push.event, reason = %SkipReason::Superseded, "push skipped: many newer ones wait");
                self.note_decision(&repository, push, None, Some(SkipReason::Superseded), "many newer ones wait", now);
                self.decided(push, &repository, Some(SkipReason::Superseded));
            }
        }
        if let Some(since) = scanned_to.and_then(|to| self.gap(&context, to)) {
            warn!(aws = %context, %since, "CloudTrail was not read for longer than it remembers: what ECR holds is compared with what the services run");
            begin::reconcile(&mut self.state, &self.config, now, |repository| repository.aws == context);
            self.dirty = true;
        }
        if let (Some(known), Some(scanned_to)) = (self.state.contexts.get_mut(&context), scanned_to) {
            // The first cursor ends the opening scan: it must be on disk soon, for a restart must not open again.
            self.dirty |= known.cursor.is_none();
            known.cursor = Some(scanned_to);
        }
        self.stale_since.get_or_insert_with(clock::instant);
    }

    /// Since when pushes were missed, if reading could go on only now from before what CloudTrail remembers. At a start that was seen to.
    fn gap(&self, context: &ContextName, scanned_to: Timestamp) -> Option<Timestamp> {
        let known = self.state.contexts.get(context)?;
        known.unreadable_since(scanned_to).filter(|_| known.unreadable_since(self.started_at).is_none())
    }

    /// Counts which pushes are undecided for how many services. A reconciliation is no push.
    fn count_open(&mut self) {
        let before = std::mem::take(&mut self.open);
        for known in self.state.services.values() {
            for (repository, push) in
                known.wanted.iter().flat_map(|(repository, pushes)| pushes.iter().map(move |push| (repository, push)))
            {
                if push.is_reconciliation() {
                    continue;
                }
                let deployed = before.get(&push.event).is_some_and(|open| open.deployed);
                let open = || OpenPush { repository: repository.clone(), undecided: 0, deployed };
                self.open.entry(push.event.clone()).or_insert_with(open).undecided += 1;
            }
        }
    }

    /// Sets the gauges of a service. Two contexts may have clusters and services of the same names: they are counted together.
    fn gauge(&self, key: &ServiceKey) {
        let contexts: BTreeSet<&ContextName> = self.contexts.keys().chain([&key.aws]).collect();
        let same = contexts.into_iter().map(|aws| ServiceKey { aws: aws.clone(), ..key.clone() });
        let known: Vec<_> =
            same.filter_map(|key| Some((self.state.services.get(&key)?, self.is_configured(&key)))).collect();
        let rolling = known.iter().filter(|(known, _)| known.rollout.is_some()).count();
        // What left the configuration is not told of any more, unless it is still being rolled.
        if rolling == 0 && !known.iter().any(|(_, configured)| *configured) {
            return;
        }
        let of_ours = || known.iter().filter(|(_, configured)| *configured).map(|(known, _)| known);
        self.metrics.deploying(key, rolling);
        self.metrics.holding(key, of_ours().filter(|known| known.is_held()).count());
        self.metrics.waiting(key, of_ours().flat_map(|known| known.wanted.values()).map(Vec::len).sum());
    }

    /// Waits for the calls under way, for a while, and writes down what they did.
    async fn stop(&mut self) {
        info!(calls = self.jobs.len(), "stopping: waiting for calls under way");
        let end = clock::instant() + STOP_WITHIN;
        while !self.jobs.is_empty() {
            tokio::select! {
                Some(done) = self.jobs.join_next() => self.done(done),
                () = clock::sleep_until(end) => break,
            }
        }
        let under_way = self.state.services.values().filter(|known| known.rollout.is_some()).count();
        self.commit().await;
        if self.dirty {
            warn!("stopped without a last write of the state: the next start looks at ECS instead");
        }
        info!(rollouts = under_way, "stopped; rollouts under way are written down and taken up at the next start");
    }
}
