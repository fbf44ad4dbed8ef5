//! What was decided about pushes goes into the state, for those who ask later.

use jiff::Timestamp;

use super::Deployer;
use crate::domain::event::shorten;
use crate::domain::intake::{Fate, Verdict};
use crate::domain::plan::Plan;
use crate::domain::settings::RepositoryKey;
use crate::domain::skip::SkipReason;
use crate::domain::state::{Decision, PushRef};
use crate::domain::types::{ContextName, ServiceKey};

impl Deployer {
    /// A push event was read.
    pub(super) fn note_verdict(&mut self, aws: &ContextName, verdict: &Verdict, now: Timestamp) {
        match &verdict.fate {
            Fate::Wanted(_) => self.recent.delivered(aws, now.duration_since(verdict.event.time)),
            Fate::Skip { reason, .. } if !reason.is_listed() => {}
            Fate::Skip { .. } if verdict.configured.is_none() && verdict.repository.is_some() => {}
            Fate::Skip { reason, detail } => self.state.note_decision(Decision {
                aws: aws.clone(),
                repository: verdict.repository.clone(),
                tag: verdict.tag.clone(),
                event: verdict.event.id.clone(),
                pushed_at: verdict.event.time,
                decided_at: now,
                service: None,
                skipped: Some(*reason),
                detail: shorten(detail),
            }),
        }
    }

    /// A service was planned.
    pub(super) fn note_plan(&mut self, key: &ServiceKey, plan: &Plan, now: Timestamp) {
        for skip in &plan.skips {
            self.note_decision(&skip.repository, &skip.push, Some(key), Some(skip.reason), &skip.detail, now);
        }
        for (repository, target) in plan.roll.iter().flat_map(|roll| &roll.rollout.targets) {
            self.note_decision(repository, &target.push, Some(key), None, &target.digest.to_string(), now);
        }
    }

    /// One push was decided.
    pub(super) fn note_decision(
        &mut self,
        repository: &RepositoryKey,
        push: &PushRef,
        service: Option<&ServiceKey>,
        skipped: Option<SkipReason>,
        detail: &str,
        now: Timestamp,
    ) {
        self.state.note_decision(Decision {
            aws: repository.aws.clone(),
            repository: Some(repository.name.clone()),
            tag: push.tag.clone(),
            event: push.event.clone(),
            pushed_at: push.at,
            decided_at: now,
            service: service.cloned(),
            skipped,
            detail: shorten(detail),
        });
    }
}
