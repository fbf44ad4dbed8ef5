//! Credentials that are fetched beside the calls that need them, and looked for anew when AWS says that they are of no use.
//!
//! A source may be slow: a program that opens a session, a metadata service that is not up yet. So one task of a context fetches, with a
//! deadline of its own; all calls of the context wait for it, and none of them ends it. The SDK reads a profile once, and keeps what it found
//! until that says of itself that it has expired. But keys are rotated by others, and sessions are revoked: a daemon that runs for months must
//! go back to where its credentials come from.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures_util::future::{self as futures, BoxFuture, FutureExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio::task::{AbortHandle, JoinError};
use tracing::{info, warn};

use super::Common;
use super::sources::{Asked, Sources, causes};
use crate::clock::{self, Clock as _, Instant};
use crate::config::AwsSettings;
use crate::domain::types::ContextName;

/// A fetch that takes longer is given up.
const FETCHED_WITHIN: Duration = Duration::from_secs(60);
/// Who waits for this long is told what for.
const SAID_AFTER: Duration = Duration::from_secs(5);
/// What is awaited is looked at this often.
const LOOKED_EVERY: Duration = Duration::from_secs(1);
/// After a fetch that failed there is none for this long: a source may be a service itself, or a program that is started.
const PAUSE: Duration = Duration::from_secs(5);
/// Where they come from is not asked more often than this, whatever AWS says.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Before they expire new ones are fetched.
const EARLY: SignedDuration = SignedDuration::from_mins(2);
/// Those that do not say when they expire are read again after this.
const READ_AGAIN: Duration = Duration::from_secs(15 * 60);

/// Why there are no credentials: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoCredentials(Arc<str>);

type Fetched = Result<Credentials, NoCredentials>;

/// The credentials of one context. A fetch that is under way ends with it.
#[derive(Debug)]
pub(super) struct Renewing(Arc<Shared>);

impl Drop for Renewing {
    fn drop(&mut self) {
        if let Some(fetching) = self.0.held().fetching.take() {
            fetching.task.abort();
            self.0.common.health.awaits(&self.0.context, None);
        }
    }
}

/// What the calls of a context and the task that fetches have in common.
#[derive(Debug)]
struct Shared {
    context: ContextName,
    settings: AwsSettings,
    region: String,
    http: SharedHttpClient,
    common: Common,
    refused: AtomicBool,
    /// That a source is slow was said.
    told: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    sources: Option<(Arc<Sources>, Instant)>,
    credentials: Option<Kept>,
    /// The fetch that is under way.
    fetching: Option<Fetching>,
    failed: Option<(NoCredentials, Instant)>,
}

/// A fetch: the task, and what all wait for.
#[derive(Debug)]
struct Fetching {
    task: AbortHandle,
    fetched: futures::Shared<BoxFuture<'static, Fetched>>,
}

/// Credentials, and how long they are of use.
#[derive(Debug, Clone)]
struct Kept {
    credentials: Credentials,
    fresh_until: Instant,
    valid_until: Option<Instant>,
}

impl Renewing {
    pub(super) fn new(
        context: ContextName,
        settings: AwsSettings,
        region: String,
        http: SharedHttpClient,
        common: Common,
    ) -> Arc<Self> {
        let (refused, told, held) = (AtomicBool::new(false), AtomicBool::new(false), Mutex::default());
        Arc::new(Self(Arc::new(Shared { context, settings, region, http, common, refused, told, held })))
    }

    /// AWS refused the credentials: the next call fetches others, if there are any.
    pub(super) fn refused(&self) {
        self.0.refused.store(true, Ordering::Relaxed);
    }

    /// The credentials; those held, if they are of use. One task fetches, and all wait for it.
    pub(super) async fn get(&self) -> Fetched {
        let found = self.0.held_or_fetching();
        match found {
            Ok(fetched) => fetched,
            Err(fetching) => fetching.await,
        }
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known already, or the fetch that has to be awaited.
    fn held_or_fetching(self: &Arc<Self>) -> Result<Fetched, futures::Shared<BoxFuture<'static, Fetched>>> {
        let mut held = self.held();
        let renewable = held.sources.as_ref().is_some_and(|(_, made)| made.elapsed() >= RENEW_EVERY);
        if renewable && self.refused.swap(false, Ordering::Relaxed) {
            info!(aws = %self.context, "AWS refused the credentials: they are looked for anew");
            held.sources = None;
            held.credentials = None;
        }
        let now = clock::instant();
        let failed = held.failed.as_ref().filter(|(_, at)| now < *at + PAUSE).map(|(error, _)| error.clone());
        match held.credentials.clone().filter(|kept| kept.valid_until.is_none_or(|until| now < until)) {
            Some(kept) => {
                // While they can still be used nobody has to wait for the new ones.
                if now >= kept.fresh_until && failed.is_none() {
                    drop(self.fetching(&mut held));
                }
                Ok(Ok(kept.credentials))
            }
            None => match failed {
                Some(error) => Ok(Err(error)),
                None => Err(self.fetching(&mut held)),
            },
        }
    }

    /// The fetch that is under way, or a new one.
    fn fetching(self: &Arc<Self>, held: &mut Held) -> futures::Shared<BoxFuture<'static, Fetched>> {
        let begin = || {
            let this = Arc::clone(self);
            // A task of its own: it goes on when the call that asked for it is given up.
            let task = tokio::spawn(async move { this.fetch().await });
            let abort = task.abort_handle();
            let ended = |joined: Result<Fetched, JoinError>| {
                joined.unwrap_or_else(|error| Err(NoCredentials(format!("no credentials: {error}").into())))
            };
            Fetching { task: abort, fetched: task.map(ended).boxed().shared() }
        };
        held.fetching.get_or_insert_with(begin).fetched.clone()
    }

    async fn fetch(&self) -> Fetched {
        let asked = Asked::default();
        let begun = clock::instant();
        let fetched = self.watched(&asked, begun, clock::within(FETCHED_WITHIN, self.ask(&asked))).await;
        let fetched = fetched.unwrap_or_else(|| {
            let seconds = FETCHED_WITHIN.as_secs();
            Err(NoCredentials(
                format!("no credentials: {} gave no answer within {seconds}s and was given up", asked.now()).into(),
            ))
        });
        let mut held = self.held();
        held.fetching = None;
        match &fetched {
            Ok(credentials) => {
                if self.told.swap(false, Ordering::Relaxed) {
                    info!(aws = %self.context, seconds = begun.elapsed().as_secs(), "the wait for credentials is over");
                }
                held.credentials = Some(self.kept(credentials.clone()));
                held.failed = None;
            }
            Err(error) => held.failed = Some((error.clone(), clock::instant())),
        }
        fetched
    }

    async fn ask(&self, asked: &Asked) -> Fetched {
        let sources = self.sources().await;
        let credentials = sources.credentials(asked).await;
        credentials
            .map_err(|none| NoCredentials(format!("no credentials: {}: {}", none.what, causes(&none.error)).into()))
    }

    /// What never expires by itself is read from its source again, profile files included.
    async fn sources(&self) -> Arc<Sources> {
        {
            let held = self.held();
            let lasting = held.credentials.as_ref().is_some_and(|kept| kept.valid_until.is_none());
            if let Some((sources, _)) = held.sources.as_ref().filter(|_| !lasting && held.failed.is_none()) {
                return Arc::clone(sources);
            }
        }
        let sources = Arc::new(Sources::of(&self.settings, &self.region, &self.http).await);
        let mut held = self.held();
        held.sources = Some((Arc::clone(&sources), clock::instant()));
        sources
    }

    /// Awaits a fetch, and says what is awaited if that takes long: once, until there are credentials again.
    async fn watched<T>(&self, asked: &Asked, begun: Instant, fetch: impl Future<Output = T>) -> T {
        tokio::pin!(fetch);
        self.common.health.awaits(&self.context, Some("credentials"));
        let fetched = loop {
            tokio::select! {
                biased;
                fetched = &mut fetch => break fetched,
                () = clock::sleep(LOOKED_EVERY) => {
                    let source = asked.now();
                    self.common.health.awaits(&self.context, Some(&format!("credentials from {source}")));
                    if begun.elapsed() >= SAID_AFTER && !self.told.swap(true, Ordering::Relaxed) {
                        warn!(
                            aws = %self.context, %source, given_up_after = ?FETCHED_WITHIN,
                            "credentials are awaited: their source has not answered yet"
                        );
                    }
                }
            }
        };
        self.common.health.awaits(&self.context, None);
        fetched
    }

    fn kept(&self, credentials: Credentials) -> Kept {
        let now = clock::instant();
        let expiry = credentials.expiry().and_then(|expiry| Timestamp::try_from(expiry).ok());
        let left = expiry.map(|expiry| expiry.duration_since(self.common.clock.now()));
        let until = |left: SignedDuration| now + Duration::try_from(left).unwrap_or_default();
        Kept {
            credentials,
            fresh_until: left.map_or(now + READ_AGAIN, |left| until(left - EARLY)),
            valid_until: left.map(until),
        }
    }
}

/// What the clients ask.
#[derive(Debug, Clone)]
pub(super) struct Source(pub(super) Arc<Renewing>);

impl ProvideCredentials for Source {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.0.get().await.map_err(CredentialsError::provider_error) })
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
