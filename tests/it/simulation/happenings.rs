//! What may happen in a life.

use std::time::Duration;

use ecs_deployd::aws::Fault;
use ecs_deployd::domain::operator_command::OperatorCommand;
use jiff::SignedDuration;

use super::life::{Life, PAUSES, Pushed, REPOSITORIES, SERVICES, ServiceOf};
use crate::harness::pass;
use crate::world::rng::Rng;
use crate::world::{Health, Weather};

impl Life {
    pub(super) async fn happen(&mut self) {
        match self.rng.below(34) {
            0..=9 => self.push().await,
            10..=11 => self.push_what_is_none_of_our_business(),
            12..=13 => self.crash().await,
            14 => self.crash_in_a_commit().await,
            15 => self.stop().await,
            16 => self.fill_disk().await,
            17..=18 => self.change_weather(),
            19 => self.break_something().await,
            20 => self.force(),
            21 => self.meddle(),
            22 => self.recreate().await,
            23 => self.lose_tag().await,
            24 => self.jump().await,
            25 => self.lose_state().await,
            26..=27 => self.steer().await,
            28 => self.look_on().await,
            29 => self.forbid().await,
            30 => self.silence().await,
            31 => self.revert(),
            32 => self.reload().await,
            _ => {}
        }
    }

    fn late(&mut self) -> SignedDuration {
        let late = match self.rng.below(10) {
            0..=5 => self.rng.below(300),
            6..=8 => 300 + self.rng.below(1200),
            _ => self.rng.below(10 * 3600),
        };
        SignedDuration::from_secs(i64::try_from(late).unwrap())
    }

    pub(super) async fn push(&mut self) {
        let repository = *self.rng.pick(&["app", "side", "lib"]);
        self.await_next_second(repository).await;
        let late = self.late();
        if repository == "lib" {
            return self.push_version(late);
        }
        let number = self.pushed[repository].len() as u64;
        // Now and then what was pushed before comes again: A, B, A. ECR keeps the time of the first push, so that without the event nobody
        // could know.
        let reported = repository == "app" || !(self.kind.forgetful || self.kind.away);
        let again = if reported && number > 1 && self.rng.percent(15) { self.rng.below(number) } else { number };
        let tag = match repository {
            "app" => "latest".to_owned(),
            _ if self.rng.percent(40) => "stable".to_owned(),
            _ => format!("release-{number}"),
        };
        self.push_content(repository, &tag, number, again, late);
        if again == number && self.rng.percent(8) {
            self.say("its record is too large");
            self.world.omit_last_event();
        }
        if self.rng.percent(10) {
            self.world.twin_last_event();
        }
    }

    /// CloudTrail's times are whole seconds: which of two pushes in one second was first, nobody can know.
    async fn await_next_second(&mut self, repository: &'static str) {
        if self.last_push.get(repository).is_some_and(|last| last.as_second() == self.world.now().as_second()) {
            pass(1).await;
        }
        self.last_push.insert(repository, self.world.now());
    }

    /// A version: often a new one, now and then one of an older line.
    fn push_version(&mut self, late: SignedDuration) {
        let number = self.pushed["lib"].len() as u64;
        let line = self.best("lib").rank / 1000;
        // Where the state is lost, too, nobody knows any more that it is a lower one.
        let may_be_lower = line > 1 && !(self.kind.forgetful && self.has_expired("lib"));
        let (line, patch) = if may_be_lower && self.rng.percent(35) { (line - 1, number) } else { (line + 1, 0) };
        self.push_content("lib", &format!("1.{line}.{patch}"), line * 1000 + patch, number, late);
        if self.rng.percent(8) {
            self.say("its record is too large");
            self.world.omit_last_event();
        }
        if self.rng.percent(10) {
            self.world.twin_last_event();
        }
    }

    /// The push that the policy wants most.
    pub(super) fn best(&self, repository: &str) -> &Pushed {
        self.pushed[repository].iter().max_by_key(|push| push.rank).unwrap()
    }

    fn push_content(&mut self, repository: &'static str, tag: &str, rank: u64, content: u64, late: SignedDuration) {
        let number = self.pushed[repository].len();
        let content = if content == 0 { "first".to_owned() } else { format!("{repository} {content}") };
        let digest = match self.rng.percent(20) {
            true => self.world.push_index(repository, tag, &content, late),
            false => self.world.push_late(repository, tag, &content, late),
        };
        let known = self.pushed[repository].iter().find(|push| push.digest == digest).map(|push| push.good);
        // Where the state may be lost, so may the rollback target of what never works.
        let spared = self.kind.forgetful.then_some(true);
        let health = match (known.or(spared), self.rng.below(10)) {
            (Some(false), _) | (None, 0) if number.is_multiple_of(2) => Health::Stops,
            (Some(false), _) | (None, 0) if self.kind.monitors => Health::Exits { after: Duration::from_secs(6) },
            (Some(false), _) | (None, 0) => Health::Never,
            (None, 1) => Health::BreaksAfter(Duration::from_secs(30)),
            (None, 2) => Health::After(Duration::from_secs(1 + self.rng.below(480))),
            _ => self.world.health_of(&digest).unwrap_or(Health::After(Duration::from_secs(10))),
        };
        // Behind a Classic Load Balancer ECS reports no failure; the deadline does.
        self.world.set_health(&digest, health);
        let end = self.migration_with(&digest, known.is_none());
        self.world.set_task_end(&digest, end);
        self.say(&format!("push {number} of {repository}:{tag}: {digest} {health:?} {end:?}, reported after {late:?}"));
        let (good, at) = (matches!(health, Health::After(_)), self.world.now());
        self.pushed.get_mut(repository).unwrap().push(Pushed { digest, good, rank, at });
    }

    fn push_what_is_none_of_our_business(&mut self) {
        let garbage = self.rng.below(10);
        self.say(&format!("garbage {garbage}"));
        match garbage {
            6 => {
                // It looks like a release and is the newest.
                let tag = format!("release-{}-signed", self.pushed["side"].len());
                return self.world.push_signature("side", &tag);
            }
            7 => {
                return self.world.tell_of_no_push("app", "latest", |body| {
                    body["errorCode"] = "ImageAlreadyExistsException".into();
                });
            }
            8 => {
                // Our account gets the event of a push to somebody else's registry.
                return self.world.tell_of_no_push("app", "latest", |body| {
                    body["requestParameters"]["registryId"] = "222222222222".into();
                });
            }
            _ => {}
        }
        self.world.push("app", "dev", &format!("dev {}", self.rng.next()));
        self.world.edit_last_event(|body| match garbage {
            0 => {}
            1 => body["errorCode"] = "LayersNotFoundException".into(),
            2 => *body = "rubbish".into(),
            3 => *body = serde_json::json!({"eventName": "PutImage", "eventSource": "ecr.amazonaws.com"}),
            4 => body["requestParameters"]["imageTag"] = "../latest\u{1b}[2J".into(),
            _ => body["requestParameters"]["repositoryName"] = "app-worker".into(),
        });
        if garbage == 9 {
            self.world.cut_last_event();
        }
    }

    /// What runs is deleted from ECR, as a lifecycle policy does, where all services that follow the repository run the best of it.
    pub(super) fn expire(&mut self) {
        for (repository, _) in REPOSITORIES.into_iter().filter(|(repository, _)| *repository != "app") {
            let best = self.best(repository).digest.clone();
            let runs_best = |(cluster, name, containers): &ServiceOf| {
                let mut follows = containers.iter().filter(|(_, of)| *of == repository);
                self.world.has_service(cluster, name)
                    && follows.all(|(container, _)| {
                        self.world.settled_image(cluster, name, container).as_ref() == Some(&best)
                    })
            };
            // What ran at first is what services are created with.
            let is_first = self.pushed[repository][0].digest == best;
            if self.kind.expires && !is_first && SERVICES.iter().all(runs_best) {
                self.say(&format!("{best} is deleted from {repository}"));
                self.vanished.insert(repository);
                self.world.delete_image(repository, &best);
                self.expired.insert(best);
            }
        }
    }

    /// Whether the best image of a repository, which runs, was deleted.
    fn has_expired(&self, repository: &str) -> bool {
        self.pushed[repository].iter().any(|push| self.expired.contains(&push.digest))
    }

    fn change_weather(&mut self) {
        let chance = *self.rng.pick(&[0, 5, 30]);
        self.say(&format!("{chance} of 100 calls fail"));
        self.world.set_weather(Some(Weather { rng: Rng::new(self.rng.next()), chance }));
        self.world.set_latency(Duration::from_millis(*self.rng.pick(&[1, 1, 50, 400, 5000])));
    }

    async fn break_something(&mut self) {
        let operations = [
            "LookupEvents",
            "DescribeImages",
            "DescribeServices",
            "RegisterTaskDefinition",
            "UpdateService",
            "ListTasks",
        ];
        let operation = *self.rng.pick(&operations);
        self.say(&format!("{operation} is denied"));
        self.world.break_operation(operation, Fault::Denied);
        if self.rng.percent(70) {
            self.push().await;
        }
        let span = self.rng.below(3600);
        pass(span).await;
        self.world.mend_operation(operation);
    }

    fn force(&mut self) {
        let (cluster, name, _) = *self.rng.pick(&SERVICES);
        if self.world.has_service(cluster, name) {
            self.say(&format!("somebody forces a new deployment of {name}"));
            self.world.force(cluster, name);
        }
    }

    fn note_meddling(&mut self, cluster: &str, name: &'static str, containers: &[(&str, &'static str)]) {
        // What they set may be bad: then there is nothing good to go back to, ever.
        let set = self.world.digests_of(cluster, name);
        let is_bad = |push: &Pushed| !push.good || self.is_refused_by_migration(name, &push.digest);
        let bad = |push: &Pushed| is_bad(push) && set.contains(&push.digest);
        let newest_is_bad =
            |repository| is_bad(self.best(repository)) || is_bad(self.pushed[repository].last().unwrap());
        if self.pushed.values().flatten().any(bad)
            || containers.iter().any(|(_, repository)| newest_is_bad(*repository))
        {
            self.spoiled.insert(name);
        }
        for (_, repository) in containers {
            self.meddled.insert((name, repository), self.best(repository).rank);
        }
        self.meddlings.entry(name).or_default().push(self.world.now());
    }

    /// Somebody goes back by hand.
    fn revert(&mut self) {
        let (cluster, name, containers) = *self.rng.pick(&SERVICES);
        if self.world.has_service(cluster, name) && self.world.revert(cluster, name) {
            self.say(&format!("somebody takes {name} back by hand"));
            self.note_meddling(cluster, name, containers);
        }
    }

    /// The role loses its permission for one service, for a while.
    async fn forbid(&mut self) {
        let (cluster, name, _) = *self.rng.pick(&SERVICES);
        self.say(&format!("{name} is forbidden"));
        self.world.forbid(cluster, name);
        if self.rng.percent(70) {
            self.push().await;
        }
        let span = self.rng.below(3600);
        pass(span).await;
        self.world.allow(cluster, name);
        self.say(&format!("{name} is allowed again"));
    }

    /// A repository cannot be asked, for a while.
    async fn silence(&mut self) {
        let (repository, _) = *self.rng.pick(&REPOSITORIES);
        self.say(&format!("{repository} cannot be asked"));
        self.world.set_silent(repository, true);
        if self.rng.percent(70) {
            self.push().await;
        }
        let span = self.rng.below(3600);
        pass(span).await;
        self.world.set_silent(repository, false);
    }

    async fn reload(&mut self) {
        if let Some(process) = &self.process {
            self.say("reload");
            process.reload(&self.config()).await;
        }
    }

    fn meddle(&mut self) {
        let (cluster, name, containers) = *self.rng.pick(&SERVICES);
        if self.world.has_service(cluster, name) {
            let old = self.rng.percent(30);
            self.say(&format!("another deployer changes {name}, from the first revision: {old}"));
            self.world.meddle(cluster, name, old);
            self.note_meddling(cluster, name, containers);
        }
    }

    async fn steer(&mut self) {
        let (cluster, name, _) = *self.rng.pick(&SERVICES);
        let command = match self.rng.below(7) {
            0 => OperatorCommand::Hold { reason: None },
            1 | 2 => OperatorCommand::Release,
            3 => OperatorCommand::Deploy,
            4 => OperatorCommand::Rollback { to: Some("1".to_owned()) },
            _ => OperatorCommand::Rollback { to: None },
        };
        if !self.kind.steered || self.process.is_none() {
            return;
        }
        self.ordered.insert(name);
        self.command(cluster, name, command).await;
    }

    async fn command(&self, cluster: &str, name: &str, command: OperatorCommand) {
        let Some(process) = &self.process else { return };
        self.say(&format!("{} {name}", command.as_str()));
        let service = format!("{cluster}/{name}");
        let answer = ecs_deployd::clock::within(Duration::from_secs(120), process.command(&service, command)).await;
        self.say(&format!("answer: {answer:?}"));
    }

    /// What operators held back is let go, so that each service can end where its policy says.
    pub(super) async fn release_all(&mut self) {
        for (cluster, name, _) in SERVICES {
            if self.ordered.contains(name) {
                self.command(cluster, name, OperatorCommand::Release).await;
            }
        }
    }

    /// An operator answers the hook that a rollout waits at, so many times in a hundred.
    pub(super) async fn answer_hook(&mut self, chance: u64) {
        if self.is_paused() && self.aside.percent(chance) {
            // ECS goes back to what it has completed, which may be what fails later.
            let rejects = self.aside.percent(30) && !self.kind.forgetful && !self.kind.monitors;
            self.answer(rejects).await;
        }
    }

    /// An operator approves what waits at a hook, if anything does.
    pub(super) async fn approve(&mut self) {
        if self.is_paused() {
            self.answer(false).await;
        }
    }

    async fn answer(&mut self, rejects: bool) {
        let (cluster, name) = PAUSES;
        let command = match rejects {
            true => OperatorCommand::Reject { reason: Some("not on a Friday".to_owned()) },
            false => OperatorCommand::Approve { image: None },
        };
        self.answers += 1;
        self.command(cluster, name, command).await;
    }

    /// Whether a rollout waits at the PAUSE hook, and somebody is there to take an answer.
    pub(super) fn is_paused(&self) -> bool {
        let (cluster, name) = PAUSES;
        self.kind.pauses && self.process.is_some() && self.world.is_paused(cluster, name)
    }

    async fn recreate(&mut self) {
        let service = *self.rng.pick(&SERVICES);
        let (cluster, name, containers) = service;
        self.say(&format!("{name} is deleted"));
        self.check();
        self.world.delete_service(cluster, name);
        if self.rng.percent(50) {
            self.push().await;
        }
        let span = self.rng.below(3600);
        pass(span).await;
        self.say(&format!("{name} is created again"));
        self.create(service);
        self.note_meddling(cluster, name, containers);
    }

    /// A tag is away for a while, and comes back with a push of the same image.
    async fn lose_tag(&mut self) {
        let repository = *self.rng.pick(&["app", "side"]);
        let number = self.pushed[repository].len() as u64;
        if number < 2 || self.pushed[repository].last().is_some_and(|push| !push.good) {
            return;
        }
        let tag = if repository == "app" { "latest".to_owned() } else { format!("release-{}", number - 1) };
        if !self.world.has_tag(repository, &tag) {
            return;
        }
        self.say(&format!("{tag} of {repository} vanishes"));
        self.vanished.insert(repository);
        // What others set may name that tag: its tasks cannot be started meanwhile.
        self.spoiled.extend(self.meddled.keys().filter(|(_, of)| *of == repository).map(|(name, _)| *name));
        self.world.delete_tag(repository, &tag);
        let span = self.rng.below(1200);
        pass(span).await;
        self.await_next_second(repository).await;
        let late = self.late();
        // Where nobody may know of the push but ECR, which keeps the time of the first one only, it is something new.
        let reported = !(self.kind.forgetful || self.kind.away);
        let content = if reported && self.rng.percent(50) { number - 1 } else { number };
        self.push_content(repository, &tag, number, content, late);
    }

    /// The machine's clock is wrong for a while.
    async fn jump(&mut self) {
        let seconds = *self.rng.pick(&[-7200, -240, -30, 30, 240, 7200]);
        self.say(&format!("the clock is ahead by {seconds} s"));
        self.world.set_clock_ahead(SignedDuration::from_secs(seconds));
        if self.rng.percent(50) {
            self.push().await;
        }
        let span = self.rng.below(3600);
        pass(span).await;
        if self.rng.percent(30) {
            self.crash().await;
            self.start();
            pass(60).await;
        }
        self.world.set_clock_ahead(SignedDuration::ZERO);
        self.say("the clock is right again");
    }
}
