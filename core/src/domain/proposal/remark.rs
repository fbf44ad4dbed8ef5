//! What keeps a service from being followed, and what its owner should know of one that is.

use super::{FoundService, Reach, Registry, RegistryView, Repository, Service, Which};
use crate::domain::downtime;
use crate::domain::task_definition::TaskDefinition;
use crate::domain::types::{Digest, RepositoryName, Tag};
use crate::domain::view::ServiceView;

/// Why something is proposed as a comment only: a person has to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// ECS does not roll the service itself.
    Controller(String),
    /// ECS cannot replace the tasks without downtime.
    Downtime(String),
    /// The revision names a digest, so no tag is known to be followed.
    Pinned {
        /// The digest of the image.
        digest: Digest,
        /// Its tags in ECR now.
        tags: Vec<Tag>,
    },
    /// Containers of one service name different tags of one repository.
    SeveralTags(Vec<(String, Tag)>),
    /// The registry is that of an account to which no credentials are known.
    Unreachable(Registry),
    /// The repository is not there any more.
    NoRepository,
}

impl Obstacle {
    /// A sentence for the one who decides.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Controller(why) => format!("{why}."),
            Self::Downtime(why) => format!(
                "{why}. Until then every deployment would be refused, unless `downtime` says that it may be interrupted."
            ),
            Self::Pinned { digest, tags } if tags.is_empty() => format!(
                "its revision names the digest {digest}, which has no tag in ECR. Say which tag is to be followed."
            ),
            Self::Pinned { digest, .. } => format!(
                "its revision names the digest {digest}, so it does not say which tag is to be followed. The digest has these tags in ECR; \
                 keep one."
            ),
            Self::SeveralTags(named) => {
                let named: Vec<String> = named.iter().map(|(container, tag)| format!("{container}: {tag}")).collect();
                format!(
                    "its containers name different tags of this repository ({}). Keep one container.",
                    named.join(", ")
                )
            }
            Self::Unreachable(registry) => format!(
                "the repository is in the account {}, and no profile here leads to it. Say above how the account is reached.",
                registry.account
            ),
            Self::NoRepository => "there is no such repository in this registry any more.".to_owned(),
        }
    }
}

/// What is good to know of something that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// ECS may stop the tasks of all instances at the same time.
    Daemons(String),
    /// Nothing tells ECS whether a new task works.
    NoHealthCheck,
    /// There are no tasks that could prove anything.
    NoTasks,
    /// The revision is INACTIVE.
    Inactive(String),
    /// The tag is a version: the next release has another one.
    Version(semver::Version),
    /// The repository takes a tag only once.
    Immutable(Tag),
}

impl Remark {
    /// A sentence for the operator.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Daemons(why) => format!("Note: {why}."),
            Self::NoHealthCheck => {
                "Note: no health check and no load balancer: ECS takes a task that has started for one that works."
                    .to_owned()
            }
            Self::NoTasks => "Note: its desired count is 0, so a deployment updates it and proves nothing.".to_owned(),
            Self::Inactive(revision) => format!(
                "Note: it runs {revision}, which is INACTIVE: register it again, since a rollback needs a revision that is ACTIVE."
            ),
            Self::Version(version) => {
                format!(
                    "DECIDE: the tag is the version {version}. To follow the next releases, take this in place of the tag:"
                )
            }
            Self::Immutable(tag) => format!(
                "DECIDE: tags of this repository are immutable, so {tag} is never pushed again. Follow the next ones with a glob, semver or \
                 regex in place of it."
            ),
        }
    }
}

impl Remark {
    /// The line of the configuration that it is about.
    pub(super) fn line(&self) -> Option<String> {
        match self {
            Self::Version(version) => Some(format!("semver = \">={version}, <{}\"", version.major + 1)),
            Self::Daemons(_) | Self::NoHealthCheck | Self::NoTasks | Self::Inactive(_) | Self::Immutable(_) => None,
        }
    }

    /// Whether a person has to decide, although it is followed as it is.
    pub(super) fn is_decision(&self) -> bool {
        match self {
            Self::Version(_) | Self::Immutable(_) => true,
            Self::Daemons(_) | Self::NoHealthCheck | Self::NoTasks | Self::Inactive(_) => false,
        }
    }
}

impl Service {
    pub(super) fn of(
        found: &FoundService,
        view: &ServiceView,
        definition: &TaskDefinition,
        repository: &RepositoryName,
        containers: &[(&str, Which)],
        registry_view: Option<&RegistryView>,
    ) -> Self {
        let controller = downtime::not_ours_to_roll(view).map(Obstacle::Controller);
        let interrupted = downtime::of_replacing(view).map(|downtime| Obstacle::Downtime(downtime.reason));
        let (tag, unclear) = tag_of(repository, containers, registry_view);
        let mut remarks: Vec<Remark> = Vec::new();
        remarks.extend(downtime::of_daemons(view).map(|doubt| Remark::Daemons(doubt.reason)));
        remarks.extend(downtime::of_unproven(view, definition).map(|_| Remark::NoHealthCheck));
        remarks.extend((view.desired == 0).then_some(Remark::NoTasks));
        remarks.extend((!definition.is_active()).then(|| Remark::Inactive(definition.arn().short().to_owned())));
        remarks.extend(tag.as_ref().and_then(version_of).map(Remark::Version));
        Self {
            cluster: found.cluster.clone(),
            name: found.service.clone(),
            tag,
            obstacles: controller.into_iter().chain(interrupted).chain(unclear).collect(),
            remarks,
        }
    }
}

/// The one tag that the containers name, or why there is none.
fn tag_of(
    repository: &RepositoryName,
    containers: &[(&str, Which)],
    registry_view: Option<&RegistryView>,
) -> (Option<Tag>, Option<Obstacle>) {
    let named: Vec<(String, Tag)> = containers
        .iter()
        .filter_map(|(container, which)| match which {
            Which::Tag(tag) => Some(((*container).to_owned(), tag.clone())),
            Which::Digest(_) => None,
        })
        .collect();
    let pinned = containers.iter().find_map(|(_, which)| match which {
        Which::Digest(digest) => Some(digest.clone()),
        Which::Tag(_) => None,
    });
    if let Some(digest) = pinned {
        let tags =
            registry_view.and_then(|registry_view| registry_view.tags.get(&(repository.clone(), digest.clone())));
        return (None, Some(Obstacle::Pinned { digest, tags: tags.cloned().unwrap_or_default() }));
    }
    match named.first() {
        Some((_, tag)) if named.iter().all(|(_, other)| other == tag) => (Some(tag.clone()), None),
        Some(_) | None => (None, Some(Obstacle::SeveralTags(named))),
    }
}

/// The version that a tag is: all three numbers, with or without a leading `v`.
fn version_of(tag: &Tag) -> Option<semver::Version> {
    let text = tag.as_str();
    semver::Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

impl Repository {
    pub(super) fn of(
        registry: Registry,
        name: RepositoryName,
        services: Vec<Service>,
        registry_view: Option<&RegistryView>,
    ) -> Self {
        let reach = registry_view.map_or(&Reach::Unknown, |registry_view| &registry_view.reach);
        let listed = registry_view.and_then(|registry_view| registry_view.repositories.as_ref());
        let there = listed.map(|all| all.iter().find(|one| one.name == name.as_str()));
        let obstacle = match (reach, there) {
            (Reach::Unknown, _) => Some(Obstacle::Unreachable(registry.clone())),
            (_, Some(None)) => Some(Obstacle::NoRepository),
            (_, Some(Some(_)) | None) => None,
        };
        let view = there.flatten();
        let mut named = services.iter().filter_map(|service| service.tag.as_ref());
        let fixed = named.find(|tag| view.is_some_and(|view| view.fixes(tag)));
        let remarks = fixed.cloned().map(Remark::Immutable).into_iter().collect();
        Self { registry, name, obstacle, remarks, services }
    }
}
