//! Staging in one account and production in another, each with a repository of its own: production gets staging's digest out of its own.

use local_aws::{Client, image_manifest};
use serde_json::{Value, json};

use crate::commands::run;
use crate::daemon::{Home, wait_for};
use crate::scene::{Scene, name};

const OTHER_ACCOUNT: &str = "222222222222";
const OTHER_REGION: &str = "us-east-1";

/// The account of production, with the repository `hello` and the service `prod/shop`, which runs what staging runs.
fn production(scene: &Scene) -> (Client, String) {
    let there = scene.aws.client(OTHER_ACCOUNT, OTHER_REGION);
    let uri = there.create_repository("hello").unwrap();
    let first = there.put_image("hello", Some("latest"), &image_manifest("v0")).unwrap();
    there.create_cluster("prod").unwrap();
    let container = json!({"name": "app", "image": format!("{uri}@{first}"), "memory": 64});
    let definition = json!({"family": "shop", "containerDefinitions": [container]});
    let revision = there.register_task_definition(&definition).unwrap();
    there.create_service("prod", "shop", &revision, 2).unwrap();
    (there, uri)
}

fn config(scene: &Scene) -> String {
    format!(
        "{}[[repository]]\nname = \"hello\"\naws = \"production\"\ntags = [\"latest\"]\n\
         [[repository.service]]\naws = \"production\"\ncluster = \"prod\"\nservice = \"shop\"\nafter = [\"web/{}\"]\nbake = \"2s\"\n\
         [aws.production]\nregion = \"{OTHER_REGION}\"\nendpoint_url = \"{}\"\nmax_lookups_per_second = 2\n\
         role_arn = \"arn:aws:iam::{OTHER_ACCOUNT}:role/deployer\"\n",
        scene.config(1),
        name(0),
        scene.aws.endpoint()
    )
}

/// The image that production is set to.
fn image(there: &Client) -> String {
    let service = there.describe_service("prod", "shop").unwrap();
    let revision = there.describe_task_definition(service["taskDefinition"].as_str().unwrap()).unwrap();
    revision["taskDefinition"]["containerDefinitions"][0]["image"].as_str().unwrap().to_owned()
}

/// The entry of production in the answer of `status` or `plan`.
fn entry(home: &Home, command: &str) -> Value {
    let (code, text, errors) = run(home, &[command, "--json"]);
    assert_eq!(code, 0, "{errors}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let services = answer["services"].as_array().unwrap();
    services.iter().find(|one| one["service"] == "shop").unwrap().clone()
}

/// What production waits for, once the reason says this.
fn waits_for(home: &Home, part: &str) -> Value {
    wait_for(part, || {
        let waiting = entry(home, "status")["waiting"].clone();
        waiting["reason"].as_str().is_some_and(|reason| reason.contains(part)).then_some(waiting)
    })
}

#[test]
fn production_in_another_account_gets_the_digest_that_staging_proved_out_of_its_own_repository() {
    let scene = Scene::new(1);
    let (there, uri) = production(&scene);
    let before = image(&there);
    let home = scene.home(&config(&scene));
    let daemon = home.start();
    daemon.wait_until_ready();

    // Staging runs it, and nobody has copied it.
    let v1 = scene.push("v1");
    scene.wait_for_image(&name(0), &v1);
    let missing = format!("web/{} runs {v1}, and no push of it to the repository production/hello was seen", name(0));
    let waiting = waits_for(&home, &missing);
    assert_eq!((&waiting["gate"], &waiting["digest"]), (&json!("after"), &json!(v1)));
    assert_eq!(entry(&home, "plan")["waiting"]["reason"], waiting["reason"]);
    let (_, text, _) = run(&home, &["plan"]);
    assert!(text.contains(&missing), "{text}");
    let (_, text, _) = run(&home, &["status"]);
    assert!(text.contains("waits (after)") && text.contains(&missing), "{text}");
    let (_, page) = daemon.get("/");
    assert!(page.contains(&missing), "{page}");
    daemon.wait_for_metric("ecs_deployd_waiting{cluster=\"prod\",gate=\"after\",service=\"shop\"}", 1.0);

    // Something else in production's repository is not what staging proved.
    let other = there.put_image("hello", Some("latest"), &image_manifest("other")).unwrap();
    let waiting = waits_for(&home, &format!("web/{} does not run it", name(0)));
    assert_eq!(waiting["digest"], json!(other));
    assert_eq!(image(&there), before);

    // The copy is.
    assert_eq!(there.put_image("hello", Some("latest"), &image_manifest("v1")).unwrap(), v1);
    wait_for("the copy", || (image(&there) == format!("{uri}@{v1}")).then_some(()));
    daemon
        .wait_for_metric("ecs_deployd_deployments_total{cluster=\"prod\",outcome=\"completed\",service=\"shop\"}", 1.0);
    assert_eq!(entry(&home, "status")["waiting"], Value::Null);

    // A copy that comes first waits until staging has proved it.
    let v2 = there.put_image("hello", Some("latest"), &image_manifest("v2")).unwrap();
    let waiting = waits_for(&home, &format!("web/{} does not run it", name(0)));
    assert_eq!(waiting["digest"], json!(v2));
    let (_, text, _) = run(&home, &["plan"]);
    assert!(text.contains("waits"), "{text}");
    assert_eq!(image(&there), format!("{uri}@{v1}"));
    assert_eq!(scene.push("v2"), v2);
    wait_for("what staging proved", || (image(&there) == format!("{uri}@{v2}")).then_some(()));
    assert_eq!(scene.image(&name(0)), format!("{}@{v2}", scene.uri));
    daemon.stop();
}
