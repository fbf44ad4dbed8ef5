//! The two writes, and the look that tells after a crash whether they were made. Chooses nothing.

use super::observe::describe_services;
use super::pace::{Group, Pace};
use crate::aws::{AwsContext, AwsError};
use crate::domain::state::{Phase, Rollout};
use crate::domain::task_definition::{Registration, TaskDefinition};
use crate::domain::types::{ServiceKey, TaskDefinitionArn};
use crate::domain::view::{DeploymentView, ServiceView};

/// Revisions that are looked at, newest first, for the one that a crash may have left.
const NEWEST: u64 = 10;

/// Registers a revision.
pub async fn register(
    context: AwsContext,
    pace: Pace,
    key: &ServiceKey,
    registration: &Registration,
) -> Result<TaskDefinitionArn, AwsError> {
    pace.take(&key.aws, Group::Register).await;
    context.ecs.register_task_definition(registration).await
}

/// Sets a service to a revision.
pub async fn update(
    context: AwsContext,
    pace: Pace,
    key: &ServiceKey,
    revision: &TaskDefinitionArn,
) -> Result<DeploymentView, AwsError> {
    pace.take(&key.aws, Group::ServiceWrites).await;
    context.ecs.update_service(&key.cluster, &key.service, revision).await
}

/// What a look at an unfinished rollout found.
#[derive(Debug, Clone)]
pub struct Looked {
    /// The service.
    pub service: Option<ServiceView>,
    /// The intended revision, if it is registered.
    pub registered: Option<TaskDefinitionArn>,
    /// What to register, if it is not.
    pub registration: Option<Registration>,
}

/// Looks at the service of an unfinished rollout, and for the revision that it may have registered.
pub async fn look(context: AwsContext, pace: Pace, key: &ServiceKey, rollout: &Rollout) -> Result<Looked, AwsError> {
    let names = std::slice::from_ref(&key.service);
    let mut services = describe_services(&context, &pace, &key.aws, &key.cluster, names).await?;
    let service = services.remove(&key.service).filter(|service| service.active);
    if service.is_none() || rollout.phase != Phase::Intended {
        return Ok(Looked { service, registered: rollout.phase.revision().cloned(), registration: None });
    }
    let base = definition(&context, &pace, key, rollout.base.as_str()).await?;
    let registration = base.with_images(&rollout.images);
    let registered = find(&context, &pace, key, rollout, &registration).await?;
    Ok(Looked { service, registered, registration: Some(registration) })
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
    let newest = definition(context, pace, key, base.family()).await?;
    let newest_revision = newest.arn().revision();
    let mut candidate = newest;
    for revision in (base.revision() + 1..=newest_revision).rev().take(usize::try_from(NEWEST).unwrap_or(usize::MAX)) {
        if candidate.arn().revision() != revision {
            match definition(context, pace, key, &format!("{}:{revision}", base.family())).await {
                Ok(found) => candidate = found,
                // A revision that was deleted since.
                Err(error) if !error.may_have_happened() && error.fault == crate::aws::Fault::Refused => continue,
                Err(error) => return Err(error),
            }
        }
        if candidate.is_active() && candidate.says(registration) {
            return Ok(Some(candidate.arn().clone()));
        }
    }
    Ok(None)
}

async fn definition(
    context: &AwsContext,
    pace: &Pace,
    key: &ServiceKey,
    which: &str,
) -> Result<TaskDefinition, AwsError> {
    pace.take(&key.aws, Group::TaskDefinitions).await;
    context.ecs.describe_task_definition(which).await
}
