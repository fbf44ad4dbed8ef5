//! Migrations in a life: with some images they fail, with others they never end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::life::{Life, MIGRATED, SERVICES};
use crate::world::rng::Rng;
use crate::world::{Job, TaskEnd};

/// How migrations fare in a life.
#[derive(Debug)]
pub(super) struct Migrations {
    /// Apart from all others, so that it leaves other kinds of lives as they are.
    rng: Rng,
    /// With which digests they do not succeed, and how they end then.
    bad: BTreeMap<String, TaskEnd>,
}

impl Migrations {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed ^ (96 << 32)), bad: BTreeMap::new() }
    }
}

impl Life {
    /// How migrations with an image end: the same whenever it is pushed.
    pub(super) fn migration_with(&mut self, digest: &str, is_new: bool) -> TaskEnd {
        let after = Duration::from_secs(5 + u64::from(digest.as_bytes()[9]));
        let succeeds = TaskEnd::Exits { code: 0, after };
        let Some(migrations) = &mut self.migrations else { return succeeds };
        let drawn = if is_new { migrations.rng.below(12) } else { u64::MAX };
        let bad = match drawn {
            0 => Some(TaskEnd::Exits { code: 1, after }),
            1 => Some(TaskEnd::Hangs),
            _ => None,
        };
        if let Some(end) = bad {
            migrations.bad.insert(digest.to_owned(), end);
        }
        migrations.bad.get(digest).copied().unwrap_or(succeeds)
    }

    /// Whether a service has a migration that does not succeed with an image.
    pub(super) fn is_refused_by_migration(&self, name: &str, digest: &str) -> bool {
        MIGRATED.contains(&name) && self.migrations.as_ref().is_some_and(|known| known.bad.contains_key(digest))
    }

    /// Whether a migration of a service was started with an image.
    pub(super) fn was_migrated(&self, name: &str, container: &str, digest: &str) -> bool {
        let jobs = self.world.jobs();
        jobs_of(&jobs, name).iter().any(|job| job.digests[container].as_deref() == Some(digest))
    }

    /// How many migrations of this life failed, and how many never ended.
    pub(super) fn migrations_lost(&self) -> (usize, usize) {
        let jobs = self.world.jobs();
        let count = |hangs: bool| {
            let of_kind = |job: &&Job| {
                let end = job.digests.values().flatten().find_map(|digest| self.migrations.as_ref()?.bad.get(digest));
                end.is_some_and(|end| (*end == TaskEnd::Hangs) == hangs)
            };
            jobs.iter().filter(of_kind).count()
        };
        (count(false), count(true))
    }

    /// A migration runs before the image goes live, and no more often than the image was pushed.
    pub(super) fn judge_jobs(&self) {
        self.judge_refused();
        // Where the state was lost, or nobody knows what was pushed, it may run again.
        if !self.kind.migrates || self.kind.forgetful || self.kind.away {
            return;
        }
        let jobs = self.world.jobs();
        for (cluster, name, containers) in SERVICES.into_iter().filter(|(_, name, _)| MIGRATED.contains(name)) {
            if self.ordered.contains(name) || !self.world.has_service(cluster, name) {
                continue;
            }
            let (container, repository) = containers[0];
            let mine = jobs_of(&jobs, name);
            for job in &mine {
                let digest = job.digests[container].as_ref().unwrap();
                let ran = mine.iter().filter(|other| other.digests[container].as_ref() == Some(digest)).count();
                let pushes = self.pushed[repository].iter().filter(|push| &push.digest == digest).count();
                assert!(
                    ran <= pushes,
                    "{name}: {digest} was pushed {pushes} times and migrated {ran} times: {mine:#?}"
                );
            }
            if self.meddlings.contains_key(name) {
                continue;
            }
            let first = &self.pushed[repository][0].digest;
            for started in self.world.log_of(cluster, name) {
                let digest = &started.digests[container];
                let prepared = mine.iter().any(|job| &job.digests[container] == digest && job.at <= started.at);
                assert!(
                    prepared || digest.as_ref() == Some(first),
                    "{name}: {started:?} without a migration: {mine:#?}"
                );
            }
        }
    }

    /// An image whose migration does not succeed is never rolled, and what never ends is stopped.
    fn judge_refused(&self) {
        let jobs = self.world.jobs();
        let now = self.world.now();
        let running: Vec<&Job> = jobs.iter().filter(|job| job.runs_at(now)).collect();
        // A task of which the state told is not known any more where the state was lost.
        assert!(self.kind.forgetful || running.is_empty(), "nobody stopped: {running:#?}");
        for (cluster, name, containers) in SERVICES {
            if !self.world.has_service(cluster, name) {
                continue;
            }
            let (container, _) = containers[0];
            for started in self.world.log_of(cluster, name) {
                let refused = started.digests[container].as_deref();
                let refused = refused.is_some_and(|digest| self.is_refused_by_migration(name, digest));
                assert!(!refused, "{name}: {started:?} although its migration did not succeed");
            }
        }
    }
}

/// The migrations of a service.
fn jobs_of<'a>(jobs: &'a [Job], name: &str) -> Vec<&'a Job> {
    let is_of = |job: &&Job| job.request["overrides"]["containerOverrides"][0]["command"][1] == name;
    jobs.iter().filter(is_of).collect()
}
