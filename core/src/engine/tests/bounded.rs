//! What the engine keeps does not grow with its history.

use super::reading::change;
use super::{HELLO, Scene, empty_page};
use crate::domain::audit::Change;
use crate::domain::event::{EventRef, ParsedEvent};
use crate::domain::state::OperatorCommand;
use crate::domain::test_support::{arn, event_id, repository_key};
use crate::domain::view::{ImageView, RolloutState};

/// The digests that are pushed, one after the other.
const DIGESTS: &str = "bcdef0123456789";

/// A scene that goes on for months: what ECS and ECR forget in that time is forgotten here as well.
struct Years {
    scene: Scene,
    pushes: usize,
    /// The revision that was registered last. It has as many digits all the time.
    revision: u64,
    /// The revision that runs.
    runs: u64,
}

impl Years {
    fn new() -> Self {
        let mut scene = Scene::of(HELLO);
        scene.events = 1_000_000;
        scene.commands = 1_000_000;
        Self { scene, pushes: 0, revision: 100_000, runs: 1 }
    }

    /// Three rollouts, of which one fails and is rolled back, a hold, and what others push.
    fn day(&mut self) {
        for (hour, works) in [(3, true), (9, false), (17, true)] {
            self.hours(hour);
            self.unknown_repositories();
            self.roll(works);
        }
        self.scene.command(OperatorCommand::Hold { reason: Some("a day without releases".to_owned()) });
        self.scene.all_committed();
        self.scene.command(OperatorCommand::Release);
        self.settle();
    }

    fn hours(&mut self, hours: u64) {
        for _ in 0..hours {
            self.scene.after(3600);
            let to = self.scene.now.time;
            self.scene.read_to(to);
            self.settle();
        }
    }

    /// Repositories that nobody follows, each of a name of its own, and a tag that nobody takes.
    fn unknown_repositories(&mut self) {
        let number = 1_000_000 + self.pushes;
        for repository in [format!("unknown-{number}"), "hello".to_owned()] {
            let pushed = self.scene.pushed(&repository, &format!("nightly-{number}"), 'a');
            self.scene.page(vec![pushed, ParsedEvent::Foreign]);
        }
        self.settle();
        let is_latest = |image: &ImageView| image.tags.iter().any(|tag| tag.as_str() == "latest");
        self.scene.images.retain(|repository, _| repository == &repository_key("hello"));
        self.scene.images.values_mut().for_each(|images| images.retain(is_latest));
    }

    fn roll(&mut self, works: bool) {
        let letter = DIGESTS.chars().cycle().nth(self.pushes).unwrap();
        self.pushes += 1;
        let before = self.runs;
        self.revision += 1;
        let scene = &mut self.scene;
        scene.push("latest", letter);
        scene.committed();
        scene.observed("hello");
        scene.committed();
        scene.registered(self.revision);
        scene.committed();
        scene.updated();
        scene.all_committed();
        if !works {
            self.fails(before);
        }
        self.completes();
        let runs = if works { self.revision } else { before };
        assert_eq!(self.scene.known("hello").deployed.as_ref().map(|deployed| &deployed.revision), Some(&arn(runs)));
        self.scene.ecs("hello").deployments.truncate(1);
        self.scene.revisions.retain(|revision, _| *revision == runs);
        self.runs = runs;
    }

    /// What was begun fails, and the rollback to the revision before it is begun.
    fn fails(&mut self, before: u64) {
        let scene = &mut self.scene;
        scene.rolls("hello", RolloutState::Failed);
        scene.watched();
        scene.stopped_tasks(&["the container exits"]);
        scene.all_committed();
        scene.inspected(Some(before));
        scene.committed();
        scene.updated();
        scene.all_committed();
    }

    fn completes(&mut self) {
        self.scene.rolls("hello", RolloutState::Completed);
        self.scene.watched();
        self.settle();
    }

    fn settle(&mut self) {
        self.scene.all_committed();
        while !self.scene.questions.is_empty() {
            self.scene.observed("hello");
            self.scene.all_committed();
        }
        self.scene.counts();
    }

    /// The size of everything that the engine keeps.
    fn size(&self) -> usize {
        format!("{:?}", self.scene.engine).len()
    }
}

#[test]
fn after_a_year_the_engine_keeps_no_more_than_after_a_season() {
    let mut years = Years::new();
    let mut size_after = |days: usize| {
        (0..days).for_each(|_| years.day());
        years.size()
    };
    let (season, year) = (size_after(100), size_after(365));
    assert!(year.abs_diff(season) < season / 100, "{season} bytes after a season, and {year} after a year more");
}

#[test]
fn while_nothing_can_be_written_what_matters_least_is_not_told() {
    let mut scene = Scene::of(&format!("{HELLO}\n[audit]\n"));
    scene.command(OperatorCommand::Hold { reason: None });
    scene.commit_failed("disk full");
    for number in 0..3000 {
        let mut page = empty_page();
        let event = EventRef { id: event_id(&format!("change-{number}")), shared_id: None, time: scene.now.time };
        page.changes = vec![Change { event, ..change("event") }];
        scene.page_of(page);
    }
    scene.after(5);
    let told = scene.all_committed();
    assert_eq!(told.iter().filter(|line| line.starts_with("notify")).count(), 1024);
}

#[test]
fn commands_that_wait_for_a_decision_are_few() {
    let mut scene = Scene::new();
    scene.push("latest", 'b');
    for _ in 0..100 {
        scene.command(OperatorCommand::Deploy);
    }
    let refused = scene.all_committed().into_iter().filter(|line| line.contains("newer commands"));
    assert_eq!(refused.count(), 100 - 16);
}
