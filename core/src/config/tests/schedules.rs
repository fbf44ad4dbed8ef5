//! Schedules and rules of EventBridge in the configuration.

use std::time::Duration;

use super::errors;
use crate::config::Config;
use crate::domain::gate;

#[test]
fn a_schedule_stands_among_the_services_by_the_name_that_is_written() {
    let text = "[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n[[repository.schedule]]\nscheduler = \"nightly\"\n\
        [[repository.schedule]]\nrule = \"bus/hourly\"\ntags = [\"edge\"]\n";
    let config = Config::parse("c.toml", text).unwrap();
    let names: Vec<String> = config.services().map(|(_, rule)| config.name_of(&rule.key)).collect();
    assert_eq!(names, ["schedule/nightly", "schedule/bus/hourly"]);
    let keys: Vec<String> = config.services().map(|(_, rule)| String::from(rule.key.clone())).collect();
    assert_eq!(keys, ["default/schedule/default/nightly", "default/schedule/rule/bus/hourly"]);
    for (named, index) in [
        ("schedule/nightly", 0),
        ("schedule/default/nightly", 0),
        ("default/schedule/nightly", 0),
        ("schedule/bus/hourly", 1),
        ("schedule/rule/bus/hourly", 1),
    ] {
        assert_eq!(config.names.find(named).map(|key| String::from(key.clone())), Ok(keys[index].clone()), "{named}");
    }
    for (keys, expected) in [
        (
            "",
            "c.toml:4: repository[0].schedule[0].scheduler: is missing: name a schedule with exactly one of scheduler and rule",
        ),
        (
            "scheduler = \"a\"\nrule = \"b\"\n",
            "c.toml:6: repository[0].schedule[0].rule: stands beside scheduler: give exactly one of scheduler and rule",
        ),
        (
            "scheduler = \"a/b/c\"\n",
            "c.toml:5: repository[0].schedule[0].scheduler: expected a schedule as GROUP/NAME or NAME, found \"a/b/c\"",
        ),
        (
            "rule = \"arn:aws:events:eu-west-1:111111111111:rule/hourly\"\n",
            "c.toml:5: repository[0].schedule[0].rule: expected the name, not the ARN: \"hourly\"",
        ),
        (
            "scheduler = \"a\"\n[[repository.schedule]]\nrule = \"a\"\n",
            "c.toml:7: repository[0].schedule[1].scheduler: a schedule and a rule are both called a: write the group or the bus of one of them",
        ),
        (
            "scheduler = \"a\"\nmonitor = \"1m\"\n",
            "c.toml:6: repository[0].schedule[0].monitor: unknown key; known here: after, approval, aws, bake, container, freeze, order, regex, rule, scan, scan_timeout, scheduler, semver, signed_by, tags, windows",
        ),
        (
            "scheduler = \"a\"\nafter = [\"web/hello\"]\n",
            "c.toml:6: repository[0].schedule[0].after: web/hello is no CLUSTER/SERVICE of the configuration; the nearest one is schedule/a",
        ),
        (
            "scheduler = \"a\"\nbake = \"5m\"\n",
            "c.toml:6: repository[0].schedule[0].bake: needs services that a digest bakes in: add after, or remove it",
        ),
        (
            "scheduler = \"a\"\n[[repository.schedule]]\nscheduler = \"default/a\"\n",
            "c.toml:6: repository[0].schedule: schedule/default/a is listed twice under this repository; leave out container to match every container",
        ),
    ] {
        let text = format!("[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n[[repository.schedule]]\n{keys}");
        assert_eq!(errors(&text), [expected]);
    }
}

#[test]
fn a_schedule_has_the_gates_of_the_defaults_or_its_own() {
    let text = "[deploy]\nmonitor = \"5m\"\napproval = \"required\"\nscan = \"high\"\n[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n\
        [[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n[[repository.schedule]]\nscheduler = \"nightly\"\n\
        after = [\"web/hello\"]\nbake = \"10m\"\nwindows = [\"daily 01:00-02:00\"]\nfreeze = [\"2026-12-24/2026-12-26\"]\napproval = \"none\"\n\
        scan_timeout = \"5m\"\nsigned_by = [\"arn:aws:signer:eu-west-1:111111111111:/signing-profiles/ci\"]\n";
    let config = Config::parse("c.toml", text).unwrap();
    let rules: Vec<_> = config.services().map(|(_, rule)| rule).collect();
    let deploy = &rules[1].deploy;
    let gates = &deploy.gates;
    assert_eq!(
        (gates.after.as_slice(), gates.bake, gates.scan_timeout),
        (&[rules[0].key.clone()][..], Duration::from_mins(10), Duration::from_mins(5))
    );
    assert_eq!((gates.windows.len(), gates.freezes.len(), gates.signed_by.len()), (1, 1, 1));
    assert_eq!((gates.approval, gates.scan), (gate::Approvals::None, gate::ScanLevel::High));
    assert_eq!((rules[0].deploy.monitor, deploy.monitor), (Duration::from_mins(5), Duration::ZERO));
}
