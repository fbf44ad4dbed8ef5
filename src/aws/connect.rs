//! From the configuration to clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;

use super::ambient::base_config;
use super::call::Caller;
use super::cloudtrail::SdkCloudTrail;
use super::credentials::{Renewing, Source};
use super::ecr::SdkEcr;
use super::ecs::SdkEcs;
use super::inventory::SdkInventory;
use super::partition;
use super::topics::SdkTopics;
use super::{AwsContext, Contexts};
use crate::config::AwsSettings;
use crate::domain::types::{ContextName, Region};
use crate::metrics::Metrics;

/// Why there is no client for a context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No Region anywhere.
    #[error("aws context {0} has no Region: set region under [aws.{0}], or AWS_REGION, or a Region in the profile")]
    NoRegion(ContextName),
    /// The ambient Region is not one.
    #[error("aws context {context}: the ambient Region {region:?} is not an AWS Region")]
    NotARegion {
        /// The context.
        context: ContextName,
        /// What it says.
        region: String,
    },
}

/// Makes the clients of every context. Reads files and the environment; asks AWS for nothing.
///
/// # Errors
/// A context without a Region.
pub async fn connect(
    settings: &BTreeMap<ContextName, AwsSettings>,
    metrics: &Arc<Metrics>,
) -> Result<Contexts, ConnectError> {
    let http = transport();
    let mut contexts = Contexts::new();
    for (name, settings) in settings {
        contexts.insert(name.clone(), context(name, settings, &http, metrics).await?);
    }
    Ok(contexts)
}

/// What the clients of all contexts send their requests with.
pub(super) fn transport() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// What the clients of one context have in common.
pub(super) struct Base {
    pub(super) region: Region,
    pub(super) config: SdkConfig,
    pub(super) credentials: Arc<Renewing>,
}

pub(super) async fn base(
    name: &ContextName,
    settings: &AwsSettings,
    http: &SharedHttpClient,
) -> Result<Base, ConnectError> {
    let base = base_config(settings, http).await;
    let ambient = base.region().ok_or_else(|| ConnectError::NoRegion(name.clone()))?.as_ref();
    let region = Region::parse(ambient)
        .map_err(|_| ConnectError::NotARegion { context: name.clone(), region: ambient.to_owned() })?;
    let credentials = Renewing::new(settings.clone(), http.clone());
    // The retries of the credential providers stay; those of the calls are the scheduler's and the deployer's.
    let config = base
        .to_builder()
        .credentials_provider(SharedCredentialsProvider::new(Source(Arc::clone(&credentials))))
        .identity_cache(IdentityCache::no_cache())
        .retry_config(RetryConfig::disabled())
        .build();
    Ok(Base { region, config, credentials })
}

async fn context(
    name: &ContextName,
    settings: &AwsSettings,
    http: &SharedHttpClient,
    metrics: &Arc<Metrics>,
) -> Result<AwsContext, ConnectError> {
    let Base { region, config, credentials } = base(name, settings, http).await?;
    let suffix = partition::dns_suffix(&region)
        .await
        .ok_or_else(|| ConnectError::NotARegion { context: name.clone(), region: region.to_string() })?;
    let caller = |api| Caller { api, metrics: Arc::clone(metrics), credentials: Arc::clone(&credentials) };
    let (ecr, ecs) = (aws_sdk_ecr::Client::new(&config), aws_sdk_ecs::Client::new(&config));
    let inventory = Arc::new(SdkInventory {
        ecr: ecr.clone(),
        ecs: ecs.clone(),
        ecr_caller: caller("ecr"),
        ecs_caller: caller("ecs"),
    });
    let context = AwsContext {
        region: region.clone(),
        inventory,
        topics: Arc::new(SdkTopics { client: aws_sdk_sns::Client::new(&config), caller: caller("sns") }),
        cloudtrail: Arc::new(SdkCloudTrail {
            client: aws_sdk_cloudtrail::Client::new(&config),
            caller: caller("cloudtrail"),
        }),
        ecr: Arc::new(SdkEcr { client: ecr, caller: caller("ecr"), region, suffix }),
        ecs: Arc::new(SdkEcs { client: ecs, caller: caller("ecs") }),
    };
    Ok(context.rate_limited())
}
