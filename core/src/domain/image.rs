//! Image references as they stand in a container definition, and whether they mean a given ECR repository.

use super::types::{AccountId, Digest, DnsSuffix, Region, RepositoryName, Tag};

/// A private ECR registry: there is one in each account and Region.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Registry {
    /// The account that owns the registry.
    pub account: AccountId,
    /// The Region of the registry.
    pub region: Region,
    /// The DNS suffix of the partition that the Region belongs to, such as `amazonaws.com`.
    pub suffix: DnsSuffix,
}

impl Registry {
    /// The host of the registry as AWS gives it in `repositoryUri`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.dkr.ecr.{}.{}", self.account, self.region, self.suffix)
    }
}

/// An ECR repository by which everybody finds it: its registry and its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository {
    /// The registry that the repository is in.
    pub registry: Registry,
    /// The name within the registry.
    pub name: RepositoryName,
}

/// The host of an ECR registry as an image reference names it.
///
/// A host is recognised by its shape, `ACCOUNT.dkr.ecr[-fips].REGION.SUFFIX` or `ACCOUNT.dkr-ecr[-fips].REGION.on.SUFFIX` with an optional
/// port, and not by a list of suffixes: each AWS partition has suffixes of its own, emulators have others, and a partition that is not known
/// yet must not look like another registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistryHost<'a> {
    /// The account that owns the registry: twelve digits.
    pub account: &'a str,
    /// The Region of the registry.
    pub region: &'a str,
    /// What follows the account: service, Region, suffix and port.
    rest: &'a str,
}

impl<'a> RegistryHost<'a> {
    /// Takes a host apart; `None` if it is not the host of an ECR registry.
    #[must_use]
    pub fn parse(host: &'a str) -> Option<Self> {
        let (account, rest) = host.split_once('.')?;
        AccountId::parse(account).ok()?;
        let domain = match rest.split_once(':') {
            Some((domain, port)) => is_port(port).then_some(domain)?,
            None => rest,
        };
        let labels: Vec<&str> = domain.split('.').collect();
        let (region, suffix) = match labels[..] {
            ["dkr", "ecr" | "ecr-fips", region, ref suffix @ ..] => (region, suffix),
            ["dkr-ecr" | "dkr-ecr-fips", region, "on", ref suffix @ ..] => (region, suffix),
            _ => return None,
        };
        Region::parse(region).ok()?;
        DnsSuffix::parse(&suffix.join(".")).ok()?;
        Some(Self { account, region, rest })
    }

    /// The host of another account's registry in the same Region: a FIPS or dual-stack endpoint, its suffix and its port stay.
    fn of(&self, account: &AccountId) -> String {
        format!("{account}.{}", self.rest)
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
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

    /// The ECR registry that the reference names, if it names one.
    #[must_use]
    pub fn registry(&self) -> Option<RegistryHost<'a>> {
        RegistryHost::parse(self.name.split_once('/')?.0)
    }

    /// Whether the reference means this repository, on any of the hosts that its registry answers to.
    #[must_use]
    pub fn is_from(&self, repository: &Repository) -> bool {
        let registry = &repository.registry;
        self.is_in(Some(&registry.account), &registry.region, &repository.name)
    }

    /// Whether the reference means the repository of this name in the registry of this account and Region. Without an account any account's
    /// registry in the Region counts: as long as ECR has not shown an image, the account is not known.
    #[must_use]
    pub fn is_in(&self, account: Option<&AccountId>, region: &Region, repository: &RepositoryName) -> bool {
        let path = self.name.split_once('/').map(|(_, path)| path);
        path == Some(repository.as_str())
            && self.registry().is_some_and(|host| {
                host.region == region.as_str() && account.is_none_or(|account| account.as_str() == host.account)
            })
    }
}

/// What a container definition shall name: the digest itself, or the tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// The image by its digest: `name@sha256:...`.
    Digest(Digest),
    /// By tag, which may move: `name:tag`.
    Tag(Tag),
}

/// The new reference for a container.
///
/// Where it names a registry of the same Region today, the form of that host stays: a FIPS or dual-stack endpoint, the partition's suffix and a
/// port. Elsewhere the host is the one that AWS gives to the registry.
#[must_use]
pub fn rename(current: &str, repository: &Repository, pin: &Pin) -> String {
    let registry = &repository.registry;
    let host = match ImageReference::split(current).registry() {
        Some(host) if host.region == registry.region.as_str() => host.of(&registry.account),
        Some(_) | None => registry.host(),
    };
    let name = format!("{host}/{}", repository.name);
    match pin {
        Pin::Digest(digest) => format!("{name}@{digest}"),
        Pin::Tag(tag) => format!("{name}:{tag}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_partition(region: &str, suffix: &str) -> Repository {
        let registry = Registry {
            account: AccountId::parse("111111111111").unwrap(),
            region: Region::parse(region).unwrap(),
            suffix: DnsSuffix::parse(suffix).unwrap(),
        };
        Repository { registry, name: RepositoryName::parse("team/api").unwrap() }
    }

    fn repository() -> Repository {
        in_partition("eu-west-1", "amazonaws.com")
    }

    /// Every partition that AWS has, with a Region of it, and one that nobody knows yet.
    const PARTITIONS: [(&str, &str, &str); 9] = [
        ("eu-west-1", "amazonaws.com", "aws"),
        ("us-gov-west-1", "amazonaws.com", "aws"),
        ("cn-north-1", "amazonaws.com.cn", "amazonwebservices.com.cn"),
        ("eusc-de-east-1", "amazonaws.eu", "amazonwebservices.eu"),
        ("us-iso-east-1", "c2s.ic.gov", "c2s.ic.gov"),
        ("us-isob-east-1", "sc2s.sgov.gov", "sc2s.sgov.gov"),
        ("eu-isoe-west-1", "cloud.adc-e.uk", "cloud.adc-e.uk"),
        ("us-isof-south-1", "csp.hci.ic.gov", "csp.hci.ic.gov"),
        ("moon-mare-1", "cloud.moon.example", "moon.example"),
    ];

    fn hosts(region: &str, suffix: &str, dual: &str) -> Vec<String> {
        let plain = [
            format!("111111111111.dkr.ecr.{region}.{suffix}"),
            format!("111111111111.dkr.ecr-fips.{region}.{suffix}"),
            format!("111111111111.dkr-ecr.{region}.on.{dual}"),
            format!("111111111111.dkr-ecr-fips.{region}.on.{dual}"),
        ];
        plain.iter().flat_map(|host| [host.clone(), format!("{host}:443")]).collect()
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
            ("111111111111.dkr.ecr.eu-west-1.localhost.localstack.cloud:4566/team/api:1", true),
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com:0x50/team/api:1", false),
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com:65536/team/api:1", false),
            ("111111111111.dkr.ecr.eu-west-1/team/api:1", false),
            ("111111111111.dkr.ecr.eu-west-1./team/api:1", false),
            ("111111111111.dkr-ecr.eu-west-1.amazonaws.com/team/api:1", false),
            ("111111111111.dkr.ecr.example.com/team/api:1", false),
            ("11111111111.dkr.ecr.eu-west-1.amazonaws.com/team/api:1", false),
            ("x.111111111111.dkr.ecr.eu-west-1.amazonaws.com/team/api:1", false),
            ("111111111111.ecr.dkr.eu-west-1.amazonaws.com/team/api:1", false),
            ("localhost:5000/team/api:1", false),
            ("team/api:1", false),
            ("docker.io/team/api:1", false),
        ] {
            assert_eq!(ImageReference::split(image).is_from(&repository()), expected, "{image}");
        }
    }

    #[test]
    fn every_partition_has_its_registries() {
        for (region, suffix, dual) in PARTITIONS {
            let repository = in_partition(region, suffix);
            let digest = Digest::parse(&format!("sha256:{}", "1".repeat(64))).unwrap();
            for host in hosts(region, suffix, dual) {
                let image = format!("{host}/team/api:latest");
                let reference = ImageReference::split(&image);
                assert!(reference.is_from(&repository) && reference.is_movable(), "{image}");
                assert_eq!(reference.tag, Some("latest"), "{image}");
                let new = rename(&image, &repository, &Pin::Digest(digest.clone()));
                assert_eq!(new, format!("{host}/team/api@{digest}"), "the host stays");
                assert!(!ImageReference::split(&new).is_movable(), "{new}");
            }
            let new = rename("nginx:1.25", &repository, &Pin::Tag(Tag::parse("v2").unwrap()));
            assert_eq!(new, format!("111111111111.dkr.ecr.{region}.{suffix}/team/api:v2"));
            assert!(ImageReference::split(&new).is_from(&repository), "what is written is recognised: {new}");
        }
    }

    #[test]
    fn as_long_as_the_account_is_not_known_the_region_and_the_name_tell() {
        let (region, name) = (Region::parse("eu-west-1").unwrap(), RepositoryName::parse("team/api").unwrap());
        let account = AccountId::parse("111111111111").unwrap();
        for (image, of_any, of_ours) in [
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com/team/api:1", true, true),
            ("222222222222.dkr.ecr.eu-west-1.amazonaws.com/team/api:1", true, false),
            ("111111111111.dkr.ecr.eu-west-2.amazonaws.com/team/api:1", false, false),
            ("docker.io/team/api:1", false, false),
        ] {
            let reference = ImageReference::split(image);
            assert_eq!(reference.is_in(None, &region, &name), of_any, "{image}");
            assert_eq!(reference.is_in(Some(&account), &region, &name), of_ours, "{image}");
        }
    }

    #[test]
    fn another_registry_of_the_region_lends_the_form_of_its_host() {
        for (current, host) in [
            (
                "222222222222.dkr-ecr-fips.eu-west-1.on.aws:443/old@sha256:22",
                "111111111111.dkr-ecr-fips.eu-west-1.on.aws:443",
            ),
            (
                "111111111111.dkr.ecr-fips.eu-west-1.amazonaws.com/old:1",
                "111111111111.dkr.ecr-fips.eu-west-1.amazonaws.com",
            ),
            (
                "111111111111.dkr.ecr-fips.us-east-1.amazonaws.com/team/api:1",
                "111111111111.dkr.ecr.eu-west-1.amazonaws.com",
            ),
            ("localhost:5000/team/api:1", "111111111111.dkr.ecr.eu-west-1.amazonaws.com"),
        ] {
            let new = rename(current, &repository(), &Pin::Tag(Tag::parse("v2").unwrap()));
            assert_eq!(new, format!("{host}/team/api:v2"), "{current}");
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
