//! What the one-off tasks of all services call for: reads and writes that are due.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Engine;
use super::durability::Permit;
use super::effect::{Effect, Place, Read, RolloutId};
use super::now::Now;
use super::schedule::WatchRound;
use super::service::Service;
use super::tasking::{Step, TaskCall};
use super::workflow::Workflow;

/// DescribeTasks takes at most 100 tasks of one cluster.
const TASKS_A_CALL: usize = 100;

impl Engine {
    /// Asks what tasks need.
    pub(super) fn prepare_tasks(&mut self, now: Now) {
        if self.out.durability.last_error().is_some() {
            return;
        }
        let is_due = |service: &Service| {
            let due = matches!(&service.workflow, Workflow::Tasking { tasking, .. } if tasking.step == Step::Preparing(TaskCall::Due));
            due && service.calls.task.is_over(now.moment)
        };
        for key in self.keys(is_due) {
            if self.rules.region(&key.aws).is_some() {
                self.with(&key, now, |handler| handler.prepare_task());
            }
        }
    }

    /// Ends, or stops, tasks that take too long.
    pub(super) fn end_late_tasks(&mut self, now: Now) {
        let is_late = |service: &Service| matches!(&service.workflow, Workflow::Tasking { tasking, .. } if tasking.deadline().is_some_and(|at| at <= now.moment));
        for key in self.keys(is_late) {
            self.with(&key, now, |handler| handler.task_is_late());
        }
    }

    /// Makes the writes that tasks need: all that they are made for is durable.
    pub(super) fn write_for_tasks(&mut self, permit: &Permit, now: Now) {
        let may = |service: &Service| {
            matches!(service.workflow, Workflow::Tasking { .. }) && service.calls.task.is_over(now.moment)
        };
        for key in self.keys(may) {
            if self.rules.region(&key.aws).is_some()
                && let Some(write) = self.with(&key, now, |handler| handler.task_write())
            {
                self.out.effects.push(permit.write(write));
            }
        }
    }

    /// Looks at the tasks that ECS has started, a hundred of a cluster a call, once in their interval.
    pub(super) fn watch_tasks(&mut self, now: Now) {
        let mut places: BTreeMap<Place, (Vec<(RolloutId, String)>, Duration)> = BTreeMap::new();
        for (key, service) in &self.services {
            let Workflow::Tasking { intent, tasking, .. } = &service.workflow else { continue };
            let Some(arn) = tasking.arn() else { continue };
            if !service.calls.task_watch.is_over(now.moment) || self.rules.region(&key.aws).is_none() {
                continue;
            }
            let interval = self.rules.settings(key).observe_interval;
            let place = (key.aws.clone(), key.cluster.clone());
            let (tasks, shortest) = places.entry(place).or_insert_with(|| (Vec::new(), interval));
            tasks.push((RolloutId { service: key.clone(), decided_at: intent.decided_at }, arn.to_owned()));
            *shortest = (*shortest).min(interval);
        }
        self.task_watches.retain(|place, round| round.is_under_way() || places.contains_key(place));
        for (place, (tasks, interval)) in places {
            let next = now.moment.plus(interval);
            let round = self.task_watches.entry(place.clone()).or_insert(WatchRound::waiting(now.moment, next));
            if !round.begin(now.moment, next, tasks.len().div_ceil(TASKS_A_CALL)) {
                continue;
            }
            for tasks in tasks.chunks(TASKS_A_CALL) {
                let read = Read::Tasks { place: place.clone(), tasks: tasks.to_vec() };
                self.out.effects.push(Effect::Read(read));
            }
        }
    }
}
