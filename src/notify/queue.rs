//! A queue that never makes anybody wait: when it is full, what matters least goes, and of that the oldest. And what is in it already, or was
//! lately, is not put in again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::notification::{Notification, Weight};

/// Notifications that may wait for one receiver.
const PLACES: usize = 256;
/// Ids that are remembered for each weight, to know a repetition.
const REMEMBERED: usize = 1024;

/// The notifications of one receiver.
#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Arc<Notification>>,
    /// One is being delivered.
    busy: bool,
    closed: bool,
    known: BTreeMap<Weight, VecDeque<String>>,
}

impl Inner {
    fn is_known(&mut self, notification: &Notification) -> bool {
        let known = self.known.entry(notification.weight()).or_default();
        if known.contains(&notification.id) {
            return true;
        }
        known.push_front(notification.id.clone());
        known.truncate(REMEMBERED);
        false
    }

    /// Takes out what matters least, and of that the oldest.
    fn lightest(&mut self) -> Option<Arc<Notification>> {
        let weights = self.waiting.iter().map(|notification| notification.weight()).enumerate();
        let (index, _) = weights.min_by_key(|(index, weight)| (*weight, *index))?;
        self.waiting.remove(index)
    }
}

impl Queue {
    /// Puts a notification at the end. Gives back the one that is lost for it, if there is no room: what matters least, which may be the
    /// new one itself.
    pub(super) fn push(&self, notification: Arc<Notification>) -> Option<Arc<Notification>> {
        let dropped = self.change(|inner| {
            if inner.is_known(&notification) {
                return None;
            }
            inner.waiting.push_back(notification);
            if inner.waiting.len() > PLACES { inner.lightest() } else { None }
        });
        self.changed.notify_one();
        dropped
    }

    /// The next notification; nothing, once the queue is closed and empty.
    pub(super) async fn next(&self) -> Option<Arc<Notification>> {
        loop {
            let (next, closed) = self.change(|inner| {
                let next = inner.waiting.pop_front();
                inner.busy = next.is_some();
                (next, inner.closed)
            });
            if next.is_some() || closed {
                return next;
            }
            self.changed.notified().await;
        }
    }

    /// What was taken last is dealt with.
    pub(super) fn done(&self) {
        self.change(|inner| inner.busy = false);
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.change(|inner| inner.closed = true);
        self.changed.notify_one();
    }

    /// Notifications that are not dealt with.
    pub(super) fn waiting(&self) -> usize {
        self.change(|inner| inner.waiting.len() + usize::from(inner.busy))
    }

    /// Gives up what is not dealt with, and tells how much that is.
    pub(super) fn give_up(&self) -> usize {
        self.change(|inner| {
            inner.closed = true;
            let busy = std::mem::take(&mut inner.busy);
            inner.waiting.drain(..).count() + usize::from(busy)
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
