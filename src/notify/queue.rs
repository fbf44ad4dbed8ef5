//! A queue that never makes anybody wait: when it is full, the oldest goes. And what is in it already, or was lately, is not put in again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::notice::Notice;

/// Notices that may wait for one receiver.
const PLACES: usize = 256;
/// Ids that are remembered, to know a repetition.
const REMEMBERED: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Arc<Notice>>,
    /// One is being delivered.
    busy: bool,
    closed: bool,
    known: VecDeque<String>,
}

impl Queue {
    /// Puts a notice at the end. Gives back the oldest, if there is no room for both.
    pub(super) fn push(&self, notice: Arc<Notice>) -> Option<Arc<Notice>> {
        let dropped = self.change(|inner| {
            if inner.known.contains(&notice.id) {
                return None;
            }
            inner.known.push_front(notice.id.clone());
            inner.known.truncate(REMEMBERED);
            inner.waiting.push_back(notice);
            if inner.waiting.len() > PLACES { inner.waiting.pop_front() } else { None }
        });
        self.changed.notify_one();
        dropped
    }

    /// The next notice; nothing, once the queue is closed and empty.
    pub(super) async fn next(&self) -> Option<Arc<Notice>> {
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

    /// Notices that are not dealt with.
    pub(super) fn waiting(&self) -> usize {
        self.change(|inner| inner.waiting.len() + usize::from(inner.busy))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
