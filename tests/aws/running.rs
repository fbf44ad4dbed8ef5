//! The running daemon: pages, signals, systemd.

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::daemon::wait_for;
use crate::gate::{Gate, Shut};
use crate::scene::{Scene, name};

#[test]
fn it_serves_metrics_and_health_and_nothing_else() {
    let scene = Scene::new(1);
    let home = scene.home(&scene.config(1));
    let daemon = home.start();
    daemon.wait_until_ready();
    assert_eq!(daemon.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(daemon.get("/nothing").0, 404);
    let (status, text) = daemon.get("/metrics");
    assert_eq!(status, 200);
    for name in [
        "ecs_deployd_build_info{",
        "ecs_deployd_polls_total{aws=\"default\",outcome=\"ok\"}",
        "ecs_deployd_last_successful_poll_timestamp_seconds{aws=\"default\"}",
        "ecs_deployd_lookup_requests_total{aws=\"default\"}",
        "ecs_deployd_pushes_total{",
        "ecs_deployd_deployments_total{",
        "ecs_deployd_deployments_in_progress{cluster=\"web\",service=\"hello-0\"} 0",
        "ecs_deployd_held{cluster=\"web\",service=\"hello-0\"} 0",
        "ecs_deployd_aws_requests_total{",
        "ecs_deployd_aws_request_duration_seconds_bucket{",
        "ecs_deployd_state_commits_total{outcome=\"ok\"}",
        "ecs_deployd_config_last_reload_successful 1",
        "ecs_deployd_config_last_reload_success_timestamp_seconds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is not in\n{text}");
    }
}

#[test]
fn term_and_int_stop_it_cleanly() {
    let scene = Scene::new(1);
    for signal in [Signal::TERM, Signal::INT] {
        let home = scene.home(&scene.config(1));
        let mut daemon = home.start();
        daemon.wait_until_ready();
        daemon.signal(signal);
        assert_eq!(daemon.ended().code(), Some(0), "{signal:?}");
        assert!(home.path("state.json").exists());
    }
}

#[test]
fn a_second_signal_forces_it() {
    let scene = Scene::new(1);
    let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
    let home = scene.home(&scene.config(1).replace(&scene.aws.endpoint(), &endpoint));
    let mut daemon = home.start();
    daemon.wait_until_ready();
    gate.shut(Shut::Before("DescribeImages"));
    scene.push("v1");
    daemon.wait_for_log("push seen");
    daemon.signal(Signal::TERM);
    daemon.wait_for_log("stopping: waiting for calls under way");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(1));
    assert!(daemon.log().contains("stopped by force"), "{}", daemon.log());
}

#[test]
fn a_reload_takes_a_good_file_and_refuses_a_bad_one() {
    let scene = Scene::new(2);
    let home = scene.home(&scene.config(1));
    let daemon = home.start();
    daemon.wait_until_ready();

    home.configure("[poll]\ninterval = \"never\"\n");
    daemon.signal(Signal::HUP);
    daemon.wait_for_metric("ecs_deployd_config_last_reload_successful", 0.0);
    daemon.wait_for_log("poll.interval: expected a duration");

    home.configure(&scene.config(2));
    daemon.signal(Signal::HUP);
    daemon.wait_for_metric("ecs_deployd_config_last_reload_successful", 1.0);
    let digest = scene.push("v1");
    scene.wait_for_image(&name(0), &digest);
    scene.wait_for_image(&name(1), &digest);
}

#[test]
fn systemd_is_told() {
    let scene = Scene::new(1);
    let home = scene.home(&scene.config(1));
    let socket = home.path("notify");
    let receiver = UnixDatagram::bind(&socket).unwrap();
    receiver.set_read_timeout(Some(crate::daemon::PATIENCE)).unwrap();
    let told = |wanted: &str| {
        let mut buffer = [0; 4096];
        wait_for(wanted, || {
            let length = receiver.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            text.lines().any(|line| line == wanted).then_some(text)
        })
    };
    let daemon =
        home.start_with(&["run"], |command| command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "900000"));
    let text = told("READY=1");
    assert!(text.contains("STATUS=watching 1 repository for 1 service"), "{text}");
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    daemon.signal(Signal::HUP);
    assert!(told("RELOADING=1").contains("MONOTONIC_USEC="));
    told("READY=1");
    daemon.signal(Signal::TERM);
    told("STOPPING=1");
}

#[test]
fn the_watchdog_is_fed_while_somebody_looks_at_the_page_all_the_time() {
    let scene = Scene::new(1);
    let home = scene.home(&scene.config(1));
    let socket = home.path("notify");
    let receiver = UnixDatagram::bind(&socket).unwrap();
    receiver.set_nonblocking(true).unwrap();
    // It is fed every three seconds, and the page is made anew once a second at most.
    let daemon =
        home.start_with(&["run"], |command| command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "9000000"));
    daemon.wait_until_ready();
    let (mut fed, mut looks) = (0, 0);
    wait_for("the watchdog's word", || {
        assert_eq!(daemon.get("/api/v1/status").0, 200);
        looks += 1;
        let mut buffer = [0; 4096];
        while let Ok(length) = receiver.recv(&mut buffer) {
            fed += usize::from(String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == "WATCHDOG=1"));
        }
        (fed >= 2).then_some(())
    });
    assert!(looks >= 5, "{looks}");
    assert!(daemon.stop().success());
}

#[test]
fn it_is_not_ready_without_aws_and_becomes_ready_by_itself() {
    let scene = Scene::new(1);
    let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
    gate.shut(Shut::Before(""));
    let home = scene.home(&scene.config(1).replace(&scene.aws.endpoint(), &endpoint));
    let daemon = home.start();
    let (status, text) = daemon.get("/readyz");
    assert_eq!((status, text.as_str()), (503, "aws context default: not polled successfully yet\n"));
    assert_eq!(daemon.get("/healthz").0, 200, "a daemon that waits for AWS works");
    gate.open();
    daemon.wait_until_ready();
}

#[test]
fn the_task_definitions_of_the_daemon_itself_can_be_registered() {
    let scene = Scene::new(0);
    for file in ["service", "sidecar"] {
        let text = std::fs::read_to_string(format!("config/ecs/{file}.json")).unwrap();
        let definition: serde_json::Value = serde_json::from_str(&text).unwrap();
        scene.client.register_task_definition(&definition).unwrap();
        let containers = definition["containerDefinitions"].as_array().unwrap();
        let daemon = containers.iter().find(|container| container["name"] == "ecs-deployd").unwrap();
        assert_eq!(
            (&daemon["readonlyRootFilesystem"], &daemon["user"]),
            (&true.into(), &"65532:65532".into()),
            "{file}"
        );
        assert_eq!(
            daemon["healthCheck"]["command"][1], "/usr/local/bin/ecs-deployd",
            "{file}: as the Dockerfile has it"
        );
        let volume = daemon["mountPoints"][0]["sourceVolume"].clone();
        assert!(definition["volumes"].as_array().unwrap().iter().any(|one| one["name"] == volume), "{file}");
    }
}
