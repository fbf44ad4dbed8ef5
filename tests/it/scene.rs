//! What tests share: a world with a service in it, and the process that looks after it. A test says only what is particular to it.

use std::sync::Arc;

use ecs_deployd::deployer::Answer;
use ecs_deployd::domain::operator_command::OperatorCommand;
use ecs_deployd::plan::PlanReport;
use ecs_deployd::status::{ServiceStatus, Status};

use crate::harness::{self, Disk, Process, pass, seconds};
use crate::world::{Health, Service, World, image_uri};

/// How the first revision of a service names its images.
#[derive(Debug, Clone, Copy)]
pub enum Named {
    ByTag,
    ByDigest,
}

/// A world with a service in it, the disk of one machine, and the process that runs there, if one does.
///
/// Unless a method says otherwise, "the service" is `web/hello`. It has a container `app` from the repository `hello`, and it runs the
/// content `v0` until something is deployed.
#[derive(Debug)]
pub struct Scene {
    pub world: World,
    pub disk: Arc<Disk>,
    /// The digest of what runs at the beginning.
    pub v0: String,
    config: String,
    process: Option<Process>,
}

/// What there is before the process starts.
impl Scene {
    /// The service, configured to follow the tags `latest` and `release-*`.
    pub fn hello() -> Self {
        let (world, disk, v0) = harness::hello_world();
        Self { world, disk, v0, config: harness::config(""), process: None }
    }

    /// A second service `web/pair` beside the first, and configured in its place. Its container `app` is from the repository `hello`, and
    /// `side` from the repository `side`. Gives the digest that `side` runs, too.
    pub fn pair(named: Named) -> (Self, String) {
        let scene = Self::hello();
        scene.world.create_repository("side");
        let s0 = scene.world.push("side", "latest", "s0");
        let image = |repository: &str, digest: &str| match named {
            Named::ByTag => format!("{}:latest", image_uri(repository)),
            Named::ByDigest => format!("{}@{digest}", image_uri(repository)),
        };
        let containers = [("app", image("hello", &scene.v0)), ("side", image("side", &s0))];
        let revision =
            scene.world.register("pair", &containers.each_ref().map(|(name, image)| (*name, image.as_str())));
        scene.world.create_service("web", "pair", &revision, 2);
        let text = rule("hello", "tags = [\"latest\"]", "pair") + &rule("side", "tags = [\"latest\"]", "pair");
        (scene.configured(&text), s0)
    }

    /// Adds lines to the table `[deploy]` of the configuration.
    pub fn deploy(mut self, lines: &str) -> Self {
        self.config = harness::config(lines);
        self
    }

    /// Puts tables before those of the configuration.
    pub fn with(mut self, tables: &str) -> Self {
        self.config = format!("{tables}\n{}", self.config);
        self
    }

    /// Takes another configuration.
    pub fn configured(mut self, text: &str) -> Self {
        text.clone_into(&mut self.config);
        self
    }

    /// Configures another service of the cluster for the images of the last repository of the configuration. `policy` is empty where that of
    /// the repository holds.
    pub fn follows_too(mut self, service: &str, policy: &str) -> Self {
        self.config += &followed_by(service, policy);
        self
    }

    /// Adds a service with one task of the revision that the service runs, and configures it.
    pub fn and(self, service: &str) -> Self {
        let revision = self.world.revision_of("web", "hello");
        self.world.create_service("web", service, &revision, 1);
        self.follows_too(service, "")
    }

    /// Adds a service with one task of the revision that the service runs, configured with these lines.
    pub fn and_with(self, service: &str, lines: &str) -> Self {
        let revision = self.world.revision_of("web", "hello");
        self.world.create_service("web", service, &revision, 1);
        self.follows_too(service, lines)
    }

    /// Changes the service, as its owner may.
    pub fn edited(self, edit: impl FnOnce(&mut Service)) -> Self {
        self.world.edit_service("web", "hello", edit);
        self
    }

    /// Has the service run a revision from the beginning.
    pub fn running(self, revision: &str) -> Self {
        self.world.create_service("web", "hello", revision, 2);
        self
    }
}

/// The process.
impl Scene {
    /// Starts the process, which polls for the first time.
    pub async fn started(mut self) -> Self {
        self.start();
        pass(2).await;
        self
    }

    /// Starts a process with what is on the disk.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "a process runs already");
        self.process = Some(harness::start(&self.world, &self.disk, &self.config));
    }

    /// The process dies where it is.
    pub async fn kill(&mut self) {
        self.process.take().unwrap().kill().await;
    }

    /// The process stops as it does on SIGTERM.
    pub async fn stop(&mut self) {
        self.process.take().unwrap().stop().await;
    }

    /// The process dies, and another one starts with what is on the disk.
    pub async fn restart(&mut self) {
        self.kill().await;
        self.start();
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// What a process would do, if it were started now.
    pub async fn plan(&self) -> PlanReport {
        harness::plan(&self.world, &self.disk, &self.config).await
    }

    pub async fn status(&self) -> Status {
        self.process().status().await
    }

    /// The service in the answer to `status`.
    pub async fn service(&self) -> ServiceStatus {
        self.status().await.services.swap_remove(0)
    }

    /// Commands something for the service, as alice.
    pub async fn command(&self, command: OperatorCommand) -> Answer {
        self.process().command("web/hello", command).await
    }
}

/// What developers and other deployers do.
impl Scene {
    /// Pushes a content by the tag `latest`. Gives the digest.
    pub fn push(&self, content: &str) -> String {
        self.world.push("hello", "latest", content)
    }

    /// Pushes a content whose tasks fare like this.
    pub fn push_that(&self, health: Health, content: &str) -> String {
        let digest = self.push(content);
        self.world.set_health(&digest, health);
        digest
    }

    /// Pushes a content, and the service comes to run it with nothing held.
    pub async fn deployed(&self, content: &str) -> String {
        let digest = self.push(content);
        pass(120).await;
        assert_eq!(self.runs().as_ref(), Some(&digest), "{content} is deployed");
        assert_eq!(self.held(), 0.0, "{content} ends every hold");
        digest
    }

    /// Registers a revision whose container `app` has an image `hello` with this suffix, `:TAG` or `@DIGEST`, beside other containers.
    pub fn revision(&self, suffix: &str, others: &[(&str, &str)]) -> String {
        let image = image_uri("hello") + suffix;
        self.world.register("hello", &[&[("app", image.as_str())], others].concat())
    }

    /// Registers a revision whose container `app` has what ran at the beginning, by digest, beside other containers.
    pub fn revision_of_v0(&self, others: &[(&str, &str)]) -> String {
        self.revision(&format!("@{}", self.v0), others)
    }

    /// Somebody else sets the service to a revision.
    pub fn set_to(&self, revision: &str) {
        self.world.interfere("web", "hello", revision);
    }
}

/// What is to be seen.
impl Scene {
    /// The digest that the service runs, if no rollout is under way in ECS.
    pub fn runs(&self) -> Option<String> {
        self.world.settled_image("web", "hello", "app")
    }

    /// The same of a container of another service.
    pub fn runs_in(&self, service: &str, container: &str) -> Option<String> {
        self.world.settled_image("web", service, container)
    }

    /// The revision that the service is set to.
    pub fn is_set_to(&self) -> String {
        self.world.revision_of("web", "hello")
    }

    /// How many deployments of the service UpdateService has started.
    pub fn rollouts(&self) -> usize {
        self.world.started("web", "hello").len()
    }

    /// Waits, for so many seconds at most, until something is so.
    pub async fn until(&self, what: &str, within: u64, mut so: impl FnMut(&Self) -> bool) {
        self.world.until(what, seconds(within), |_| so(self)).await;
    }

    /// Waits until UpdateService has started so many deployments of the service.
    pub async fn rolls(&self, rollouts: usize) {
        self.until("it rolls", 60, |scene| scene.rollouts() == rollouts).await;
    }

    /// One sample of the metrics.
    pub fn metric(&self, series: &str) -> f64 {
        self.process().metric(series)
    }

    /// How many rollouts of the service this process has seen end like this.
    pub fn ended(&self, outcome: &str) -> f64 {
        let labels = format!(r#"cluster="web",outcome="{outcome}",service="hello""#);
        self.metric(&format!("ecs_deployd_deployments_total{{{labels}}}"))
    }

    /// How many pushes to the repository had this fate.
    pub fn pushes(&self, outcome: &str) -> f64 {
        self.metric(&format!(r#"ecs_deployd_pushes_total{{outcome="{outcome}",repository="hello"}}"#))
    }

    /// Whether something is held for the service: 1 or 0.
    pub fn held(&self) -> f64 {
        self.metric(r#"ecs_deployd_held{cluster="web",service="hello"}"#)
    }
}

impl Drop for Scene {
    /// The process ends with its scene.
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            process.abort();
        }
    }
}

/// The configuration of a repository that one service of the cluster follows.
pub fn rule(repository: &str, policy: &str, service: &str) -> String {
    format!("[[repository]]\nname = \"{repository}\"\n{policy}\n{}", followed_by(service, ""))
}

fn followed_by(service: &str, policy: &str) -> String {
    format!("[[repository.service]]\ncluster = \"web\"\nservice = \"{service}\"\n{policy}\n")
}
