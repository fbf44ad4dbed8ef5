//! How things are, for those who ask the running daemon.

use super::Deployer;
use crate::domain::source::PushSource;
use crate::status::{DaemonStatus, Status};

impl Deployer {
    /// The status of the daemon and its services.
    pub(super) fn status(&self) -> Status {
        let now = self.clock.now();
        let mut status = Status::of(self.engine.rules().config(), self.engine.state(), now);
        status.daemon = Some(DaemonStatus {
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("ECS_DEPLOYD_COMMIT").to_owned(),
            started_at: self.engine.started_at(),
            state_error: self.engine.state_error().cloned(),
            audit_errors: self.health.unaudited().into_iter().map(|(aws, why)| (aws.to_string(), why)).collect(),
        });
        status.changes = self.recent.changes();
        for context in &mut status.contexts {
            context.delivery = self.recent.delivery(&context.aws, PushSource::CloudTrail);
            if let Some((ago, last_error)) = self.health.of_context(&context.aws) {
                let ago = ago.and_then(|ago| jiff::SignedDuration::try_from(ago).ok());
                context.polled_at = ago.and_then(|ago| now.checked_sub(ago).ok());
                context.last_error = last_error;
            }
            if let (Some(queue), Some((ago, last_error))) = (&mut context.queue, self.health.of_queue(&context.aws)) {
                let ago = ago.and_then(|ago| jiff::SignedDuration::try_from(ago).ok());
                queue.received_at = ago.and_then(|ago| now.checked_sub(ago).ok());
                queue.last_error = last_error;
                queue.delivery = self.recent.delivery(&context.aws, PushSource::Queue);
            }
        }
        for (key, details) in self.engine.details() {
            status.add_details(key, &details);
        }
        self.services.add_to(&mut status);
        status
    }
}
