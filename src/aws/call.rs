//! One call, timed and counted.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::sync::Semaphore;

use super::credentials::Renewing;
use super::error::{error_from_sdk, without_credentials};
use super::{AwsError, Common, Fault};
use crate::clock;

/// The operations that were tried, whatever came of them.
#[derive(Debug, Default)]
pub struct Tried(Mutex<BTreeSet<(&'static str, &'static str)>>);

impl Tried {
    fn note(&self, api: &'static str, operation: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((api, operation));
    }

    /// Each of them as `api:operation`.
    #[must_use]
    pub fn operations(&self) -> BTreeSet<String> {
        let tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tried.iter().map(|(api, operation)| format!("{api}:{operation}")).collect()
    }
}

/// Makes the calls of one API and counts them.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    api: &'static str,
    common: Common,
    credentials: Arc<Renewing>,
    /// Lets so many requests be under way at a time, where that is bounded.
    at_a_time: Option<Arc<Semaphore>>,
}

impl Caller {
    pub(super) fn new(api: &'static str, common: &Common, credentials: &Arc<Renewing>) -> Self {
        Self { api, common: common.clone(), credentials: Arc::clone(credentials), at_a_time: None }
    }

    /// The same, with at most so many requests under way at a time: the others wait for their turn, and hold no connection meanwhile.
    pub(super) fn at_most(self, requests: usize) -> Self {
        Self { at_a_time: Some(Arc::new(Semaphore::new(requests))), ..self }
    }

    /// Awaits the answer of one operation, once there are credentials for it: how long those take does not count against its deadline.
    pub(super) async fn call<T, E>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T, SdkError<E, Response>>>,
    ) -> Result<T, AwsError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        self.common.tried.note(self.api, operation);
        let _place = match &self.at_a_time {
            // It is never closed.
            Some(places) => places.acquire().await.ok(),
            None => None,
        };
        let without = self.credentials.get().await.err();
        let begun = clock::instant();
        let answer = match without {
            Some(why) => Err(without_credentials(self.api, operation, why.to_string())),
            None => request.await.map_err(|error| error_from_sdk(self.api, operation, &error)),
        };
        if answer.as_ref().is_err_and(|error| error.fault == Fault::Credentials && !error.code.is_empty()) {
            self.credentials.refused();
        }
        let fault = answer.as_ref().err().map(|error| error.fault);
        self.common.metrics.aws_request(self.api, operation, fault, begun.elapsed());
        answer
    }

    /// An answer that cannot be used.
    pub(super) fn unusable(&self, operation: &'static str, message: impl Into<String>) -> AwsError {
        AwsError::unusable(self.api, operation, message)
    }
}

/// A time of the SDK as ours.
pub(super) fn timestamp(time: &aws_smithy_types::DateTime) -> Option<jiff::Timestamp> {
    let nanos = i32::try_from(time.subsec_nanos()).ok()?;
    jiff::Timestamp::new(time.secs(), nanos).ok()
}
