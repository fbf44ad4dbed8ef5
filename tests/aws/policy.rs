//! The permissions that the program has in a scene: what `iam` prints for its configuration.

use std::fs;

use ecs_deployd::config::Config;
use ecs_deployd::domain::permission::{GRANTS, Use};
use local_aws::{Part, Settings};
use serde_json::{Value, json};

use crate::daemon::Home;

/// Prints the policies for a configuration, one for each context, and attaches them. An operator does that before the configuration is used.
/// A configuration that is no configuration changes nothing.
pub fn print(home: &Home, aws: &Settings, config: &str) {
    let Ok(parsed) = Config::parse("test", config) else { return };
    // A person is not behind the doors that a test shuts.
    let at_the_emulator = |line: &str| match line.strip_prefix("endpoint_url = ") {
        Some(_) => format!("endpoint_url = \"{}\"\n", aws.endpoint()),
        None => format!("{line}\n"),
    };
    let copy = home.path("printed.toml");
    fs::write(&copy, config.lines().map(at_the_emulator).collect::<String>()).unwrap();
    let of_context = |name: &str| -> Value {
        let output = home.command(&["iam", "--aws", name]).env("ECS_DEPLOYD_CONFIG", &copy).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "no policy for this configuration: {errors}\n{config}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let policies: Vec<Value> = parsed.aws.keys().map(|name| of_context(name.as_str())).collect();
    aws.attach(Part::Daemon, &policies).unwrap();
    aws.attach(Part::Check, &[&policies[..], &[of_check()]].concat()).unwrap();
}

/// What `check` asks beside what the daemon asks.
fn of_check() -> Value {
    let names: Vec<&str> =
        GRANTS.iter().filter(|grant| grant.needed_for == Use::Names).map(|grant| grant.action).collect();
    json!({"Statement": [{"Effect": "Allow", "Action": names, "Resource": "*"}]})
}

/// For a configuration that names what is not there, for which there is no policy: what is printed for any configuration, on everything.
pub fn allow_every_use(aws: &Settings) {
    for part in [Part::Daemon, Part::Check] {
        aws.allow_only(part, GRANTS.iter().map(|grant| grant.action)).unwrap();
    }
}
