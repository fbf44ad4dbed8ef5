//! The daemon's configuration for the demo.

use crate::scene::{CLUSTER, REGION, REPOSITORY, SERVICE, TAG};
use std::path::Path;

/// What changes from one demo to the next.
pub(crate) struct Places<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) queue: &'a str,
    pub(crate) state: &'a Path,
    pub(crate) socket: &'a Path,
    pub(crate) http_port: u16,
}

/// The file's text. The intervals are as short as they may be, since somebody is watching.
pub(crate) fn text(places: &Places<'_>) -> String {
    let Places { endpoint, queue, http_port, .. } = places;
    let state = quoted(places.state);
    let socket = quoted(places.socket);
    format!(
        r#"# Written by `cargo demo`.
[aws.default]
region = "{REGION}"
endpoint_url = "{endpoint}"
queue = "{queue}"

[poll]
interval = "1s"

[state]
path = {state}

[http]
listen = "127.0.0.1:{http_port}"

[control]
socket = {socket}

[deploy]
observe_interval = "1s"

[[repository]]
name = "{REPOSITORY}"
tags = ["{TAG}"]

[[repository.service]]
cluster = "{CLUSTER}"
service = "{SERVICE}"

# The local AWS runs no containers: it ends the task after a second, with exit code 0.
[[repository.service.before]]
command = ["./manage.py", "migrate"]
"#
    )
}

/// A TOML string. JSON's escapes are a part of TOML's.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_all_places() {
        let text = text(&Places {
            endpoint: "http://127.0.0.1:1234",
            queue: "http://127.0.0.1:1234/111111111111/pushes",
            state: Path::new("/a \"b\"/state.json"),
            socket: Path::new("/a/control.sock"),
            http_port: 4321,
        });
        for line in [
            "endpoint_url = \"http://127.0.0.1:1234\"",
            "queue = \"http://127.0.0.1:1234/111111111111/pushes\"",
            "path = \"/a \\\"b\\\"/state.json\"",
            "listen = \"127.0.0.1:4321\"",
            "socket = \"/a/control.sock\"",
            "name = \"hello-nginx\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
