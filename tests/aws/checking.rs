//! `check` asks AWS.

use serde_json::Value;

use crate::daemon::Home;
use crate::gate::{Gate, Shut};
use crate::scene::{Scene, name};

fn check(home: &Home) -> (i32, Value) {
    let output = home.command(&["check", "--json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), found)
}

/// Code and line of each finding that is no note.
fn codes(found: &Value) -> Vec<(String, u64)> {
    let findings = found["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] != "note");
    findings
        .map(|finding| (finding["code"].as_str().unwrap().to_owned(), finding["line"].as_u64().unwrap_or(0)))
        .collect()
}

#[test]
fn what_fits_is_all_good_and_what_does_not_is_found_with_its_line_and_the_name_that_may_be_meant() {
    let scene = Scene::new(1);
    let good = scene.config(1);
    let (code, found) = check(&scene.home(&good));
    assert_eq!((code, codes(&found)), (0, vec![]), "{found:#}");
    let output = scene.home(&good).command(&["check"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("all good"));

    let line = |text: &str, wanted: &str| {
        let home = scene.home(text);
        let file = std::fs::read_to_string(home.path("config.toml")).unwrap();
        file.lines().position(|line| line == wanted).unwrap() as u64 + 1
    };
    let (service, repository) = (line(&good, "[[repository.service]]"), line(&good, "[[repository]]"));
    for (from, to, expected, hint) in [
        (name(0), "hello-O".to_owned(), ("unknown_service", service), name(0)),
        ("\"web\"".to_owned(), "\"wep\"".to_owned(), ("unknown_cluster", service), "web".to_owned()),
        (
            "name = \"hello\"".to_owned(),
            "name = \"helo\"".to_owned(),
            ("unknown_repository", repository),
            "hello".to_owned(),
        ),
    ] {
        let (code, found) = check(&scene.home_of_a_mistake(&good.replace(&from, &to)));
        assert_eq!(code, 1);
        assert_eq!(codes(&found)[0], (expected.0.to_owned(), expected.1), "{found:#}");
        assert_eq!(found["findings"][0]["remedy"], format!("the nearest name is {hint}"));
    }
    let (code, found) = check(&scene.home(&(good + "container = \"ngin\"\n")));
    assert_eq!((code, codes(&found)[0].0.as_str()), (1, "unknown_container"), "{found:#}");
    assert_eq!(found["findings"][0]["remedy"], "the nearest name is nginx");
}

#[test]
fn a_missing_permission_is_named() {
    let scene = Scene::new(1);
    let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
    let home = scene.home(&scene.config(1).replace(&scene.aws.endpoint(), &endpoint));
    for (call, action, code) in [
        ("LookupEvents", "cloudtrail:LookupEvents", 1),
        ("DescribeServices", "ecs:DescribeServices", 1),
        ("DescribeTaskDefinition", "ecs:DescribeTaskDefinition", 1),
        ("DescribeImages", "ecr:DescribeImages", 1),
        ("ListTasks", "ecs:ListTasks", 1),
        ("DescribeRepositories", "ecr:DescribeRepositories", 0),
    ] {
        gate.shut(Shut::Refused(call, "AccessDeniedException"));
        let (exit, found) = check(&home);
        assert_eq!(exit, code, "{found:#}");
        let remedies = found["findings"].as_array().unwrap().iter().map(|finding| finding["remedy"].as_str().unwrap());
        assert!(
            remedies.filter(|remedy| remedy.contains(&format!("allow {action}"))).count() == 1,
            "{call}: {found:#}"
        );
    }
}
