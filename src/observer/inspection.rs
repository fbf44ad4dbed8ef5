//! How far an unfinished rollout got, and what a rollback needs to know.

use super::{Observer, with_retries};
use crate::aws::{AwsError, Fault};
use crate::domain::image::ImageReference;
use crate::domain::operator_command::{self, Named};
use crate::domain::printable::{LONGEST, printable};
use crate::domain::rollout::long_before;
use crate::domain::state::{Phase, Rollout};
use crate::domain::task_definition::{Registration, TaskDefinition};
use crate::domain::types::{ContextName, Digest, RepositoryName, ServiceKey, Tag, TaskDefinitionArn};
use crate::domain::view::ImageView;
use crate::engine::{Inspected, Location, Unlocated};

/// Revisions that are looked at, newest first, for the one that a crash may have left (decision 14).
const NEWEST: usize = 10;

impl Observer {
    /// Looks at the service of an unfinished rollout, and for the revision that it may have registered.
    ///
    /// # Errors
    /// A call failed.
    pub async fn inspect(&self, key: &ServiceKey, rollout: &Rollout) -> Result<Inspected, AwsError> {
        let registered = rollout.phase.revision().cloned();
        let seen = self.service(key).await?;
        let missing = seen.is_none();
        let mut found = Inspected { missing, service: None, registered, deployments: None, registration: None };
        found.service = seen.and_then(Result::ok).filter(|service| service.active);
        let Some(seen) = &found.service else { return Ok(found) };
        match &rollout.phase {
            Phase::Registered { revision } if rollout.is_forward() && &seen.task_definition != revision => {
                let since = long_before(rollout.decided_at);
                found.deployments = Some(with_retries(|| self.deployments(key, since)).await);
            }
            Phase::Registered { .. } | Phase::Task { .. } | Phase::Rolling { .. } => {}
            Phase::Intended => self.find_revision(key, rollout, &mut found).await?,
        }
        Ok(found)
    }

    /// Finds the revision that was intended: the newest one after the base that says the same. To go back, the revision before itself will
    /// do, as long as its tags still mean what ran.
    async fn find_revision(&self, key: &ServiceKey, rollout: &Rollout, found: &mut Inspected) -> Result<(), AwsError> {
        let Some(base) = self.definition(&key.aws, rollout.base.as_str()).await? else { return Ok(()) };
        if !rollout.is_forward() && base.is_active() && self.still_means_what_ran(&base, rollout).await {
            found.registered = Some(base.arn().clone());
            return Ok(());
        }
        let registration = base.with_images(&rollout.images);
        found.registered = self.find_equal(&key.aws, rollout, &registration).await?;
        found.registration = Some(registration);
        Ok(())
    }

    /// Whether the tags that the revision before names still point to the digests that ran, at the time of the rollback (decision 24). What
    /// cannot be found out counts as moved.
    async fn still_means_what_ran(&self, base: &TaskDefinition, rollout: &Rollout) -> bool {
        for (container, pinned) in &rollout.images {
            let Some(image) = base.image_of(container) else { return false };
            if self.resolve(&ImageReference::split(image)).await != ImageReference::split(pinned).pinned() {
                return false;
            }
        }
        true
    }

    /// What a reference by tag points to in ECR now.
    async fn resolve(&self, reference: &ImageReference<'_>) -> Option<Digest> {
        let registry = reference.registry()?;
        let repository = RepositoryName::parse(reference.name.split_once('/')?.1).ok()?;
        let tag = Tag::parse(reference.tag.unwrap_or("latest")).ok()?;
        for context in self.contexts.values().filter(|context| context.region.as_str() == registry.region) {
            let images = context.ecr.describe_tags(&repository, std::slice::from_ref(&tag)).await.unwrap_or_default();
            let is_it =
                |image: &ImageView| image.registry.account.as_str() == registry.account && image.tags.contains(&tag);
            let found = images.into_iter().find(is_it);
            if let Some(image) = found {
                return Some(image.digest);
            }
        }
        None
    }

    async fn find_equal(
        &self,
        aws: &ContextName,
        rollout: &Rollout,
        registration: &Registration,
    ) -> Result<Option<TaskDefinitionArn>, AwsError> {
        let base = &rollout.base;
        let Some(newest) = self.definition(aws, base.family()).await? else { return Ok(None) };
        let newest_revision = newest.arn().revision();
        let mut candidate = Some(newest);
        for revision in (base.revision() + 1..=newest_revision).rev().take(NEWEST) {
            if revision != newest_revision {
                candidate = self.definition(aws, &format!("{}:{revision}", base.family())).await?;
            }
            if let Some(found) = candidate.as_ref().filter(|found| found.is_active() && found.says(registration)) {
                return Ok(Some(found.arn().clone()));
            }
        }
        Ok(None)
    }

    /// A revision; `None` if ECS does not know it (any more), which it says by a ClientException.
    pub(super) async fn definition(&self, aws: &ContextName, which: &str) -> Result<Option<TaskDefinition>, AwsError> {
        let context = self.context(aws)?;
        match with_retries(|| context.ecs.describe_task_definition(which)).await {
            Ok(definition) => Ok(Some(definition)),
            Err(error) if error.fault == Fault::Refused => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a service is set to, and what a revision that an operator names says.
    ///
    /// # Errors
    /// There is no such service or revision, or a call failed.
    pub async fn locate(&self, key: &ServiceKey, to: Option<&str>) -> Result<Location, Unlocated> {
        let seen = self.service(key).await.map_err(Unlocated::Failed)?;
        let service = seen.and_then(Result::ok).filter(|service| service.active).ok_or(Unlocated::NoService)?;
        let current = service.task_definition;
        let Some(named) = to else { return Ok(Location { current, to: None }) };
        let revision = operator_command::revision(named, &current).map_err(Unlocated::NotARevision)?;
        match self.definition(&key.aws, &revision).await.map_err(Unlocated::Failed)? {
            Some(found) => Ok(Location { current, to: Some(self.with_tags(&found).await) }),
            None => Err(Unlocated::UnknownRevision(revision)),
        }
    }

    /// A revision that an operator names, with what its tags mean now.
    async fn with_tags(&self, definition: &TaskDefinition) -> Named {
        let mut tags = Vec::new();
        for (_, image) in definition.containers() {
            let reference = ImageReference::split(image);
            if reference.is_movable()
                && let Some(digest) = self.resolve(&reference).await
            {
                tags.push((image.to_owned(), digest));
            }
        }
        Named { revision: definition.arn().clone(), tags }
    }

    /// The containers of a revision and the images that they name, for those who look.
    pub async fn images_of(&self, aws: &ContextName, revision: &TaskDefinitionArn) -> Option<Vec<(String, String)>> {
        let found = self.context(aws).ok()?.ecs.describe_task_definition(revision.as_str()).await.ok()?;
        let shown = |(name, image): (&str, &str)| (printable(name, LONGEST), printable(image, LONGEST));
        Some(found.containers().map(shown).collect())
    }
}
