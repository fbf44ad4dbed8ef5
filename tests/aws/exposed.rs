//! The metrics of a daemon that has done everything that it counts.

use crate::daemon::Home;
use crate::scene::Scene;

/// The home of a daemon that has deployed once with everything configured, and what its `/metrics` answered then.
pub fn exposed() -> (Home, String) {
    let scene = Scene::new(1);
    let receiver = "[[notify]]\nname = \"nobody\"\nwebhook = \"http://127.0.0.1:1\"\n";
    let home = Home::new(&(scene.config(1) + receiver + "[audit]\n"));
    let daemon = home.start();
    daemon.wait_until_ready();
    scene.push("v1");
    daemon.wait_for_log("outcome=\"completed\"");
    let (_, text) = daemon.get("/metrics");
    drop(daemon);
    (home, text)
}
