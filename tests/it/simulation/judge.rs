//! What a naive reading of the promises asks for.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::life::{Kind, Life, PAUSES, Pushed, SERVICES, ServiceOf};
use crate::world::Started;

/// The topic of which everything is told.
const EVERYTHING: &str = "arn:aws:sns:eu-west-1:111111111111:everything";

/// Whether one deployment began less than so many minutes before another one.
fn recently(this: &Started, before: &Started, minutes: i64) -> bool {
    this.at.duration_since(before.at) < SignedDuration::from_mins(minutes)
}

/// Which way a deployment takes one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To something better than all before.
    Forward,
    /// Back from something bad.
    Undone,
    /// Nowhere.
    Same,
    /// Back without a reason.
    Wrong,
}

impl Life {
    /// After each step.
    pub(super) fn check(&self) {
        if let Some(process) = &self.process {
            assert!(process.is_running(), "the deployer's task has ended");
        }
        self.check_ways();
        self.check_cursor();
    }

    /// The cursor on the disk has passed no push that nothing on the disk is about.
    fn check_cursor(&self) {
        let Some(state) = self.disk.durable_state() else { return };
        let context = state.contexts.values().next().unwrap();
        let Some(cursor) = context.cursor else { return };
        let margin = SignedDuration::from_mins(6);
        for told in self.world.told() {
            let tag = told.tag.as_deref().unwrap_or_default();
            let ours = match told.repository.as_str() {
                "app" => tag == "latest",
                "lib" => true,
                _ => tag == "stable" || (tag.starts_with("release-") && !tag.ends_with("signed")),
            };
            let in_time = told.visible_at.duration_since(told.time) < SignedDuration::from_mins(25);
            let passed = told.visible_at + margin < cursor && told.time > context.baseline + margin;
            if !(ours && in_time && passed && told.time >= self.compared_at)
                || self.vanished.contains(told.repository.as_str())
            {
                continue;
            }
            let repository = format!("default/{}", told.repository).try_into().unwrap();
            for (cluster, name, containers) in SERVICES {
                if !containers.iter().any(|(_, repository)| *repository == told.repository) {
                    continue;
                }
                let key = format!("default/{cluster}/{name}").try_into().unwrap();
                let known = state.services.get(&key);
                let wanted = known.and_then(|known| known.pending.get(&repository)).into_iter().flatten();
                let decided = known.and_then(|known| known.decided.get(&repository));
                // Where versions are compared, a lower one is decided without a trace but that it was read.
                let read = told.repository == "lib" && context.seen.keys().any(|id| id.as_str() == told.id);
                let covered = read || wanted.chain(decided).any(|push| push.at >= told.time);
                assert!(
                    covered,
                    "{name}: the cursor {cursor} has passed {told:?}, of which the state knows nothing: {known:#?}"
                );
            }
        }
    }

    /// After each step, and before a service is deleted: what was deployed so far.
    fn check_ways(&self) {
        for service in SERVICES {
            self.judge_way(service);
        }
    }

    /// After the life.
    pub(super) fn judge(&mut self) {
        let state = self.disk.state().unwrap();
        for (cluster, name, containers) in SERVICES {
            let key = format!("default/{cluster}/{name}").try_into().unwrap();
            let known = state.services.get(&key);
            assert!(
                known.is_none_or(|known| known.rollout.is_none() && known.pending.is_empty()),
                "{name}: not at rest: {known:#?}"
            );
            let held = known.is_some_and(|known| !known.held.is_empty());
            let is_good = |repository| self.is_wanted(cluster, name, self.best(repository));
            // What somebody else changed stays as it is until the next push: of any of its repositories, if it has several.
            let ours = !self.spoiled.contains(name)
                && containers.iter().all(|(_, repository)| !self.is_meddled(name, repository));
            for (container, repository) in containers {
                // What is left in place does not settle.
                let left = self.kind.leaves && containers.iter().any(|(_, repository)| !is_good(repository));
                if ours && !left {
                    let runs = self.world.settled_image(cluster, name, container);
                    let alone = containers.len() == 1;
                    self.judge_end(name, repository, runs.as_deref(), is_good(repository), held, alone);
                }
            }
            if let [(container, repository)] = containers {
                self.judge_hold(cluster, name, container, repository, held);
            }
        }
        self.judge_jobs();
        self.judge_timetable();
        self.judge_opted();
        self.judge_told();
        self.judge_waiting();
        self.judge_lookups();
        assert_eq!(self.world.refused_by_limits(), 0, "more calls than the throttle buckets of ECS hold");
    }

    /// Whether somebody else was the last to change a service.
    fn is_meddled(&self, name: &'static str, repository: &'static str) -> bool {
        self.meddled.get(&(name, repository)).is_some_and(|rank| *rank >= self.best(repository).rank)
    }

    fn is_idle(&self, name: &str) -> bool {
        self.kind.idle && name == "b"
    }

    /// A service ends on the push that its policy wants most, or, where that one is bad, on a good one. Where no task runs nothing shows
    /// that it is bad.
    fn judge_end(&self, name: &str, repository: &str, runs: Option<&str>, wanted: bool, held: bool, alone: bool) {
        let (pushed, best) = (&self.pushed[repository], self.best(repository));
        let runs = runs.unwrap_or_else(|| panic!("{name}: nothing runs"));
        let running = pushed.iter().find(|push| push.digest == runs);
        let running = running.unwrap_or_else(|| panic!("{name}: {runs} was never pushed to {repository}"));
        if self.is_idle(name) {
            let ordered = self.ordered.contains(name);
            let refused = self.is_refused_by_migration(name, &best.digest);
            assert!(ordered || refused || runs == best.digest, "{name}: {runs} runs, not the best of {pushed:#?}");
            return;
        }
        assert!(running.good || self.kind.leaves, "{name}: a bad image stayed: {runs}");
        // Where the state was lost and ECR has lost what runs, nobody can tell whether what was pushed until then is better.
        if self.kind.forgetful && self.expired.contains(runs) && best.at <= self.compared_at {
            return;
        }
        if wanted && (alone || !held) {
            assert_eq!(runs, best.digest, "{name}: the best push of {repository} does not run; pushed: {pushed:#?}");
            assert!(!(alone && held), "{name}: held although the best push is good");
        }
    }

    /// What was tried and is bad is held.
    fn judge_hold(&self, cluster: &str, name: &'static str, container: &str, repository: &'static str, held: bool) {
        let best = self.best(repository);
        let touched = self.meddlings.contains_key(name) || self.ordered.contains(name) || self.is_idle(name);
        let tried =
            self.world.log_of(cluster, name).iter().any(|one| one.digests[container].as_ref() == Some(&best.digest))
                || self.was_migrated(name, container, &best.digest);
        // What was left in place is in place already when it is pushed again.
        let again =
            self.kind.leaves && self.pushed[repository].iter().filter(|push| push.digest == best.digest).count() > 1;
        if !self.is_wanted(cluster, name, best) && tried && !touched && !again && !self.vanished.contains(repository) {
            assert!(held, "{name}: {best:?} was tried, is bad, and is not held");
        }
    }

    /// Each deployment brings something better than all before it, or undoes a bad one.
    fn judge_way(&self, (cluster, name, containers): ServiceOf) {
        if self.spoiled.contains(name) || self.ordered.contains(name) || !self.world.has_service(cluster, name) {
            return;
        }
        let log = self.world.log_of(cluster, name);
        // The best that each container got so far, and when it got it.
        let mut highest = vec![(0, self.began); containers.len()];
        for (index, started) in log.iter().enumerate() {
            // What it takes the place of, or what was deployed before it and ECS has undone by itself since, is bad.
            let before = index.checked_sub(1).map_or(&started.replaces, |before| &log[before].digests);
            let bad = containers.iter().any(|(container, repository)| {
                let refused = self.world.rolled_back(cluster, name, container);
                let is_bad = |digest: &Option<String>| {
                    let mut pushed =
                        self.pushed[*repository].iter().filter(|push| Some(&push.digest) == digest.as_ref());
                    pushed.any(|push| !push.good || refused.iter().any(|(_, refused)| *refused == push.digest))
                };
                is_bad(&started.replaces[*container]) || is_bad(&before[*container])
            });
            let ways: Vec<Way> = containers
                .iter()
                .zip(&mut highest)
                .map(|(of, highest)| self.way_of(name, *of, &log[..=index], bad, highest))
                .collect();
            // Another container may have taken this one along by its tag, before its own push was reported.
            // Nor does it move one that somebody else has touched meanwhile.
            let since = index.checked_sub(1).map_or(self.began, |before| log[before].at);
            let touched = self.meddlings.get(name).into_iter().flatten().any(|at| *at >= since && *at <= started.at);
            let moved =
                touched || containers.len() > 1 || ways.iter().any(|way| matches!(way, Way::Forward | Way::Undone));
            assert!(
                moved && !ways.contains(&Way::Wrong),
                "{name}: deployment {index} goes {ways:?}: {:#?}\nstarted: {log:#?}",
                self.pushed
            );
        }
        if let ([(container, repository)], false) =
            (containers, self.meddlings.contains_key(name) || self.is_idle(name))
        {
            let refused = self.world.rolled_back(cluster, name, container);
            let is_bad = |push: &Pushed| !push.good || refused.iter().any(|(_, refused)| *refused == push.digest);
            let bad: Vec<&Pushed> = self.pushed[repository].iter().filter(|push| is_bad(push)).collect();
            Self::judge_bad(name, &bad, |digest| {
                log.iter().filter(|started| started.digests[*container].as_deref() == Some(digest)).count()
            });
        }
    }

    /// Which way one container goes with the last of these deployments.
    fn way_of(
        &self,
        name: &str,
        (container, repository): (&str, &'static str),
        log: &[Started],
        bad: bool,
        (highest, since): &mut (u64, Timestamp),
    ) -> Way {
        let started = log.last().unwrap();
        // Its tag is away from ECR for a while.
        let Some(brings) = started.digests[container].as_deref() else { return Way::Same };
        let by_then = self.pushed[repository].iter().filter(|push| push.at <= started.at);
        let ranks = || by_then.clone().filter(|push| push.digest == brings).map(|push| push.rank);
        // What somebody else took away may be brought again. Where no task runs, nobody knows what a tag means: comparing with ECR may
        // bring the same again.
        let meddled = self.meddlings.get(name).into_iter().flatten().any(|at| *at >= *since && *at <= started.at);
        let again = meddled || self.is_idle(name);
        let stays = started.replaces[container].as_deref() == Some(brings);
        if stays && (started.digests.len() > 1 || meddled) {
            return Way::Same;
        }
        // ECS has undone it in the very moment in which a newer one took its place.
        let just_before = log.iter().rev().nth(1).filter(|before| recently(started, before, 1));
        if just_before.is_some_and(|before| before.digests[container].as_deref() == Some(brings)) {
            return Way::Same;
        }
        // The same content may have been pushed more than once.
        if let Some(rank) = ranks().find(|rank| *rank > *highest || (again && rank == highest)) {
            (*highest, *since) = (rank, started.at);
            return Way::Forward;
        }
        // ECS has undone the bad one by itself; the rollback is made to stay by naming the digest.
        if stays {
            return if bad { Way::Undone } else { Way::Same };
        }
        // Back to what ran before the bad one; or before those that it superseded, which were never seen to work.
        // A rollout under `monitor` is not complete before its time is over, however long the daemon was away meanwhile.
        let patience = match () {
            () if self.kind.monitors => 365 * 24 * 60,
            () if self.waits_long(name) => 48 * 60,
            () => 25,
        };
        let recent = |before: &&Started| recently(started, before, patience);
        // Who may not ask whether it bakes takes it for complete when its tasks run.
        let ran = log.iter().rev().take_while(recent).any(|before| {
            [&before.ran, &before.ran_unbaked].into_iter().any(|ran| ran[container].as_deref() == Some(brings))
        });
        let Some(rank) = ranks().max().filter(|_| bad && ran) else { return Way::Wrong };
        // Of several containers another one may have been the bad one, or this one may have been taken along by its tag, before its own push
        // was reported: that is still to come.
        if log.last().is_some_and(|started| started.digests.len() > 1) {
            *highest = rank;
        }
        Way::Undone
    }

    /// A bad image is tried no more often than it was pushed.
    fn judge_bad(name: &str, pushed: &[&Pushed], tried: impl Fn(&str) -> usize) {
        for bad in pushed {
            let pushes = pushed.iter().filter(|push| push.digest == bad.digest).count();
            let tried = tried(&bad.digest);
            assert!(tried <= pushes, "{name}: {} was pushed {pushes} times and tried {tried} times", bad.digest);
        }
    }

    /// What others were told happened: each change is one of CloudTrail's, and ours are known as ours.
    fn judge_told(&self) {
        for message in self.world.messages(EVERYTHING) {
            let notification: serde_json::Value = serde_json::from_str(&message.text).unwrap();
            assert_eq!(notification["id"], message.id);
            let change = &notification["change"];
            if notification["kind"] == "change" && change["agent"] == "aws-cli/2.0" {
                assert_eq!(
                    change["concern"], "watched",
                    "somebody else's change is reported as such: {notification:#}"
                );
            }
        }
    }

    /// Whether nothing stands against a push: it is good, its migration succeeds, and when the service was rolled to it the last time, it was
    /// not rolled back at a hook.
    fn is_wanted(&self, cluster: &str, name: &str, push: &Pushed) -> bool {
        let (_, _, containers) = SERVICES.into_iter().find(|(_, of, _)| *of == name).unwrap();
        let was_refused = containers.iter().any(|(container, _)| {
            let refused = self.world.rolled_back(cluster, name, container);
            let last = refused.iter().filter(|(_, digest)| *digest == push.digest).map(|(at, _)| *at).max();
            let log = self.world.log_of(cluster, name);
            let again = log.iter().any(|started| {
                last.is_some_and(|last| started.at > last)
                    && started.digests[*container].as_deref() == Some(&push.digest)
            });
            last.is_some() && !again
        });
        push.good && !was_refused && !self.is_refused_by_migration(name, &push.digest)
    }

    /// Whether ECS waits on purpose in deployments of a service.
    fn waits_long(&self, name: &str) -> bool {
        matches!(
            (name, self.kind),
            ("a", Kind { alarmed: true, .. }) | ("b", Kind { calls: true, .. }) | ("v", Kind { pauses: true, .. })
        )
    }

    /// What ECS waits for on purpose is no failure, and nobody but an operator answers a hook.
    fn judge_waiting(&self) {
        for message in self.world.messages(EVERYTHING) {
            let notification: serde_json::Value = serde_json::from_str(&message.text).unwrap();
            let deployment = &notification["deployment"];
            let waits = deployment["service"].as_str().is_some_and(|name| self.waits_long(name));
            let is_good = |image: &serde_json::Value| {
                self.pushed.values().flatten().any(|push| image["digest"] == push.digest.as_str() && push.good)
                    && !deployment["service"]
                        .as_str()
                        .zip(image["digest"].as_str())
                        .is_some_and(|(name, digest)| self.is_refused_by_migration(name, digest))
            };
            if waits && deployment["result"] == "timed_out" {
                let all_good = deployment["images"].as_array().unwrap().iter().all(is_good);
                assert!(!all_good, "ECS waited on purpose, and a good image timed out: {notification:#}");
            }
        }
        let (cluster, name) = PAUSES;
        let answered = self.world.hooks_answered(cluster, name);
        assert!(
            answered <= self.answers,
            "{name}: {answered} answers to hooks, of which operators gave {}",
            self.answers
        );
    }

    /// Once nothing fails any more: what waits at a hook is seen to wait.
    pub(super) fn check_waiting(&self) {
        let (cluster, name) = PAUSES;
        let key = format!("default/{cluster}/{name}").try_into().unwrap();
        let Some(process) = self.process.as_ref().filter(|_| self.is_paused()) else { return };
        let state = self.disk.state().unwrap();
        let known = state.services.get(&key).filter(|known| known.rollout.is_some());
        if let Some(known) = known {
            let gauge = format!("ecs_deployd_waiting{{cluster=\"{cluster}\",gate=\"pause\",service=\"{name}\"}}");
            assert!(known.waiting.is_some(), "{name} waits at its hook, and nobody knows: {known:#?}");
            assert_eq!(process.metric(&gauge), 1.0, "{known:#?}");
        }
    }

    /// CloudTrail allows two requests a second.
    fn judge_lookups(&self) {
        let calls = self.world.calls();
        let at: Vec<Duration> =
            calls.iter().filter(|call| call.operation == "LookupEvents" && !call.others).map(|call| call.at).collect();
        let fast = at.windows(3).find(|window| window[2] - window[0] < Duration::from_secs(1));
        assert!(fast.is_none(), "three lookups within a second: {fast:?}");
    }
}
