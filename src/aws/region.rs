//! The Region of a context: what its settings, the environment, the profile or the EC2 instance says.

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds;
use aws_config::meta::region::ProvideRegion as _;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::config::AwsSettings;
use crate::domain::printable::one_line;
use crate::wording::chain;

/// Amazon EC2 User Guide, "Instance metadata categories".
const METADATA: &str = "/latest/meta-data/placement/region";
/// What messages call the last place where a Region is looked for.
pub(super) const SOURCE: &str = "the EC2 instance metadata";

/// What the search for a Region found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RegionAnswer {
    /// The name of a Region.
    Region(String),
    /// There is none anywhere.
    Nothing,
    /// The instance metadata does not answer, or not yet.
    NoAnswer(String),
}

/// Looks where a Region can be without asking anybody.
pub(super) async fn configured(settings: &AwsSettings, http: &SharedHttpClient) -> Option<String> {
    if let Some(region) = &settings.region {
        return Some(region.clone());
    }
    let of_environment = EnvironmentVariableRegionProvider::new().region().await;
    let region = match of_environment.filter(|region| !region.as_ref().is_empty()) {
        Some(region) => Some(region),
        None => {
            let provider = ProviderConfig::without_region().with_http_client(http.clone());
            let mut profile = ProfileFileRegionProvider::builder().configure(&provider);
            if let Some(name) = &settings.profile {
                profile = profile.profile_name(name);
            }
            profile.build().region().await
        }
    };
    region.map(|region| region.as_ref().to_owned())
}

/// Asks the instance metadata, unless it is switched off (`AWS_EC2_METADATA_DISABLED`). A few seconds pass where nobody answers.
pub(super) async fn of_instance(http: &SharedHttpClient) -> RegionAnswer {
    if std::env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
        return RegionAnswer::Nothing;
    }
    let provider = ProviderConfig::without_region().with_http_client(http.clone());
    let client = imds::Client::builder().configure(&provider).build();
    match client.get(METADATA).await {
        Ok(region) => RegionAnswer::Region(String::from(region).trim().to_owned()),
        Err(imds::client::error::ImdsError::ErrorResponse(answer)) if answer.response().status().as_u16() == 404 => {
            RegionAnswer::Nothing
        }
        Err(error) => RegionAnswer::NoAnswer(one_line(&chain(&error))),
    }
}
