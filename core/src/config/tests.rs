mod gates;
mod schedules;

use super::*;

fn errors(text: &str) -> Vec<String> {
    Config::parse("c.toml", text).unwrap_err().lines().to_vec()
}

const GOOD: &str = r#"
[[repository]]
name = "hello"
tags = ["latest"]
[[repository.service]]
cluster = "web"
service = "hello"
"#;

#[test]
fn the_examples_are_valid() {
    let example = Config::parse("example.toml", include_str!("../../../config/example.toml")).unwrap();
    assert!(!example.repositories.is_empty());
    let minimal = Config::parse("minimal.toml", include_str!("../../../config/minimal.toml")).unwrap();
    assert_eq!(minimal.repositories.len(), 1);
}

#[test]
fn the_defaults_are_those_that_are_documented() {
    let config = Config::parse("c.toml", GOOD).unwrap();
    let (interval, overlap) = (Duration::from_secs(30), Duration::from_secs(1800));
    assert_eq!(config.poll, PollSettings { interval, overlap, reconcile: None });
    assert_eq!(config.state.place, StatePlace::File(PathBuf::from("/var/lib/ecs-deployd/state.json")));
    assert_eq!(config.state.when_missing, WhenMissing::Ignore);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9797");
    assert_eq!(config.control.socket, PathBuf::from("/run/ecs-deployd/control.sock"));
    let (_, rule) = config.services().next().unwrap();
    assert_eq!(rule.deploy.timeout, Duration::from_secs(900));
    assert_eq!(rule.deploy, crate::domain::test_support::deploy_settings());
    assert_eq!(rule.key.to_string(), "web/hello");
    let name = ContextName::parse("default").unwrap();
    assert_eq!(config.aws[&name], AwsSettings::default());
    assert_eq!(config.polled_contexts(), [&name]);
}

#[test]
fn what_is_copied_with_its_surroundings_is_refused_with_the_name() {
    let registry = "111111111111.dkr.ecr.eu-west-1.amazonaws.com";
    for (text, expected) in [
        (
            GOOD.replace("name = \"hello\"", &format!("name = \"{registry}/hello\"")),
            "c.toml:3: repository[0].name: expected the name of the repository, without its registry and without a tag: \"hello\"",
        ),
        (
            GOOD.replace("\"web\"", "\"arn:aws:ecs:eu-west-1:111111111111:cluster/web\""),
            "c.toml:6: repository[0].service[0].cluster: expected the name, not the ARN: \"web\"",
        ),
        (
            GOOD.replace("name = \"hello\"", "name = \"arn:aws:ecr:eu-west-1:111111111111:repository/hello\""),
            "c.toml:3: repository[0].name: expected the name, not the ARN: \"hello\"",
        ),
        (
            format!("[[notify]]\nname = \"a\"\nwebhook = \"https://x\"\nrepositories = [\"{registry}/hello\"]{GOOD}"),
            "c.toml:4: notify[0].repositories: expected the name of the repository, without its registry and without a tag: \"hello\"",
        ),
    ] {
        assert_eq!(errors(&text), [expected]);
    }
}

#[test]
fn every_error_is_one_line_with_its_place_and_its_remedy() {
    let with = |extra: &str| format!("{extra}{GOOD}");
    for (text, expected) in [
        (with("[poll]\nintervall = \"5s\""), "c.toml:2: poll.intervall: unknown key; did you mean interval?"),
        (with("[pol]\n"), "c.toml:1: pol: unknown key; did you mean poll?"),
        (
            with("[zzz]\n"),
            "c.toml:1: zzz: unknown key; known here: audit, aws, control, deploy, discover, http, notify, policy, poll, repository, state",
        ),
        (
            with("[policy.stable]\n"),
            "c.toml:1: policy.stable.tags: is missing: say which tags are deployed with exactly one of tags, semver and regex",
        ),
        (
            with("[policy]\nstable = \"latest\"\n"),
            "c.toml:2: policy.stable: expected a table [policy.stable], found the text \"latest\": settings stand in a table for each policy, like [policy.default]",
        ),
        (
            with("[policy.\"a*\"]\ntags = [\"latest\"]\n"),
            "c.toml:1: policy.a*: expected what a tag's value can be: 1 to 256 letters, digits, spaces and _ . : / = + - @",
        ),
        (
            with("[[discover]]\n[[discover]]\nclusters = [\"web\"]\n"),
            "c.toml:2: discover[1].tag: \"ecs-deployd\" is looked for in aws context default by another [[discover]]: put the clusters into one",
        ),
        (
            with("[[discover]]\nclusters = []\n"),
            "c.toml:2: discover[0].clusters: is empty: no service would ever be found; [\"*\"] looks at all clusters",
        ),
        (
            with("[[discover]]\ntag = \"a,b\"\n"),
            "c.toml:2: discover[0].tag: expected the key of a tag: 1 to 128 letters, digits, spaces and _ . : / = + - @, found \"a,b\"",
        ),
        (
            with("[[notify]]\nsns = \"arn:aws:sns:eu-west-1:1:x\""),
            "c.toml:1: notify[0].name: is missing: what the receiver is called in the log and in metrics",
        ),
        (
            with("[[notify]]\nname = \"a\""),
            "c.toml:1: notify[0].sns: say where notifications go with exactly one of sns, webhook and webhook_file",
        ),
        (
            with("[[notify]]\nname = \"a\"\nwebhook = \"file:///x\""),
            "c.toml:3: notify[0].webhook: expected an address with http:// or https://",
        ),
        (
            with("[[notify]]\nname = \"a\"\nsns = \"deployments\""),
            "c.toml:3: notify[0].sns: expected the ARN of a topic like \"arn:aws:sns:eu-west-1:111111111111:deployments\", found \"deployments\"",
        ),
        (
            with("[[notify]]\nname = \"a\"\nwebhook = \"https://x\"\noutcomes = [\"broken\"]"),
            "c.toml:4: notify[0].outcomes: \"broken\" is no outcome; there are completed, failed, timed_out, rolled_back, superseded, refused, waiting",
        ),
        (
            with(
                "[[notify]]\nname = \"a\"\nwebhook = \"https://x\"\n[[notify]]\nname = \"a\"\nwebhook = \"https://y\"",
            ),
            "c.toml:5: notify[1].name: \"a\" is the name of another [[notify]], too",
        ),
        (
            with("[[notify]]\nname = \"a\"\nwebhook = \"https://x\"\nservices = [\"[\"]"),
            "c.toml:4: notify[0].services: unclosed character class; missing ']'",
        ),
        (
            with("[[notify]]\nname = \"a\"\nsns = \"arn:aws:sns:eu-west-1:1:x\"\nformat = \"slack\""),
            "c.toml:4: notify[0].format: is for webhooks; a topic gets JSON",
        ),
        (
            with("[poll]\ninterval = 5"),
            "c.toml:2: poll.interval: expected a duration in quotes like \"30s\" or \"15m\", found the number 5",
        ),
        (
            with("[poll]\ninterval = \"5\""),
            "c.toml:2: poll.interval: expected a duration like \"30s\" or \"15m\", found \"5\"",
        ),
        (with("[poll]\ninterval = \"10ms\""), "c.toml:2: poll.interval: must be one second or more, found \"10ms\""),
        (
            with("[poll]\noverlap = \"91days\""),
            "c.toml:2: poll.overlap: must be at most 90 days, which is as far back as CloudTrail's event history goes",
        ),
        (
            with("[poll]\nreconcile = \"1m\""),
            "c.toml:2: poll.reconcile: must be \"off\", or 5m to a year, found \"1m\"",
        ),
        (
            with("[poll]\nreconcile = \"never\""),
            "c.toml:2: poll.reconcile: expected \"off\" or a duration like \"30m\" or \"6h\", found \"never\"",
        ),
        (
            with("[aws.default]\nqueue = \"pushes\""),
            "c.toml:2: aws.default.queue: expected the URL of an SQS queue like \"https://sqs.eu-west-1.amazonaws.com/111111111111/ecs-deployd\", found \"pushes\"",
        ),
        (
            with("[aws.a]\nqueue = \"https://x/111111111111/y\"\n[aws.b]\nqueue = \"https://x/111111111111/y\""),
            "c.toml:3: aws.b.queue: is also that of another [aws.NAME], which would take away the messages of this one: give each a queue of its own",
        ),
        (
            with("[deploy]\npin = \"digets\""),
            "c.toml:2: deploy.pin: expected \"digest\" or \"tag\", found \"digets\"; did you mean \"digest\"?",
        ),
        (
            with("[deploy]\ntimeout = \"4s\"\nobserve_interval = \"5s\""),
            "c.toml:3: deploy.observe_interval: is 5s, longer than the timeout of 4s: a rollout would time out before it is looked at",
        ),
        (
            with("[http]\nlisten = \"localhost\""),
            "c.toml:2: http.listen: expected an address and port like \"127.0.0.1:9797\", found \"localhost\"",
        ),
        (
            with("[state]\nwhen_missing = \"deploy\""),
            "c.toml:2: state.when_missing: expected \"ignore\" or \"reconcile\", found \"deploy\"",
        ),
        (
            with("[state]\npath = \"/state.json\"\ntable = \"ecs-deployd\""),
            "c.toml:3: state.table: stands beside path: the state is in a table or in a file; remove one of them",
        ),
        (
            with("[state]\ntable = \"a/b\""),
            "c.toml:2: state.table: expected a table's name: 3 to 255 letters, digits, _, - and ., found \"a/b\"",
        ),
        (
            with("[state]\ntable = \"ecs-deployd\"\nlease = \"4s\""),
            "c.toml:3: state.lease: must be at least 5s, found 4s",
        ),
        (
            with("[state]\ntable = \"ecs-deployd\"\naws = \"live\""),
            "c.toml:3: state.aws: there is no table [aws.live]; known: default",
        ),
        (
            with("[aws.default]\nmax_lookups_per_second = 5"),
            "c.toml:2: aws.default.max_lookups_per_second: must be at least 0.01 and at most 2, which CloudTrail allows for an account and Region; found 5",
        ),
        (
            with("[aws.default]\nrole_arn = \"admin\""),
            "c.toml:2: aws.default.role_arn: expected a role ARN like \"arn:aws:iam::111111111111:role/ecs-deployd\", found \"admin\"",
        ),
        (
            with("[aws.default]\nexternal_id = \"x\""),
            "c.toml:2: aws.default.external_id: is used only when a role is assumed: add role_arn, or remove it",
        ),
        (
            with("[aws.default]\nendpoint_url = \"127.0.0.1:4566\""),
            "c.toml:2: aws.default.endpoint_url: expected a URL with http:// or https://, found \"127.0.0.1:4566\"",
        ),
        (
            with("[aws]\nregion = \"eu-west-1\""),
            "c.toml:2: aws.region: expected a table [aws.region], found the text \"eu-west-1\": settings stand in a table for each context, like [aws.default]",
        ),
        (
            GOOD.replace("\"latest\"", ""),
            "c.toml:4: repository[0].tags: is empty: no push would ever be deployed; name at least one tag or glob like \"release-*\"",
        ),
        (
            GOOD.replace("\"latest\"", "\"[\""),
            "c.toml:4: repository[0].tags: \"[\": unclosed character class; missing ']'",
        ),
        (
            GOOD.replace("tags = [\"latest\"]", "tags = \"latest\""),
            "c.toml:4: repository[0].tags: expected a list of texts like [\"latest\"], found the text \"latest\"",
        ),
        (
            GOOD.replace("tags = [\"latest\"]", "semver = \"one\""),
            "c.toml:4: repository[0].semver: expected a version range like \">=1.4, <2\", found \"one\": unexpected character 'o' while parsing major version number",
        ),
        (
            GOOD.replace("tags = [\"latest\"]", "tags = [\"latest\"]\nsemver = \"1\""),
            "c.toml:5: repository[0].semver: stands beside tags: give exactly one of tags, semver and regex",
        ),
        (
            GOOD.replace("tags = [\"latest\"]", "tags = [\"latest\"]\norder = \"pushed\""),
            "c.toml:5: repository[0].order: orders the capture `key` of a regex: add regex, or remove it",
        ),
        (
            GOOD.replace("tags = [\"latest\"]", ""),
            "c.toml:2: repository[0].tags: is missing: say which tags are deployed with exactly one of tags, semver and regex",
        ),
        (
            GOOD.replace("\"hello\"\ntags", "\"Hello\"\ntags"),
            "c.toml:3: repository[0].name: \"Hello\" is not an ECR repository name (2 to 256 lower-case letters, digits and ._-/, beginning with a letter or digit)",
        ),
        (
            GOOD.replace("tags", "aws = \"prod\"\ntags"),
            "c.toml:4: repository[0].aws: there is no table [aws.prod]; there is none",
        ),
        (GOOD.replace("cluster = \"web\"", ""), "c.toml:5: repository[0].service[0].cluster: is missing"),
        (
            GOOD.replace("\"web\"", "\"arn:aws:ecs:eu-west-1:1:cluster/web\""),
            "c.toml:6: repository[0].service[0].cluster: expected the name, not the ARN: \"web\"",
        ),
        (
            GOOD.split("[[repository.service]]").next().unwrap().to_owned(),
            "c.toml:2: repository[0].service: is missing: name at least one service under [[repository.service]]",
        ),
        (
            format!("{GOOD}[[repository.service]]\ncluster = \"web\"\nservice = \"hello\""),
            "c.toml:8: repository[0].service: web/hello is listed twice under this repository; leave out container to match every container",
        ),
        (
            format!("{GOOD}{GOOD}"),
            "c.toml:9: repository.name: hello of aws context default is listed twice: put its services under one [[repository]]",
        ),
    ] {
        assert_eq!(errors(&text), [expected], "{text}");
    }
}

#[test]
fn all_errors_of_a_file_are_told_at_once_in_the_order_of_their_lines() {
    let text = "[poll]\ninterval = 1\nx = 2\n[deploy]\npin = 3\n[[repository]]\nname = \"\"\n";
    let lines: Vec<String> =
        errors(text).iter().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "c.toml:2 poll.interval",
            "c.toml:3 poll.x",
            "c.toml:5 deploy.pin",
            "c.toml:6 repository[0].tags",
            "c.toml:6 repository[0].service",
            "c.toml:7 repository[0].name",
        ]
    );
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let lines = errors("[poll]\ninterval = \n");
    assert!(lines[0].starts_with("c.toml:2: "), "{lines:?}");
}

#[test]
fn a_service_under_two_repositories_has_one_set_of_settings() {
    let other = GOOD.replace("name = \"hello\"", "name = \"side\"") + "timeout = \"1m\"";
    let lines = errors(&format!("{GOOD}{other}"));
    assert_eq!(
        lines,
        [
            "c.toml:12: repository[1].service[0].service: web/hello stands under another repository with other settings: timeout, observe_interval, on_failure, downtime, base, monitor, bake, windows, freeze and approval must agree"
        ]
    );
    let pinned = GOOD.replace("name = \"hello\"", "name = \"side\"") + "pin = \"tag\"";
    assert!(
        Config::parse("c.toml", &format!("{GOOD}{pinned}")).is_ok(),
        "what an image is pinned to is the image's own"
    );
}

#[test]
fn a_service_may_override_what_it_is_told() {
    let text = format!(
        "{GOOD}pin = \"tag\"\ntimeout = \"1m\"\non_failure = \"leave\"\nsemver = \"1\"\ncontainer = \"app\"\naws = \"other\"\n[aws.other]\nregion = \"us-east-1\""
    );
    let config = Config::parse("c.toml", &text).unwrap();
    let (_, rule) = config.services().next().unwrap();
    assert_eq!(rule.key.aws.as_str(), "other");
    assert_eq!(rule.container.as_deref(), Some("app"));
    assert_eq!(rule.deploy.timeout, Duration::from_secs(60));
    assert!(rule.policy.admits(&crate::domain::test_support::tag("1.2.3")));
    assert_eq!(config.polled_contexts().len(), 1, "only where a repository lives");
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "(\\PC|\n){0,300}") {
        let _ = Config::parse("c.toml", &text);
    }

    #[test]
    fn no_value_breaks_the_reader(
        key in proptest::sample::select(vec!["aws", "poll", "state", "http", "control", "deploy", "repository"]),
        value in proptest::sample::select(vec!["1", "\"x\"", "[]", "{}", "[{}]", "[1]", "{a = 1}", "{default = {}}", "1979-05-27", "[{service = 1}]", "[{service = [1]}]"]),
    ) {
        let _ = Config::parse("c.toml", &format!("{key} = {value}"));
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long the reading of a real file takes is no matter of a paused clock"
)]
fn a_configuration_of_a_gibibyte_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.toml");
    // Sparse: it takes no room on the disk, and reading all of it would take seconds.
    std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    for path in [path, PathBuf::from("/dev/zero")] {
        let name = path.display().to_string();
        let begun = std::time::Instant::now();
        let error = Source::File(path).load().unwrap_err().to_string();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(
            error,
            format!(
                "the configuration {name} has more than 8 MiB, which is the most that is read; is it the right file?"
            )
        );
    }
    let error = Source::Text("#".repeat((8 << 20) + 1)).load().unwrap_err().to_string();
    assert!(error.starts_with("the configuration ECS_DEPLOYD_CONFIG_CONTENT has more than 8 MiB"), "{error}");
    let largest = format!("{GOOD}#{}", "x".repeat((8 << 20) - GOOD.len() - 1));
    assert!(Source::Text(largest).load().is_ok());
}

#[test]
fn values_that_would_steer_a_terminal_are_refused_and_keys_are_shown_on_one_line() {
    let container = GOOD.to_owned() + "container = \"app\\u001b[2J\"";
    let wrong = "must not contain control characters, line breaks or invisible marks";
    assert_eq!(errors(&container), [format!("c.toml:8: repository[0].service[0].container: {wrong}")]);
    let path = "[state]\npath = \"/var/lib/x\\nforged\"\n".to_owned() + GOOD;
    assert_eq!(errors(&path), [format!("c.toml:2: state.path: {wrong}")]);
    let tag = GOOD.replace("\"latest\"", "\"\\u202elatest\"");
    assert!(errors(&tag).contains(&format!("c.toml:4: repository[0].tags: {wrong}")), "{:?}", errors(&tag));
    let secret = "[[notify]]\nname = \"a\"\nwebhook = \"https://secret\\n\"\n".to_owned() + GOOD;
    assert!(!errors(&secret).concat().contains("secret"), "{:?}", errors(&secret));
    let key = errors(&("\"x\\u001b[31m\\ny\" = 1\n".to_owned() + GOOD));
    assert_eq!(key.len(), 1);
    assert!(key[0].starts_with("c.toml:1: x\u{fffd}[31m y: unknown key"), "{key:?}");
}
