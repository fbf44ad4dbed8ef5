//! What the demo tells about what it saw.

use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::folder::DemoFolder;
use crate::metrics::Sample;
use crate::scene::{self, ACCOUNT, CLUSTER, REGION, SERVICE};
use crate::screen::Screen;
use crate::verdict::Sight;
use local_aws::{ECR, MiniStack};
use std::fs;

/// The service before anything happens.
pub(crate) fn scene(screen: &Screen, sight: &Sight) {
    screen.note(&format!("cluster {CLUSTER}, service {SERVICE}: {}", sight.revision()));
    for (name, image) in sight.images() {
        screen.note(&format!("  {name:9} {image}"));
    }
}

/// The service before and after.
pub(crate) fn roll(screen: &Screen, before: &Sight, after: &Sight) {
    screen.note(&format!("task definition: {} -> {}", before.revision(), after.revision()));
    for ((name, old), (_, new)) in before.images().into_iter().zip(after.images()) {
        if old == new {
            screen.note(&format!("  {name:9} {old} (as before)"));
        } else {
            screen.note(&format!("  {name:9} {old}\n         -> {new}"));
        }
    }
}

/// The metrics before and after.
pub(crate) fn metrics(screen: &Screen, before: &Sample, after: &Sample) {
    screen.note("metrics that moved:");
    for line in after.moved_since(before) {
        screen.note(&format!("  {line}"));
    }
}

/// Where to look and what to do while the daemon runs.
pub(crate) fn ways_on(screen: &Screen, folder: &DemoFolder, aws: &MiniStack, daemon: &Daemon) -> Result<(), Failure> {
    let push = folder.join("push-v3.json");
    fs::write(&push, scene::push_input("v3").to_string()).map_err(Failure::io(format!("write {}", push.display())))?;
    let (url, endpoint) = (daemon.url(), aws.endpoint());
    screen.note(&format!(
        r"status page    {url}/
metrics        curl -s {url}/metrics
health         curl -s {url}/healthz
state          {state}
configuration  {config}
the service    AWS_ACCESS_KEY_ID={ACCOUNT} AWS_SECRET_ACCESS_KEY=x aws --endpoint-url {endpoint} \
                 --region {REGION} ecs describe-services --cluster {CLUSTER} --services {SERVICE}
push again     curl -s {endpoint}/ -H 'X-Amz-Target: {ECR}.PutImage' \
                 -H 'Authorization: AWS4-HMAC-SHA256 Credential={ACCOUNT}/20260101/{REGION}/ecr/aws4_request' \
                 -H 'Content-Type: application/x-amz-json-1.1' -d @{push}",
        state = folder.join("state.json").display(),
        config = folder.join("config.toml").display(),
        push = push.display(),
    ));
    Ok(())
}
