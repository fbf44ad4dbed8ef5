//! Which series there are: those of what is configured appear before anything is counted, and end with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use super::families::{Families, Gauge};
use super::{
    ALL_REPOSITORIES, DEPLOYED, DeliveryOutcome, MessageOutcome, Metrics, PollOutcome, ScheduleOutcome, labels,
    push_outcomes,
};
use crate::domain::audit::EventName;
use crate::domain::source::PushSource;
use crate::domain::state::OutcomeKind;
use crate::domain::task::{TaskKind, TaskOutcome};
use crate::domain::types::{ContextName, EcsName, RepositoryName, ServiceKey};

/// What the gauges are about: what leaves the configuration must not stand in them as it was.
#[derive(Debug, Default)]
pub(super) struct Expected {
    contexts: BTreeSet<ContextName>,
    repositories: BTreeSet<RepositoryName>,
    services: BTreeSet<(EcsName, EcsName)>,
    /// The schedules, as the configuration names them.
    pub(super) schedules: BTreeMap<ServiceKey, String>,
    queues: BTreeSet<ContextName>,
    detail: Detail,
}

/// Which series there are by service and by repository. Each takes memory here and in whatever reads them, so that thousands of services
/// have those that tell something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detail {
    /// Series whose value is 0 are there: a counter before its first count, a gauge while there is nothing to tell.
    pub zeros: bool,
    /// Histograms are kept by service and by repository.
    pub histograms: bool,
}

impl Default for Detail {
    fn default() -> Self {
        Self { zeros: true, histograms: true }
    }
}

impl Metrics {
    /// Makes the series of what is configured appear, so that a rate can be taken before anything happens, and the gauges of what is not
    /// any more disappear.
    pub fn expect(
        &self,
        contexts: &[&ContextName],
        repositories: &[&RepositoryName],
        services: &[&ServiceKey],
        detail: Detail,
    ) {
        for context in contexts {
            for outcome in PollOutcome::ALL {
                self.families.polls_total.appear([context.as_str(), outcome.as_str()]);
            }
            self.families.lookup_requests_total.appear([context.as_str()]);
        }
        for repository in repositories.iter().filter(|_| detail.zeros) {
            self.families.pushes_total.appear([repository.as_str(), DEPLOYED]);
        }
        for repository in repositories.iter().filter(|_| detail.zeros && detail.histograms) {
            let _ = self.families.push_delivery_seconds.with([repository.as_str()]);
        }
        for key in services.iter().filter(|_| detail.zeros) {
            let [cluster, service] = labels(key);
            for kind in OutcomeKind::ALL {
                self.families.deployments_total.appear([cluster, service, kind.as_str()]);
            }
            for gauge in self.of_services() {
                let _ = gauge.with([cluster, service]);
            }
        }
        let services = services.iter().map(|key| (key.cluster.clone(), key.service.clone())).collect();
        let repositories = repositories.iter().map(|name| (*name).clone()).collect();
        let contexts = contexts.iter().map(|name| (*name).clone()).collect();
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let (queues, schedules) = (expected.queues.clone(), expected.schedules.clone());
        let now = Expected { contexts, repositories, services, schedules, queues, detail };
        let before = std::mem::replace(&mut *expected, now);
        if before.detail.histograms != detail.histograms {
            let Families {
                push_delivery_seconds,
                push_detection_seconds,
                deployment_duration_seconds,
                push_to_stable_seconds,
                ..
            } = &self.families;
            push_delivery_seconds.clear();
            push_detection_seconds.clear();
            deployment_duration_seconds.clear();
            push_to_stable_seconds.clear();
        }
        if before.detail.zeros && !detail.zeros {
            for gauge in self.of_services() {
                // What is not 0 is told again when the services are counted anew.
                gauge.clear();
            }
        }
        for gone in before.contexts.difference(&expected.contexts) {
            for gauge in self.of_contexts() {
                gauge.remove([gone.as_str()]);
            }
        }
        for (cluster, service) in before.services.difference(&expected.services) {
            self.forget_service([cluster.as_str(), service.as_str()]);
        }
        for repository in before.repositories.difference(&expected.repositories) {
            for (outcome, _) in push_outcomes() {
                self.families.pushes_total.remove([repository.as_str(), outcome]);
            }
            self.families.push_delivery_seconds.remove([repository.as_str()]);
            for source in PushSource::ALL {
                self.families.push_detection_seconds.remove([repository.as_str(), source.as_str()]);
            }
        }
    }

    /// Makes the series of the schedules appear, and those of what is not configured any more disappear.
    pub fn expect_schedules(&self, schedules: &BTreeMap<ServiceKey, String>) {
        let series = &self.families.schedule_updates_total;
        for text in schedules.values() {
            for outcome in ScheduleOutcome::ALL {
                series.appear([text, outcome.as_str()]);
            }
        }
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut expected.schedules, schedules.clone());
        let still: BTreeSet<&String> = schedules.values().collect();
        for gone in before.values().filter(|text| !still.contains(text)) {
            for outcome in ScheduleOutcome::ALL {
                series.remove([gone, outcome.as_str()]);
            }
        }
    }

    /// Makes the series of the queues appear, and those of queues that are not read any more disappear.
    pub fn expect_queues(&self, contexts: &[&ContextName]) {
        for context in contexts {
            for outcome in MessageOutcome::ALL {
                self.families.queue_messages_total.appear([context.as_str(), outcome.as_str()]);
            }
        }
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let now: BTreeSet<ContextName> = contexts.iter().map(|name| (*name).clone()).collect();
        for gone in std::mem::replace(&mut expected.queues, now.clone()).difference(&now) {
            self.families.last_successful_queue_receive_timestamp_seconds.remove([gone.as_str()]);
        }
    }

    /// Makes the series of the receivers appear.
    pub fn expect_receivers<'a>(&self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            for outcome in DeliveryOutcome::ALL {
                self.families.notifications_total.appear([name, outcome.as_str()]);
            }
        }
    }

    /// Makes the series of the calls that are followed appear.
    pub fn expect_audits(&self, contexts: &[&ContextName], events: &[EventName]) {
        for context in contexts {
            for event in events {
                self.families.audit_events_total.appear([context.as_str(), event.as_str()]);
            }
        }
    }

    /// Whether a service is not in the configuration any more: its last rollout may end after that, and would leave series for good.
    pub(super) fn has_left(&self, service: &ServiceKey) -> bool {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        !expected.contexts.is_empty()
            && !expected.services.contains(&(service.cluster.clone(), service.service.clone()))
    }

    /// A service left the configuration. Services come and go, and their series with them.
    fn forget_service(&self, [cluster, service]: [&str; 2]) {
        for gauge in self.of_services() {
            gauge.remove([cluster, service]);
        }
        for outcome in OutcomeKind::ALL {
            self.families.deployments_total.remove([cluster, service, outcome.as_str()]);
        }
        for kind in TaskKind::ALL {
            for outcome in TaskOutcome::ALL {
                self.families.tasks_total.remove([cluster, service, kind.as_str(), outcome.as_str()]);
            }
        }
        self.families.deployment_duration_seconds.remove([cluster, service]);
        self.families.push_to_stable_seconds.remove([cluster, service]);
    }

    /// The gauges that stand for a context as long as it is configured.
    fn of_contexts(&self) -> [&Gauge<1>; 4] {
        let Families {
            last_successful_poll_timestamp_seconds,
            reread_lag_seconds,
            unread_history_seconds,
            discovered_services,
            ..
        } = &self.families;
        [last_successful_poll_timestamp_seconds, reread_lag_seconds, unread_history_seconds, discovered_services]
    }

    /// The gauges that stand for a service as long as it is configured.
    pub(super) fn of_services(&self) -> [&Gauge<2>; 3] {
        let Families { deployments_in_progress, held, undecided, .. } = &self.families;
        [deployments_in_progress, held, undecided]
    }

    /// The `repository` label of a histogram.
    pub(super) fn histogram_of<'a>(&self, repository: &'a RepositoryName) -> &'a str {
        if self.detail().histograms { repository.as_str() } else { ALL_REPOSITORIES }
    }

    pub(super) fn detail(&self) -> Detail {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).detail
    }
}
