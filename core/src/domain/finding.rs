//! What is worth saying about a service before anything is deployed to it: facts to findings.

mod waits;

use std::collections::BTreeMap;

use serde::Serialize;

use super::artifact;
use super::downtime;
use super::image::ImageReference;
use super::plan::ServiceSnapshot;
use super::policy::Policy;
use super::settings::{DowntimeMode, RepositoryKey, ServiceRule};
use super::types::{AccountId, Region, RepositoryName, Tag};
use super::words::{words, words_in_json};

words! {
    /// How bad a finding is.
    pub enum Severity {
        Error = "error", "It does not work.";
        Warning = "warning", "It is probably not meant, or it is held back.";
        Note = "note", "It is good to know.";
    }
}

words_in_json!(Severity);

/// Something that is wrong, or worth saying, before a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A name for programs.
    pub code: &'static str,
    /// What it is about: `web/hello`, a repository, a context.
    pub subject: String,
    /// What is the case.
    pub message: String,
    /// What the operator can do about it.
    pub remedy: String,
}

impl Finding {
    /// A finding with its severity and its remedy.
    #[must_use]
    pub fn new(
        severity: Severity,
        code: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { severity, code, subject: subject.into(), message: message.into(), remedy: remedy.into() }
    }
}

/// Where a repository is: its images' names depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The Region of the account.
    pub region: Region,
    /// The account, where ECR showed an image.
    pub account: Option<AccountId>,
}

/// The code of the finding that a policy selects no image.
pub const NOTHING_SELECTED: &str = "nothing_selected";
/// Tags that are shown of those in a repository.
const TAGS_SHOWN: usize = 5;

/// What is done about a doubt.
const DOUBTED: &str = "it is rolled with a warning, unless deploy.downtime = \"allow\"";
/// What is recommended where nothing but ECS's own end of a rollout tells whether an image works.
const MONITOR: &str =
    "Set monitor, to \"5m\" for instance, so that an image whose tasks start and then exit is noticed and rolled back";

/// Looks at one service that is there, and is called `name`.
#[must_use]
pub fn of_service(
    name: &str,
    rules: &BTreeMap<RepositoryKey, &ServiceRule>,
    homes: &BTreeMap<RepositoryKey, Home>,
    snapshot: &ServiceSnapshot,
) -> Vec<(Option<RepositoryKey>, Finding)> {
    let mut found: Vec<(Option<RepositoryKey>, Finding)> =
        of_its_settings(rules, name, snapshot).into_iter().map(|finding| (None, finding)).collect();
    for (repository, rule) in rules {
        let of_repository = [
            of_container(repository, rule, homes, name, snapshot),
            of_futile_policy(name, &repository.name, rule.policy.as_ref())
                .or_else(|| of_policy(repository, name, snapshot)),
        ];
        let of_tasks = of_tasks(rule, name, snapshot);
        let of_repository = of_repository.into_iter().flatten().chain(of_tasks);
        found.extend(of_repository.map(|finding| (Some(repository.clone()), finding)));
    }
    found
}

fn of_its_settings(
    rules: &BTreeMap<RepositoryKey, &ServiceRule>,
    name: &str,
    snapshot: &ServiceSnapshot,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let Some(service) = &snapshot.service else { return found };
    if let Some(why) = downtime::not_ours_to_roll(service) {
        let remedy = "take the service out of the configuration, or give it the controller ECS";
        found.push(Finding::new(Severity::Error, "controller", name, why, remedy));
    }
    if let Some(downtime) = downtime::of_replacing(service) {
        let mode = rules.values().next().map_or(DowntimeMode::Refuse, |rule| rule.deploy.downtime);
        let (severity, remedy) = match mode {
            DowntimeMode::Refuse => {
                (Severity::Error, "as it is, every deployment is refused (deploy.downtime = \"refuse\")")
            }
            DowntimeMode::Warn => (Severity::Warning, "it is rolled with a warning (deploy.downtime = \"warn\")"),
            DowntimeMode::Allow => {
                (Severity::Note, "it is deployed nevertheless, as deploy.downtime = \"allow\" permits")
            }
        };
        found.push(Finding::new(severity, "downtime", name, downtime.reason, remedy));
    }
    let timeout = rules.values().next().map(|rule| rule.deploy.timeout);
    found.extend(timeout.map(|timeout| waits::of_service(name, service, timeout)).unwrap_or_default());
    let Some(current) = &snapshot.current else { return found };
    if service.desired == 0 {
        let message = "its desired count is 0: a deployment updates it and proves nothing";
        found.push(Finding::new(Severity::Note, "no_tasks", name, message, "none needed"));
    }
    if !current.is_active() {
        let message = format!("it runs {}, which is INACTIVE", current.arn().short());
        let remedy = "register it again and update the service: a rollback would need a copy of it";
        found.push(Finding::new(Severity::Warning, "inactive_task_definition", name, message, remedy));
    }
    if let Some(doubt) = downtime::of_daemons(service) {
        found.push(Finding::new(Severity::Note, "daemons_together", name, doubt.reason, DOUBTED));
    }
    if let Some(doubt) = downtime::of_unproven(service, current) {
        let is_watched = rules.values().any(|rule| !rule.deploy.monitor.is_zero());
        let remedy = if is_watched { DOUBTED.to_owned() } else { format!("{DOUBTED}. {MONITOR}") };
        found.push(Finding::new(Severity::Note, "no_health_check", name, doubt.reason, remedy));
    }
    found
}

/// One-off tasks whose command would run in a container that is not there.
fn of_tasks(rule: &ServiceRule, name: &str, snapshot: &ServiceSnapshot) -> Vec<Finding> {
    let Some(base) = &snapshot.base else { return Vec::new() };
    let names: Vec<&str> = base.containers().map(|(container, _)| container).collect();
    let tasks = rule.before.iter().chain(&rule.verify).filter(|task| task.family.is_none());
    let lacking = tasks.filter_map(|task| Some((task, task.container.as_deref()?)));
    lacking
        .filter(|(_, wanted)| !names.contains(wanted))
        .map(|(task, wanted)| {
            let message = format!("the task `{task}` names the container {wanted}, which {} lacks", base.arn().short());
            let remedy = nearest(wanted, &names).unwrap_or_else(|| "leave `container` out".to_owned());
            Finding::new(Severity::Error, "unknown_container", name, message, remedy)
        })
        .collect()
}

fn of_container(
    repository: &RepositoryKey,
    rule: &ServiceRule,
    homes: &BTreeMap<RepositoryKey, Home>,
    name: &str,
    snapshot: &ServiceSnapshot,
) -> Option<Finding> {
    let base = snapshot.base.as_ref()?;
    let names: Vec<&str> = base.containers().map(|(container, _)| container).collect();
    if let Some(wanted) = &rule.container {
        if names.contains(&wanted.as_str()) {
            return None;
        }
        let message = format!("{} has no container {wanted}", base.arn().short());
        let remedy = nearest(wanted, &names).unwrap_or_else(|| "leave `container` out".to_owned());
        return Some(Finding::new(Severity::Error, "unknown_container", name, message, remedy));
    }
    let home = homes.get(repository)?;
    let is_from =
        |image: &str| ImageReference::split(image).is_in(home.account.as_ref(), &home.region, &repository.name);
    if base.containers().any(|(_, image)| is_from(image)) {
        return None;
    }
    let images: Vec<String> = base.containers().map(|(container, image)| format!("{container}: {image}")).collect();
    let message = format!(
        "no container of {} takes its image from {}; they take: {}",
        base.arn().short(),
        repository.name,
        images.join(", ")
    );
    let remedy = "name the container with `container`, or the repository that it takes its image from";
    Some(Finding::new(Severity::Error, "no_container", name, message, remedy))
}

fn of_policy(repository: &RepositoryKey, name: &str, snapshot: &ServiceSnapshot) -> Option<Finding> {
    let answers = snapshot.images.get(repository)?;
    if answers.best.is_some() || answers.no_repository {
        return None;
    }
    let message = format!("its policy selects no image that is in {} now", repository.name);
    Some(Finding::new(
        Severity::Note,
        NOTHING_SELECTED,
        name,
        message,
        "none needed, if such a tag is still to be pushed",
    ))
}

/// A policy that can admit no tag, whatever is pushed.
#[must_use]
pub fn of_futile_policy(name: &str, repository: &RepositoryName, policy: &dyn Policy) -> Option<Finding> {
    let message = format!("its policy for {repository} can admit no tag: {}", policy.futility()?);
    let remedy = "let the capture key match the number alone, or set order = \"alphabetical\" or order = \"pushed\"";
    Some(Finding::new(Severity::Warning, "futile_policy", name, message, remedy))
}

/// A policy that admits none of the tags that are in the repository now. An empty repository proves nothing.
#[must_use]
pub fn of_tags(name: &str, repository: &RepositoryName, policy: &dyn Policy, tags: &[Tag]) -> Option<Finding> {
    let images: Vec<&Tag> = tags.iter().filter(|tag| artifact::of_tag(tag).is_none()).collect();
    if images.is_empty() || images.iter().any(|tag| policy.admits(tag)) {
        return None;
    }
    let shown: Vec<&str> = images.iter().take(TAGS_SHOWN).map(|tag| tag.as_str()).collect();
    let more = images.len() - shown.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let message =
        format!("its policy admits none of the tags that are in {repository} now: {}{more}", shown.join(", "));
    let remedy = "correct the policy, or push a tag that it admits: what it does not admit is skipped (tag_mismatch). A semver range admits \
                  pre-releases only if it names one, like \">=1.0.0-0\"";
    Some(Finding::new(Severity::Warning, "no_tag_admitted", name, message, remedy))
}

/// The name that may be meant.
#[must_use]
pub fn nearest(wanted: &str, names: &[&str]) -> Option<String> {
    let best = names.iter().min_by_key(|name| strsim::levenshtein(name, wanted))?;
    Some(format!("the nearest name is {best}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::policy::{Order, PatternPolicy, TagsPolicy, VersionPolicy};
    use crate::domain::task::TaskSpec;
    use crate::domain::test_support::*;
    use crate::domain::view::{Controller, ServiceView};

    fn codes(rule: &ServiceRule, edit: impl FnOnce(&mut ServiceSnapshot)) -> Vec<(Severity, &'static str)> {
        let image = format!("{}@{}", image_name("hello"), digest('a'));
        let mut snapshot = snapshot(definition(1, &[("app", &image)]), "hello", &[image_of_hello()]);
        snapshot.service = snapshot.service.map(|service| ServiceView { load_balanced: true, ..service });
        let answers = snapshot.images.get_mut(&repository_key("hello")).unwrap();
        answers.best = Some((tag("latest"), image_of_hello()));
        edit(&mut snapshot);
        let rules = BTreeMap::from([(repository_key("hello"), rule)]);
        let home = Home { region: region(), account: Some(AccountId::parse("111111111111").unwrap()) };
        let homes = BTreeMap::from([(repository_key("hello"), home)]);
        of_service("web/shop", &rules, &homes, &snapshot)
            .into_iter()
            .map(|(_, finding)| (finding.severity, finding.code))
            .collect()
    }

    fn image_of_hello() -> crate::domain::view::ImageView {
        image('a', &["latest"])
    }

    fn edited(edit: impl FnOnce(&mut ServiceView)) -> impl FnOnce(&mut ServiceSnapshot) {
        |snapshot| edit(snapshot.service.as_mut().unwrap())
    }

    fn none_selected(snapshot: &mut ServiceSnapshot) {
        snapshot.images.get_mut(&repository_key("hello")).unwrap().best = None;
    }

    #[test]
    fn a_policy_that_admits_none_of_the_tags_is_reported_with_some_of_them() {
        let hello = RepositoryName::parse("hello").unwrap();
        let told = |policy: &dyn Policy, tags: &[&str]| {
            let tags: Vec<Tag> = tags.iter().map(|text| tag(text)).collect();
            of_tags("web/shop", &hello, policy, &tags).map(|finding| finding.message)
        };
        let releases = VersionPolicy::new(">=1.0.0").unwrap();
        assert_eq!(
            told(&releases, &["1.5.0-rc.1", "latest"]).unwrap(),
            "its policy admits none of the tags that are in hello now: 1.5.0-rc.1, latest"
        );
        assert!(told(&releases, &["a", "b", "c", "d", "e", "f", "g"]).unwrap().ends_with("a, b, c, d, e and 2 more"));
        assert_eq!(told(&releases, &["latest", "1.5.0"]), None, "one is enough");
        assert_eq!(told(&releases, &[]), None, "nothing was pushed yet");
        let signature = format!("sha256-{}.sig", "a".repeat(64));
        assert_eq!(told(&releases, &[&signature]), None, "signatures are no images");
        assert_eq!(told(&VersionPolicy::new(">=1.0.0-0").unwrap(), &["1.5.0-rc.1"]), None);
        assert!(told(&TagsPolicy::new(&["release-*".to_owned()]).unwrap(), &["main-1"]).is_some());
        assert!(told(&PatternPolicy::new("^main-(?<key>.+)$", Order::Numeric).unwrap(), &["main-x"]).is_some());
    }

    #[test]
    fn each_fact_that_matters_is_found() {
        let plain = service_rule("a", tags_policy(&["latest"]));
        assert_eq!(codes(&plain, |_| {}), [], "nothing to say");
        let stops = |service: &mut ServiceView| {
            (service.desired, service.minimum_healthy_percent, service.maximum_percent) = (1, Some(0), Some(100));
        };
        assert_eq!(codes(&plain, edited(stops)), [(Severity::Error, "downtime")]);
        let mut lenient = plain.clone();
        lenient.deploy.downtime = DowntimeMode::Warn;
        assert_eq!(codes(&lenient, edited(stops)), [(Severity::Warning, "downtime")]);
        lenient.deploy.downtime = DowntimeMode::Allow;
        assert_eq!(codes(&lenient, edited(stops)), [(Severity::Note, "downtime")]);
        let deploys = edited(|service| service.controller = Controller::Other("CODE_DEPLOY".to_owned()));
        assert_eq!(codes(&plain, deploys), [(Severity::Error, "controller")]);
        assert_eq!(codes(&plain, edited(|service| service.desired = 0)), [(Severity::Note, "no_tasks")]);
        assert_eq!(
            codes(&plain, edited(|service| service.load_balanced = false)),
            [(Severity::Note, "no_health_check")]
        );
        assert_eq!(codes(&plain, |snapshot| snapshot.images.clear()), [], "not asked is not nothing");
        assert_eq!(codes(&plain, none_selected), [(Severity::Note, "nothing_selected")]);
        let foreign = |snapshot: &mut ServiceSnapshot| snapshot.base = Some(definition(1, &[("app", "nginx:1")]));
        assert_eq!(codes(&plain, foreign), [(Severity::Error, "no_container")]);
        let fips = image_name("hello").replace(".ecr.", ".ecr-fips.");
        assert_eq!(
            codes(&plain, |snapshot| snapshot.base = Some(definition(1, &[("app", &fips)]))),
            [],
            "as it is rolled"
        );
        let futile = PatternPolicy::new("^(?<key>[a-z]+)-", Order::Numeric).unwrap();
        let futile = ServiceRule { policy: Arc::new(futile), ..plain.clone() };
        assert_eq!(codes(&futile, none_selected), [(Severity::Warning, "futile_policy")], "which says why");
        let named = ServiceRule { container: Some("ap".to_owned()), ..plain };
        assert_eq!(codes(&named, |_| {}), [(Severity::Error, "unknown_container")]);
        let task = |container: &str| TaskSpec {
            command: vec!["migrate".to_owned()],
            container: Some(container.to_owned()),
            timeout_seconds: 60,
            family: None,
        };
        let rule = service_rule("a", tags_policy(&["latest"]));
        let migrates = ServiceRule { before: vec![task("app")], verify: vec![task("ap")], ..rule };
        assert_eq!(codes(&migrates, |_| {}), [(Severity::Error, "unknown_container")], "one of its tasks");
        assert_eq!(nearest("ap", &["envoy", "app"]).unwrap(), "the nearest name is app");
    }
}
