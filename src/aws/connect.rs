//! From the configuration to clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use tracing::{info, warn};

use super::ambient::base_config;
use super::call::Caller;
use super::cloudtrail::SdkCloudTrail;
use super::credentials::{Renewing, Source};
use super::date::AwsDate;
use super::ecr::SdkEcr;
use super::ecs::SdkEcs;
use super::identity;
use super::inventory::SdkInventory;
use super::partition;
use super::queue::{self, SdkQueue};
use super::region::{self, RegionAnswer};
use super::schedules::SdkSchedules;
use super::tagging::SdkTagging;
use super::topics::SdkTopics;
use super::{AwsContext, Common, Contexts, Identity};
use crate::clock::{self, Instant};
use crate::config::AwsSettings;
use crate::domain::types::{ContextName, Region};

/// A Region is asked for this often.
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// Requests to ECR at a time. Ten thousand repositories may be asked about at once, and each request has a connection.
const ECR_AT_A_TIME: usize = 32;

/// How long a Region is waited for that only the EC2 instance metadata can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionWait {
    /// A command: for some seconds.
    Short,
    /// The daemon, which may be up before the network is: until it is there.
    Endless,
}

impl RegionWait {
    fn until(self) -> Option<Instant> {
        match self {
            Self::Short => Some(clock::instant() + Duration::from_secs(10)),
            Self::Endless => None,
        }
    }
}

/// Why there is no client for a context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No Region is configured, and none was found elsewhere.
    #[error("aws context {0} has no Region: set region under [aws.{0}], or AWS_REGION, or a Region in the profile")]
    NoRegion(ContextName),
    /// The instance metadata gave no Region in time.
    #[error(
        "aws context {context} has no Region: none is configured, and the EC2 instance metadata does not answer ({why}); set region under [aws.{context}], or AWS_REGION, or a Region in the profile; off EC2, AWS_EC2_METADATA_DISABLED=true spares the wait"
    )]
    NoAnswer {
        /// The AWS context with that Region.
        context: ContextName,
        /// What was wrong with the last question.
        why: String,
    },
    /// The ambient Region is not one.
    #[error("aws context {context}: the ambient Region {region:?} is not an AWS Region")]
    NotARegion {
        /// The AWS context with that Region.
        context: ContextName,
        /// The text that was found as the Region.
        region: String,
    },
}

/// Makes the clients of every context. Reads files and the environment; asks AWS for nothing, except that it waits for the EC2 instance
/// metadata where nothing else says the Region.
///
/// # Errors
/// A context without a Region.
pub async fn connect(
    settings: &BTreeMap<ContextName, AwsSettings>,
    common: &Common,
    wait: RegionWait,
) -> Result<Contexts, ConnectError> {
    let mut contexts = Contexts::new();
    for (name, base) in bases(settings, common, wait).await? {
        let context = context(&name, &base, common).await?;
        contexts.insert(name, context);
    }
    Ok(contexts)
}

/// The same for one context, with the client that tells whose its credentials are. They share the credentials, which are fetched once.
///
/// # Errors
/// A context without a Region.
pub async fn connect_known(
    name: &ContextName,
    settings: &AwsSettings,
    common: &Common,
    wait: RegionWait,
) -> Result<(AwsContext, Arc<dyn Identity>), ConnectError> {
    let only = BTreeMap::from([(name.clone(), settings.clone())]);
    let base = bases(&only, common, wait).await?.remove(name);
    let base = base.ok_or_else(|| ConnectError::NoRegion(name.clone()))?;
    Ok((context(name, &base, common).await?, identity::of(&base, common)))
}

/// What the clients of one context have in common.
pub(super) struct Base {
    region: Region,
    pub(super) config: SdkConfig,
    pub(super) credentials: Arc<Renewing>,
}

/// What the clients of each context are made from.
pub(super) async fn bases(
    settings: &BTreeMap<ContextName, AwsSettings>,
    common: &Common,
    wait: RegionWait,
) -> Result<BTreeMap<ContextName, Base>, ConnectError> {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let until = wait.until();
    let mut bases = BTreeMap::new();
    for (name, settings) in settings {
        let region = match region::configured(settings, &http).await {
            Some(region) => region,
            None => region_of_instance(name, &http, common, until).await?,
        };
        bases.insert(name.clone(), base(name, settings, &region, &http, common).await?);
    }
    Ok(bases)
}

/// Asks the instance metadata until it answers, or until there is no time left.
async fn region_of_instance(
    name: &ContextName,
    http: &SharedHttpClient,
    common: &Common,
    until: Option<Instant>,
) -> Result<String, ConnectError> {
    let begun = clock::instant();
    let mut said = false;
    loop {
        common.health.awaits(name, Some(&format!("the Region from {}", region::SOURCE)));
        let found = region::of_instance(http).await;
        match found {
            RegionAnswer::Region(region) => {
                common.health.awaits(name, None);
                if said {
                    info!(aws = %name, region, seconds = begun.elapsed().as_secs(), "the wait for the Region is over");
                }
                return Ok(region);
            }
            RegionAnswer::Nothing => return Err(ConnectError::NoRegion(name.clone())),
            RegionAnswer::NoAnswer(why) => {
                if until.is_some_and(|until| clock::instant() + ASKED_EVERY > until) {
                    return Err(ConnectError::NoAnswer { context: name.clone(), why });
                }
                if !std::mem::replace(&mut said, true) {
                    warn!(
                        aws = %name, source = region::SOURCE, error = why,
                        remedy = format!("none on an EC2 instance; elsewhere set region under [aws.{name}], or AWS_REGION, or a Region in the profile"),
                        "the Region is awaited: none is configured, and its source does not answer yet"
                    );
                }
            }
        }
        clock::sleep(ASKED_EVERY).await;
    }
}

async fn base(
    name: &ContextName,
    settings: &AwsSettings,
    region: &str,
    http: &SharedHttpClient,
    common: &Common,
) -> Result<Base, ConnectError> {
    let base = base_config(settings, region, http).await;
    let parsed = Region::parse(region)
        .map_err(|_| ConnectError::NotARegion { context: name.clone(), region: region.to_owned() })?;
    let credentials = Renewing::new(name.clone(), settings.clone(), region.to_owned(), http.clone(), common.clone());
    // The retries of the credential providers stay; those of the calls are the scheduler's and the deployer's (decision 34).
    let config = base
        .to_builder()
        .credentials_provider(SharedCredentialsProvider::new(Source(Arc::clone(&credentials))))
        .identity_cache(IdentityCache::no_cache())
        .retry_config(RetryConfig::disabled())
        .build();
    Ok(Base { region: parsed, config, credentials })
}

async fn context(name: &ContextName, base: &Base, common: &Common) -> Result<AwsContext, ConnectError> {
    let Base { region, config, credentials } = base;
    let region = region.clone();
    let suffix = partition::dns_suffix(&region)
        .await
        .ok_or_else(|| ConnectError::NotARegion { context: name.clone(), region: region.to_string() })?;
    let caller = |api| Caller::new(api, common, credentials);
    let date = AwsDate::new(common.clone());
    let ecr = aws_sdk_ecr::config::Builder::from(config).interceptor(date.clone()).build();
    let ecs = aws_sdk_ecs::config::Builder::from(config).interceptor(date.clone()).build();
    let sns = aws_sdk_sns::config::Builder::from(config).interceptor(date.clone()).build();
    let scheduler = aws_sdk_scheduler::config::Builder::from(config).interceptor(date.clone()).build();
    let events = aws_sdk_eventbridge::config::Builder::from(config).interceptor(date.clone()).build();
    let tagging = aws_sdk_resourcegroupstagging::config::Builder::from(config).interceptor(date.clone()).build();
    let sqs = aws_sdk_sqs::config::Builder::from(config).timeout_config(queue::time_outs(config));
    let sqs = sqs.interceptor(date.clone()).build();
    let cloudtrail = aws_sdk_cloudtrail::config::Builder::from(config).interceptor(date).build();
    let (ecr, ecs) = (aws_sdk_ecr::Client::from_conf(ecr), aws_sdk_ecs::Client::from_conf(ecs));
    let inventory = Arc::new(SdkInventory {
        ecr: ecr.clone(),
        ecs: ecs.clone(),
        ecr_caller: caller("ecr"),
        ecs_caller: caller("ecs"),
    });
    let context = AwsContext {
        region: region.clone(),
        inventory,
        schedules: Arc::new(SdkSchedules {
            scheduler: aws_sdk_scheduler::Client::from_conf(scheduler),
            events: aws_sdk_eventbridge::Client::from_conf(events),
            scheduler_caller: caller("scheduler"),
            events_caller: caller("events"),
        }),
        queue: Arc::new(SdkQueue { client: aws_sdk_sqs::Client::from_conf(sqs), caller: caller("sqs") }),
        identity: identity::of(base, common),
        tagging: Arc::new(SdkTagging {
            client: aws_sdk_resourcegroupstagging::Client::from_conf(tagging),
            caller: caller("tag"),
        }),
        topics: Arc::new(SdkTopics { client: aws_sdk_sns::Client::from_conf(sns), caller: caller("sns") }),
        cloudtrail: Arc::new(SdkCloudTrail {
            client: aws_sdk_cloudtrail::Client::from_conf(cloudtrail),
            caller: caller("cloudtrail"),
        }),
        ecr: Arc::new(SdkEcr { client: ecr, caller: caller("ecr").at_most(ECR_AT_A_TIME), region, suffix }),
        ecs: Arc::new(SdkEcs { client: ecs, caller: caller("ecs") }),
    };
    Ok(context.rate_limited())
}
