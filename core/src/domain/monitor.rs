//! What a service shows after ECS has completed a rollout: whether its tasks go on running, by DescribeServices alone.
//!
//! ECS calls a rolling deployment complete as soon as its tasks run. An image that works for some seconds and then exits is complete, too;
//! ECS starts its tasks again and again, and counts none of that in `failedTasks`, which ends with the first task that runs (Amazon ECS API
//! Reference, Deployment). So stops are counted in three ways, each of which sees some of them, and the highest count holds.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::rollout::too_many;
use super::view::{DeploymentView, ServiceEvent, ServiceView};

/// What is kept of the watch over a rollout that ECS has completed, so that a restart goes on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitored {
    /// When ECS was seen to have completed it.
    pub since: Timestamp,
    /// The tasks that were wanted then.
    pub desired: i32,
    /// The newest line of the service's own log then, by ECS's clock: what comes after it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_from: Option<Timestamp>,
    /// The tasks that were seen to stop since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stopped: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// The watch over a rollout that ECS has completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    record: Monitored,
    /// The tasks that were seen to stop before this process.
    before: i32,
    last: Option<Look>,
    /// Tasks that were missing or starting where none was at the look before.
    vanished: i32,
    /// What ECS counted in `failedTasks`.
    failed: i32,
    /// Tasks that were started because more of them are wanted.
    scaled_out: i32,
    /// The tasks that are to run: less than the desired count, as long as those that were added have not run.
    expected: i32,
    /// How long fewer tasks ran than are to.
    short: Duration,
}

/// One look at the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    desired: i32,
    missing: i32,
    failed: i32,
    /// Fewer tasks ran than are to.
    short: bool,
}

impl Monitor {
    /// A watch that begins: ECS has just completed the rollout of so many tasks.
    #[must_use]
    pub fn new(since: Timestamp, desired: i32) -> Self {
        Self::resumed(Monitored { since, desired, events_from: None, stopped: 0 })
    }

    /// A watch that goes on after a restart.
    #[must_use]
    pub fn resumed(record: Monitored) -> Self {
        Self {
            before: record.stopped,
            expected: record.desired,
            record,
            last: None,
            vanished: 0,
            failed: 0,
            scaled_out: 0,
            short: Duration::ZERO,
        }
    }

    /// What is kept of it.
    #[must_use]
    pub fn record(&self) -> &Monitored {
        &self.record
    }

    /// Takes a look at the rollout's deployment, so long after the look before it. Gives the reason if the rollout has failed, where it is
    /// watched for `monitor` in all.
    pub fn look(
        &mut self,
        mine: &DeploymentView,
        service: &ServiceView,
        after: Duration,
        monitor: Duration,
    ) -> Option<String> {
        let was_short = self.last.is_some_and(|last| last.short);
        self.note_desired(mine);
        self.count_stops(mine);
        if was_short && mine.running < self.expected {
            self.short = self.short.saturating_add(after);
        }
        let events_from = *self.record.events_from.get_or_insert_with(|| newest(service));
        let since: Vec<&ServiceEvent> = service.events.iter().filter(|event| event.at > events_from).collect();
        let started: i32 = since.iter().map(|event| started(&event.message)).sum();
        let counted = self.before + self.vanished.max(self.failed);
        self.record.stopped = self.record.stopped.max(counted).max(started - self.scaled_out);
        let unhealthy = since.iter().filter(|event| is_unhealthy(&event.message)).count();
        self.why_failed(mine, i32::try_from(unhealthy).unwrap_or(i32::MAX), monitor)
    }

    fn note_desired(&mut self, mine: &DeploymentView) {
        let before = self.last.map_or(self.record.desired, |last| last.desired);
        self.scaled_out = self.scaled_out.saturating_add((mine.desired - before).max(0));
        self.expected = mine.desired.min(self.expected.max(mine.running));
    }

    fn count_stops(&mut self, mine: &DeploymentView) {
        // A task that was stopped as unhealthy is replaced before it is gone: it shows as one that starts.
        let scaling = (mine.desired - self.expected).max(0);
        let missing = (self.expected - mine.running).max(mine.pending - scaling).max(0);
        let short = mine.running < self.expected;
        let look = Look { desired: mine.desired, missing, failed: mine.failed, short };
        let (missing_before, failed_before) = self.last.map_or((0, mine.failed), |last| (last.missing, last.failed));
        self.vanished = self.vanished.saturating_add((look.missing - missing_before).max(0));
        // ECS counts from 0 again when a task runs.
        let more = if look.failed >= failed_before { look.failed - failed_before } else { look.failed };
        self.failed = self.failed.saturating_add(more);
        self.last = Some(look);
    }

    fn why_failed(&self, mine: &DeploymentView, unhealthy: i32, monitor: Duration) -> Option<String> {
        let stopped = self.record.stopped;
        let limit = too_many(mine.desired);
        if mine.desired <= 0 {
            None
        } else if stopped >= limit {
            Some(format!("its tasks keep stopping: {stopped} stopped, of {} that are wanted", mine.desired))
        } else if unhealthy >= limit.min(mine.desired) {
            Some(format!("its tasks do not stay healthy: health checks failed {unhealthy} times"))
        } else if self.short >= monitor / 2 && !self.short.is_zero() {
            let short = humantime::format_duration(Duration::from_secs(self.short.as_secs()));
            Some(format!("fewer tasks ran than are wanted for {short}: {} of {} run now", mine.running, mine.desired))
        } else {
            None
        }
    }
}

fn newest(service: &ServiceView) -> Timestamp {
    service.events.iter().map(|event| event.at).max().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Whether a line of a service's log tells something of its tasks that counts here.
#[must_use]
pub fn tells_of_tasks(message: &str) -> bool {
    started(message) > 0 || is_unhealthy(message)
}

/// How many tasks a line of a service's log says were started (`(service web) has started 2 tasks: (task 0123) (task 4567).`, Amazon ECS
/// Developer Guide, "Viewing Amazon ECS service event messages"). Those that are moved to another Availability Zone replace no failure.
fn started(message: &str) -> i32 {
    let number = |rest: &str| rest.split_once(" tasks").and_then(|(number, _)| number.parse().ok());
    match message.split_once("has started ") {
        Some((_, rest)) if !message.contains("AZ Rebalance") => number(rest).unwrap_or(0),
        Some(_) | None => 0,
    }
}

/// Whether a line of a service's log says that a health check failed: one of a load balancer, or of a container.
fn is_unhealthy(message: &str) -> bool {
    ["is unhealthy in", "failed container health checks", "failed ELB health checks"]
        .iter()
        .any(|text| message.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_support::{at, deployment, service};
    use crate::domain::view::RolloutState;

    const FIVE: Duration = Duration::from_secs(5);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Desired, running, starting and failed tasks of one look, and the lines that are new in the service's log.
    type Looked<'a> = ((i32, i32, i32, i32), &'a [&'a str]);

    fn watch(monitor: &mut Monitor, looks: &[Looked<'_>]) -> Option<String> {
        let mut events =
            vec![ServiceEvent { at: at(0), message: "(service web) has started 2 tasks: (task 0).".to_owned() }];
        let mut second = 0;
        looks.iter().find_map(|((desired, running, pending, failed), lines)| {
            second += 5;
            events.extend(lines.iter().map(|line| ServiceEvent { at: at(second), message: (*line).to_owned() }));
            let (desired, running, pending, failed) = (*desired, *running, *pending, *failed);
            let mine = deployment("d2", true, 2, Some(RolloutState::Completed));
            let mine = DeploymentView { desired, running, pending, failed, ..mine };
            let view = ServiceView { events: events.clone(), ..service(2, vec![mine.clone()]) };
            monitor.look(&mine, &view, FIVE, MINUTE)
        })
    }

    fn verdict(looks: &[Looked<'_>]) -> Option<String> {
        watch(&mut Monitor::new(at(0), 2), looks)
    }

    fn tasks(counts: &[(i32, i32, i32, i32)]) -> Option<String> {
        verdict(&counts.iter().map(|counts| (*counts, &[][..])).collect::<Vec<_>>())
    }

    const WELL: (i32, i32, i32, i32) = (2, 2, 0, 0);

    #[test]
    fn tasks_that_go_on_running_are_well() {
        assert_eq!(tasks(&[WELL; 12]), None);
        assert_eq!(tasks(&[WELL, (2, 1, 0, 0), (2, 1, 1, 0), WELL, WELL, (2, 1, 0, 0), WELL]), None, "two stopped");
        assert_eq!(tasks(&[(0, 0, 0, 0); 30]), None, "nobody wants tasks any more");
    }

    #[test]
    fn as_many_stops_as_a_circuit_breaker_counts_are_too_many() {
        let keeps_stopping = Some("its tasks keep stopping: 3 stopped, of 2 that are wanted".to_owned());
        let once = (2, 1, 0, 0);
        assert_eq!(tasks(&[WELL, once, WELL, once, (2, 1, 1, 0), WELL, once]), keeps_stopping);
        let both = Some("its tasks keep stopping: 4 stopped, of 2 that are wanted".to_owned());
        assert_eq!(tasks(&[WELL, (2, 0, 2, 0), WELL, (2, 0, 2, 0)]), both);
        assert_eq!(tasks(&[WELL, (2, 2, 1, 0), WELL, (2, 2, 1, 0), WELL, (2, 2, 1, 0)]), keeps_stopping, "as replaced");
        assert_eq!(tasks(&[WELL, (2, 2, 0, 1), (2, 2, 0, 2), (2, 2, 0, 1)]), keeps_stopping, "by ECS's own count");
        let large = |running| (10, running, 0, 0);
        let mut monitor = Monitor::new(at(0), 10);
        let looks = [large(10), large(6), large(10), large(9)].map(|counts| (counts, &[][..]));
        assert_eq!(
            watch(&mut monitor, &looks),
            Some("its tasks keep stopping: 5 stopped, of 10 that are wanted".to_owned()),
            "half of ten"
        );
    }

    #[test]
    fn tasks_that_stop_between_two_looks_show_as_tasks_that_were_started() {
        let line = "(service web) has started 1 tasks: (task 0123).";
        let looks = |lines: &'static [&'static str]| [(WELL, &[][..]), (WELL, lines), (WELL, lines)];
        assert_eq!(verdict(&looks(&[])), None);
        assert_eq!(
            verdict(&[(WELL, &[][..]), (WELL, &[line, line][..]), (WELL, &[line][..])]),
            Some("its tasks keep stopping: 3 stopped, of 2 that are wanted".to_owned())
        );
        let moved = "(service web) has started 4 tasks in (eu-west-1a) to AZ Rebalance: (task 0123).";
        assert_eq!(verdict(&[(WELL, &[][..]), (WELL, &[moved][..])]), None);
        let more = "(service web) has started 8 tasks: (task 0123).";
        assert_eq!(
            verdict(&[(WELL, &[][..]), ((10, 2, 8, 0), &[more][..]), ((10, 10, 0, 0), &[][..])]),
            None,
            "more are wanted"
        );
    }

    #[test]
    fn a_service_whose_health_is_gone_has_failed() {
        let balanced =
            "(service web) (port 80) is unhealthy in (target-group arn:x) due to (reason Health checks failed).";
        let checked = "(service web) (task 0123) failed container health checks.";
        let failed = Some("its tasks do not stay healthy: health checks failed 2 times".to_owned());
        assert_eq!(verdict(&[(WELL, &[][..]), (WELL, &[balanced][..])]), None, "one of two");
        assert_eq!(verdict(&[(WELL, &[][..]), (WELL, &[balanced, balanced][..])]), failed);
        assert_eq!(verdict(&[(WELL, &[][..]), (WELL, &[checked][..]), (WELL, &[balanced][..])]), failed);
        let one = (1, 1, 0, 0);
        let failed = Some("its tasks do not stay healthy: health checks failed 1 times".to_owned());
        assert_eq!(
            watch(&mut Monitor::new(at(0), 1), &[(one, &[][..]), (one, &[checked][..])]),
            failed,
            "its only task"
        );
    }

    #[test]
    fn fewer_tasks_than_wanted_for_half_of_the_time_are_too_few() {
        let one = (2, 1, 1, 0);
        assert_eq!(tasks(&[&[WELL; 2][..], &[one; 6][..], &[WELL; 4][..]].concat()), None, "25 of 60 seconds at least");
        let failed = "fewer tasks ran than are wanted for 30s: 1 of 2 run now".to_owned();
        assert_eq!(tasks(&[&[WELL; 2][..], &[one; 7][..]].concat()), Some(failed));
        let wanted = [&[WELL][..], &[(4, 2, 2, 0); 11][..]].concat();
        assert_eq!(tasks(&wanted), None, "tasks that were added since take their time");
    }

    #[test]
    fn a_restart_goes_on_counting() {
        let line = "(service web) has started 1 tasks: (task 0123).";
        let mut first = Monitor::new(at(0), 2);
        assert_eq!(watch(&mut first, &[(WELL, &[][..]), ((2, 0, 2, 0), &[][..]), (WELL, &[][..])]), None);
        assert_eq!(first.record(), &Monitored { since: at(0), desired: 2, events_from: Some(at(0)), stopped: 2 });
        let text = serde_json::to_string(first.record()).unwrap();
        let mut next = Monitor::resumed(serde_json::from_str(&text).unwrap());
        assert_eq!(next.record(), first.record());
        let failed = Some("its tasks keep stopping: 3 stopped, of 2 that are wanted".to_owned());
        assert_eq!(watch(&mut next.clone(), &[(WELL, &[][..]), ((2, 1, 1, 0), &[][..])]), failed);
        assert_eq!(watch(&mut next, &[(WELL, &[line, line, line][..])]), failed, "what happened while nobody looked");
    }
}
