//! What `init` proposes: always a valid configuration, and nothing in it that a person has to decide.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::Config;
use crate::domain::test_support::{digest, service, tag};
use crate::domain::view::Controller;

fn registry(account: &str, region: &str) -> Registry {
    Registry { account: AccountId::parse(account).unwrap(), region: Region::parse(region).unwrap() }
}

fn home() -> Registry {
    registry("111111111111", "eu-west-1")
}

fn image(registry: &Registry, rest: &str) -> String {
    format!("{}.dkr.ecr.{}.amazonaws.com/{rest}", registry.account, registry.region)
}

fn revision(containers: &[(&str, String)]) -> TaskDefinition {
    let containers: Vec<_> = containers.iter().map(|(name, image)| json!({"name": name, "image": image})).collect();
    let arn = "arn:aws:ecs:eu-west-1:111111111111:task-definition/shop:7";
    TaskDefinition::from_answer(
        json!({"taskDefinition": {"taskDefinitionArn": arn, "containerDefinitions": containers}}),
    )
    .unwrap()
}

fn found(name: &str, containers: &[(&str, String)]) -> FoundService {
    found_as(name, containers, |_| {})
}

fn found_as(name: &str, containers: &[(&str, String)], edit: impl FnOnce(&mut ServiceView)) -> FoundService {
    let mut view = service(7, Vec::new());
    edit(&mut view);
    let (cluster, service) = name.split_once('/').unwrap();
    FoundService {
        cluster: EcsName::parse(cluster).unwrap(),
        service: EcsName::parse(service).unwrap(),
        state: Ok((view, revision(containers))),
    }
}

fn registry_view(reach: Reach) -> RegistryView {
    RegistryView { reach, repositories: None, tags: BTreeMap::new() }
}

fn snapshot(services: Vec<FoundService>) -> Snapshot {
    let registries = BTreeMap::from([(home(), registry_view(Reach::Ambient))]);
    Snapshot { home: home(), endpoint_url: None, profile: None, services, registries }
}

fn text_of(snapshot: Snapshot) -> String {
    Proposal::of(snapshot).to_string()
}

/// Repository, service and whether the tags are admitted, as the configuration says it.
fn rules(text: &str) -> Vec<(String, String, Vec<String>)> {
    let config = Config::parse("init", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let literal = |rule: &crate::domain::settings::ServiceRule| {
        rule.policy.literals().unwrap().iter().map(ToString::to_string).collect()
    };
    config.services().map(|(key, rule)| (key.to_string(), String::from(rule.key.clone()), literal(rule))).collect()
}

fn rule(repository: &str, service: &str, tag: &str) -> (String, String, Vec<String>) {
    (repository.to_owned(), service.to_owned(), vec![tag.to_owned()])
}

#[test]
fn services_follow_the_tags_that_their_revisions_name_and_sidecars_those_of_their_own() {
    let services = vec![
        found("web/a", &[("app", image(&home(), "shop:stable")), ("envoy", image(&home(), "mesh/envoy:v1"))]),
        found("web/b", &[("app", image(&home(), "shop:stable")), ("log", "fluent-bit:3".to_owned())]),
        found("batch/c", &[("app", image(&home(), "shop:next"))]),
        found("batch/d", &[("app", image(&home(), "tools"))]),
    ];
    let text = text_of(snapshot(services));
    let expected = [
        rule("default/mesh/envoy", "default/web/a", "v1"),
        rule("default/shop", "default/web/a", "stable"),
        rule("default/shop", "default/web/b", "stable"),
        rule("default/shop", "default/batch/c", "next"),
        rule("default/tools", "default/batch/d", "latest"),
    ];
    assert_eq!(rules(&text), expected, "{text}");
    assert!(!text.contains("DECIDE") && text.replace("\n# ", " ").contains("4 of 4 services are followed"), "{text}");
}

#[test]
fn what_a_person_has_to_decide_is_a_comment_with_the_reason() {
    let app = |rest: &str| vec![("app", image(&home(), rest))];
    let pinned = format!("shop@{}", digest('a'));
    let deploys = |view: &mut ServiceView| view.controller = Controller::Other("CODE_DEPLOY".to_owned());
    let stops = |view: &mut ServiceView| {
        (view.desired, view.minimum_healthy_percent, view.maximum_percent) = (1, Some(0), Some(100));
    };
    let two = vec![("app", image(&home(), "shop:a")), ("worker", image(&home(), "shop:b"))];
    let cases: [(FoundService, &[&str]); 5] = [
        (
            found("web/x", &app(&pinned)),
            &["names the digest sha256:aaaa", "# tags = [\"v7\"]", "# tags = [\"stable\"]"],
        ),
        (
            found("web/x", &app(&format!("shop@{}", digest('b')))),
            &["has no tag in ECR", "# tags = [\"NAME-OF-A-TAG\"]"],
        ),
        (found_as("web/x", &app("shop:stable"), deploys), &["CODE_DEPLOY", "# tags = [\"stable\"]"]),
        (found_as("web/x", &app("shop:stable"), stops), &["the only task stops", "# downtime = \"warn\""]),
        (found("web/x", &two), &["app: a, worker: b", "# container = \"worker\""]),
    ];
    for (found_one, expected) in cases {
        for others in [Vec::new(), vec![found("web/other", &app("shop:stable"))]] {
            let followed = others.len();
            let mut taken = snapshot(others.into_iter().chain([found_one.clone()]).collect());
            let tags = vec![tag("v7"), tag("stable")];
            let registry_view = taken.registries.get_mut(&home()).unwrap();
            registry_view.tags.insert((RepositoryName::parse("shop").unwrap(), digest('a')), tags);
            let proposal = Proposal::of(taken);
            let text = proposal.to_string();
            assert_eq!(rules(&text).len(), followed, "{text}");
            assert_eq!(proposal.decisions(), 1, "{text}");
            // The sentences are broken into lines.
            let flat = text.replace("\n# ", " ");
            for part in expected {
                assert!(text.contains(part) || flat.contains(part), "{part} is not in {text}");
            }
        }
    }
}

#[test]
fn a_comment_that_is_decided_is_a_valid_part_of_the_configuration() {
    let stops = |view: &mut ServiceView| {
        (view.desired, view.minimum_healthy_percent, view.maximum_percent) = (1, Some(0), Some(100));
    };
    let text = text_of(snapshot(vec![found_as("web/x", &[("app", image(&home(), "shop:stable"))], stops)]));
    assert_eq!(rules(&text), []);
    let is_toml = |line: &str| line.starts_with("[[") || line.contains(" = ");
    let decided: Vec<&str> =
        text.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_toml(rest)).unwrap_or(line)).collect();
    assert_eq!(rules(&decided.join("\n")), [rule("default/shop", "default/web/x", "stable")], "{text}");
}

#[test]
fn images_of_other_accounts_and_regions_become_contexts() {
    let (region, account) = (registry("111111111111", "us-east-1"), registry("222222222222", "eu-west-1"));
    let services = vec![
        found("web/a", &[("app", image(&region, "shop:1"))]),
        found("web/b", &[("app", image(&account, "base:2"))]),
    ];
    let mut taken = snapshot(services);
    taken.registries.insert(region, registry_view(Reach::Ambient));
    let unknown = text_of(taken.clone());
    let config = Config::parse("init", &unknown).unwrap();
    assert_eq!(config.aws.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["default", "us-east-1"]);
    assert_eq!(rules(&unknown), [rule("us-east-1/shop", "default/web/a", "1")]);
    assert!(unknown.contains("# [aws.account-222222222222]") && unknown.contains("# role_arn = "), "{unknown}");

    taken.registries.insert(account, registry_view(Reach::Profile("live \"x\"".to_owned())));
    let text = text_of(taken);
    let config = Config::parse("init", &text).unwrap();
    let settings = &config.aws[&ContextName::parse("account-222222222222").unwrap()];
    assert_eq!(settings.profile.as_deref(), Some("live \"x\""));
    assert!(rules(&text).contains(&rule("account-222222222222/base", "default/web/b", "2")), "{text}");
}

#[test]
fn repositories_that_are_gone_or_whose_tags_are_fixed_are_reported() {
    let app = |rest: &str| vec![("app", image(&home(), rest))];
    let mut taken = snapshot(vec![found("web/a", &app("gone:1")), found("web/b", &app("fixed:v1.4.2"))]);
    let view = RepositoryView { name: "fixed".to_owned(), immutable: true, except: Vec::new() };
    taken.registries.get_mut(&home()).unwrap().repositories = Some(vec![view]);
    let text = text_of(taken);
    assert_eq!(rules(&text), [rule("default/fixed", "default/web/b", "v1.4.2")], "{text}");
    let flat = text.replace("\n# ", " ");
    assert!(flat.contains("DECIDE gone: there is no such repository"), "{text}");
    assert!(flat.contains("tags of this repository are immutable, so v1.4.2 is never pushed again"), "{text}");
    assert!(text.contains("\n# semver = \">=1.4.2, <2\"\n"), "{text}");
    let decided = text.replace("tags = [\"v1.4.2\"]", "semver = \">=1.4.2, <2\"");
    Config::parse("init", &decided).unwrap();
}

#[test]
fn what_runs_no_image_of_ecr_is_listed_with_the_reason() {
    let mut taken = snapshot(vec![found("web/a", &[("app", "public.ecr.aws/nginx/nginx:1\n[evil]".to_owned())])]);
    taken.services.push(FoundService {
        cluster: EcsName::parse("web").unwrap(),
        service: EcsName::parse("set").unwrap(),
        state: Err("it runs task sets".to_owned()),
    });
    let text = text_of(taken);
    assert_eq!(rules(&text), []);
    assert!(
        text.contains("# web/a: no image from a private repository of ECR: public.ecr.aws/nginx/nginx:1 [evil]"),
        "{text}"
    );
    assert!(text.contains("# web/set: it runs task sets"), "{text}");
}

#[test]
fn where_aws_was_asked_is_kept() {
    let mut taken = snapshot(Vec::new());
    (taken.endpoint_url, taken.profile) = (Some("http://127.0.0.1:4566".to_owned()), Some("ops".to_owned()));
    let text = text_of(taken);
    let config = Config::parse("init", &text).unwrap();
    let settings = &config.aws[&ContextName::parse("default").unwrap()];
    assert_eq!((settings.region.as_deref(), settings.profile.as_deref()), (Some("eu-west-1"), None));
    assert_eq!(settings.endpoint_url.as_deref(), Some("http://127.0.0.1:4566"));
    assert!(text.contains("# profile = \"ops\""), "{text}");
}

/// An image of one of a few repositories, registries and kinds of reference.
fn any_image() -> impl Strategy<Value = String> {
    let registries = [home(), registry("111111111111", "us-east-1"), registry("222222222222", "cn-north-1")];
    let rest = prop_oneof![
        Just("shop:stable".to_owned()),
        Just("shop".to_owned()),
        Just("team/api:v1.2.3".to_owned()),
        Just(format!("team/api@{}", digest('a'))),
        Just("team/api:x:y".to_owned()),
        "[a-z]{2,9}(:[a-zA-Z0-9_.-]{1,9})?",
    ];
    let private = (proptest::sample::select(registries.to_vec()), rest).prop_map(|(at, rest)| image(&at, &rest));
    prop_oneof![4 => private, 1 => "[ -~]{0,30}"]
}

fn any_found() -> impl Strategy<Value = FoundService> {
    let containers = proptest::collection::vec(("[a-z\"\\\\]{1,5}", any_image()), 0..4);
    let view = (0..4_i32, proptest::option::of(0..200_i32), proptest::option::of(100..200_i32), any::<bool>());
    ("[a-c]/[a-f]", containers, view).prop_map(|(name, containers, (desired, minimum, maximum, ours))| {
        let containers: Vec<(&str, String)> =
            containers.iter().map(|(name, image)| (name.as_str(), image.clone())).collect();
        found_as(&name, &containers, |view| {
            (view.desired, view.minimum_healthy_percent, view.maximum_percent) = (desired, minimum, maximum);
            if !ours {
                view.controller = Controller::Other("EXTERNAL".to_owned());
            }
        })
    })
}

proptest! {
    /// Whatever there is, the text is valid, and follows just what names one tag and can be rolled.
    #[test]
    fn the_text_is_always_a_valid_configuration(
        services in proptest::collection::vec(any_found(), 0..9),
        reach in prop_oneof![Just(Reach::Ambient), Just(Reach::Profile("p".to_owned())), Just(Reach::Unknown)],
    ) {
        // ECS has one service of a name in a cluster.
        let mut names = BTreeSet::new();
        let services: Vec<FoundService> =
            services.into_iter().filter(|one| names.insert((one.cluster.clone(), one.service.clone()))).collect();
        let mut taken = snapshot(services);
        taken.registries.insert(registry("222222222222", "cn-north-1"), registry_view(reach));
        let proposal = Proposal::of(taken.clone());
        let text = proposal.to_string();
        let config = Config::parse("init", &text);
        prop_assert!(config.is_ok(), "{}\n{text}", config.unwrap_err());
        let followed: BTreeSet<String> = rules(&text).into_iter().map(|(_, service, _)| service).collect();
        prop_assert_eq!(followed.len(), proposal.followed(), "{}", text);
        for one in taken.services {
            let (view, _) = one.state.unwrap();
            let can_be_rolled = view.controller == Controller::Ecs && crate::domain::downtime::of_replacing(&view).is_none();
            let is_followed = followed.contains(&format!("default/{}/{}", one.cluster, one.service));
            prop_assert!(can_be_rolled || !is_followed, "{text}");
        }
    }
}
