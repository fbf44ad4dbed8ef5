//! Reads that several services want: each is made once, and all get its answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use crate::aws::AwsError;

/// An answer that several wait for.
pub(super) type Answer<T> = Shared<BoxFuture<'static, Arc<Result<T, AwsError>>>>;

/// An answer of a read, which is begun when the first one waits for it.
pub(super) fn answer<T: Send + Sync + 'static>(
    read: impl Future<Output = Result<T, AwsError>> + Send + 'static,
) -> Answer<T> {
    read.map(Arc::new).boxed().shared()
}

/// The reads of one kind in a round, by what they ask about.
#[derive(Debug)]
pub(super) struct SharedReads<K, T>(Mutex<BTreeMap<K, Answer<T>>>);

impl<K, T> Default for SharedReads<K, T> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<K: Ord, T: Send + Sync + 'static> SharedReads<K, T> {
    /// The answer about this, which is asked for if nobody did before.
    pub(super) fn get<F>(&self, about: K, ask: impl FnOnce() -> F) -> Answer<T>
    where
        F: Future<Output = Result<T, AwsError>> + Send + 'static,
    {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(about).or_insert_with(|| answer(ask())).clone()
    }
}
