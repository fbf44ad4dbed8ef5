//! What is found out before a rollout is ended: why its tasks stopped, or whether its bake time is over.

use std::time::Duration;

use tracing::debug;

use super::execute::long_before;
use super::pace::{Group, Pace};
use super::{Deployer, Done};
use crate::aws::{AwsContext, Fault};
use crate::clock;
use crate::domain::state::{OutcomeKind, Phase, Rollout};
use crate::domain::types::{DeploymentId, ServiceKey};
use crate::domain::view::Fate;

/// A way back does not wait for its reason for longer than this.
const WITHIN: Duration = Duration::from_secs(5);
/// Different reasons that are told.
const REASONS: usize = 3;

/// Said of a deployment that shifts traffic.
const OVERDUE: &str = "all its tasks run, but ECS has not ended it in time";

/// What an inquiry under way is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inquiring {
    /// A rollout that has failed.
    Failure,
    /// A rollout that may be over.
    End,
}

/// What is asked about a rollout.
#[derive(Debug, Clone)]
pub(super) enum Inquiry {
    /// It failed: why its tasks stopped.
    Stopped(OutcomeKind, String),
    /// It is complete by its tasks: whether ECS still bakes it.
    Baking {
        /// ECS should be done with it by now.
        overdue: bool,
    },
}

/// What was found out.
#[derive(Debug)]
pub(super) enum Finding {
    /// It failed, and why.
    Failed(OutcomeKind, String),
    /// It is over.
    Complete,
    /// ECS may still take it back.
    StillBaking,
    /// ECS could not be asked.
    Unknown,
}

impl Deployer {
    /// Asks once for each thing that is to be known, beside whatever else goes on.
    pub(super) fn inquire(&mut self, key: &ServiceKey, rollout: &Rollout, inquiry: Inquiry) {
        let Phase::Rolling { deployment, .. } = &rollout.phase else { return };
        let Some(context) = self.contexts.get(&key.aws).cloned() else { return };
        let asks = match inquiry {
            Inquiry::Stopped(..) => Inquiring::Failure,
            Inquiry::Baking { .. } => Inquiring::End,
        };
        if self.run_mut(key).inquiring.replace(asks).is_some() {
            return;
        }
        let (pace, key, deployment, rollout) = (self.pace.clone(), key.clone(), deployment.clone(), rollout.clone());
        self.jobs.spawn(async move {
            let finding = match inquiry {
                Inquiry::Stopped(kind, why) => {
                    let reasons = clock::within(WITHIN, stopped(&context, &pace, &key, &deployment)).await;
                    Finding::Failed(kind, format!("{why}{}", reasons.unwrap_or_default()))
                }
                Inquiry::Baking { overdue } => match baking(&context, &pace, &key, &rollout).await {
                    Finding::StillBaking if overdue => Finding::Failed(OutcomeKind::TimedOut, OVERDUE.to_owned()),
                    finding => finding,
                },
            };
            Done::Inquired(key, deployment, finding)
        });
    }

    pub(super) fn inquired(&mut self, key: &ServiceKey, deployment: &DeploymentId, finding: Finding) {
        self.run_mut(key).inquiring = None;
        if !self.watches_deployment(key, deployment) {
            return;
        }
        let Some(rollout) = self.state.services.get(key).and_then(|known| known.rollout.clone()) else { return };
        match finding {
            Finding::Failed(kind, why) => self.rollout_failed(key, &rollout, kind, why),
            Finding::Complete => self.completed(key, &rollout),
            Finding::StillBaking => self.run_mut(key).still_bakes = true,
            Finding::Unknown => {}
        }
    }
}

/// The reasons of stopped tasks, for people; nothing if there are none, or if they cannot be read.
async fn stopped(context: &AwsContext, pace: &Pace, key: &ServiceKey, deployment: &DeploymentId) -> String {
    pace.take(&key.aws, Group::Tasks).await;
    pace.take(&key.aws, Group::Tasks).await;
    match context.ecs.stopped_reasons(&key.cluster, &key.service, deployment).await {
        Ok(mut reasons) => {
            reasons.sort();
            reasons.dedup();
            reasons.truncate(REASONS);
            if reasons.is_empty() { String::new() } else { format!("; stopped tasks: {}", reasons.join("; ")) }
        }
        Err(error) => {
            debug!(
                aws = %key.aws, cluster = %key.cluster, service = %key.service, %error,
                "why the tasks stopped is not known"
            );
            String::new()
        }
    }
}

/// Whether ECS has let go of what the rollout replaced: until the end of the bake time of a blue/green, linear or canary deployment it may
/// go back by itself (Amazon ECS Developer Guide, "Amazon ECS blue/green deployments").
async fn baking(context: &AwsContext, pace: &Pace, key: &ServiceKey, rollout: &Rollout) -> Finding {
    pace.take(&key.aws, Group::ServiceDeployments).await;
    pace.take(&key.aws, Group::ServiceDeployments).await;
    match context.ecs.deployed_since(&key.cluster, &key.service, long_before(rollout)).await {
        Ok(deployed) => {
            let mine = deployed.iter().find(|(other, _)| Some(other) == rollout.phase.revision());
            match mine.map(|(_, fate)| fate) {
                None | Some(Fate::Successful) => Finding::Complete,
                // What it was given up for shows in the next answer about the service.
                Some(Fate::UnderWay | Fate::GivenUp) => Finding::StillBaking,
            }
        }
        Err(error) if matches!(error.fault, Fault::Denied | Fault::Refused | Fault::NotFound) => {
            debug!(
                aws = %key.aws, cluster = %key.cluster, service = %key.service, %error,
                "whether it still bakes is not known"
            );
            Finding::Complete
        }
        Err(_) => Finding::Unknown,
    }
}
