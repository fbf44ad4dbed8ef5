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
            state_trouble: self.engine.state_error().cloned(),
            audit_trouble: self.health.unaudited().into_iter().map(|(aws, why)| (aws.to_string(), why)).collect(),
        });
        status.changes = self.recent.changes();
        for context in &mut status.contexts {
            context.delivery = self.recent.delivery(&context.aws, PushSource::CloudTrail);
            if let Some((ago, trouble)) = self.health.of_context(&context.aws) {
                let ago = ago.and_then(|ago| jiff::SignedDuration::try_from(ago).ok());
                context.polled_at = ago.and_then(|ago| now.checked_sub(ago).ok());
                context.trouble = trouble;
            }
            if let (Some(queue), Some((ago, trouble))) = (&mut context.queue, self.health.of_queue(&context.aws)) {
                let ago = ago.and_then(|ago| jiff::SignedDuration::try_from(ago).ok());
                queue.received_at = ago.and_then(|ago| now.checked_sub(ago).ok());
                queue.trouble = trouble;
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
