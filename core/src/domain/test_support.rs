//! Samples of the domain's values, which tests share: those of this crate, and with the feature `test-support` those of others.

#![expect(clippy::unwrap_used, reason = "only tests use it, and what it makes is valid")]

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::image::{ImageReference, Registry};
use super::plan::{RepositorySnapshot, ServiceSnapshot};
use super::policy::{Policy, TagsPolicy};
use super::settings::{DeploySettings, RepositoryKey, RepositoryRule, ServiceRule};
use super::state::{Direction, Phase, PushRef, RollbackTarget, Rollout, Target};
use super::task_definition::TaskDefinition;
use super::types::{AccountId, DeploymentId, Digest, DnsSuffix, EventId, Region, ServiceKey, Tag, TaskDefinitionArn};
use super::view::{
    Controller, DeploymentView, ImageView, Management, RolloutState, RunningImages, Scheduling, ServiceView, Strategy,
};

/// The time so many seconds after the one that the samples take for their beginning.
#[must_use]
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// The digest that is this hexadecimal digit, 64 times.
#[must_use]
pub fn digest(c: char) -> Digest {
    Digest::parse(&format!("sha256:{}", c.to_string().repeat(64))).unwrap()
}

/// The tag with this text.
#[must_use]
pub fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

/// The repository of this name in the context `default`.
#[must_use]
pub fn repository_key(name: &str) -> RepositoryKey {
    RepositoryKey::try_from(format!("default/{name}")).unwrap()
}

/// The service of this name in the cluster `web` of the context `default`.
#[must_use]
pub fn service_key(name: &str) -> ServiceKey {
    ServiceKey::try_from(format!("default/web/{name}")).unwrap()
}

/// The Region of all samples.
#[must_use]
pub fn region() -> Region {
    Region::parse("eu-west-1").unwrap()
}

/// The registry of all samples.
#[must_use]
pub fn registry() -> Registry {
    Registry {
        account: AccountId::parse("111111111111").unwrap(),
        region: region(),
        suffix: DnsSuffix::parse("amazonaws.com").unwrap(),
    }
}

/// The event with this id.
#[must_use]
pub fn event_id(text: &str) -> EventId {
    EventId::parse(text).unwrap()
}

/// This revision of the family `hello`.
#[must_use]
pub fn arn(revision: u64) -> TaskDefinitionArn {
    TaskDefinitionArn::parse(&format!("arn:aws:ecs:eu-west-1:111111111111:task-definition/hello:{revision}")).unwrap()
}

/// The name of a repository of the samples' registry, as it stands before a tag or a digest.
#[must_use]
pub fn image_name(repository: &str) -> String {
    format!("111111111111.dkr.ecr.eu-west-1.amazonaws.com/{repository}")
}

/// A policy that admits the tags of these globs.
#[must_use]
pub fn tags_policy(globs: &[&str]) -> Arc<dyn Policy> {
    Arc::new(TagsPolicy::new(&globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>()).unwrap())
}

/// How services are deployed if nothing is configured.
#[must_use]
pub fn deploy_settings() -> DeploySettings {
    DeploySettings::default()
}

/// A service that takes the tags of a policy, without a gate or a task.
#[must_use]
pub fn service_rule(name: &str, policy: Arc<dyn Policy>) -> ServiceRule {
    let (before, verify, known_since) = (Vec::new(), Vec::new(), None);
    ServiceRule {
        key: service_key(name),
        container: None,
        policy,
        deploy: deploy_settings(),
        before,
        verify,
        known_since,
    }
}

/// A repository with these services.
#[must_use]
pub fn repository_rule(name: &str, services: Vec<ServiceRule>) -> RepositoryRule {
    let key = repository_key(name);
    RepositoryRule { aws: key.aws, name: key.name, services }
}

/// A push of a tag: the id of its event, the tag, and the second in which it was made.
#[must_use]
pub fn push_ref(event: &str, tag_text: &str, second: i64) -> PushRef {
    PushRef { event: event_id(event), tag: Some(tag(tag_text)), at: at(second), digest: None, seen: None }
}

/// An image of this digest (see [`digest`]) and these tags.
#[must_use]
pub fn image(c: char, tags: &[&str]) -> ImageView {
    ImageView {
        registry: registry(),
        digest: digest(c),
        tags: tags.iter().map(|text| tag(text)).collect(),
        pushed_at: Some(at(0)),
        manifest_type: None,
        artifact_type: None,
        refers: false,
    }
}

/// What ECR has: these images by their tags.
#[must_use]
pub fn answers(images: &[ImageView]) -> RepositorySnapshot {
    let by_tag =
        images.iter().flat_map(|image| image.tags.iter().map(move |tag| (tag.clone(), image.clone()))).collect();
    RepositorySnapshot { by_tag, ..RepositorySnapshot::none() }
}

/// A task definition whose containers name these images.
#[must_use]
pub fn definition(revision: u64, containers: &[(&str, &str)]) -> TaskDefinition {
    let containers: Vec<Value> = containers.iter().map(|(name, image)| json!({"name": name, "image": image})).collect();
    TaskDefinition::from_answer(json!({"taskDefinition": {
        "taskDefinitionArn": arn(revision).as_str(), "family": "hello", "containerDefinitions": containers,
    }}))
    .unwrap()
}

/// A deployment of two tasks of a revision, both running.
#[must_use]
pub fn deployment(id: &str, primary: bool, revision: u64, state: Option<RolloutState>) -> DeploymentView {
    DeploymentView {
        id: DeploymentId::parse(id).unwrap(),
        primary,
        task_definition: arn(revision),
        since: None,
        state,
        reason: String::new(),
        desired: 2,
        running: 2,
        pending: 0,
        failed: 0,
    }
}

/// A service of two tasks that runs a revision, with these deployments.
#[must_use]
pub fn service(revision: u64, deployments: Vec<DeploymentView>) -> ServiceView {
    ServiceView {
        active: true,
        task_definition: arn(revision),
        desired: 2,
        running: 2,
        controller: Controller::Ecs,
        management: Management::Customer,
        scheduling: Scheduling::Replica,
        strategy: Strategy::Rolling,
        bake: std::time::Duration::ZERO,
        load_balanced: true,
        breaker: false,
        rolls_back: false,
        minimum_healthy_percent: Some(100),
        maximum_percent: Some(200),
        lifecycle: super::deployment::Lifecycle::default(),
        deployments,
        events: Vec::new(),
    }
}

/// A service that runs a revision completely. ECR still has the images that it names by digest, without a tag.
#[must_use]
pub fn snapshot(current: TaskDefinition, repository: &str, images: &[ImageView]) -> ServiceSnapshot {
    let revision = current.arn().revision();
    let pinned = current.containers().filter_map(|(_, image)| ImageReference::split(image).pinned());
    let running = pinned.map(|digest| ImageView { digest, ..image('0', &[]) }).collect();
    ServiceSnapshot {
        service: Some(service(revision, vec![deployment("d0", true, revision, Some(RolloutState::Completed))])),
        missing: false,
        unrollable: None,
        base: Some(current.clone()),
        current: Some(current),
        running: RunningImages::default(),
        images: BTreeMap::from([(repository_key(repository), answers(images))]),
        completed: None,
        running_in_ecr: BTreeMap::from([(repository_key(repository), running)]),
    }
}

/// A forward rollout from revision 1 of digest `b`.
#[must_use]
pub fn rollout(phase: Phase) -> Rollout {
    Rollout {
        direction: Direction::Forward,
        targets: BTreeMap::from([(
            repository_key("hello"),
            Target { digest: digest('b'), push: push_ref("e1", "latest", 1), image_pushed_at: None },
        )]),
        replaces: arn(1),
        base: arn(1),
        images: BTreeMap::from([("app".to_owned(), "new".to_owned())]),
        rollback_target: RollbackTarget { revision: arn(1), pinned: BTreeMap::new(), targets: BTreeMap::new() },
        phase,
        decided_at: at(2),
        names_tags: false,
        supersedes: None,
    }
}
