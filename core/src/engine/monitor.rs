//! A rollout stays under watch after ECS has completed it and its tasks have verified it, for as long as `monitor` says.

use std::time::Duration;

use super::event::ServiceEvent;
use super::now::{Moment, Now};
use super::service::Handler;
use super::workflow::{Ending, Watch, Workflow};
use crate::domain::monitor::{Monitor, Monitored};
use crate::domain::rollout;
use crate::domain::state::{Intent, OutcomeKind, Rolled};
use crate::domain::types::TaskDefinitionArn;
use crate::domain::view::ServiceView;

/// The watch over a rollout that ECS has completed, as this process sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Monitoring {
    /// Since when this process watches it.
    from: Moment,
    /// How long it was complete before that, by the wall clock. Nobody may have looked meanwhile, so at most half of `monitor` counts.
    before: Duration,
    /// When the service was looked at last.
    looked_at: Moment,
    monitor: Monitor,
}

impl Monitoring {
    fn new(desired: i32, at: Moment, now: Now) -> Self {
        Self { from: at, before: Duration::ZERO, looked_at: at, monitor: Monitor::new(now.time, desired) }
    }

    /// Goes on after a restart.
    pub(super) fn resumed(record: Monitored, now: Now) -> Self {
        let before = Duration::try_from(now.time.duration_since(record.since)).unwrap_or_default();
        Self { from: now.moment, before, looked_at: now.moment, monitor: Monitor::resumed(record) }
    }

    /// What is kept of it.
    pub(super) fn record(&self) -> &Monitored {
        self.monitor.record()
    }

    /// How long it has been watched, of a time in all.
    fn watched(&self, at: Moment, in_all: Duration) -> Duration {
        self.before.min(in_all / 2) + at.since(self.from)
    }
}

impl Handler<'_> {
    /// Whether ECS has completed the rollout under way, which is watched further.
    pub(super) fn is_monitored(&self) -> bool {
        matches!(&self.service.workflow, Workflow::Rolling { watch, .. } if watch.monitoring.is_some())
    }

    /// How many tasks of the rollout under way are watched once ECS has completed it; `None` if it is not watched further.
    pub(super) fn to_be_monitored(&self) -> Option<i32> {
        let Workflow::Rolling { intent, watch, .. } = &self.service.workflow else { return None };
        let is_wanted = intent.is_forward() && !self.rules.settings(self.key).monitor.is_zero();
        // Without tasks there is nothing to watch.
        watch.counts.map(|counts| counts.desired).filter(|desired| is_wanted && *desired > 0)
    }

    /// The rollout under way is watched further, if it is to be.
    pub(super) fn watch_further(&mut self, asked_at: Moment) {
        let Some(desired) = self.to_be_monitored() else { return self.completed() };
        let now = self.now;
        let Workflow::Rolling { watch, .. } = &mut self.service.workflow else { return };
        watch.ending = Ending::NotYet;
        watch.monitoring = Some(Monitoring::new(desired, asked_at, now));
        self.keep_progress();
        self.end_waiting();
        self.monitoring_begun();
    }

    /// Its tasks have verified the rollout, which is watched further from here on.
    pub(super) fn watch_verified(&mut self, intent: Box<Intent>, revision: TaskDefinitionArn, rolled: Rolled) {
        let Some(desired) = rolled.desired.filter(|_| !self.rules.settings(self.key).monitor.is_zero()) else {
            return self.completed();
        };
        let monitoring = Some(Monitoring::new(desired, self.now.moment, self.now));
        let watch = Box::new(Watch { monitoring, ..Watch::new(self.now) });
        let Rolled { deployment, since, .. } = rolled;
        self.enter(Workflow::Rolling { intent, revision, deployment, since, watch });
        self.monitoring_begun();
    }

    fn monitoring_begun(&mut self) {
        let monitor = self.rules.settings(self.key).monitor;
        self.emit(ServiceEvent::MonitoringBegun(monitor));
    }

    /// A look at the rollout after ECS has completed it, if it is watched further.
    pub(super) fn monitor(&mut self, service: Option<&ServiceView>, asked_at: Moment) {
        let time = self.rules.settings(self.key).monitor;
        let Some(rollout) = self.service.workflow.rollout() else { return };
        let Some((watch, deployment)) = self.watch_mut() else { return };
        if matches!(watch.ending, Ending::Diagnosing { .. }) {
            return;
        }
        let (Some(monitoring), Some(service)) = (&mut watch.monitoring, service) else { return };
        let Some(mine) = service.deployment(&deployment) else { return };
        let after = asked_at.since(monitoring.looked_at);
        monitoring.looked_at = monitoring.looked_at.max(asked_at);
        let failed = monitoring.monitor.look(mine, service, after, time);
        let watched = monitoring.watched(asked_at, time);
        self.keep_progress();
        if let Some(why) = failed {
            let after = humantime::format_duration(Duration::from_secs(watched.as_secs()));
            let events = rollout::last_events(service, &rollout);
            self.diagnose(OutcomeKind::Failed, format!("{after} after ECS had completed it {why}{events}"));
        } else if watched >= time {
            self.completed();
        }
    }
}
