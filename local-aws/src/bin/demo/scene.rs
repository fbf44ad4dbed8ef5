//! What stands in the local AWS before the daemon comes.

use crate::failure::Failure;
use local_aws::{Client, image_manifest};
use serde_json::{Value, json};

pub(crate) const ACCOUNT: &str = "111111111111";
pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const REPOSITORY: &str = "hello-nginx";
pub(crate) const TAG: &str = "latest";
pub(crate) const CLUSTER: &str = "web";
pub(crate) const SERVICE: &str = "hello";
pub(crate) const QUEUE: &str = "pushes";
pub(crate) const CONTAINER: &str = "nginx";
const DESIRED: u32 = 2;

/// Pushes one version of the image under the tag, and gives its digest.
pub(crate) fn push(client: &Client, version: &str) -> Result<String, Failure> {
    Ok(client.put_image(REPOSITORY, Some(TAG), &image_manifest(version))?)
}

/// Puts the event about a push into the queue, as EventBridge would.
pub(crate) fn tell(client: &Client, queue: &str, version: &str, digest: &str) -> Result<(), Failure> {
    let (id, time) = (format!("demo-{version}-{}", std::process::id()), now());
    let event = client.push_event(&id, &time, REPOSITORY, TAG, digest);
    Ok(client.send_message(queue, &event.to_string())?)
}

/// The time in whole seconds, as AWS writes it.
fn now() -> String {
    let second = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(second).map(|at| at.to_string()).unwrap_or_default()
}

/// The same push as the input of PutImage.
pub(crate) fn push_input(version: &str) -> Value {
    json!({
        "repositoryName": REPOSITORY,
        "imageTag": TAG,
        "imageManifest": image_manifest(version),
    })
}

/// Makes the repository, the service that runs the image, and the queue. Gives the queue's URL.
pub(crate) fn set(client: &Client) -> Result<String, Failure> {
    let uri = client.create_repository(REPOSITORY)?;
    push(client, "v1")?;
    client.create_cluster(CLUSTER)?;
    let arn = client.register_task_definition(&task_definition(&format!("{uri}:{TAG}")))?;
    client.create_service(CLUSTER, SERVICE, &arn, DESIRED)?;
    Ok(client.create_queue(QUEUE)?)
}

/// Has more in it than one image, so that one sees that nothing else changes.
fn task_definition(image: &str) -> Value {
    json!({
        "family": SERVICE,
        "networkMode": "bridge",
        "containerDefinitions": [
            {
                "name": CONTAINER,
                "image": image,
                "memory": 128,
                "essential": true,
                "environment": [{"name": "GREETING", "value": "hello"}],
                "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}],
            },
            {
                "name": "exporter",
                "image": "public.ecr.aws/example/nginx-exporter:1.4",
                "memory": 32,
                "essential": false,
            },
        ],
        "tags": [{"key": "team", "value": "web"}],
    })
}
