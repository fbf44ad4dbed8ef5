//! The calls that change something in ECS. Each is made once: an attempt whose answer was lost may have had its effect, and the engine
//! looks for that before it has the call made again.

use serde_json::Value;

use crate::aws::AwsError;
use crate::domain::deployment::HookAction;
use crate::domain::task::Started;
use crate::domain::task_definition::Registration;
use crate::domain::types::{ContextName, ServiceKey, TaskDefinitionArn};
use crate::domain::view::{DeploymentView, RevisionWrite};
use crate::domain::waiting::Hook;
use crate::observer::Observer;

/// Registers a revision of a task definition.
pub(super) async fn register(
    observer: &Observer,
    aws: &ContextName,
    registration: &Registration,
) -> Result<TaskDefinitionArn, AwsError> {
    observer.context(aws)?.ecs.register_task_definition(registration).await
}

/// Sets a service to a revision. Gives its PRIMARY deployment.
pub(super) async fn update(
    observer: &Observer,
    key: &ServiceKey,
    revision: &TaskDefinitionArn,
    by: &RevisionWrite,
) -> Result<DeploymentView, AwsError> {
    let ecs = &observer.context(&key.aws)?.ecs;
    match by {
        RevisionWrite::UpdateService => ecs.update_service(&key.cluster, &key.service, revision).await,
        RevisionWrite::UpdateExpressGatewayService { service_arn } => {
            ecs.update_express_service(&key.cluster, &key.service, service_arn, revision).await
        }
    }
}

/// Continues a deployment that waits at a PAUSE hook, or rolls it back.
pub(super) async fn continue_deployment(
    observer: &Observer,
    key: &ServiceKey,
    hook: &Hook,
    action: HookAction,
) -> Result<(), AwsError> {
    observer.context(&key.aws)?.ecs.continue_deployment(&hook.service_deployment, &hook.id, action).await
}

/// Stops a deployment: ECS rolls it back to the last one that was complete.
pub(super) async fn stop_deployment(observer: &Observer, key: &ServiceKey, arn: &str) -> Result<(), AwsError> {
    observer.context(&key.aws)?.ecs.stop_deployment(arn).await
}

/// Starts a one-off task.
pub(super) async fn run_task(observer: &Observer, key: &ServiceKey, request: &Value) -> Result<Started, AwsError> {
    observer.context(&key.aws)?.ecs.run_task(request).await
}

/// Stops a one-off task that has taken too long.
pub(super) async fn stop_task(observer: &Observer, key: &ServiceKey, arn: &str) -> Result<(), AwsError> {
    observer
        .context(&key.aws)?
        .ecs
        .stop_task(&key.cluster, arn, "ecs-deployd: it has taken longer than its timeout")
        .await
}
