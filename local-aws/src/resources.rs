//! The few things in ECR, ECS and CloudTrail that a test or the demo needs.

use crate::client::{CLOUDTRAIL, CallError, Client, ECR, ECS, unexpected};
use serde_json::{Value, json};

impl Client {
    /// Makes a repository and gives its URI, the image name without tag or digest.
    pub fn create_repository(&self, name: &str) -> Result<String, CallError> {
        let input = json!({"repositoryName": name});
        let answer = self.call(ECR, "CreateRepository", &input)?;
        text("CreateRepository", &answer, "/repository/repositoryUri")
    }

    /// Pushes a manifest, with a tag or without, and gives its digest.
    pub fn put_image(&self, repository: &str, tag: Option<&str>, manifest: &str) -> Result<String, CallError> {
        let mut input = json!({"repositoryName": repository, "imageManifest": manifest});
        if let Some(tag) = tag {
            input["imageTag"] = tag.into();
        }
        let media_type =
            serde_json::from_str::<Value>(manifest).ok().and_then(|manifest| manifest.get("mediaType").cloned());
        if let Some(media_type) = media_type {
            input["imageManifestMediaType"] = media_type;
        }
        let answer = self.call(ECR, "PutImage", &input)?;
        text("PutImage", &answer, "/image/imageId/imageDigest")
    }

    /// Makes a cluster and gives its ARN.
    pub fn create_cluster(&self, name: &str) -> Result<String, CallError> {
        let answer = self.call(ECS, "CreateCluster", &json!({"clusterName": name}))?;
        text("CreateCluster", &answer, "/cluster/clusterArn")
    }

    /// Registers a revision, given as the input of RegisterTaskDefinition, and gives its ARN.
    pub fn register_task_definition(&self, input: &Value) -> Result<String, CallError> {
        let answer = self.call(ECS, "RegisterTaskDefinition", input)?;
        text("RegisterTaskDefinition", &answer, "/taskDefinition/taskDefinitionArn")
    }

    /// Makes a rolling service and gives its ARN.
    pub fn create_service(
        &self,
        cluster: &str,
        name: &str,
        task_definition: &str,
        desired: u32,
    ) -> Result<String, CallError> {
        let input = json!({
            "cluster": cluster,
            "serviceName": name,
            "taskDefinition": task_definition,
            "desiredCount": desired,
        });
        let answer = self.call(ECS, "CreateService", &input)?;
        text("CreateService", &answer, "/service/serviceArn")
    }

    /// One service as DescribeServices gives it.
    pub fn describe_service(&self, cluster: &str, name: &str) -> Result<Value, CallError> {
        let input = json!({"cluster": cluster, "services": [name]});
        let answer = self.call(ECS, "DescribeServices", &input)?;
        part("DescribeServices", &answer, "/services/0")
    }

    /// The whole answer of DescribeTaskDefinition: `taskDefinition` and, beside it, `tags`.
    pub fn describe_task_definition(&self, arn_or_family: &str) -> Result<Value, CallError> {
        let input = json!({"taskDefinition": arn_or_family, "include": ["TAGS"]});
        self.call(ECS, "DescribeTaskDefinition", &input)
    }

    /// The last 50 events of that name in CloudTrail, newest first.
    pub fn lookup_events(&self, event_name: &str) -> Result<Vec<Value>, CallError> {
        self.lookup(&json!({
            "LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": event_name}],
        }))
    }

    pub(crate) fn lookup(&self, input: &Value) -> Result<Vec<Value>, CallError> {
        let answer = self.call(CLOUDTRAIL, "LookupEvents", input)?;
        match answer["Events"].as_array() {
            Some(events) => Ok(events.clone()),
            None => Err(unexpected("LookupEvents", "/Events", &answer.to_string())),
        }
    }
}

fn part(operation: &str, answer: &Value, pointer: &str) -> Result<Value, CallError> {
    match answer.pointer(pointer) {
        Some(value) => Ok(value.clone()),
        None => Err(unexpected(operation, pointer, &answer.to_string())),
    }
}

fn text(operation: &str, answer: &Value, pointer: &str) -> Result<String, CallError> {
    match answer.pointer(pointer).and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => Err(unexpected(operation, pointer, &answer.to_string())),
    }
}
