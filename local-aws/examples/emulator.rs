//! An emulator for scripts: starts one with the service `web/hello` of the repository `hello`, prints its address, and waits to be killed.
#![expect(clippy::print_stdout, reason = "the address is for whoever started it")]

use std::error::Error;

use local_aws::{MiniStack, Options, image_manifest};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let aws = MiniStack::start(&Options::default())?;
    let client = aws.client("111111111111", "eu-west-1");
    let uri = client.create_repository("hello")?;
    client.put_image("hello", Some("latest"), &image_manifest("v0"))?;
    client.create_cluster("web")?;
    let definition = json!({
        "family": "hello", "containerDefinitions": [{"name": "app", "image": format!("{uri}:latest"), "memory": 64}],
    });
    let revision = client.register_task_definition(&definition)?;
    client.create_service("web", "hello", &revision, 1)?;
    println!("{}", aws.endpoint());
    loop {
        std::thread::park();
    }
}
