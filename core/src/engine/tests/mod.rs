//! The rules of the engine, each as the exact effects of one transition.
//!
//! A [`Scene`] is an engine with a simulated account around it: what ECR and ECS say, and what the engine has asked and not been answered.
//! Nothing in it acts by itself: a test gives every answer, and each gives the effects that follow from it, as lines. The lines that only
//! count what others say already are left out; [`Scene::counts`] gives them.

mod answers;
mod bounded;
mod commands;
mod comparing;
mod copies;
mod counting;
mod deciding;
mod delivering;
mod discovering;
mod durability;
mod ending;
mod gates;
mod hooks;
mod lines;
mod monitoring;
mod proving;
mod reaching;
mod reading;
mod reloads;
mod resuming;
mod retrying;
mod samples;
mod stage;
mod task_scene;
mod tasks;
mod tasks_interrupted;
mod verifying;
mod watching;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::domain::aws_error::{AwsError, Fault};
use crate::domain::event::{EventRef, ParsedEvent, Push};
use crate::domain::settings::RepositoryKey;
use crate::domain::state::{OperatorCommand, ReadingProgress, ServiceState, State};
use crate::domain::test_support::{
    at, deployment, digest, event_id, image, image_name, region, repository_key, service, service_key, tag,
};
use crate::domain::types::{ContextName, RepositoryName, ServiceKey};
use crate::domain::view::{ImageView, RolloutState, ServiceView};
use crate::engine::{
    CommandId, Effect, Engine, Input, Moment, Now, ObservationRequest, Page, Read, Rules, Snapshot, Write, begin,
};
use stage::Stage;

/// The service `web/hello`, which takes the tags `latest` and `v*` of the repository `hello`.
const HELLO: &str = r#"
[[repository]]
name = "hello"
tags = ["latest", "v*"]
[[repository.service]]
cluster = "web"
service = "hello"
"#;

/// A configuration without `web/hello`.
const OTHER: &str = r#"
[[repository]]
name = "other"
tags = ["latest"]
[[repository.service]]
cluster = "web"
service = "other"
"#;

/// What follows from an input that changes nothing.
const NOTHING_FOLLOWS: [&str; 0] = [];

/// A configuration in which several services take the images of the repository `hello`.
fn services(names: &[&str]) -> String {
    let service = |name: &&str| format!("[[repository.service]]\ncluster = \"web\"\nservice = \"{name}\"\n");
    let services: String = names.iter().map(service).collect();
    format!("[[repository]]\nname = \"hello\"\ntags = [\"latest\", \"v*\"]\n{services}")
}

/// A configuration in which each repository has a service of its name.
fn repositories(names: &[&str]) -> String {
    let repository = |name: &&str| services(&[*name]).replace("name = \"hello\"", &format!("name = \"{name}\""));
    names.iter().map(repository).collect()
}

/// An input comes this long after the one before.
const STEP: Duration = Duration::from_millis(100);

/// An engine, and the account around it.
struct Scene {
    engine: Engine,
    now: Now,
    /// What ECS says, by service.
    services: BTreeMap<ServiceKey, ServiceView>,
    /// The images of each container, by revision.
    revisions: BTreeMap<u64, Vec<(String, String)>>,
    /// What ECR holds, by repository.
    images: BTreeMap<RepositoryKey, Vec<ImageView>>,
    /// What was asked and not answered.
    questions: Vec<(Moment, ObservationRequest)>,
    reads: Vec<Read>,
    writes: Vec<Write>,
    snapshots: Vec<Snapshot>,
    counts: Vec<String>,
    events: u32,
    commands: u64,
}

fn rules(config: &str, contexts: &[&str]) -> Rules {
    let contexts = contexts.iter().map(|name| (ContextName::parse(name).unwrap(), region()));
    Rules::new(Arc::new(Config::parse("test", config).unwrap()), contexts.collect())
}

fn error(fault: Fault) -> AwsError {
    AwsError { fault, ..AwsError::unusable("ecs", "Simulated", "simulated") }
}

impl Scene {
    /// `web/hello` runs revision 1, which names digest `a`; everything is durable and nothing is under way.
    fn new() -> Self {
        Self::of(HELLO)
    }

    /// The same under another configuration. Every service of it runs revision 1.
    fn of(config: &str) -> Self {
        let parsed = Arc::new(Config::parse("test", config).unwrap());
        let mut state = begin(None, &parsed, at(0)).state;
        for context in state.contexts.values_mut() {
            context.cursor = Some(at(0));
        }
        let mut scene = Self::resumed(config, state);
        assert_eq!(scene.begun(), ["commit"]);
        assert_eq!(scene.committed(), NOTHING_FOLLOWS);
        scene
    }

    /// A start with this state, of which the engine has handled nothing yet.
    fn resumed(config: &str, state: State) -> Self {
        let now = Now { time: at(100), moment: Moment::after_start(Duration::ZERO) };
        let rules = rules(config, &["default"]);
        let repositories: Vec<RepositoryKey> = rules.config().repositories.keys().cloned().collect();
        let images = repositories.iter().map(|key| (key.clone(), vec![image('a', &["latest"])])).collect();
        let services: BTreeMap<ServiceKey, ServiceView> =
            rules.config().services().map(|(_, rule)| (rule.key.clone(), running(1))).collect();
        let of_revision = |repository: &RepositoryKey| (container(repository), image_of(repository, 'a'));
        let revisions = BTreeMap::from([(1, repositories.iter().map(of_revision).collect())]);
        Self {
            engine: Engine::new(rules, state, now),
            now,
            services,
            revisions,
            images,
            questions: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            snapshots: Vec::new(),
            counts: Vec::new(),
            events: 0,
            commands: 0,
        }
    }

    /// The first turn of the engine.
    fn begun(&mut self) -> Vec<String> {
        self.handle(None)
    }

    fn handle(&mut self, inputs: impl IntoIterator<Item = Input>) -> Vec<String> {
        self.now.time += STEP;
        self.now.moment = self.now.moment.plus(STEP);
        let mut lines = Vec::new();
        for effect in self.engine.handle(inputs, self.now) {
            match lines::is_count(&effect) {
                true => self.counts.push(lines::line(&effect)),
                false => lines.push(lines::line(&effect)),
            }
            match effect {
                Effect::Read(Read::Observe { asked_at, requests }) => {
                    self.questions.extend(requests.into_iter().map(|request| (asked_at, request)));
                }
                Effect::Read(read) => self.reads.push(read),
                Effect::Write(write) => self.writes.push(write.into_inner()),
                Effect::Commit(snapshot) => self.snapshots.push(snapshot),
                Effect::Notify(_)
                | Effect::Acknowledge(_)
                | Effect::Reply(_)
                | Effect::Refuse(..)
                | Effect::Tell(_) => {}
            }
        }
        lines
    }

    /// Time passes, with no other input.
    fn after(&mut self, seconds: u64) -> Vec<String> {
        self.pass(seconds);
        self.handle([Input::Time])
    }

    /// Time passes, and the engine sleeps.
    fn pass(&mut self, seconds: u64) {
        let span = Duration::from_secs(seconds);
        self.now.time += span;
        self.now.moment = self.now.moment.plus(span);
    }

    /// The milliseconds until the engine wants to be woken.
    fn wakes_in(&self) -> u128 {
        self.engine.next_wake().since(self.now.moment).as_millis()
    }

    /// The lines that count, since they were last asked for.
    fn counts(&mut self) -> Vec<String> {
        std::mem::take(&mut self.counts)
    }

    /// An image is pushed to the repository `hello`.
    fn push(&mut self, named: &str, letter: char) -> Vec<String> {
        self.push_to("hello", named, letter)
    }

    fn push_to(&mut self, repository: &str, named: &str, letter: char) -> Vec<String> {
        let reading = self.pushed(repository, named, letter);
        self.page(vec![reading])
    }

    /// An image is pushed, and the event that tells of it is not read yet.
    fn pushed(&mut self, repository: &str, named: &str, letter: char) -> ParsedEvent {
        let images = self.images.entry(repository_key(repository)).or_default();
        for image in images.iter_mut() {
            image.tags.retain(|other| other != &tag(named));
        }
        let pushed_at = jiff::Timestamp::from_second(self.now.time.as_second()).unwrap();
        match images.iter_mut().find(|image| image.digest == digest(letter)) {
            Some(known) => known.tags.push(tag(named)),
            None => images.push(ImageView { pushed_at: Some(pushed_at), ..image(letter, &[named]) }),
        }
        self.events += 1;
        ParsedEvent::Push(Push {
            event: EventRef { id: event_id(&format!("event-{}", self.events)), shared_id: None, time: pushed_at },
            repository: RepositoryName::parse(repository).unwrap(),
            owner: None,
            recipient: None,
            region: None,
            tag: Some(tag(named)),
            digest: None,
        })
    }

    /// A page of push events, which is not the last one of its scan.
    fn page(&mut self, parsed_events: Vec<ParsedEvent>) -> Vec<String> {
        self.page_of(Page { parsed_events, ..empty_page() })
    }

    fn page_of(&mut self, page: Page) -> Vec<String> {
        self.handle([Input::Page(page)])
    }

    /// Everything up to this time was read.
    fn read_to(&mut self, to: jiff::Timestamp) -> Vec<String> {
        let progress = ReadingProgress { cursor: Some(to), ..ReadingProgress::default() };
        self.page_of(Page { progress: Some(progress), ..empty_page() })
    }

    /// The disk has what it was to have.
    fn committed(&mut self) -> Vec<String> {
        assert!(!self.snapshots.is_empty(), "no commit is on its way");
        let receipt = self.snapshots.remove(0).stored();
        self.handle([Input::Committed { receipt }])
    }

    /// The same, for as long as there is something to commit.
    fn all_committed(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while !self.snapshots.is_empty() {
            lines.extend(self.committed());
        }
        lines.retain(|line| line != "commit");
        lines
    }

    fn commit_failed(&mut self, why: &str) -> Vec<String> {
        assert!(!self.snapshots.is_empty(), "no commit is on its way");
        drop(self.snapshots.remove(0));
        self.handle([Input::CommitFailed { error: why.to_owned() }])
    }

    /// Alice gives a command about `web/hello`.
    fn command(&mut self, command: OperatorCommand) -> Vec<String> {
        self.command_to("web/hello", command)
    }

    fn command_to(&mut self, service: &str, command: OperatorCommand) -> Vec<String> {
        self.commands += 1;
        let (id, service, by) = (CommandId(self.commands), service.to_owned(), "alice".to_owned());
        self.handle([Input::Command { id, service, command, by }])
    }

    /// Another configuration, with a client for the context `default`.
    fn reload(&mut self, config: &str) -> Vec<String> {
        self.handle([Input::Reload(rules(config, &["default"]))])
    }

    /// Another configuration, with clients for these contexts.
    fn reload_with(&mut self, config: &str, contexts: &[&str]) -> Vec<String> {
        self.handle([Input::Reload(rules(config, contexts))])
    }

    fn stage(&self, service: &str) -> Stage {
        self.engine.services.get(&service_key(service)).map_or(Stage::Idle, Stage::of)
    }

    /// What is on record of a service.
    fn known(&self, service: &str) -> &ServiceState {
        &self.engine.state.services[&service_key(service)]
    }
}

fn empty_page() -> Page {
    let context = ContextName::parse("default").unwrap();
    Page { context, parsed_events: Vec::new(), progress: None, changes: Vec::new(), audited: None }
}

/// A service that runs a revision completely.
fn running(revision: u64) -> ServiceView {
    service(revision, vec![deployment(&format!("d{revision}"), true, revision, Some(RolloutState::Completed))])
}

/// The container that runs the images of a repository: `app` for `hello`.
fn container(repository: &RepositoryKey) -> String {
    if repository.name.as_str() == "hello" { "app".to_owned() } else { repository.name.to_string() }
}

fn image_of(repository: &RepositoryKey, letter: char) -> String {
    format!("{}@{}", image_name(repository.name.as_str()), digest(letter))
}
