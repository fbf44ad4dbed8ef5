//! A disk that is full, or cannot be written, while the real binary runs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use local_aws::Caller;

use crate::daemon::{Daemon, Home, wait_for};
use crate::scene::{Scene, name};

/// A daemon whose state is on a small disk of its own, which nobody else sees: in a mount namespace.
struct OnSmallDisk {
    daemon: Daemon,
    home: Home,
}

impl OnSmallDisk {
    fn start(scene: &Scene, mount: &'static str) -> Self {
        let home = scene.home(&scene.config(1));
        let disk = home.path("disk");
        fs::create_dir_all(&disk).unwrap();
        let text = fs::read_to_string(home.path("config.toml")).unwrap();
        let state = home.path("state.json");
        fs::write(
            home.path("config.toml"),
            text.replace(state.to_str().unwrap(), disk.join("state.json").to_str().unwrap()),
        )
        .unwrap();
        let daemon = home.start_with(&["run"], |command| {
            let binary = command.get_program().to_owned();
            let script = format!("mount -t tmpfs -o {mount} tmpfs \"$1\" && shift && exec \"$@\"");
            let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--map-root-user"] };
            let mut outer = Command::new("unshare");
            outer.args(["--mount"]).args(user).args(["sh", "-c", &script, "sh"]).arg(&disk).arg(binary).arg("run");
            for (key, value) in command.get_envs() {
                match value {
                    Some(value) => outer.env(key, value),
                    None => outer.env_remove(key),
                };
            }
            *command = outer;
            command
        });
        Self { daemon, home }
    }

    /// A file on that disk, as it is seen from here.
    fn file(&self, name: &str) -> PathBuf {
        let disk = self.home.path("disk");
        PathBuf::from(format!("/proc/{}/root{}", self.daemon.id(), disk.join(name).display()))
    }

    fn fill(&self) {
        let error = fs::write(self.file("filler"), vec![0; 1024 * 1024]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }
}

#[test]
fn a_full_disk_stops_deployments_and_heals_without_a_restart() {
    let scene = Scene::new(1);
    let one = OnSmallDisk::start(&scene, "size=256k");
    one.daemon.wait_until_ready();
    wait_for("a state", || one.file("state.json").exists().then_some(()));
    one.fill();
    let before = fs::read(one.file("state.json")).unwrap();
    let digest = scene.push("v1");
    one.daemon.wait_for_log("nothing is deployed until it can");
    assert!(one.daemon.log().contains("has space left"), "what to do is said");
    assert!(one.daemon.metric(r#"ecs_deployd_state_commits_total{outcome="error"}"#).unwrap() >= 1.0);
    assert_eq!(one.daemon.get("/healthz").0, 200);
    let calls = scene.client.recorded_calls(Caller::Others).unwrap();
    assert!(!calls.contains_key("RegisterTaskDefinition") && !calls.contains_key("UpdateService"), "{calls:?}");
    assert_eq!(fs::read(one.file("state.json")).unwrap(), before, "what was there is as it was");
    fs::remove_file(one.file("filler")).unwrap();
    scene.wait_for_image(&name(0), &digest);
    one.daemon.wait_for_log("the state can be written again");
    let calls = scene.client.recorded_calls(Caller::Others).unwrap();
    assert_eq!((calls["RegisterTaskDefinition"], calls["UpdateService"]), (1, 1), "{calls:?}");
    assert!(one.daemon.stop().success());
}

#[test]
fn a_folder_that_is_read_only_is_exit_3_and_says_so() {
    let scene = Scene::new(1);
    let mut one = OnSmallDisk::start(&scene, "ro");
    assert_eq!(one.daemon.ended().code(), Some(3));
    let log = one.daemon.log();
    assert!(log.contains("cannot write the state") && log.contains("Read-only file system"), "{log}");
    assert!(log.contains("check that its folder exists"), "what to do is said: {log}");
}
