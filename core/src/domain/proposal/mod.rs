//! The configuration that `init` proposes: what is there in an account, to the repositories and services that can be followed, with what a
//! person has to decide.
//!
//! What can be followed as it is stands in the configuration; all else is in it as a comment, with the reason. A proposal is never a guess
//! that deploys: where a revision does not say which tag is meant, no tag is followed.

mod remark;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use super::image::ImageReference;
use super::task_definition::TaskDefinition;
use super::types::{AccountId, ContextName, Digest, EcsName, Region, RepositoryName, Tag};
use super::view::{RepositoryView, ServiceView};

pub use remark::{Obstacle, Remark};

/// What there is in an account and Region.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The registry of the account that was asked.
    pub home: Registry,
    /// Where AWS was asked, if not where it usually is.
    pub endpoint_url: Option<String>,
    /// The profile that it was asked with, if one was named.
    pub profile: Option<String>,
    /// The services that were found.
    pub services: Vec<FoundService>,
    /// The registries that their images come from, and what was learnt of them.
    pub registries: BTreeMap<Registry, RegistryView>,
}

/// A service that was found.
#[derive(Debug, Clone)]
pub struct FoundService {
    /// The cluster that it runs in.
    pub cluster: EcsName,
    /// The name of the service.
    pub service: EcsName,
    /// How it is, and the revision that it runs; or why ECS rolls nothing there.
    pub state: Result<(ServiceView, TaskDefinition), String>,
}

/// The registry of an account and Region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registry {
    /// The id of the account.
    pub account: AccountId,
    /// The Region of the account.
    pub region: Region,
}

/// What was learnt of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryView {
    /// How it is reached.
    pub reach: Reach,
    /// Its repositories; nothing where they could not be listed.
    pub repositories: Option<Vec<RepositoryView>>,
    /// The tags of the digests that revisions are pinned to.
    pub tags: BTreeMap<(RepositoryName, Digest), Vec<Tag>>,
}

/// The credentials that a registry is reached with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It is reached with those that `init` runs with.
    Ambient,
    /// It is reached with those of a profile.
    Profile(String),
    /// No credentials are known that reach it.
    Unknown,
}

/// An image that a revision names in a private registry of ECR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// The registry that holds the repository.
    pub registry: Registry,
    /// The repository of the image.
    pub repository: RepositoryName,
    /// Which image of the repository it is.
    pub which: Which,
}

/// What a reference names of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// What the tag points to.
    Tag(Tag),
    /// One image, which no push replaces.
    Digest(Digest),
}

impl NamedImage {
    /// Reads a reference; nothing where it names no private registry of ECR.
    #[must_use]
    pub fn read(image: &str) -> Option<Self> {
        let reference = ImageReference::split(image);
        let host = reference.registry()?;
        let registry =
            Registry { account: AccountId::parse(host.account).ok()?, region: Region::parse(host.region).ok()? };
        let repository = RepositoryName::parse(reference.name.split_once('/')?.1).ok()?;
        let which = match (reference.tag, reference.digest) {
            // With both, ECS goes by the digest, and the tag says what was meant.
            (Some(tag), _) => Which::Tag(Tag::parse(tag).ok()?),
            (None, Some(digest)) => Which::Digest(Digest::parse(digest).ok()?),
            (None, None) => Which::Tag(Tag::parse("latest").ok()?),
        };
        Some(Self { registry, repository, which })
    }
}

/// The configuration that `init` proposes.
#[derive(Debug, Clone)]
pub struct Proposal {
    snapshot: Snapshot,
    contexts: BTreeMap<Registry, ContextName>,
    repositories: Vec<Repository>,
    left_out: Vec<(String, String)>,
}

/// A repository, and the services that run its images.
#[derive(Debug, Clone)]
struct Repository {
    registry: Registry,
    name: RepositoryName,
    obstacle: Option<Obstacle>,
    remarks: Vec<Remark>,
    services: Vec<Service>,
}

/// A service under a repository.
#[derive(Debug, Clone)]
struct Service {
    cluster: EcsName,
    name: EcsName,
    /// The tag that the revision names, where it names one.
    tag: Option<Tag>,
    obstacles: Vec<Obstacle>,
    remarks: Vec<Remark>,
}

impl Repository {
    /// The services that can be followed as they are.
    fn followed(&self) -> impl Iterator<Item = (&Service, &Tag)> {
        let services = self.services.iter().filter(|_| self.obstacle.is_none());
        services.filter(|service| service.obstacles.is_empty()).filter_map(|one| Some((one, one.tag.as_ref()?)))
    }

    /// The tag that most of the services name; of several the first.
    fn usual_tag(&self) -> Option<&Tag> {
        let mut counts: BTreeMap<&Tag, usize> = BTreeMap::new();
        for (_, tag) in self.followed() {
            *counts.entry(tag).or_default() += 1;
        }
        let most = *counts.values().max()?;
        counts.into_iter().find(|(_, count)| *count == most).map(|(tag, _)| tag)
    }

    /// Whether the services name different tags.
    fn tags_differ(&self) -> bool {
        self.followed().map(|(_, tag)| tag).collect::<BTreeSet<_>>().len() > 1
    }
}

impl Proposal {
    /// Decides what can be followed.
    #[must_use]
    pub fn of(snapshot: Snapshot) -> Self {
        let (mut repositories, mut left_out) = (BTreeMap::new(), Vec::new());
        for found in &snapshot.services {
            let label = format!("{}/{}", found.cluster, found.service);
            match &found.state {
                Err(why) => left_out.push((label, why.clone())),
                Ok((view, definition)) => {
                    let images = images_of(definition);
                    if images.is_empty() {
                        let named: Vec<&str> = definition.containers().map(|(_, image)| image).collect();
                        left_out
                            .push((label, format!("no image from a private repository of ECR: {}", named.join(", "))));
                    }
                    for ((registry, name), containers) in images {
                        let registry_view = snapshot.registries.get(&registry);
                        let service = Service::of(found, view, definition, &name, &containers, registry_view);
                        let services: &mut Vec<Service> = repositories.entry((registry, name)).or_default();
                        services.push(service);
                    }
                }
            }
        }
        let repositories: Vec<Repository> = repositories
            .into_iter()
            .map(|((registry, name), services)| {
                let registry_view = snapshot.registries.get(&registry);
                Repository::of(registry, name, services, registry_view)
            })
            .collect();
        let contexts = contexts(&snapshot.home, &repositories);
        Self { snapshot, contexts, repositories, left_out }
    }

    /// How many services are followed.
    #[must_use]
    pub fn followed(&self) -> usize {
        let services = self.repositories.iter().flat_map(Repository::followed);
        services.map(|(service, _)| (&service.cluster, &service.name)).collect::<BTreeSet<_>>().len()
    }

    /// How many things a person has to decide.
    #[must_use]
    pub fn decisions(&self) -> usize {
        let of = |repository: &Repository| match repository.obstacle {
            Some(_) => 1,
            None => {
                let is_open = |service: &&Service| {
                    !service.obstacles.is_empty() || service.remarks.iter().any(Remark::is_decision)
                };
                let of_its_own = repository.remarks.iter().filter(|remark| remark.is_decision()).count();
                of_its_own + repository.services.iter().filter(is_open).count()
            }
        };
        self.repositories.iter().map(of).sum()
    }
}

/// The images of a revision by repository, with the containers that name them.
type Images<'a> = BTreeMap<(Registry, RepositoryName), Vec<(&'a str, Which)>>;

fn images_of(definition: &TaskDefinition) -> Images<'_> {
    let mut images: Images<'_> = BTreeMap::new();
    for (container, image) in definition.containers() {
        if let Some(NamedImage { registry, repository, which }) = NamedImage::read(image) {
            images.entry((registry, repository)).or_default().push((container, which));
        }
    }
    images
}

/// The contexts that the configuration needs: the one that was asked, and one for each further registry.
fn contexts(home: &Registry, repositories: &[Repository]) -> BTreeMap<Registry, ContextName> {
    let others = repositories.iter().map(|repository| &repository.registry).chain([home]);
    let name = |registry: &Registry| match registry {
        same if same == home => "default".to_owned(),
        Registry { account, region } if *account == home.account => region.to_string(),
        Registry { account, region } if *region == home.region => format!("account-{account}"),
        Registry { account, region } => format!("account-{account}-{region}"),
    };
    others.filter_map(|registry| Some((registry.clone(), ContextName::parse(&name(registry)).ok()?))).collect()
}

#[cfg(test)]
mod tests;
