//! Lossless copies of task definitions.
//!
//! A task definition is kept as the JSON that AWS sent. A new revision is that JSON less the members which AWS itself sets, with other
//! images in the matching containers: a short *deny* list, so that a member which this program (or the SDK) has never heard of survives.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::image::{ImageReference, Repository};
use super::types::TaskDefinitionArn;

/// The members of DescribeTaskDefinition that RegisterTaskDefinition does not take (ECS API reference).
const DESCRIBE_ONLY: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "deregisteredAt",
    "deleteRequestedAt",
    "registeredBy",
];

/// A described task definition, as AWS sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskDefinition {
    arn: TaskDefinitionArn,
    active: bool,
    body: Map<String, Value>,
    tags: Vec<Value>,
}

/// Why a described task definition cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The answer has no `taskDefinition` object.
    #[error("the answer holds no taskDefinition")]
    Empty,
    /// The ARN is missing or wrong.
    #[error("the task definition has no usable ARN")]
    NoArn,
    /// There are no container definitions.
    #[error("the task definition has no containerDefinitions")]
    NoContainers,
}

impl TaskDefinition {
    /// Reads the answer of DescribeTaskDefinition (with `include = ["TAGS"]`): `{"taskDefinition": {...}, "tags": [...]}`.
    ///
    /// # Errors
    /// [`Unusable`] when a part without which nothing can be done is missing.
    pub fn from_answer(mut answer: Value) -> Result<Self, Unusable> {
        let tags = match answer["tags"].take() {
            Value::Array(tags) => tags,
            _ => Vec::new(),
        };
        let Value::Object(body) = answer["taskDefinition"].take() else { return Err(Unusable::Empty) };
        let arn = body
            .get("taskDefinitionArn")
            .and_then(Value::as_str)
            .and_then(|arn| TaskDefinitionArn::parse(arn).ok())
            .ok_or(Unusable::NoArn)?;
        if !body.get("containerDefinitions").is_some_and(Value::is_array) {
            return Err(Unusable::NoContainers);
        }
        let active = body.get("status").and_then(Value::as_str).is_none_or(|status| status == "ACTIVE");
        Ok(Self { arn, active, body, tags })
    }

    /// Which revision this is.
    #[must_use]
    pub fn arn(&self) -> &TaskDefinitionArn {
        &self.arn
    }

    /// Whether a service may be set to it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Name and image of each container.
    pub fn containers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.body
            .get("containerDefinitions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|container| Some((container["name"].as_str()?, container["image"].as_str()?)))
    }

    /// Whether a container says how to find out that it works.
    #[must_use]
    pub fn has_health_check(&self) -> bool {
        let containers = self.body.get("containerDefinitions").and_then(Value::as_array);
        let checks = |container: &Value| container.get("healthCheck").is_some_and(|check| !check.is_null());
        containers.into_iter().flatten().any(checks)
    }

    /// Whether each of its tasks has a network interface of its own, and with it subnets and security groups.
    #[must_use]
    pub fn has_own_network(&self) -> bool {
        self.body.get("networkMode").is_some_and(|mode| mode == "awsvpc")
    }

    /// Where the `awslogs` driver writes the log of a container: its group, and what the names of its streams begin with.
    #[must_use]
    pub fn log_of(&self, container: &str) -> Option<(String, Option<String>)> {
        let mut containers = self.body.get("containerDefinitions")?.as_array()?.iter();
        let log = &containers.find(|one| one["name"] == container)?["logConfiguration"];
        let option = |name: &str| log["options"][name].as_str().map(str::to_owned);
        if log["logDriver"] != "awslogs" {
            return None;
        }
        Some((option("awslogs-group")?, option("awslogs-stream-prefix")))
    }

    /// The roles that whoever registers a copy passes to ECS, each as an ARN or as the bare name that ECS takes in place of one.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        ["taskRoleArn", "executionRoleArn"].into_iter().filter_map(|member| self.body.get(member)?.as_str())
    }

    /// Whether a copy is registered with tags: those of the original, less the ones that are AWS's own.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        self.own_tags().next().is_some()
    }

    /// The tags that can be set. Keys that begin with `aws:` are AWS's own and cannot be (ECS API reference, Tag).
    fn own_tags(&self) -> impl Iterator<Item = &Value> {
        self.tags
            .iter()
            .filter(|tag| !tag["key"].as_str().is_some_and(|key| key.to_ascii_lowercase().starts_with("aws:")))
    }

    /// The image that a container names.
    #[must_use]
    pub fn image_of(&self, container: &str) -> Option<&str> {
        self.containers().find(|(name, _)| *name == container).map(|(_, image)| image)
    }

    /// The containers that get a new image: the one named, or all whose image comes from the repository.
    #[must_use]
    pub fn matching(&self, repository: &Repository, container: Option<&str>) -> Vec<(&str, &str)> {
        self.containers()
            .filter(|(name, image)| match container {
                Some(wanted) => *name == wanted,
                None => ImageReference::split(image).is_from(repository),
            })
            .collect()
    }

    /// The request that registers a copy with other images.
    #[must_use]
    pub fn with_images(&self, images: &BTreeMap<String, String>) -> Registration {
        let mut body = self.body.clone();
        for member in DESCRIBE_ONLY {
            body.remove(member);
        }
        for container in body.get_mut("containerDefinitions").and_then(Value::as_array_mut).into_iter().flatten() {
            let image = container["name"].as_str().and_then(|name| images.get(name));
            if let Some(image) = image {
                container["image"] = Value::String(image.clone());
            }
        }
        let tags: Vec<Value> = self.own_tags().cloned().collect();
        if !tags.is_empty() {
            body.insert("tags".to_owned(), Value::Array(tags));
        }
        Registration { body: Value::Object(body) }
    }

    /// Whether registering `wanted` may be what made this revision: it says the same.
    ///
    /// Members that are empty do not count, for AWS leaves them out of, or adds them to, what it describes. Neither do the tags, which can
    /// be changed later.
    #[must_use]
    pub fn says(&self, wanted: &Registration) -> bool {
        self.with_images(&BTreeMap::new()).essence() == wanted.essence()
    }
}

/// The body of a RegisterTaskDefinition request.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    body: Value,
}

impl Registration {
    /// The JSON to send.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.body
    }

    fn essence(&self) -> Value {
        let mut body = without_empty(&self.body);
        if let Some(members) = body.as_object_mut() {
            members.remove("tags");
        }
        body
    }
}

fn without_empty(value: &Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(key, value)| (key.clone(), without_empty(value)))
                .filter(|(_, value)| !is_empty(value))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_empty).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::test_support::registry;
    use crate::domain::types::RepositoryName;

    fn described() -> Value {
        json!({
            "taskDefinition": {
                "taskDefinitionArn": "arn:aws:ecs:eu-west-1:111111111111:task-definition/hello:7",
                "family": "hello", "revision": 7, "status": "ACTIVE", "registeredAt": 1.5, "registeredBy": "x",
                "requiresAttributes": [{"name": "a"}], "compatibilities": ["EC2"],
                "deregisteredAt": 1, "deleteRequestedAt": 2,
                "cpu": "256", "memory": "512", "futureMember": {"deep": [1, {"x": null}]},
                "containerDefinitions": [
                    {"name": "api", "image": "111111111111.dkr.ecr.eu-west-1.amazonaws.com/api:1", "environment": [{"name": "A", "value": ""}], "futureToo": 1.25},
                    {"name": "worker", "image": "111111111111.dkr.ecr.eu-west-1.amazonaws.com/api-worker:1"},
                    {"name": "envoy", "image": "envoy@sha256:00"},
                ],
            },
            "tags": [{"key": "team", "value": "a"}, {"key": "aws:cloudformation:stack", "value": "s"}],
        })
    }

    fn repository() -> Repository {
        Repository { registry: registry(), name: RepositoryName::parse("api").unwrap() }
    }

    #[test]
    fn only_the_matching_image_differs_and_unknown_members_survive() {
        let definition = TaskDefinition::from_answer(described()).unwrap();
        assert_eq!(definition.matching(&repository(), None).len(), 1);
        let images = BTreeMap::from([("api".to_owned(), "new".to_owned())]);
        let registration = definition.with_images(&images);

        let mut expected = described()["taskDefinition"].clone();
        for member in DESCRIBE_ONLY {
            expected.as_object_mut().unwrap().remove(member);
        }
        expected["containerDefinitions"][0]["image"] = json!("new");
        expected["tags"] = json!([{"key": "team", "value": "a"}]);
        assert_eq!(registration.body(), &expected);
    }

    #[test]
    fn a_named_container_matches_whatever_its_image_is() {
        let definition = TaskDefinition::from_answer(described()).unwrap();
        assert_eq!(definition.matching(&repository(), Some("envoy")), [("envoy", "envoy@sha256:00")]);
        assert!(definition.matching(&repository(), Some("absent")).is_empty());
    }

    #[test]
    fn a_registered_copy_is_recognised_and_another_is_not() {
        let definition = TaskDefinition::from_answer(described()).unwrap();
        let images = BTreeMap::from([("api".to_owned(), "new".to_owned())]);
        let wanted = definition.with_images(&images);
        let mut copy = described();
        copy["taskDefinition"]["taskDefinitionArn"] =
            json!("arn:aws:ecs:eu-west-1:111111111111:task-definition/hello:8");
        copy["taskDefinition"]["containerDefinitions"][0]["image"] = json!("new");
        copy["taskDefinition"]["volumes"] = json!([]);
        copy["taskDefinition"]["pidMode"] = json!("");
        copy["tags"] = json!([]);
        assert!(TaskDefinition::from_answer(copy.clone()).unwrap().says(&wanted));
        copy["taskDefinition"]["memory"] = json!("1024");
        assert!(!TaskDefinition::from_answer(copy).unwrap().says(&wanted));
        assert!(!definition.says(&wanted));
    }

    #[test]
    fn an_answer_without_its_parts_is_refused() {
        assert_eq!(TaskDefinition::from_answer(json!({})), Err(Unusable::Empty));
        assert_eq!(TaskDefinition::from_answer(json!({"taskDefinition": {}})), Err(Unusable::NoArn));
        let mut answer = described();
        answer["taskDefinition"]["containerDefinitions"] = Value::Null;
        assert_eq!(TaskDefinition::from_answer(answer), Err(Unusable::NoContainers));
    }
}
