//! Keeps the lease: reads and writes its item as the machine wants it.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{debug, info, warn};

use super::{Answer, Effect, Fence, Input, Lease, Machine, Standing, Tenure};
use crate::aws::AwsError;
use crate::aws::table::{Attribute, Change, Condition, Item, Table, Written};
use crate::clock::{self, Clock, Instant};
use crate::domain::printable::{LONGEST, printable};
use crate::engine::Moment;

/// The longest that an answer about the lease is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Whether somebody renews the lease is looked at this often.
const SEE_EVERY: Duration = Duration::from_secs(1);

/// What is said of an item in the lease's place that is none.
const NO_LEASE: &str =
    "the item with the keys lease, lease was not written by ecs-deployd: delete it, or use another table";

/// How a replica stands, as the rest of the process sees it.
#[derive(Debug, Clone)]
pub enum Watch {
    /// Another one is active, or nobody.
    Standby {
        /// Who holds the lease, as far as it is known.
        holder: Option<String>,
        /// Why the lease cannot be read, if it cannot.
        last_error: Option<AwsError>,
    },
    /// This one is active.
    Active(Arc<Tenure>),
    /// It has ended, and holds nothing.
    Over,
}

/// What the keeper is told.
#[derive(Debug, Clone, Copy)]
enum Tell {
    Fenced,
    Stop,
}

/// The task that keeps the lease, from outside.
#[derive(Debug)]
pub struct Keeper {
    standing: watch::Receiver<Watch>,
    tell: mpsc::Sender<Tell>,
    task: Option<JoinHandle<()>>,
}

/// By which a store says that a transaction was held off.
#[derive(Debug, Clone)]
pub struct Doubts(mpsc::Sender<Tell>);

impl Doubts {
    /// The lease is another one.
    pub fn fenced(&self) {
        // If there is no room, it was said already.
        let _ = self.0.try_send(Tell::Fenced);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.abort();
    }
}

impl Keeper {
    /// Begins to keep the lease of a table. `me` is a name that no other process has, nor had.
    #[must_use]
    pub fn start(table: Arc<dyn Table>, me: String, length: Duration, clock: Arc<dyn Clock>) -> Self {
        let (mut keeper, task) = Self::new(table, me, length, clock);
        keeper.task = Some(tokio::spawn(task));
        keeper
    }

    /// The same, with the task for others to run.
    pub fn new(
        table: Arc<dyn Table>,
        me: String,
        length: Duration,
        clock: Arc<dyn Clock>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (standing, watched) = watch::channel(Watch::Standby { holder: None, last_error: None });
        let (tell, told) = mpsc::channel(4);
        let machine = Machine::new(me.clone(), length);
        let (begun, suspended) = (clock::instant(), clock.suspended());
        let keeping = Keeping { machine, table, me, length, clock, begun, suspended, standing, last_error: None };
        (Self { standing: watched, tell, task: None }, keeping.run(told))
    }

    /// How this replica stands, and what becomes of it.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Watch> {
        self.standing.clone()
    }

    /// Where a store tells that a transaction was held off.
    #[must_use]
    pub fn doubts(&self) -> Doubts {
        Doubts(self.tell.clone())
    }

    /// Gives the lease back, and ends when that is known, or the lease has ended.
    pub async fn give_back(mut self) {
        let _ = self.tell.send(Tell::Stop).await;
        let _ = self.standing.wait_for(|standing| matches!(standing, Watch::Over)).await;
    }

    /// Ends the task on the spot, without a word to the table.
    pub fn abort(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Resolves when the lease of a term is lost.
pub async fn lost(standing: &mut watch::Receiver<Watch>, term: u64) {
    let is_another = |now: &Watch| !matches!(now, Watch::Active(held) if held.fence().term == term);
    // The task that keeps the lease ends with the process.
    let _ = standing.wait_for(is_another).await;
}

/// Has a work stopped when the lease of its term is lost.
pub async fn stop_when_lost(mut standing: watch::Receiver<Watch>, term: u64, stop: watch::Sender<bool>) {
    lost(&mut standing, term).await;
    let _ = stop.send(true);
}

struct Keeping {
    machine: Machine,
    table: Arc<dyn Table>,
    me: String,
    length: Duration,
    clock: Arc<dyn Clock>,
    begun: Instant,
    /// For how long the machine had been suspended then.
    suspended: Duration,
    standing: watch::Sender<Watch>,
    last_error: Option<AwsError>,
}

impl Keeping {
    async fn run(mut self, mut told: mpsc::Receiver<Tell>) {
        let mut calls: JoinSet<(Input, Option<AwsError>)> = JoinSet::new();
        let mut input = Input::Time;
        loop {
            let now = Moment::after_start(self.begun.elapsed() + self.was_suspended());
            for effect in self.machine.handle(input, now) {
                match effect {
                    Effect::Read => drop(calls.spawn(read(Arc::clone(&self.table), self.call_timeout()))),
                    Effect::Write { over, lease } => {
                        let change = self.change(over, &lease);
                        calls.spawn(write(Arc::clone(&self.table), change, self.call_timeout()));
                    }
                    Effect::Stand(Standing::Over) => {
                        self.standing.send_replace(Watch::Over);
                        return;
                    }
                    Effect::Stand(standing) => self.stand(standing),
                }
            }
            let wake = self.machine.next_wake().map(|at| self.instant(at));
            let wake = wake.unwrap_or_else(|| clock::instant() + self.length);
            input = tokio::select! {
                // A process that was stopped meanwhile first sees how late it is.
                biased;
                () = clock::sleep_until(wake) => Input::Time,
                Some(Ok((input, last_error))) = calls.join_next() => {
                    self.note(last_error, matches!(input, Input::Read(Some(_))));
                    input
                }
                Some(tell) = told.recv() => match tell {
                    Tell::Fenced => Input::Fenced,
                    Tell::Stop => Input::Stop,
                },
            };
        }
    }

    /// For how long the machine was suspended since the start. The lease goes on meanwhile.
    fn was_suspended(&self) -> Duration {
        self.clock.suspended().saturating_sub(self.suspended)
    }

    /// A moment of the machine on the monotonic clock, which stands still while the computer is suspended.
    fn instant(&self, at: Moment) -> Instant {
        self.begun + at.since_start().saturating_sub(self.was_suspended())
    }

    /// An answer that takes longer than a third of the lease is of no use.
    fn call_timeout(&self) -> Duration {
        (self.length / 3).min(ANSWER_WITHIN)
    }

    fn change(&self, over: Option<(u64, u64)>, lease: &Lease) -> Change {
        let number = |number: u64| Attribute::Number(number);
        let length = u64::try_from(lease.length.as_millis()).unwrap_or(u64::MAX);
        let mut attributes =
            vec![("term", number(lease.term)), ("renewal", number(lease.renewal)), ("lease_ms", number(length))];
        if let Some(holder) = &lease.holder {
            attributes.push(("holder", Attribute::Text(holder.clone())));
            // For people who look at the item. Nothing compares it with another clock.
            let length = SignedDuration::try_from(lease.length).unwrap_or(SignedDuration::MAX);
            if let Ok(ends) = self.clock.now().checked_add(length) {
                attributes.push(("ends", Attribute::Text(ends.to_string())));
            }
        }
        let condition = over.map_or(Condition::Absent, |(term, renewal)| {
            Condition::Holds([("term", number(term)), ("renewal", number(renewal))].into())
        });
        Change::Put(Item::new(Fence::key(), attributes), Some(condition))
    }

    fn stand(&mut self, standing: Standing) {
        match standing {
            Standing::Standby { holder } => {
                if let Watch::Active(tenure) = &*self.standing.borrow() {
                    tenure.lasts_until(clock::instant());
                    warn!(
                        term = tenure.fence().term,
                        holder = holder.as_deref().unwrap_or("not known"),
                        "the lease was lost: this replica stands by"
                    );
                }
                let last_error = self.last_error.clone();
                self.standing.send_replace(Watch::Standby { holder, last_error });
            }
            Standing::Active { term, until } => {
                let until = self.instant(until);
                let known = match &*self.standing.borrow() {
                    Watch::Active(tenure) if tenure.fence().term == term => Some(Arc::clone(tenure)),
                    Watch::Active(_) | Watch::Standby { .. } | Watch::Over => None,
                };
                if let Some(tenure) = known {
                    tenure.lasts_until(until);
                    return;
                }
                info!(term, holder = self.me, "the lease was taken: this replica is active");
                let fence = Fence { holder: self.me.clone(), term };
                let tenure = Tenure::new(fence, self.length, until, Arc::clone(&self.clock));
                self.standing.send_replace(Watch::Active(Arc::new(tenure)));
            }
            Standing::Over => {}
        }
    }

    /// Says once what is wrong with the table, and once that it is not any more.
    fn note(&mut self, last_error: Option<AwsError>, answered: bool) {
        match (&self.last_error, last_error) {
            (before, Some(error)) if before.as_ref().is_none_or(|before| before.fault != error.fault) => {
                warn!(
                    table = self.table.name(), %error, remedy = error.remedy(),
                    "the lease cannot be read or written"
                );
                self.last_error = Some(error);
            }
            (Some(_), None) if answered => {
                info!(table = self.table.name(), "the lease can be read again");
                self.last_error = None;
            }
            _ => return,
        }
        let last_error = self.last_error.clone();
        self.standing.send_if_modified(|standing| match standing {
            Watch::Standby { last_error: told, .. } => {
                *told = last_error;
                true
            }
            Watch::Active(_) | Watch::Over => false,
        });
    }
}

async fn read(table: Arc<dyn Table>, timeout: Duration) -> (Input, Option<AwsError>) {
    match clock::within(timeout, table.get(&Fence::key())).await {
        Some(Ok(None)) => (Input::Read(Some(None)), None),
        Some(Ok(Some(item))) => match lease(&item) {
            Some(lease) => (Input::Read(Some(Some(lease))), None),
            None => (Input::Read(None), Some(AwsError::unusable("dynamodb", "GetItem", NO_LEASE))),
        },
        Some(Err(error)) => (Input::Read(None), Some(error)),
        None => (Input::Read(None), Some(AwsError::timed_out("dynamodb", "GetItem"))),
    }
}

async fn write(table: Arc<dyn Table>, change: Change, timeout: Duration) -> (Input, Option<AwsError>) {
    let (answer, error) = match clock::within(timeout, table.write(&change)).await {
        Some(Ok(Written::Done)) => (Answer::Done, None),
        Some(Ok(Written::Unmet(_))) => (Answer::Unmet, None),
        Some(Ok(Written::Busy(why))) => {
            debug!(why, "a write of the lease met another one");
            (Answer::Unknown, None)
        }
        Some(Err(error)) => (Answer::Unknown, Some(error)),
        None => (Answer::Unknown, Some(AwsError::timed_out("dynamodb", "PutItem"))),
    };
    (Input::Written(answer), error)
}

/// The lease that an item says; none, if this program did not write it.
fn lease(item: &Item) -> Option<Lease> {
    Some(Lease {
        holder: item.text("holder").map(str::to_owned),
        term: item.number("term")?,
        renewal: item.number("renewal")?,
        length: Duration::from_millis(item.number("lease_ms")?),
    })
}

/// Who holds the lease of a table now, as its item says.
///
/// # Errors
/// The table cannot be read.
pub async fn holder_now(table: &dyn Table) -> Result<Option<String>, AwsError> {
    Ok(table.get(&Fence::key()).await?.as_ref().and_then(lease).and_then(|lease| lease.holder))
}

/// Resolves with the holder of the lease of a table once it has been seen to renew it.
pub async fn seen_alive(table: &dyn Table) -> String {
    let mut before: Option<Lease> = None;
    loop {
        // What cannot be read now may be readable the next time.
        if let Some(found) = table.get(&Fence::key()).await.ok().flatten().as_ref().and_then(lease) {
            let is_same = |known: &Lease| (known.term, &known.holder) == (found.term, &found.holder);
            let renewed = before.as_ref().is_some_and(|known| is_same(known) && found.renewal > known.renewal);
            if let (true, Some(holder)) = (renewed, &found.holder) {
                return holder.clone();
            }
            before = Some(found);
        }
        clock::sleep(SEE_EVERY).await;
    }
}

/// The number of the term that the lease of a table is in now.
///
/// # Errors
/// The table cannot be read.
pub(crate) async fn term_now(table: &dyn Table) -> Result<Option<u64>, AwsError> {
    Ok(table.get(&Fence::key()).await?.as_ref().and_then(lease).map(|lease| lease.term))
}

/// A name that no other process has, nor had: the machine's, the process id, and a number for the moment of its start.
#[must_use]
pub fn this_process(clock: &dyn Clock) -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = printable(machine.trim(), LONGEST);
    format!("{machine}/{}/{:x}", std::process::id(), clock.now().as_nanosecond())
}
