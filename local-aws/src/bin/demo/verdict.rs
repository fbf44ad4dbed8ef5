//! Whether the service really rolled, as the local AWS sees it.

use crate::failure::Failure;
use crate::scene::{CLUSTER, CONTAINER, SERVICE};
use local_aws::Client;
use serde_json::Value;

/// What the service runs at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    service: Value,
    task_definition: Value,
}

impl Sight {
    pub(crate) fn take(client: &Client) -> Result<Self, Failure> {
        let service = client.describe_service(CLUSTER, SERVICE)?;
        let arn = text(&service["taskDefinition"]);
        let task_definition = client.describe_task_definition(&arn)?;
        Ok(Self { service, task_definition })
    }

    /// The revision with its family, such as `hello:2`.
    pub(crate) fn revision(&self) -> String {
        let arn = text(&self.service["taskDefinition"]);
        arn.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// Name and image of each container.
    pub(crate) fn images(&self) -> Vec<(String, String)> {
        self.containers().iter().map(|container| (text(&container["name"]), text(&container["image"]))).collect()
    }

    fn containers(&self) -> &[Value] {
        match self.task_definition["taskDefinition"]["containerDefinitions"].as_array() {
            Some(containers) => containers,
            None => &[],
        }
    }

    /// The container's definition with another image.
    fn containers_with(&self, image: &str) -> Vec<Value> {
        let mut containers = self.containers().to_vec();
        for container in &mut containers {
            if container["name"] == CONTAINER {
                container["image"] = image.into();
            }
        }
        containers
    }
}

/// Nothing if the service went from `before` to the pushed digest with nothing else changed; else what
/// is missing.
pub(crate) fn missing(before: &Sight, now: &Sight, digest: &str) -> Option<String> {
    if now.revision() == before.revision() {
        return Some(format!("the service still runs {}", now.revision()));
    }
    let image = now.images().into_iter().find(|(name, _)| name == CONTAINER);
    let image = image.map(|(_, image)| image).unwrap_or_default();
    if !image.ends_with(&format!("@{digest}")) {
        return Some(format!("{CONTAINER} runs {image}, which is not {digest}"));
    }
    if now.containers() != before.containers_with(&image)
        || now.task_definition["tags"] != before.task_definition["tags"]
    {
        return Some(format!("{} differs from {} in more than the image", now.revision(), before.revision()));
    }
    let deployments = now.service["deployments"].as_array();
    match deployments.map(Vec::as_slice) {
        Some([only]) if only["rolloutState"] == "COMPLETED" => None,
        _ => Some(format!("the deployment is not COMPLETED: {}", now.service["deployments"])),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sight(revision: u32, image: &str, memory: u32, state: &str) -> Sight {
        Sight {
            service: json!({
                "taskDefinition": format!("arn:aws:ecs:r:1:task-definition/hello:{revision}"),
                "deployments": [{"rolloutState": state}],
            }),
            task_definition: json!({
                "taskDefinition": {"containerDefinitions": [
                    {"name": "nginx", "image": image, "memory": memory},
                    {"name": "exporter", "image": "e:1"},
                ]},
                "tags": [{"key": "team", "value": "web"}],
            }),
        }
    }

    fn missing_in(now: &Sight) -> Option<String> {
        missing(&sight(1, "n:latest", 128, "COMPLETED"), now, "sha256:abc")
    }

    #[test]
    fn only_the_whole_roll_counts() {
        let rolled = sight(2, "n@sha256:abc", 128, "COMPLETED");
        assert_eq!(missing_in(&rolled), None);
        let images = rolled.images();
        assert_eq!(images[0], ("nginx".to_owned(), "n@sha256:abc".to_owned()));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (now, reason) in [
            (sight(1, "n:latest", 128, "COMPLETED"), "still runs hello:1"),
            (sight(2, "n:latest", 128, "COMPLETED"), "is not sha256:abc"),
            (sight(2, "n@sha256:abc", 64, "COMPLETED"), "more than the image"),
            (sight(2, "n@sha256:abc", 128, "IN_PROGRESS"), "not COMPLETED"),
        ] {
            let missing = missing_in(&now).expect("something is missing");
            assert!(missing.contains(reason), "{missing}");
        }
    }
}
