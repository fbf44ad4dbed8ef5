//! What every client has in common: Region, endpoint and time-outs, with what the machine offers.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::timeout::TimeoutConfig;

use crate::config::AwsSettings;

/// By default the SDK limits only the connecting.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// The name in user agents and sessions.
pub(super) const NAME: &str = "ecs-deployd";

/// Region, time-outs and endpoint, with what the machine offers.
pub(super) async fn base_config(settings: &AwsSettings, http: &SharedHttpClient) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone()).timeout_config(
        TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(ANSWER_WITHIN)
            .operation_timeout(ANSWER_WITHIN)
            .build(),
    );
    if let Ok(app_name) = aws_config::AppName::new(NAME) {
        loader = loader.app_name(app_name);
    }
    if let Some(region) = &settings.region {
        loader = loader.region(aws_config::Region::new(region.clone()));
    }
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = &settings.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}
