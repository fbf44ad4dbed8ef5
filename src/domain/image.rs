//! Image references as they stand in a container definition, and whether they mean a given ECR repository.

use std::fmt;

use super::types::{AccountId, Digest, Region, RepositoryName, Tag};

/// An ECR repository as the world knows it: registry (account and Region) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository {
    /// The account that owns the registry.
    pub account: AccountId,
    /// The Region of the registry.
    pub region: Region,
    /// The name within the registry.
    pub name: RepositoryName,
}

impl Repository {
    /// The host of the registry as AWS gives it in `repositoryUri`.
    #[must_use]
    pub fn host(&self) -> String {
        let suffix = if self.region.as_str().starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        format!("{}.dkr.ecr.{}.{suffix}", self.account, self.region)
    }
}

/// An image reference split into its parts; no part is checked beyond what splitting needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference<'a> {
    /// Registry host and path: everything before the tag or digest.
    pub name: &'a str,
    /// The tag, where one is given.
    pub tag: Option<&'a str>,
    /// The digest, where one is given.
    pub digest: Option<&'a str>,
}

impl<'a> ImageReference<'a> {
    /// Splits `name[:tag][@digest]`. A colon before the last slash belongs to the host's port.
    #[must_use]
    pub fn split(text: &'a str) -> Self {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let path_at = rest.rfind('/').map_or(0, |slash| slash + 1);
        match rest[path_at..].find(':') {
            Some(colon) => Self { name: &rest[..path_at + colon], tag: Some(&rest[path_at + colon + 1..]), digest },
            None => Self { name: rest, tag: None, digest },
        }
    }

    /// The digest that the reference is pinned to, if it is.
    #[must_use]
    pub fn pinned(&self) -> Option<Digest> {
        self.digest.and_then(|digest| Digest::parse(digest).ok())
    }

    /// Whether the reference names an image in ECR by a tag, which may mean another image tomorrow.
    #[must_use]
    pub fn is_movable(&self) -> bool {
        self.digest.is_none() && self.registry().is_some()
    }

    /// Account and Region of the ECR registry that the reference names, if it names one.
    #[must_use]
    pub fn registry(&self) -> Option<(&'a str, &'a str)> {
        registry_of(self.name.split_once('/')?.0)
    }

    /// Whether the reference means this repository: same account, same Region, same name, on any of the host names that
    /// ECR answers to (standard, FIPS and dual-stack endpoints).
    #[must_use]
    pub fn is_from(&self, repository: &Repository) -> bool {
        let Some((host, path)) = self.name.split_once('/') else { return false };
        path == repository.name.as_str()
            && registry_of(host).is_some_and(|(account, region)| {
                account == repository.account.as_str() && region == repository.region.as_str()
            })
    }
}

/// Account and Region of an ECR host name.
fn registry_of(host: &str) -> Option<(&str, &str)> {
    let (account, rest) = host.split_once('.')?;
    let region_on = |rest: &'static [&'static str], service: &str| -> Option<&'static [&'static str]> {
        matches!(service, "ecr" | "ecr-fips").then_some(rest)
    };
    const CLASSIC: &[&str] = &["amazonaws.com", "amazonaws.com.cn"];
    const DUAL_STACK: &[&str] = &["on.aws", "on.amazonwebservices.com.cn"];
    let (suffixes, rest) = match rest.strip_prefix("dkr.") {
        Some(rest) => {
            let (service, rest) = rest.split_once('.')?;
            (region_on(CLASSIC, service)?, rest)
        }
        None => {
            let (service, rest) = rest.strip_prefix("dkr-")?.split_once('.')?;
            (region_on(DUAL_STACK, service)?, rest)
        }
    };
    let (region, suffix) = rest.split_once('.')?;
    suffixes.contains(&suffix).then_some((account, region))
}

/// What a container definition shall name: the digest itself, or the tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// `name@sha256:...`
    Digest(Digest),
    /// `name:tag`
    Tag(Tag),
}

/// The new reference for a container: the host that it names today is kept where it already means the repository, so that a
/// FIPS or dual-stack endpoint stays one.
#[must_use]
pub fn rename(current: &str, repository: &Repository, pin: &Pin) -> String {
    let reference = ImageReference::split(current);
    let name: &dyn fmt::Display = if reference.is_from(repository) {
        &reference.name
    } else {
        &format!("{}/{}", repository.host(), repository.name)
    };
    match pin {
        Pin::Digest(digest) => format!("{name}@{digest}"),
        Pin::Tag(tag) => format!("{name}:{tag}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Repository {
        Repository {
            account: AccountId::parse("111111111111").unwrap(),
            region: Region::parse("eu-west-1").unwrap(),
            name: RepositoryName::parse("team/api").unwrap(),
        }
    }

    #[test]
    fn splits_hosts_ports_tags_and_digests() {
        for (text, name, tag, digest) in [
            ("nginx", "nginx", None, None),
            ("nginx:1.25", "nginx", Some("1.25"), None),
            ("localhost:5000/a/b", "localhost:5000/a/b", None, None),
            ("localhost:5000/a/b:t", "localhost:5000/a/b", Some("t"), None),
            ("h/a@sha256:00", "h/a", None, Some("sha256:00")),
            ("h/a:t@sha256:00", "h/a", Some("t"), Some("sha256:00")),
        ] {
            assert_eq!(ImageReference::split(text), ImageReference { name, tag, digest }, "{text}");
        }
    }

    #[test]
    fn a_repository_is_matched_exactly() {
        for (image, expected) in [
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com/team/api:latest", true),
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com/team/api", true),
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com/team/api@sha256:00", true),
            ("111111111111.dkr.ecr-fips.eu-west-1.amazonaws.com/team/api:1", true),
            ("111111111111.dkr-ecr.eu-west-1.on.aws/team/api:1", true),
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com/team/api-worker:1", false),
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com/api:1", false),
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com/other/team/api:1", false),
            ("222222222222.dkr.ecr.eu-west-1.amazonaws.com/team/api:1", false),
            ("111111111111.dkr.ecr.eu-west-2.amazonaws.com/team/api:1", false),
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com.evil.example/team/api:1", false),
            ("team/api:1", false),
            ("docker.io/team/api:1", false),
        ] {
            assert_eq!(ImageReference::split(image).is_from(&repository()), expected, "{image}");
        }
    }

    #[test]
    fn renaming_keeps_the_host_and_changes_what_is_pinned() {
        let digest = Digest::parse(&format!("sha256:{}", "1".repeat(64))).unwrap();
        let fips = "111111111111.dkr.ecr-fips.eu-west-1.amazonaws.com/team/api:old@sha256:22";
        assert_eq!(
            rename(fips, &repository(), &Pin::Digest(digest.clone())),
            format!("111111111111.dkr.ecr-fips.eu-west-1.amazonaws.com/team/api@{digest}")
        );
        assert_eq!(
            rename("nginx:1.25", &repository(), &Pin::Tag(Tag::parse("v2").unwrap())),
            "111111111111.dkr.ecr.eu-west-1.amazonaws.com/team/api:v2"
        );
    }
}
