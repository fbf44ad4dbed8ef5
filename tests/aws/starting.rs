//! What keeps it from starting, and what it says then.

use std::fs;

use crate::daemon::{Home, wait_for};
use crate::scene::Scene;

const NOWHERE: &str = "[aws.default]\nendpoint_url = \"http://127.0.0.1:9\"\n[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n\
    [[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n";

#[test]
fn a_wrong_configuration_is_exit_2_and_says_all_of_it() {
    let home = Home::new("[pol]\n[deploy]\npin = \"dgest\"\n");
    for command in [&["run"][..], &["check", "--offline"]] {
        let (code, text) = home.run(command);
        assert_eq!(code, 2, "{text}");
        let path = home.path("config.toml");
        assert!(text.contains(&format!("{}:7: pol: unknown key; did you mean poll?", path.display())), "{text}");
        assert!(text.contains(":9: deploy.pin: expected \"digest\" or \"tag\", found \"dgest\""), "{text}");
    }
}

#[test]
fn a_missing_configuration_and_wrong_usage_are_exit_2() {
    let home = Home::new("");
    fs::remove_file(home.path("config.toml")).unwrap();
    let (code, text) = home.run(&["run"]);
    assert_eq!(code, 2);
    assert!(text.contains("cannot read the configuration") && text.contains("--config PATH"), "{text}");
    assert_eq!(home.run(&["fly"]).0, 2);
    assert_eq!(home.run(&["run", "--log-level", "loud"]).0, 2);
}

#[test]
fn a_valid_configuration_is_said_to_be_valid() {
    let home = Home::new(NOWHERE);
    let output = home.command(&["check", "--offline"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("is valid: 1 repository, 1 service, 1 AWS context\n"), "{text}");
}

#[test]
fn the_configuration_may_be_given_as_text() {
    let home = Home::new("broken");
    let output = home
        .command(&["check", "--offline"])
        .env_remove("ECS_DEPLOYD_CONFIG")
        .env("ECS_DEPLOYD_CONFIG_CONTENT", NOWHERE)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = home
        .command(&["check", "--offline"])
        .env_remove("ECS_DEPLOYD_CONFIG")
        .env("ECS_DEPLOYD_CONFIG_CONTENT", "[x]")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ECS_DEPLOYD_CONFIG_CONTENT:1: x: unknown key"));
}

#[test]
fn a_state_that_cannot_be_used_is_exit_3_and_left_as_it_is() {
    for (content, expected) in [
        ("", "is corrupt: it is empty"),
        ("{\"version\": 1", "is corrupt: "),
        ("{\"version\": 99}", "has version 99, this program knows version 1: run the newer ecs-deployd"),
    ] {
        let home = Home::new(NOWHERE);
        fs::write(home.path("state.json"), content).unwrap();
        let (code, text) = home.run(&["run"]);
        assert_eq!(code, 3, "{text}");
        assert!(text.contains(expected), "{text}");
        assert_eq!(fs::read_to_string(home.path("state.json")).unwrap(), content);
    }
    let home = Home::new(NOWHERE);
    let config =
        fs::read_to_string(home.path("config.toml")).unwrap().replace("/state.json", "/no/such/folder/state.json");
    fs::write(home.path("config.toml"), config).unwrap();
    let (code, text) = home.run(&["run"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("check that its folder exists"), "{text}");
}

#[test]
fn a_second_daemon_on_one_state_is_exit_3() {
    let scene = Scene::new(1);
    let home = scene.home(&scene.config(1));
    let first = home.start();
    first.wait_until_ready();
    let (code, text) = home.run(&["run"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("is locked: another ecs-deployd uses it"), "{text}");
    assert_eq!(first.get("/healthz").0, 200);
}

#[test]
fn health_asks_the_running_daemon() {
    let scene = Scene::new(1);
    let home = scene.home(&scene.config(1));
    let daemon = home.start();
    let address = daemon.address();
    let config = fs::read_to_string(home.path("config.toml")).unwrap().replace("127.0.0.1:0", &address);
    fs::write(home.path("config.toml"), &config).unwrap();
    assert_eq!(home.run(&["health"]).0, 0);
    // The daemon goes on with what it began with: a mistake in the file makes it look no worse.
    for mistake in ["unknown = 1\n", "[poll\n"] {
        fs::write(home.path("config.toml"), format!("{config}{mistake}")).unwrap();
        assert_eq!(home.run(&["health"]), (0, String::new()), "{mistake}");
    }
    assert!(daemon.stop().success());
    let (code, text) = home.run(&["health"]);
    assert_eq!(code, 1);
    assert!(text.contains(&format!("no answer from {address}")), "{text}");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::new(NOWHERE);
    let address = taken.local_addr().unwrap().to_string();
    let config = fs::read_to_string(home.path("config.toml")).unwrap().replace("127.0.0.1:0", &address);
    fs::write(home.path("config.toml"), config).unwrap();
    let (code, text) = home.run(&["run"]);
    assert_eq!(code, 1);
    assert!(text.contains(&format!("cannot listen on {address}")), "{text}");
}

#[test]
fn why_it_does_not_start_has_a_priority_in_the_journal_and_is_json_where_the_log_is() {
    let home = Home::new("unknown = 1\n");
    let log = fs::File::create(home.path("journal")).unwrap();
    let stream = std::os::unix::fs::MetadataExt::ino(&log.metadata().unwrap());
    let device = std::os::unix::fs::MetadataExt::dev(&log.metadata().unwrap());
    let status =
        home.command(&["run"]).env("JOURNAL_STREAM", format!("{device}:{stream}")).stderr(log).status().unwrap();
    assert_eq!(status.code(), Some(2));
    let text = fs::read_to_string(home.path("journal")).unwrap();
    assert!(text.contains("unknown") && text.lines().all(|line| line.starts_with("<3>")), "{text}");
    let (code, text) = home.run(&["run", "--log-format", "json"]);
    let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((code, &line["level"]), (2, &serde_json::json!("ERROR")));
}

#[test]
fn the_journal_gets_priorities_and_no_second_clock() {
    use std::os::unix::fs::MetadataExt as _;
    let scene = Scene::new(1);
    let home = scene.home(&scene.config(1));
    for (arguments, begins) in
        [(["run", "--log-format", "text"], "<6> INFO started "), (["run", "--log-format", "json"], "<6>{")]
    {
        let log = home.path("journal");
        let file = fs::File::create(&log).unwrap();
        let stream = file.metadata().map(|file| format!("{}:{}", file.dev(), file.ino())).unwrap();
        let mut child = home.command(&arguments).env("JOURNAL_STREAM", stream).stderr(file).spawn().unwrap();
        let line = wait_for("the start", || {
            let text = fs::read_to_string(&log).unwrap();
            text.lines().find(|line| line.contains("started")).map(str::to_owned)
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(line.starts_with(begins), "{line}");
    }
    // Somewhere else than in the journal nothing is put before a line.
    let daemon = home.start_with(&["run"], |command| command.env("JOURNAL_STREAM", "1:1"));
    daemon.wait_for_log("started");
    assert!(!daemon.log().contains("<6>"), "{}", daemon.log());
}
