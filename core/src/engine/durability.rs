//! What is on the disk, and what has to wait for that.
//!
//! A value of type [`Durable`] exists only once the state that calls for it is durable: nothing else can make one, so no write to ECS and
//! no notification can be released too early.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::deliveries::DeliveryId;
use super::effect::{Answer, CommandId, Effect, Write};
use super::now::Moment;
use crate::domain::notification::{Notification, Weight};
use crate::domain::operator_command::Refused;
use crate::domain::state::State;

/// The pause before the first commit of progress alone: an older cursor costs a longer re-read after a crash and nothing else.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);
/// The pause after a failed commit.
const RETRY_IN: Duration = Duration::from_secs(5);

/// Counts the changes of the state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64);

/// A state to be made durable.
#[derive(Debug)]
pub struct Snapshot {
    version: Version,
    state: State,
}

impl Snapshot {
    /// The state that is to be written.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Which one it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The proof that it is durable. Whoever takes it says that a crash of the machine does not lose the state.
    #[must_use]
    pub fn stored(self) -> Receipt {
        Receipt { version: self.version }
    }
}

/// The proof that a state is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    version: Version,
}

/// Something that may be done because the state that calls for it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    /// What may be done.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// What may be done.
    pub fn get(&self) -> &T {
        &self.0
    }
}

/// Notifications that wait for a commit. A disk may be full for days, on which others change thousands of things.
const NOTIFICATIONS: usize = 1024;

/// What waits for a commit.
#[derive(Debug)]
enum Waiting {
    Notify(Arc<Notification>),
    Reply(CommandId, Answer),
    Acknowledge(DeliveryId),
}

/// A commit on its way.
#[derive(Debug, Clone, Copy)]
struct Committing {
    /// Since when there was progress that it makes durable.
    progress_since: Option<Moment>,
}

/// How the state in memory and the durable one differ.
#[derive(Debug, Default)]
pub(super) struct Durability {
    /// The version that has to be durable before the next write to ECS.
    required: Version,
    durable: Option<Version>,
    committing: Option<Committing>,
    /// Since when there is progress that should be durable some time.
    progress_since: Option<Moment>,
    retry_at: Option<Moment>,
    last_error: Option<String>,
    waiting: VecDeque<(Version, Waiting)>,
}

impl Durability {
    /// The state was changed in a way that has to be durable.
    pub(super) fn changed(&mut self) {
        self.required.0 += 1;
    }

    /// There is progress of reading. By itself it is committed once a minute (decision 2).
    pub(super) fn progressed(&mut self, now: Moment) {
        self.progress_since.get_or_insert(now);
    }

    /// Tells of something that has happened, once that is durable. Where too many wait for that, what matters least is not told, and of that
    /// the oldest.
    pub(super) fn notify(&mut self, notification: Arc<Notification>) {
        self.changed();
        self.waiting.push_back((self.required, Waiting::Notify(notification)));
        let weights = self.waiting.iter().enumerate().filter_map(|(place, (_, waiting))| match waiting {
            Waiting::Notify(notification) => Some((notification.weight(), place)),
            Waiting::Reply(..) | Waiting::Acknowledge(_) => None,
        });
        let waiting: Vec<(Weight, usize)> = weights.collect();
        if waiting.len() > NOTIFICATIONS
            && let Some((_, lightest)) = waiting.into_iter().min()
        {
            self.waiting.remove(lightest);
        }
    }

    /// Answers a command, once what the answer says is durable (decision 33).
    pub(super) fn reply(&mut self, id: CommandId, answer: Answer) {
        self.changed();
        self.waiting.push_back((self.required, Waiting::Reply(id, answer)));
    }

    /// Tells a source that what it has delivered may be forgotten, once it is durable.
    pub(super) fn acknowledge(&mut self, id: DeliveryId, effects: &mut Vec<Effect>) {
        match self.is_durable() {
            true => effects.push(Effect::Acknowledge(Durable(id))),
            false => self.waiting.push_back((self.required, Waiting::Acknowledge(id))),
        }
    }

    /// Whether a commit is due, and none is on its way.
    pub(super) fn is_commit_due(&self, now: Moment) -> bool {
        if self.committing.is_some() || self.retry_at.is_some_and(|at| at > now) {
            return false;
        }
        let progress = self.progress_since.is_some_and(|since| now.since(since) >= PROGRESS_WITHIN);
        !self.is_durable() || progress
    }

    /// Begins a commit of the state.
    pub(super) fn commit(&mut self, state: State) -> Snapshot {
        self.committing = Some(Committing { progress_since: self.progress_since.take() });
        Snapshot { version: self.required, state }
    }

    /// Releases what waited for a state that is durable now. True if it could not be written before.
    pub(super) fn committed(&mut self, receipt: Receipt, effects: &mut Vec<Effect>) -> bool {
        self.committing = None;
        self.retry_at = None;
        self.durable = self.durable.max(Some(receipt.version));
        while let Some((version, _)) = self.waiting.front() {
            if *version > receipt.version {
                break;
            }
            match self.waiting.pop_front() {
                Some((_, Waiting::Notify(notification))) => effects.push(Effect::Notify(Durable(notification))),
                Some((_, Waiting::Reply(id, answer))) => effects.push(Effect::Reply(Durable((id, answer)))),
                Some((_, Waiting::Acknowledge(id))) => effects.push(Effect::Acknowledge(Durable(id))),
                None => break,
            }
        }
        self.last_error.take().is_some()
    }

    /// A commit failed: it is tried again, and whoever waits for an answer gets this error. True if the error is a new one.
    pub(super) fn failed(&mut self, error: String, now: Moment, effects: &mut Vec<Effect>) -> bool {
        let lost = self.committing.take().and_then(|committing| committing.progress_since);
        self.progress_since = lost.or(self.progress_since);
        self.retry_at = Some(now.plus(RETRY_IN));
        for (version, waiting) in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Reply(id, answer) => effects.push(Effect::Refuse(id, not_durable(answer, &error))),
                Waiting::Notify(_) | Waiting::Acknowledge(_) => self.waiting.push_back((version, waiting)),
            }
        }
        let is_new = self.last_error.as_ref() != Some(&error);
        self.last_error = Some(error);
        is_new
    }

    /// Permits a write, if everything that has to be durable is.
    pub(super) fn permit(&self) -> Option<Permit> {
        self.is_durable().then_some(Permit(()))
    }

    /// Why the state cannot be written, if it cannot.
    pub(super) fn last_error(&self) -> Option<&String> {
        self.last_error.as_ref()
    }

    /// Whether everything that has to be durable is.
    pub(super) fn is_durable(&self) -> bool {
        self.durable.is_some_and(|durable| durable >= self.required)
    }

    /// When a commit is to be tried again.
    pub(super) fn wake(&self) -> Option<Moment> {
        self.retry_at.filter(|_| self.committing.is_none())
    }
}

/// The permission to write to ECS, as long as nothing is changed.
#[derive(Debug)]
pub(super) struct Permit(());

impl Permit {
    /// A write that may be made.
    pub(super) fn write(&self, write: Write) -> Effect {
        Effect::Write(Durable(write))
    }
}

fn not_durable(answer: Answer, error: &str) -> Refused {
    match answer {
        Ok(text) => Refused(format!("{text}; but that is not on the disk, and a restart forgets it: {error}")),
        Err(refused) => refused,
    }
}
