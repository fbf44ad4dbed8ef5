//! Where credentials and the Region come from, and what is said while they are awaited.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::daemon::{Home, wait_for};
use crate::fake::Fake;

const SERVICE: &str = "[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n";

/// A configuration whose credentials come from a program.
fn with_program(fake: &Fake, program: &str) -> Home {
    let home = fake.home(&format!(
        "[aws.default]\nprofile = \"ops\"\nregion = \"eu-west-1\"\nendpoint_url = \"{}\"\n[poll]\ninterval = \"1s\"\n{SERVICE}",
        fake.endpoint()
    ));
    fs::create_dir(home.path(".aws")).unwrap();
    let script = home.path("helper");
    fs::write(&script, program.replace("FOLDER", home.path("").to_str().unwrap())).unwrap();
    fs::write(home.path(".aws/config"), format!("[profile ops]\ncredential_process = sh {}\n", script.display()))
        .unwrap();
    home
}

/// Without the keys that the tests' environment has.
fn bare(command: &mut Command) -> &mut Command {
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY")
}

fn runs(id: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(id).join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

#[test]
fn a_credential_process_that_hangs_is_named_runs_once_and_ends_with_the_daemon() {
    let fake = Fake::start();
    let home = with_program(&fake, "sleep 300 &\necho $$ $! >> FOLDER/ids\nwait\n");
    let daemon = home.start_with(&["run"], |command| bare(command));
    daemon.wait_for_log("credentials are awaited");
    let source = "the credential_process of profile \"ops\"";
    assert!(daemon.log().contains(source), "{}", daemon.log());
    let ready = wait_for("the source in /readyz", || {
        let (status, text) = daemon.get("/readyz");
        (status == 503 && text.contains(source)).then_some(text)
    });
    assert!(
        ready.starts_with("aws context default: not polled successfully yet: waiting for credentials from"),
        "{ready}"
    );
    assert_eq!(daemon.get("/healthz").0, 200, "a daemon that waits works");
    let ids = fs::read_to_string(home.path("ids")).unwrap();
    assert_eq!(ids.lines().count(), 1, "one at a time: {ids}");
    assert!(ids.split_whitespace().all(runs), "{ids}");
    assert!(daemon.stop().success());
    wait_for("the end of the program and of what it started", || (!ids.split_whitespace().any(runs)).then_some(()));
    assert_eq!(fake.asked("").len(), 0);
}

#[test]
fn a_credential_process_of_17_seconds_works() {
    let fake = Fake::start();
    let home = with_program(
        &fake,
        "echo $$ >> FOLDER/ids\nsleep 17\necho '{\"Version\": 1, \"AccessKeyId\": \"AKIASLOW\", \"SecretAccessKey\": \"secret\"}'\n",
    );
    let daemon = home.start_with(&["run"], |command| bare(command));
    daemon.wait_until_ready();
    daemon.wait_for_log("the wait for credentials is over");
    assert_eq!(fs::read_to_string(home.path("ids")).unwrap().lines().count(), 1);
    assert!(fake.asked("LookupEvents").iter().all(|(head, _)| head.contains("Credential=AKIASLOW/")));
}

#[test]
fn a_credential_process_that_fails_is_reported_on_one_line() {
    let fake = Fake::start();
    let home = with_program(&fake, "echo cannot open >&2\necho the vault >&2\nexit 4\n");
    let output = bare(&mut home.command(&["check"])).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    let said = "no credentials: the credential_process of profile \"ops\": it ended with exit status: 4: cannot open the vault";
    assert!(text.lines().any(|line| line.contains(said)), "{text}");
    // Each event of the daemon's log is one line, which begins with its time.
    let daemon = home.start_with(&["run"], |command| bare(command));
    daemon.wait_for_log(said);
    assert!(daemon.log().lines().all(|line| line.starts_with("20")), "{}", daemon.log());
}

#[test]
fn a_web_identity_is_taken_to_sts_at_the_address_of_the_context() {
    let fake = Fake::start();
    let home = fake.home(&format!(
        "[aws.default]\nregion = \"eu-west-1\"\nendpoint_url = \"{}\"\n[poll]\ninterval = \"1s\"\n{SERVICE}",
        fake.endpoint()
    ));
    fs::write(home.path("token"), "the.token.itself\n").unwrap();
    let role = "arn:aws:iam::111111111111:role/deployd";
    let token = home.path("token");
    let daemon = home.start_with(&["run"], |command| {
        bare(command).env("AWS_WEB_IDENTITY_TOKEN_FILE", token).env("AWS_ROLE_ARN", role)
    });
    daemon.wait_until_ready();
    let asked = fake.asked("Action=AssumeRoleWithWebIdentity");
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].1.contains("WebIdentityToken=the.token.itself&") || asked[0].1.ends_with("=the.token.itself"),
        "{asked:?}"
    );
    assert!(fake.asked("LookupEvents").iter().all(|(head, _)| head.contains("Credential=ASIAOFSTS/")));
}

#[test]
fn the_role_of_a_profile_is_assumed_at_the_address_of_the_context() {
    let fake = Fake::start();
    let home = with_program(
        &fake,
        "echo '{\"Version\": 1, \"AccessKeyId\": \"AKIABASE\", \"SecretAccessKey\": \"secret\"}'\n",
    );
    let profiles = fs::read_to_string(home.path(".aws/config")).unwrap().replace("[profile ops]", "[profile base]");
    let role = "[profile ops]\nsource_profile = base\nrole_arn = arn:aws:iam::111111111111:role/deployd\n";
    fs::write(home.path(".aws/config"), profiles + role).unwrap();
    // `iam` prints the policy of the role. Whether it may be assumed is a matter of the credentials that the profile names.
    let arn = "arn:aws:iam::111111111111:role/deployd";
    let assumes = json!({"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": arn}]});
    fake.print_beside(&home, &fs::read_to_string(home.path("config.toml")).unwrap(), &[assumes]);
    let daemon = home.start_with(&["run"], |command| bare(command));
    daemon.wait_until_ready();
    assert!(fake.asked("Action=AssumeRole").iter().all(|(head, _)| head.contains("Credential=AKIABASE/")));
    assert!(fake.asked("LookupEvents").iter().all(|(head, _)| head.contains("Credential=ASIAOFSTS/")));
}

#[test]
fn a_profile_that_is_named_comes_before_the_environment() {
    let fake = Fake::start();
    let home = with_program(
        &fake,
        "echo '{\"Version\": 1, \"AccessKeyId\": \"AKIAPROFILE\", \"SecretAccessKey\": \"secret\"}'\n",
    );
    // The environment of the tests has keys.
    let daemon = home.start();
    daemon.wait_until_ready();
    assert!(fake.asked("LookupEvents").iter().all(|(head, _)| head.contains("Credential=AKIAPROFILE/")));
}

/// An address where nobody listens yet.
fn free() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn the_region_of_the_instance_is_awaited() {
    let (metadata, http) = (free(), free());
    let fake = Fake::start();
    let home = Home::new("");
    let config = format!("[aws.default]\nendpoint_url = \"{}\"\n[poll]\ninterval = \"1s\"\n{SERVICE}", fake.endpoint());
    home.configure_at(&config, &http);
    fake.print(&home, &config);
    let of_instance = |command: &mut Command| {
        command.env_remove("AWS_REGION").env_remove("AWS_EC2_METADATA_DISABLED");
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{metadata}/"));
    };
    // A command waits for some seconds only.
    let mut command = home.command(&["check"]);
    of_instance(&mut command);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("has no Region") && text.contains("instance metadata does not answer"), "{text}");

    let daemon = home.start_with(&["run"], |command| {
        of_instance(command);
        command
    });
    daemon.wait_for_log("the Region is awaited");
    let get = |path: &str| local_aws::http::get(&format!("http://{http}{path}"), crate::daemon::PATIENCE).unwrap();
    let (status, text) = get("/readyz");
    assert_eq!(status, 503);
    assert!(text.starts_with("aws context default: waiting for the Region from the EC2 instance metadata"), "{text}");
    assert_eq!(get("/healthz").0, 200);
    let _metadata = Fake::at(&metadata);
    daemon.wait_until_ready();
    assert!(daemon.log().contains("the wait for the Region is over"), "{}", daemon.log());
    assert!(fake.asked("LookupEvents").iter().all(|(head, _)| head.contains("/eu-west-1/cloudtrail/")));
}

#[test]
fn a_daemon_that_waits_for_the_region_stops_when_it_is_asked_to() {
    let metadata = free();
    let home = Home::new(SERVICE);
    let daemon = home.start_with(&["run"], |command| {
        command.env_remove("AWS_REGION").env_remove("AWS_EC2_METADATA_DISABLED");
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{metadata}/"))
    });
    daemon.wait_for_log("the Region is awaited");
    assert!(daemon.stop().success());
}

#[test]
fn where_there_is_no_instance_metadata_a_missing_region_is_exit_2() {
    let home = Home::new(SERVICE);
    for arguments in [["run"], ["check"], ["once"]] {
        let output = home.command(&arguments).env_remove("AWS_REGION").output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("aws context default has no Region: set region under [aws.default]"), "{text}");
    }
}

#[test]
fn a_command_asks_the_credential_process_once() {
    let fake = Fake::start();
    let program = "echo $$ >> FOLDER/ids\necho '{\"Version\": 1, \"AccessKeyId\": \"AKIAONCE\", \"SecretAccessKey\": \"secret\"}'\n";
    for arguments in [&["iam"][..], &["init", "--aws-region", "eu-west-1"]] {
        let home = with_program(&fake, program);
        let mut command = home.command(arguments);
        // What it asks is refused: only the credentials matter.
        let output =
            bare(&mut command).env("AWS_PROFILE", "ops").env("AWS_ENDPOINT_URL", fake.endpoint()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        let fetched = fs::read_to_string(home.path("ids")).unwrap_or_default();
        assert_eq!(fetched.lines().count(), 1, "{arguments:?}: {output:?}");
    }
}
