//! The permissions that the program has in a scene: what `iam` prints for its configuration.
//!
//! Every call that reaches the emulator is judged by action, resource and conditions, as is every one that a test's own server gets
//! ([`Fake`](crate::fake::Fake)). What is not judged:
//!
//! - Requests that a [`Gate`](crate::gate::Gate) keeps for itself: the test says what becomes of them.
//! - GetCallerIdentity, which AWS denies to nobody, and AssumeRoleWithWebIdentity, which nobody signs.
//! - Calls to addresses where nobody listens, and those to the receivers of webhooks, which are none to AWS.
//! - Scenarios that name what does not exist have no policy, as `iam` ends with an error: they may do whatever any configuration may.
//! - UpdateExpressGatewayService, as the emulator has no Express Mode services: `domain::permission` tests its grant.

use std::collections::BTreeMap;
use std::fs;

use ecs_deployd::config::{AwsSettings, Config};
use ecs_deployd::domain::permission::{GRANTS, Use};
use local_aws::{Part, Settings};
use serde_json::{Value, json};

use crate::daemon::Home;
use crate::scene::ACCOUNT;

/// Prints the policies for a configuration, one for each context, and attaches them to whoever has the context's credentials: its calls are
/// judged by its own policy. Contexts with credentials of one account have the same, and both policies. An operator does that before the
/// configuration is used. A configuration that is no configuration changes nothing.
pub fn print(home: &Home, aws: &Settings, config: &str) {
    print_beside(home, aws, config, &[]);
}

/// The same, where the credentials have other policies beside those.
pub fn print_beside(home: &Home, aws: &Settings, config: &str, others: &[Value]) {
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
    let mut by_account: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, settings) in &parsed.aws {
        by_account.entry(account_of(home, settings)).or_default().push(of_context(name.as_str()));
    }
    for policies in by_account.values_mut() {
        policies.extend_from_slice(others);
    }
    aws.attach_by_account(Part::Daemon, &by_account).unwrap();
    for policies in by_account.values_mut() {
        policies.push(of_check());
    }
    aws.attach_by_account(Part::Check, &by_account).unwrap();
}

/// The account whose credentials a context has: that of the role that it assumes, or the one that is the access key of its profile.
fn account_of(home: &Home, settings: &AwsSettings) -> String {
    // arn:aws:iam::ACCOUNT:role/ROLE
    let of_role = settings.role_arn.as_deref().and_then(|arn| arn.split(':').nth(4)).map(str::to_owned);
    let of_profile = || {
        let profiles = fs::read_to_string(home.path(".aws/credentials")).ok()?;
        let own = profiles.split(&format!("[{}]", settings.profile.as_deref()?)).nth(1)?.split('[').next()?;
        let key = own.lines().find_map(|line| line.strip_prefix("aws_access_key_id"))?;
        Some(key.trim_start_matches([' ', '=']).to_owned())
    };
    of_role.or_else(of_profile).unwrap_or_else(|| ACCOUNT.to_owned())
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
