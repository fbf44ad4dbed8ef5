//! What every client has in common: Region, endpoint and time-outs.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::timeout::TimeoutConfig;

use crate::config::AwsSettings;

/// By default the SDK limits only the connecting.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// The name in user agents and sessions.
pub(super) const NAME: &str = "ecs-deployd";

/// Region, time-outs and endpoint; no credentials.
pub(super) async fn base_config(settings: &AwsSettings, region: &str, http: &SharedHttpClient) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .no_credentials()
        .http_client(http.clone())
        .region(aws_config::Region::new(region.to_owned()))
        .timeout_config(time_outs());
    if let Ok(app_name) = aws_config::AppName::new(NAME) {
        loader = loader.app_name(app_name);
    }
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = &settings.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}

fn time_outs() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(ANSWER_WITHIN)
        .operation_timeout(ANSWER_WITHIN)
        .build()
}
