//! The two writes, and the look that tells after a crash whether they were made. Chooses nothing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing::debug;

use super::observe::describe_service;
use super::pace::{Group, Pace};
use super::patience::{paced, patiently};
use crate::aws::{AwsContext, AwsError, Contexts, Fault};
use crate::clock;
use crate::domain::image::ImageReference;
use crate::domain::state::{Direction, Phase, Rollout};
use crate::domain::task_definition::{Registration, TaskDefinition};
use crate::domain::types::{Digest, RepositoryName, ServiceKey, Tag, TaskDefinitionArn};
use crate::domain::view::{DeploymentView, Fate, ImageView, RevisionWrite, ServiceView};

/// AWS refuses requests that are signed by a clock that differs by more than this.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(15);
/// A write that waits for longer than this is looked at again.
const LONG_IN_LINE: Duration = Duration::from_secs(5);
/// Revisions that are looked at, newest first, for the one that a crash may have left.
const NEWEST: usize = 10;

/// Registers a revision. `replaces` is what the service was seen to run when that was decided.
pub async fn register(
    context: AwsContext,
    pace: Pace,
    key: &ServiceKey,
    registration: &Registration,
    replaces: &TaskDefinitionArn,
) -> Result<TaskDefinitionArn, AwsError> {
    wait_in_line(&context, &pace, key, Group::Register, replaces).await?;
    context.ecs.register_task_definition(registration).await
}

/// Sets a service to a revision. `replaces` is what the service was seen to run when that was decided.
pub async fn update(
    context: AwsContext,
    pace: Pace,
    key: &ServiceKey,
    revision: &TaskDefinitionArn,
    replaces: &TaskDefinitionArn,
) -> Result<DeploymentView, AwsError> {
    wait_in_line(&context, &pace, key, Group::ServiceWrites, replaces).await?;
    let refused = match context.ecs.update_service(&key.cluster, &key.service, revision).await {
        Err(error) if error.fault == Fault::Refused => error,
        other => return other,
    };
    let Some(Ok(service)) = describe_service(&context, &pace, key).await? else { return Err(refused) };
    match service.after_refusal_of(&RevisionWrite::UpdateService) {
        Some(RevisionWrite::UpdateExpressGatewayService { service_arn }) => {
            context.ecs.update_express_service(&key.cluster, &key.service, &service_arn, revision).await
        }
        Some(RevisionWrite::UpdateService) | None => Err(refused),
    }
}

/// Waits until a write fits into its bucket. With hundreds of services that may take minutes, in which others go on: then the service must
/// still run what it ran, or all is looked at again.
async fn wait_in_line(
    context: &AwsContext,
    pace: &Pace,
    key: &ServiceKey,
    group: Group,
    replaces: &TaskDefinitionArn,
) -> Result<(), AwsError> {
    let begun = clock::instant();
    pace.take(&key.aws, group).await;
    if begun.elapsed() < LONG_IN_LINE {
        return Ok(());
    }
    match describe_service(context, pace, key).await? {
        Some(Ok(service)) if &service.task_definition == replaces => Ok(()),
        _ => {
            let message = "the service was changed while this waited for ECS's rate limit";
            Err(AwsError::unusable("ecs", "DescribeServices", message))
        }
    }
}

/// What a look at an unfinished rollout found.
#[derive(Debug, Clone)]
pub struct Looked {
    /// The service.
    pub service: Option<ServiceView>,
    /// The intended revision, if it is there.
    pub registered: Option<TaskDefinitionArn>,
    /// Whether ECS rolled that revision once and runs another one by now.
    pub given_up: bool,
    /// What to register, if it is not. Neither: the revision that it would be made from is gone.
    pub registration: Option<Registration>,
}

/// Looks at the service of an unfinished rollout, and for the revision that it may have registered.
pub async fn look(contexts: Contexts, pace: Pace, key: &ServiceKey, rollout: &Rollout) -> Result<Looked, AwsError> {
    let registered = rollout.phase.revision().cloned();
    let mut looked = Looked { service: None, registered, given_up: false, registration: None };
    let Some(context) = contexts.get(&key.aws) else { return Ok(looked) };
    let seen = describe_service(context, &pace, key).await?;
    looked.service = seen.and_then(Result::ok).filter(|service| service.active);
    let Some(seen) = &looked.service else { return Ok(looked) };
    if let Phase::Registered { revision } = &rollout.phase {
        looked.given_up =
            &seen.task_definition != revision && was_tried(context, &pace, key, rollout, revision).await?;
    }
    if rollout.phase != Phase::Intended {
        return Ok(looked);
    }
    let Some(base) = definition(context, &pace, key, rollout.base.as_str()).await? else { return Ok(looked) };
    if matches!(rollout.direction, Direction::Back { .. })
        && base.is_active()
        && still_means_what_ran(&contexts, &base, rollout).await
    {
        looked.registered = Some(base.arn().clone());
        return Ok(looked);
    }
    let registration = base.with_images(&rollout.images);
    looked.registered = find(context, &pace, key, rollout, &registration).await?;
    looked.registration = Some(registration);
    Ok(looked)
}

/// Whether the update was made before its answer was lost, and undone since: by the circuit breaker or by an operator.
///
/// The question costs a permission of its own. Who has not got it is not held up: the update is made (again), and what ECS gave up once
/// it gives up twice.
async fn was_tried(
    context: &AwsContext,
    pace: &Pace,
    key: &ServiceKey,
    rollout: &Rollout,
    revision: &TaskDefinitionArn,
) -> Result<bool, AwsError> {
    if rollout.direction != Direction::Forward {
        return Ok(false);
    }
    let read = || async {
        // It takes two calls.
        pace.take(&key.aws, Group::ServiceDeployments).await;
        pace.take(&key.aws, Group::ServiceDeployments).await;
        context.ecs.deployed_since(&key.cluster, &key.service, long_before(rollout)).await
    };
    match patiently(read).await {
        Ok(deployed) => match deployed.iter().position(|(other, _)| other == revision) {
            None => Ok(false),
            // ECS is eventually consistent: DescribeServices does not show it yet.
            Some(0) if deployed[0].1 != Fate::GivenUp => {
                let message = "the answer is older than the service's latest deployment";
                Err(AwsError::unusable("ecs", "DescribeServices", message))
            }
            Some(_) => Ok(true),
        },
        Err(error) if matches!(error.fault, Fault::Denied | Fault::Refused) => {
            debug!(
                aws = %key.aws, cluster = %key.cluster, service = %key.service, %error,
                "whether the update was made before is not known"
            );
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A time before the rollout by any clock: this machine's may be ahead of that of ECS, which tells when its deployments were created.
pub(super) fn long_before(rollout: &Rollout) -> Timestamp {
    rollout.decided_at.checked_sub(CLOCKS_APART).unwrap_or(rollout.decided_at)
}

/// Whether the tags that the revision before names still point to the digests that ran. What cannot be found out counts as moved.
async fn still_means_what_ran(contexts: &Contexts, base: &TaskDefinition, rollout: &Rollout) -> bool {
    for (container, pinned) in &rollout.images {
        let Some(image) = base.image_of(container) else { return false };
        if resolve(contexts, &ImageReference::split(image)).await != ImageReference::split(pinned).pinned() {
            return false;
        }
    }
    true
}

/// What a reference by tag points to in ECR now.
pub(super) async fn resolve(contexts: &Contexts, reference: &ImageReference<'_>) -> Option<Digest> {
    let registry = reference.registry()?;
    let repository = RepositoryName::parse(reference.name.split_once('/')?.1).ok()?;
    let tag = Tag::parse(reference.tag.unwrap_or("latest")).ok()?;
    for context in contexts.values().filter(|context| context.region.as_str() == registry.region) {
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

/// The newest revision after the base that says what was intended.
async fn find(
    context: &AwsContext,
    pace: &Pace,
    key: &ServiceKey,
    rollout: &Rollout,
    registration: &Registration,
) -> Result<Option<TaskDefinitionArn>, AwsError> {
    let base = &rollout.base;
    let Some(newest) = definition(context, pace, key, base.family()).await? else { return Ok(None) };
    let newest_revision = newest.arn().revision();
    let mut candidate = Some(newest);
    for revision in (base.revision() + 1..=newest_revision).rev().take(NEWEST) {
        if revision != newest_revision {
            candidate = definition(context, pace, key, &format!("{}:{revision}", base.family())).await?;
        }
        if let Some(found) = candidate.as_ref().filter(|found| found.is_active() && found.says(registration)) {
            return Ok(Some(found.arn().clone()));
        }
    }
    Ok(None)
}

/// A revision, or nothing if ECS does not know it (any more).
async fn definition(
    context: &AwsContext,
    pace: &Pace,
    key: &ServiceKey,
    which: &str,
) -> Result<Option<TaskDefinition>, AwsError> {
    match paced(pace, &key.aws, Group::TaskDefinitions, || context.ecs.describe_task_definition(which)).await {
        Ok(definition) => Ok(Some(definition)),
        // ECS says ClientException for a revision that is not there.
        Err(error) if error.fault == Fault::Refused => Ok(None),
        Err(error) => Err(error),
    }
}
