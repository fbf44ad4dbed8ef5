//! What follows from each answer about the lease, and from the passing of time. No clock and no table: `now` is an argument.

use std::time::Duration;

use crate::engine::Moment;

/// Somebody else's lease is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The lease, as it stands in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it. Nobody, after it was given back.
    pub holder: Option<String>,
    /// It grows whenever the lease is taken.
    pub term: u64,
    /// It grows within a term with each renewal.
    pub renewal: u64,
    /// After so long without a change it has ended.
    pub length: Duration,
}

/// What the machine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed, and nothing else happened.
    Time,
    /// The lease was read; nothing, if it could not be.
    Read(Option<Option<Lease>>),
    /// What came of a write.
    Written(Answer),
    /// A transaction was not made, as the lease is another one.
    Fenced,
    /// The replica is asked to end.
    Stop,
}

/// What came of a write of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The write has been made.
    Done,
    /// It is not: the lease is not as it was taken for.
    Unmet,
    /// Nobody knows whether it is.
    Unknown,
}

/// What is to be done. At most one read or write is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The lease is to be read.
    Read,
    /// Write it, if term and renewal are still these; or if there is none yet.
    Write {
        /// Term and renewal of the lease that it takes the place of.
        over: Option<(u64, u64)>,
        /// The lease as it is to be.
        lease: Lease,
    },
    /// How this replica stands has changed.
    Stand(Standing),
}

/// How a replica stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Another one is active, or nobody.
    Standby {
        /// Who holds the lease, as far as it is known.
        holder: Option<String>,
    },
    /// This one is active.
    Active {
        /// The term of the lease.
        term: u64,
        /// The end of its lease, unless that is renewed.
        until: Moment,
    },
    /// It has ended, and holds nothing.
    Over,
}

/// A call under way.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Read,
    /// A write, when it was begun, and what it is for.
    Write(Moment, Purpose),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Take { term: u64 },
    Renew,
    GiveBack,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Somebody else may hold it.
    Watching {
        /// What was read last, and since when it has been so.
        seen: Option<(Option<Lease>, Moment)>,
        look_at: Moment,
        /// Nothing was tried in vain since the last look.
        may_take: bool,
    },
    /// This replica holds it.
    Holding {
        term: u64,
        renewal: u64,
        until: Moment,
        renew_at: Moment,
        /// When the next renewal was first tried, if its answer was lost.
        tried: Option<Moment>,
        /// The lease is read before anything else is tried.
        unsure: bool,
    },
    Over,
}

impl Phase {
    /// Nothing is known of the lease.
    fn watching(now: Moment) -> Self {
        Self::Watching { seen: None, look_at: now, may_take: false }
    }
}

/// The lease from the view of one replica.
#[derive(Debug)]
pub struct Machine {
    me: String,
    length: Duration,
    phase: Phase,
    call: Option<Call>,
    stopping: bool,
    told: Option<Standing>,
}

impl Machine {
    /// A replica that knows nothing yet. `me` is a name that no other process has, nor had.
    #[must_use]
    pub fn new(me: String, length: Duration) -> Self {
        let phase = Phase::watching(Moment::default());
        Self { me, length, phase, call: None, stopping: false, told: None }
    }

    /// What follows from an input.
    pub fn handle(&mut self, input: Input, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Time => {}
            Input::Stop => self.stopping = true,
            Input::Fenced => self.doubt_now(now),
            Input::Read(answer) => {
                self.call = None;
                self.read(answer, now);
            }
            Input::Written(answer) => {
                if let Some(Call::Write(begun, purpose)) = self.call.take() {
                    self.written(begun, purpose, answer, now);
                }
            }
        }
        self.expire(now);
        if self.call.is_none() {
            self.act(now, &mut effects);
        }
        let standing = self.standing();
        if self.told.as_ref() != Some(&standing) {
            self.told = Some(standing.clone());
            effects.insert(0, Effect::Stand(standing));
        }
        effects
    }

    /// When time alone makes a difference.
    #[must_use]
    pub fn next_wake(&self) -> Option<Moment> {
        let busy = self.call.is_some();
        match &self.phase {
            Phase::Watching { .. } if busy => None,
            Phase::Watching { look_at, may_take, .. } => {
                Some(self.expiry().filter(|_| *may_take).map_or(*look_at, |at| at.min(*look_at)))
            }
            Phase::Holding { until, .. } if busy => Some(*until),
            Phase::Holding { until, renew_at, .. } => Some((*until).min(*renew_at)),
            Phase::Over => None,
        }
    }

    fn standing(&self) -> Standing {
        match &self.phase {
            Phase::Watching { seen, .. } => {
                let lease = seen.as_ref().and_then(|(lease, _)| lease.as_ref());
                Standing::Standby { holder: lease.and_then(|lease| lease.holder.clone()) }
            }
            Phase::Holding { term, until, .. } => Standing::Active { term: *term, until: *until },
            Phase::Over => Standing::Over,
        }
    }

    /// When the lease of somebody else has ended.
    fn expiry(&self) -> Option<Moment> {
        let Phase::Watching { seen: Some((Some(lease), since)), .. } = &self.phase else { return None };
        Some(since.plus(lease.length.max(self.length)))
    }

    fn doubt_now(&mut self, now: Moment) {
        if let Phase::Holding { renew_at, unsure, .. } = &mut self.phase {
            *renew_at = now;
            *unsure = true;
        }
    }

    /// A lease that was not renewed in time is over, whatever the table says.
    fn expire(&mut self, now: Moment) {
        if let Phase::Holding { until, .. } = &self.phase
            && *until <= now
        {
            self.phase = Phase::watching(now);
        }
    }

    fn read(&mut self, answer: Option<Option<Lease>>, now: Moment) {
        match (&mut self.phase, answer) {
            (Phase::Watching { look_at, .. }, None) => *look_at = now.plus(LOOK_EVERY),
            (Phase::Watching { seen, look_at, may_take }, Some(found)) => {
                (*look_at, *may_take) = (now.plus(LOOK_EVERY), true);
                if seen.as_ref().is_none_or(|(lease, _)| *lease != found) {
                    *seen = Some((found, now));
                }
            }
            (Phase::Holding { renew_at, .. }, None) => *renew_at = now.plus(self.length / 12),
            (Phase::Holding { term, renewal, until, renew_at, tried, unsure }, Some(found)) => {
                let is_ours = |lease: &&Lease| lease.holder.as_ref() == Some(&self.me) && lease.term == *term;
                match (found.as_ref().filter(is_ours), *tried) {
                    (Some(found), Some(begun)) if found.renewal > *renewal => {
                        // It was made by one of the tries; that may have been the first one.
                        (*renewal, *tried, *unsure) = (found.renewal, None, false);
                        *until = (*until).max(begun.plus(self.length));
                        *renew_at = begun.plus(self.length / 3).max(now);
                    }
                    // The renewal was not made, or not yet: it is tried again as the same one.
                    (Some(_), _) => (*unsure, *renew_at) = (false, now),
                    (None, _) => {
                        let seen = Some((found, now));
                        self.phase = Phase::Watching { seen, look_at: now.plus(LOOK_EVERY), may_take: true };
                    }
                }
            }
            (Phase::Over, _) => {}
        }
    }

    fn written(&mut self, begun: Moment, purpose: Purpose, answer: Answer, now: Moment) {
        let (until, renew_at) = (begun.plus(self.length), begun.plus(self.length / 3));
        match (&mut self.phase, purpose, answer) {
            (Phase::Watching { .. }, Purpose::Take { term }, Answer::Done) => {
                self.phase = Phase::Holding { term, renewal: 0, until, renew_at, tried: None, unsure: false };
            }
            (Phase::Watching { look_at, may_take, .. }, _, _) => (*look_at, *may_take) = (now, false),
            (
                Phase::Holding { renewal, until: end, renew_at: next, tried, unsure, .. },
                Purpose::Renew,
                Answer::Done,
            ) => {
                *renewal += 1;
                (*end, *next, *tried, *unsure) = (until, renew_at, None, false);
            }
            (Phase::Holding { .. }, Purpose::GiveBack, Answer::Done) => self.phase = Phase::Over,
            (Phase::Holding { renew_at: next, tried, unsure, .. }, purpose, Answer::Unmet | Answer::Unknown) => {
                if purpose == Purpose::Renew {
                    *tried = Some(tried.map_or(begun, |first| first.min(begun)));
                }
                (*next, *unsure) = (now, true);
            }
            (Phase::Holding { .. }, Purpose::Take { .. }, Answer::Done) | (Phase::Over, _, _) => {}
        }
    }

    /// Begins the next call, if one is due.
    fn act(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let (effect, call) = match &self.phase {
            Phase::Over => return,
            Phase::Watching { .. } if self.stopping => {
                self.phase = Phase::Over;
                return;
            }
            Phase::Watching { seen, look_at, may_take } => {
                match seen.as_ref().filter(|_| *may_take && self.may_take(now)) {
                    Some((found, _)) => self.take(found.as_ref(), now),
                    None if *look_at <= now => (Effect::Read, Call::Read),
                    None => return,
                }
            }
            Phase::Holding { renew_at, unsure: true, .. } if *renew_at <= now => (Effect::Read, Call::Read),
            Phase::Holding { term, renewal, unsure: false, .. } if self.stopping => {
                let lease = Lease { holder: None, ..self.lease(*term, renewal + 1) };
                let over = Some((*term, *renewal));
                (Effect::Write { over, lease }, Call::Write(now, Purpose::GiveBack))
            }
            Phase::Holding { term, renewal, renew_at, unsure: false, .. } if *renew_at <= now => {
                let (over, lease) = (Some((*term, *renewal)), self.lease(*term, renewal + 1));
                (Effect::Write { over, lease }, Call::Write(now, Purpose::Renew))
            }
            Phase::Holding { .. } => return,
        };
        self.call = Some(call);
        effects.push(effect);
    }

    /// Whether nobody holds the lease: nobody took it, it was given back, it has ended, or it is what this process held before and lost by
    /// time alone.
    fn may_take(&self, now: Moment) -> bool {
        let Phase::Watching { seen: Some((found, _)), .. } = &self.phase else { return false };
        let holder = found.as_ref().and_then(|lease| lease.holder.as_ref());
        holder.is_none_or(|holder| *holder == self.me) || self.expiry().is_some_and(|at| at <= now)
    }

    fn take(&self, found: Option<&Lease>, now: Moment) -> (Effect, Call) {
        let term = found.map_or(0, |lease| lease.term) + 1;
        let over = found.map(|lease| (lease.term, lease.renewal));
        (Effect::Write { over, lease: self.lease(term, 0) }, Call::Write(now, Purpose::Take { term }))
    }

    fn lease(&self, term: u64, renewal: u64) -> Lease {
        Lease { holder: Some(self.me.clone()), term, renewal, length: self.length }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
