//! AWS STS: whose credentials these are. And the profiles that there are to choose among.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_config::profile;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_sdk_sts::Client;
use aws_types::os_shim_internal::{Env, Fs};

use super::call::Caller;
use super::connect::{ConnectError, base, transport};
use super::{AwsError, Identity};
use crate::config::AwsSettings;
use crate::domain::types::{AccountId, ContextName, Partition, Principal};
use crate::metrics::Metrics;

#[derive(Debug)]
struct SdkIdentity {
    client: Client,
    caller: Caller,
}

#[async_trait]
impl Identity for SdkIdentity {
    async fn principal(&self) -> Result<Principal, AwsError> {
        const OPERATION: &str = "GetCallerIdentity";
        let answer = self.caller.call(OPERATION, self.client.get_caller_identity().send()).await?;
        let account = answer.account().and_then(|account| AccountId::parse(account).ok());
        // arn:PARTITION:sts::ACCOUNT:assumed-role/ROLE/SESSION
        let partition = answer.arn().and_then(|arn| arn.split(':').nth(1)).and_then(|name| Partition::parse(name).ok());
        match (account, partition) {
            (Some(account), Some(partition)) => Ok(Principal { account, partition }),
            _ => Err(self.caller.unusable(OPERATION, "the answer names no account or no ARN")),
        }
    }
}

/// Makes the client that tells whose the credentials of each context are. Reads files and the environment; asks AWS for nothing.
///
/// # Errors
/// A context without a Region.
pub async fn identities(
    settings: &BTreeMap<ContextName, AwsSettings>,
    metrics: &Arc<Metrics>,
) -> Result<BTreeMap<ContextName, Arc<dyn Identity>>, ConnectError> {
    let http = transport();
    let mut identities = BTreeMap::new();
    for (name, settings) in settings {
        let base = base(name, settings, &http).await?;
        let caller = Caller { api: "sts", metrics: Arc::clone(metrics), credentials: base.credentials };
        let identity: Arc<dyn Identity> = Arc::new(SdkIdentity { client: Client::new(&base.config), caller });
        identities.insert(name.clone(), identity);
    }
    Ok(identities)
}

/// The names of the profiles in the shared configuration files (`~/.aws/config` and `~/.aws/credentials`, or where the environment says that
/// they are). None where they cannot be read: they are a help, and nothing depends on them.
pub async fn profiles() -> Vec<String> {
    match profile::load(&Fs::real(), &Env::real(), &EnvConfigFiles::default(), None).await {
        Ok(found) => found.profiles().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}
