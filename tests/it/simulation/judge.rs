//! What a naive reading of the promises asks for.

use std::time::Duration;

use jiff::SignedDuration;

use super::life::{Life, Pushed, SERVICES};

impl Life {
    /// After each step: the cursor on the disk has passed no push that nothing on the disk is about.
    pub(super) fn check(&self) {
        let Some(state) = self.disk.durable_state() else { return };
        let context = state.contexts.values().next().unwrap();
        let Some(cursor) = context.cursor else { return };
        let margin = SignedDuration::from_mins(6);
        for told in self.world.told() {
            let tag = told.tag.as_deref().unwrap_or_default();
            let ours = match told.repository.as_str() {
                "app" => tag == "latest",
                _ => tag.starts_with("release-") && !tag.ends_with("signed"),
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
                let wanted = known.and_then(|known| known.wanted.get(&repository)).into_iter().flatten();
                let decided = known.and_then(|known| known.decided.get(&repository));
                let covered = wanted.chain(decided).any(|push| push.at >= told.time);
                assert!(
                    covered,
                    "{name}: the cursor {cursor} has passed {told:?}, of which the state knows nothing: {known:#?}"
                );
            }
        }
    }

    /// After the life.
    pub(super) fn judge(&self) {
        let state = self.disk.state().unwrap();
        for (cluster, name, containers) in SERVICES {
            let key = format!("default/{cluster}/{name}").try_into().unwrap();
            let known = state.services.get(&key);
            assert!(
                known.is_none_or(|known| known.rollout.is_none() && known.wanted.is_empty()),
                "{name}: not at rest: {known:#?}"
            );
            let held = known.is_some_and(|known| !known.held.is_empty());
            // What somebody else changed stays as it is until the next push: of any of its repositories, if it has several.
            let ours = !self.spoiled.contains(name)
                && containers.iter().all(|(_, repository)| !self.is_meddled(name, repository));
            for (container, repository) in containers {
                if ours && !(self.kind.idle && name == "b") {
                    let runs = self.world.settled_image(cluster, name, container);
                    self.judge_end(name, repository, runs.as_deref(), held, containers.len() == 1);
                }
            }
            if let [(container, repository)] = containers {
                self.judge_way(cluster, name, container, repository);
            }
        }
        self.judge_copies();
        self.judge_told();
        self.judge_lookups();
        assert_eq!(self.world.refused_by_limits(), 0, "more calls than the throttle buckets of ECS hold");
    }

    /// Whether somebody else was the last to change a service.
    fn is_meddled(&self, name: &'static str, repository: &'static str) -> bool {
        self.meddled.get(&(name, repository)).is_some_and(|pushes| *pushes >= self.pushed[repository].len())
    }

    /// A service ends on the newest push, or, where that one is bad, on a good one.
    fn judge_end(&self, name: &str, repository: &str, runs: Option<&str>, held: bool, alone: bool) {
        let pushed = &self.pushed[repository];
        let newest = pushed.last().unwrap();
        let runs = runs.unwrap_or_else(|| panic!("{name}: nothing runs"));
        let running = pushed.iter().find(|push| push.digest == runs);
        let running = running.unwrap_or_else(|| panic!("{name}: {runs} was never pushed to {repository}"));
        assert!(running.good, "{name}: a bad image stayed: {runs}");
        if newest.good && (alone || !held) {
            assert_eq!(
                runs, newest.digest,
                "{name}: the newest push of {repository} does not run; pushed: {pushed:#?}"
            );
            assert!(!(alone && held), "{name}: held although the newest push is good");
        }
    }

    /// Each deployment brings something newer than all before it, or undoes a bad one.
    fn judge_way(&self, cluster: &str, name: &'static str, container: &str, repository: &'static str) {
        let pushed = &self.pushed[repository];
        if self.spoiled.contains(name) || self.ordered.contains(name) {
            return;
        }
        // Where no task runs, nobody knows what a tag means: comparing with ECR may bring the same again.
        let unknown = self.kind.idle && name == "b";
        let theirs = unknown || self.meddled.contains_key(&(name, repository));
        let log = self.world.log_of(cluster, name);
        let (mut highest, mut before) = (0, 0);
        for started in &log {
            let digest = started.digests[container].as_deref().unwrap_or_else(|| panic!("{name}: no digest"));
            // The same content may have been pushed more than once.
            let places = || pushed.iter().enumerate().filter(|(_, push)| push.digest == digest).map(|(place, _)| place);
            let undone = places().rfind(|place| !pushed[before].good && pushed[*place].good && *place < before);
            // What somebody else took away may be brought again.
            let forward = places().find(|place| *place > highest || (theirs && *place == highest));
            let place = undone.or(forward).or(places().next()).unwrap();
            assert!(
                undone.or(forward).is_some(),
                "{name}: from push {before} to push {place}, after push {highest}: {pushed:#?}
started: {log:#?}"
            );
            highest = highest.max(place);
            before = place;
        }
        if !theirs {
            self.judge_bad(name, pushed, |digest| {
                log.iter().filter(|started| started.digests[container].as_deref() == Some(digest)).count()
            });
        }
    }

    /// A bad image is tried no more often than it was pushed.
    fn judge_bad(&self, name: &str, pushed: &[Pushed], tried: impl Fn(&str) -> usize) {
        for bad in pushed.iter().filter(|push| !push.good) {
            let pushes = pushed.iter().filter(|push| push.digest == bad.digest).count();
            let tried = tried(&bad.digest);
            assert!(tried <= pushes, "{name}: {} was pushed {pushes} times and tried {tried} times", bad.digest);
        }
    }

    /// A revision differs from the first one of its family, or from what another deployer made of it, in its images and in nothing else.
    fn judge_copies(&self) {
        for family in ["shared", "s", "both"] {
            let plain = |mut revision: serde_json::Value| {
                for container in revision["containerDefinitions"].as_array_mut().unwrap() {
                    container["image"] = serde_json::Value::Null;
                }
                for member in ["taskDefinitionArn", "revision", "cpu"] {
                    revision[member] = serde_json::Value::Null;
                }
                revision
            };
            let revisions = self.world.revisions(family);
            let first = plain(revisions[0].clone());
            assert!(revisions.into_iter().all(|revision| plain(revision) == first), "{family}: something was lost");
        }
    }

    /// What others were told happened: each change is one of CloudTrail's, and ours are known as ours.
    fn judge_told(&self) {
        for message in self.world.messages("arn:aws:sns:eu-west-1:111111111111:everything") {
            let notice: serde_json::Value = serde_json::from_str(&message.text).unwrap();
            assert_eq!(notice["id"], message.id);
            let change = &notice["change"];
            if notice["kind"] == "change" && change["agent"] == "aws-cli/2.0" {
                assert_eq!(change["concern"], "watched", "somebody else's change is told as such: {notice:#}");
            }
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
