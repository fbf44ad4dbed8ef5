//! The SDK's partition data.

use aws_sdk_ecr::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};

use crate::domain::types::{DnsSuffix, Region};

/// The DNS suffix of the partition that a Region belongs to: `amazonaws.com`, `amazonaws.eu`, ...
///
/// It is what follows the Region in the address that the SDK itself would call ECR at, so that no partition which the SDK can reach is
/// missing. For a Region that the SDK does not know it assumes the standard partition.
pub(super) async fn dns_suffix(region: &Region) -> Option<DnsSuffix> {
    let params = Params::builder().region(region.as_str()).build().ok()?;
    let endpoint = DefaultResolver::new().resolve_endpoint(&params).await.ok()?;
    let (_, suffix) = endpoint.url().split_once(&format!(".{region}."))?;
    DnsSuffix::parse(suffix.trim_end_matches('/')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_partition_has_its_suffix() {
        for (region, suffix) in [
            ("eu-west-1", "amazonaws.com"),
            ("us-gov-west-1", "amazonaws.com"),
            ("cn-northwest-1", "amazonaws.com.cn"),
            ("eusc-de-east-1", "amazonaws.eu"),
            ("us-iso-east-1", "c2s.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov"),
            ("eu-isoe-west-1", "cloud.adc-e.uk"),
            ("us-isof-south-1", "csp.hci.ic.gov"),
            ("moon-mare-1", "amazonaws.com"),
        ] {
            let found = dns_suffix(&Region::parse(region).unwrap()).await.unwrap();
            assert_eq!(found.as_str(), suffix, "{region}");
        }
    }
}
