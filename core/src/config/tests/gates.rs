//! What a rollout waits for, as the configuration says it.

use std::time::Duration;

use super::{GOOD, errors};
use crate::config::Config;

/// Staging and production in one file, with lines for production.
fn promoted(lines: &str) -> String {
    format!("{GOOD}\n[[repository.service]]\ncluster = \"web\"\nservice = \"prod\"\n{lines}\n")
}

#[test]
fn a_service_comes_after_others_of_the_file_by_either_name() {
    for named in ["web/hello", "default/web/hello"] {
        let config = Config::parse("c.toml", &promoted(&format!("after = [\"{named}\"]\nbake = \"10m\""))).unwrap();
        let (_, prod) = config.services().find(|(_, rule)| rule.key.service.as_str() == "prod").unwrap();
        let after: Vec<String> = prod.deploy.gates.after.iter().map(ToString::to_string).collect();
        assert_eq!((after, prod.deploy.gates.bake), (vec!["web/hello".to_owned()], Duration::from_secs(600)));
    }
}

#[test]
fn promotion_that_contradicts_itself_is_refused_with_its_line() {
    let hello_after =
        |text: String| text.replace("service = \"hello\"\n", "service = \"hello\"\nafter = [\"web/prod\"]\n");
    for (text, part) in [
        (
            promoted("after = [\"web/helo\"]"),
            "c.toml:12: repository[0].service[1].after: web/helo is no CLUSTER/SERVICE",
        ),
        (promoted("after = [\"web/prod\"]"), "after: is a circle: web/prod after web/prod"),
        (hello_after(promoted("after = [\"web/hello\"]")), "is a circle: web/hello after web/prod after web/hello"),
        (promoted("bake = \"10m\""), "c.toml:12: repository[0].service[1].bake: needs services that a digest bakes in"),
        (format!("[deploy]\nbake = \"10m\"\n{GOOD}"), "c.toml:2: deploy.bake: needs services that a digest bakes in"),
        (promoted("after = [\"web/hello\", \"web/hello\"]"), "web/hello is listed twice"),
        (promoted("approval = \"required\"\npin = \"tag\""), "pin: is \"tag\" beside approval, which judges a digest"),
        (promoted("windows = [\"Mon 9-17\"]"), "service[1].windows: expected hours and minutes like 09:00"),
        (promoted("freeze = [\"2026-12-24/2026-12-20\"]"), "service[1].freeze: 2026-12-20 is before 2026-12-24"),
        (promoted("signed_by = [\"ci\"]"), "service[1].signed_by: expected the ARN of a signing profile"),
        (promoted("scan = \"severe\""), "service[1].scan: "),
    ] {
        let found = errors(&text);
        assert!(found.len() == 1 && found[0].contains(part), "{part}: {found:#?}");
    }
}

#[test]
fn a_service_overrides_the_gates_of_the_file() {
    let text = format!(
        "[deploy]\nwindows = [\"Mon 09:00-17:00\"]\napproval = \"required\"\nscan = \"high\"\nbake = \"1h\"\n{}",
        promoted("after = [\"web/hello\"]\nwindows = []\napproval = \"none\"\nscan = \"off\"\nbake = \"0s\"")
    );
    let config = Config::parse("c.toml", &text).unwrap();
    let gates = |name: &str| {
        let (_, rule) = config.services().find(|(_, rule)| rule.key.service.as_str() == name).unwrap();
        let gates = &rule.deploy.gates;
        (gates.windows.len(), gates.approval.as_str(), gates.scan.as_str(), gates.bake.as_secs(), gates.after.len())
    };
    assert_eq!(gates("hello"), (1, "required", "high", 3600, 0));
    assert_eq!(gates("prod"), (0, "none", "off", 0, 1));
}
