//! The metrics of a daemon that has done everything that it counts.

use crate::daemon::{Home, wait_for};
use crate::scene::Scene;

/// The home of a daemon that has deployed once with everything configured, and what its `/metrics` answered then.
pub fn exposed() -> (Home, String) {
    let scene = Scene::new(1);
    let receiver = "[[notify]]\nname = \"nobody\"\nwebhook = \"http://127.0.0.1:1\"\n";
    let (_, config) = scene.with_queue(&scene.config(1));
    let home = Home::new(&(config + receiver + "[audit]\n"));
    let daemon = home.start();
    daemon.wait_until_ready();
    scene.push("v1");
    daemon.wait_for_log("outcome=\"completed\"");
    let received = r#"ecs_deployd_last_successful_queue_receive_timestamp_seconds{aws="default"}"#;
    wait_for("an answer of the queue", || daemon.metric(received));
    let (_, text) = daemon.get("/metrics");
    drop(daemon);
    (home, text)
}
