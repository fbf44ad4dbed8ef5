//! Credentials that are looked for anew when AWS says that they are of no use.
//!
//! The SDK reads a profile once, and keeps what it found until that says of itself that it has expired. But keys are rotated by others, and
//! sessions are revoked: a daemon that runs for months must go back to where its credentials come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, SharedCredentialsProvider, future};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tracing::info;

use super::ambient::{NAME, base_config};
use crate::clock::{self, Clock as _, Instant, SystemClock};
use crate::config::AwsSettings;

/// Where they come from is not asked more often than this, whatever AWS says: it may be a service itself.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Before they expire new ones are fetched.
const EARLY: SignedDuration = SignedDuration::from_mins(2);
/// Those that do not say when they expire are read again after this.
const READ_AGAIN: Duration = Duration::from_secs(15 * 60);

/// The credentials of one context.
#[derive(Debug)]
pub(super) struct Renewing {
    settings: AwsSettings,
    http: SharedHttpClient,
    refused: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    source: Option<(SharedCredentialsProvider, Instant)>,
    credentials: Option<(Credentials, Instant)>,
}

impl Renewing {
    pub(super) fn new(settings: AwsSettings, http: SharedHttpClient) -> Arc<Self> {
        Arc::new(Self { settings, http, refused: AtomicBool::new(false), held: Mutex::default() })
    }

    /// AWS refused the credentials: the next call fetches others, if there are any.
    pub(super) fn refused(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// One call fetches, the others wait for it.
    async fn provide(&self) -> Result {
        let mut held = self.held.lock().await;
        let renewable = held.source.as_ref().is_some_and(|(_, made)| made.elapsed() >= RENEW_EVERY);
        if renewable && self.refused.swap(false, Ordering::Relaxed) {
            info!("AWS refused the credentials: they are looked for anew");
            *held = Held::default();
        }
        if let Some((credentials, _)) = held.credentials.as_ref().filter(|(_, until)| clock::instant() < *until) {
            return Ok(credentials.clone());
        }
        // What never expires by itself is read from its source again, too.
        if held.credentials.take().is_some_and(|(old, _)| old.expiry().is_none()) {
            held.source = None;
        }
        let source = match &held.source {
            Some((source, _)) => source.clone(),
            None => {
                let source = source(&self.settings, &self.http).await;
                held.source.insert((source, clock::instant())).0.clone()
            }
        };
        let credentials = source.provide_credentials().await?;
        held.credentials = Some((credentials.clone(), clock::instant() + useful_for(&credentials)));
        Ok(credentials)
    }
}

/// How long they can be used.
fn useful_for(credentials: &Credentials) -> Duration {
    let Some(expiry) = credentials.expiry().and_then(|expiry| Timestamp::try_from(expiry).ok()) else {
        return READ_AGAIN;
    };
    let left = expiry.duration_since(SystemClock.now()) - EARLY;
    Duration::try_from(left).unwrap_or_default()
}

/// Where the credentials of a context come from: a role that is assumed, a profile, or what the machine offers.
async fn source(settings: &AwsSettings, http: &SharedHttpClient) -> SharedCredentialsProvider {
    let base = base_config(settings, http).await;
    let base = match &settings.profile {
        None => base,
        // A profile that is named comes before what the environment offers.
        Some(profile) => {
            let provider =
                ProviderConfig::without_region().with_region(base.region().cloned()).with_http_client(http.clone());
            let profile = ProfileFileCredentialsProvider::builder().configure(&provider).profile_name(profile).build();
            base.to_builder().credentials_provider(SharedCredentialsProvider::new(profile)).build()
        }
    };
    match &settings.role_arn {
        Some(role) => assumed(role, settings, &base).await,
        None => base.credentials_provider().unwrap_or_else(|| SharedCredentialsProvider::new(Nothing)),
    }
}

async fn assumed(role: &str, settings: &AwsSettings, base: &SdkConfig) -> SharedCredentialsProvider {
    let mut provider = AssumeRoleProvider::builder(role).session_name(NAME).configure(base);
    if let Some(id) = &settings.external_id {
        provider = provider.external_id(id);
    }
    SharedCredentialsProvider::new(provider.build().await)
}

/// No credentials at all.
#[derive(Debug)]
struct Nothing;

impl ProvideCredentials for Nothing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("there is no source of credentials")))
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
        future::ProvideCredentials::new(self.0.provide())
    }
}
