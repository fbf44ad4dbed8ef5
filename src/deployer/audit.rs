//! What others did to ECS: told once, and remembered as read.

use std::sync::Arc;

use jiff::SignedDuration;
use tracing::{info, warn};

use super::Deployer;
use crate::clock;
use crate::domain::audit::{self, Change, Concern};
use crate::domain::notice::Notice;
use crate::domain::state::AuditProgress;
use crate::domain::types::{ContextName, ServiceKey};

impl Deployer {
    /// A page of changes.
    pub(super) fn changed(&mut self, context: &ContextName, changes: Vec<Change>, progress: Option<AuditProgress>) {
        for change in changes {
            if !audit::take(&mut self.state, context, &change) {
                continue;
            }
            let watched = self.watched_service(context, &change);
            let concern = audit::concern(&change, watched.as_ref(), &self.state);
            self.metrics.audited(context, change.name.as_str());
            tell(context, &change, concern);
            self.recent.changed(context, &change, concern);
            let watched = watched.map(|key| self.named(&key));
            self.untold.push(Arc::new(Notice::of_change(context, change, watched, concern)));
            // What is told must be on the disk, or it would be told again after a restart.
            self.dirty = true;
        }
        if let (Some(known), Some(progress)) = (self.state.audits.get_mut(context), progress) {
            known.advance(progress);
            self.stale_since.get_or_insert_with(clock::instant);
        }
    }

    /// The service of the configuration that a change is about.
    fn watched_service(&self, context: &ContextName, change: &Change) -> Option<ServiceKey> {
        let (cluster, service) = change.service.as_ref()?;
        let is_it = |key: &&ServiceKey| {
            &key.aws == context && key.cluster.as_str() == cluster && key.service.as_str() == service
        };
        self.config.services().map(|(_, rule)| &rule.key).find(is_it).cloned()
    }

    /// Forgets the changes that are not read again.
    pub(super) fn forget_changes(&mut self, overlap: SignedDuration) {
        for known in self.state.audits.values_mut() {
            known.forget(overlap);
        }
    }
}

fn tell(aws: &ContextName, change: &Change, concern: Concern) {
    let Change { event, name, who, source, agent, target, error, .. } = change;
    let (event, at) = (event.id.as_str(), event.time);
    match concern {
        Concern::Watched if !change.scales => {
            warn!(%aws, call = %name, target, who, %at, from = source, agent, error, event, "somebody else than ecs-deployd changed a service of the configuration");
        }
        Concern::Watched | Concern::Ours | Concern::Others => {
            let ours = concern == Concern::Ours;
            info!(%aws, call = %name, target, who, %at, from = source, agent, error, ours, event, "ECS was changed");
        }
    }
}
