//! Credentials that are of no use, and permissions that are missing.

use std::fs;

use crate::daemon::{Home, PATIENCE, SECRET_KEY, wait_for, wait_within};
use crate::gate::{Gate, Shut};
use crate::scene::{ACCOUNT, Scene, name};

fn write_profile(home: &Home, key: &str) {
    fs::create_dir_all(home.path(".aws")).unwrap();
    let text = format!("[ops]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET_KEY}\n");
    fs::write(home.path(".aws/credentials"), text).unwrap();
}

#[test]
fn a_named_profile_comes_before_the_environment_and_rotated_keys_are_found_without_a_restart() {
    let scene = Scene::new(1);
    let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
    let config = scene.config(1).replace(&scene.aws.endpoint(), &endpoint);
    let home = scene.home(&config);
    write_profile(&home, ACCOUNT);
    home.configure(&config.replace("[aws.default]\n", "[aws.default]\nprofile = \"ops\"\n"));
    write_profile(&home, "AKIDOLD");
    gate.shut(Shut::Refused("Credential=AKIDOLD/", "ExpiredTokenException"));
    let daemon = home.start();
    daemon.wait_for_log("check the role, profile or environment that the credentials come from");
    assert_eq!(daemon.get("/readyz").0, 503);
    write_profile(&home, ACCOUNT);
    daemon.wait_until_ready();
    let digest = scene.push("v1");
    scene.wait_for_image(&name(0), &digest);
    assert_eq!(daemon.log().matches("CloudTrail cannot be read").count(), 1, "said once");
    assert!(!daemon.log().contains(SECRET_KEY));
    assert!(daemon.stop().success());
}

#[test]
fn a_missing_permission_is_named_once_stops_nobody_else_and_heals() {
    let scene = Scene::new(2);
    let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
    let home = scene.home(&scene.config(2).replace(&scene.aws.endpoint(), &endpoint));
    let daemon = home.start();
    daemon.wait_until_ready();
    // The body of UpdateService names the service.
    gate.shut(Shut::Refused("\"service\":\"hello-1\"", "AccessDeniedException"));
    let digest = scene.push("v1");
    scene.wait_for_image(&name(0), &digest);
    let denied = r#"ecs_deployd_aws_requests_total{api="ecs",operation="UpdateService",outcome="denied"}"#;
    wait_for("the denial in the metric", || daemon.metric(denied).filter(|count| *count >= 1.0));
    daemon.wait_for_log("allow ecs:UpdateService in the IAM policy of the role");
    assert_eq!(daemon.log().matches("allow ecs:UpdateService").count(), 1, "said once");
    assert_eq!(daemon.metric(denied), Some(1.0), "retried slowly");
    assert_eq!(daemon.get("/readyz").0, 200);
    gate.open();
    // It is tried again once a minute.
    wait_within(PATIENCE * 2, "the other service", || (scene.image(&name(1)).ends_with(&digest)).then_some(()));
    assert!(daemon.stop().success());
}
