//! AWS STS: whose credentials these are. And the profiles that there are to choose among.

use std::sync::Arc;

use async_trait::async_trait;
use aws_config::profile;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_sdk_sts::Client;
use aws_types::os_shim_internal::{Env, Fs};

use super::call::Caller;
use super::connect::Base;
use super::date::AwsDate;
use super::{AwsError, Common, Identity};
use crate::domain::types::{AccountId, Partition, Principal};

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

    async fn arn(&self) -> Result<String, AwsError> {
        const OPERATION: &str = "GetCallerIdentity";
        let answer = self.caller.call(OPERATION, self.client.get_caller_identity().send()).await?;
        answer.arn.ok_or_else(|| self.caller.unusable(OPERATION, "the answer names no ARN"))
    }
}

/// The client that tells whose the credentials of a context are.
pub(super) fn of(base: &Base, common: &Common) -> Arc<dyn Identity> {
    let config = aws_sdk_sts::config::Builder::from(&base.config).interceptor(AwsDate::new(common.clone())).build();
    let caller = Caller::new("sts", common, &base.credentials);
    Arc::new(SdkIdentity { client: Client::from_conf(config), caller })
}

/// The names of the profiles in the shared configuration files (`~/.aws/config` and `~/.aws/credentials`, or where the environment says that
/// they are). None where they cannot be read: they are a help, and nothing depends on them.
pub async fn profiles() -> Vec<String> {
    match profile::load(&Fs::real(), &Env::real(), &EnvConfigFiles::default(), None).await {
        Ok(found) => found.profiles().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}
