//! `once`: one poll, and whatever follows from it, to its end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::aws::{self, AwsError, Common, ConnectError, RegionWait};
use crate::clock::{self, Clock, CorrectedClock};
use crate::config::Config;
use crate::daemon;
use crate::deployer::{Deployer, Inbox, Parts, Request, Rest};
use crate::discoverer;
use crate::health::Health;
use crate::lease;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::place::{self, Held, PlaceError};
use crate::scheduler::{self, Shared};
use crate::state_store::StateStoreError;
use crate::status::{ServiceStatus, Status, Step};

/// The progress is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the end waits for notifications to be delivered.
const LAST_NOTIFICATIONS_WITHIN: Duration = Duration::from_secs(30);
/// The time for everything beside the longest time-out of a rollout, and as much again for its rollback.
const SLACK: Duration = Duration::from_secs(5 * 60);

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// What is left to do for rollouts.
    pub rest: Rest,
    /// Contexts in which CloudTrail could not be read.
    pub unread: Vec<AwsError>,
    /// Contexts in which services could not be looked for by their tag.
    pub unlooked: Vec<AwsError>,
    /// The limit at which the work was cut off, whether CloudTrail was read to its end or not.
    pub cut_off: Option<Duration>,
}

impl Report {
    /// Whether everything was read, and every service is as it should be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.rest.is_well() && self.unread.is_empty() && self.unlooked.is_empty() && self.cut_off.is_none()
    }
}

/// Why nothing could be begun.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// The state cannot be used.
    #[error(transparent)]
    StateStore(#[from] StateStoreError),
    /// A context cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A service is listed in the configuration, and found by its tag with other values.
    #[error(transparent)]
    Contradiction(#[from] daemon::Contradiction),
    /// The metrics cannot be made.
    #[error("cannot make the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The deployer ended that never should.
    #[error("the deployer task ended unexpectedly; this is a defect")]
    Defect,
}

impl From<PlaceError> for OnceError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::StateStore(error) => Self::StateStore(error),
            PlaceError::Connect(error) => Self::Connect(error),
        }
    }
}

/// Polls every context once, deploys, and waits until nothing is left to do. `show` gets the status once a second.
///
/// # Errors
/// Nothing could be begun.
pub async fn once(config: Config, show: impl FnMut(&Status)) -> Result<Report, OnceError> {
    let corrected = Arc::new(CorrectedClock::default());
    let clock: Arc<dyn Clock> = Arc::<CorrectedClock>::clone(&corrected);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), env!("ECS_DEPLOYD_COMMIT"), clock.now())?);
    let health = Arc::new(Health::new());
    let config = Arc::new(config);
    let common = Common::new(Arc::clone(&metrics), Arc::clone(&health), corrected);
    let Held { store, found, lease: held } = place::take(&config, &common, Arc::clone(&clock)).await?;
    let mut state = daemon::begin(&config, found, clock.now());
    let mut contexts = aws::connect(&config.aws, &common, RegionWait::Short).await?;
    if let Some((_, tenure)) = &held {
        contexts = aws::fenced(contexts, tenure);
    }
    let looked = discoverer::look_once(&config, &contexts, &mut state, clock.now()).await;
    daemon::refuse_contradictions(&config, &looked.doubts)?;
    let (batches, pages) = mpsc::channel(4);
    let shared =
        Shared { clock: Arc::clone(&clock), metrics: Arc::clone(&metrics), health: Arc::clone(&health), batches };
    let schedulers = scheduler::all(&config, &contexts, &state, &shared);
    drop(shared);
    let (asks, requests) = mpsc::channel(1);
    let (_reloads, reloads) = mpsc::channel(1);
    let (_looks, looks) = mpsc::channel(1);
    let (stop, stopped) = watch::channel(false);
    if let Some((keeper, tenure)) = &held {
        tokio::spawn(lease::stop_when_lost(keeper.standing(), tenure.fence().term, stop.clone()));
    }
    let limit = limit(&config.with_discovered(&state));
    let notifier = Notifier::start(&config.notify, &contexts, &metrics);
    let parts =
        Parts { config, contexts, state_store: store, state, clock, metrics, health, notifier: notifier.clone() };
    // What a queue holds stays there for the daemon: CloudTrail tells of the same pushes.
    let (_, deliveries) = mpsc::channel(1);
    let inbox = Inbox { batches: pages, deliveries, reloads, looks, requests, stop: stopped };
    let polls = tokio::spawn(join_all(schedulers.into_iter().map(scheduler::Scheduler::poll_once)));
    let work = tokio::spawn(Deployer::new(parts).run_to_rest(inbox));
    let (rest, cut_off) = to_the_end(work, &asks, &stop, limit, show).await?;
    if let Some((keeper, _)) = held {
        keeper.give_back().await;
    }
    notifier.finish(LAST_NOTIFICATIONS_WITHIN).await;
    let unread = polls.await.map_err(|_| OnceError::Defect)?.into_iter().filter_map(Result::err).collect();
    let unlooked = looked.errors.into_iter().map(|(_, error)| error).collect();
    Ok(Report { rest, unread, unlooked, cut_off })
}

/// Waits for the work, and cuts it off at the limit.
async fn to_the_end(
    mut work: JoinHandle<Rest>,
    asks: &mpsc::Sender<Request>,
    stop: &watch::Sender<bool>,
    limit: Duration,
    mut show: impl FnMut(&Status),
) -> Result<(Rest, Option<Duration>), OnceError> {
    let begun = clock::instant();
    let mut end = begun + limit;
    let mut cut_off = None;
    loop {
        tokio::select! {
            biased;
            rest = &mut work => return Ok((rest.map_err(|_| OnceError::Defect)?, cut_off)),
            () = clock::sleep(LOOK_EVERY) => {
                if clock::instant() >= end {
                    cut_off.get_or_insert(end.duration_since(begun));
                    let _ = stop.send(true);
                } else if let Some(status) = look(asks).await {
                    if is_rolling(&status) {
                        // It has a deadline of its own, which may have to wait for ECS's bake time.
                        end = end.max(clock::instant() + SLACK);
                    }
                    show(&status);
                }
            }
        }
    }
}

fn limit(config: &Config) -> Duration {
    let longest = config.services().map(|(_, rule)| rule.deploy.timeout).max().unwrap_or_default();
    longest * 2 + SLACK
}

/// Whether ECS rolls something, and is seen to.
fn is_rolling(status: &Status) -> bool {
    let rolls = |one: &ServiceStatus| {
        one.rollout.as_ref().is_some_and(|rollout| match rollout.phase {
            Step::Intended | Step::Registered => false,
            Step::Before | Step::Rolling | Step::Monitoring | Step::Verify => true,
        })
    };
    status.services.iter().any(|one| rolls(one) && one.last_error.is_none())
}

async fn look(asks: &mpsc::Sender<Request>) -> Option<Status> {
    let (answer, answered) = oneshot::channel();
    asks.send(Request::Glance(answer)).await.ok()?;
    answered.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_the_limit_cuts_off_is_not_reported_as_done() {
        let (asks, requests) = mpsc::channel(1);
        drop(requests);
        let (stop, mut stopped) = watch::channel(false);
        let limit = Duration::from_secs(35 * 60);
        let begun = clock::instant();
        // CloudTrail has more pages than there is time for.
        let endless = tokio::spawn(async move {
            let _ = stopped.wait_for(|stop| *stop).await;
            Rest::default()
        });
        let (rest, cut_off) = to_the_end(endless, &asks, &stop, limit, |_| {}).await.unwrap();
        assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());
        let report = Report { rest, unread: Vec::new(), unlooked: Vec::new(), cut_off };
        assert_eq!((report.cut_off, report.is_well()), (Some(limit), false));
        let (rest, cut_off) =
            to_the_end(tokio::spawn(async { Rest::default() }), &asks, &stop, limit, |_| {}).await.unwrap();
        assert!(
            Report { rest, unread: Vec::new(), unlooked: Vec::new(), cut_off }.is_well(),
            "what ends by itself is not cut off"
        );
    }
}
