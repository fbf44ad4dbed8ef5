//! A repository in one account and Region, its service in another, by a role that is assumed there.

use local_aws::{CLOUDTRAIL, Client};
use serde_json::{Value, json};

use crate::daemon::Home;
use crate::gate::{Gate, Shut};
use crate::scene::Scene;

const OTHER_ACCOUNT: &str = "222222222222";
const OTHER_REGION: &str = "us-east-1";

#[test]
fn a_service_in_another_account_is_rolled_by_a_role_of_that_account() {
    let scene = Scene::new(0);
    let there = scene.aws.client(OTHER_ACCOUNT, OTHER_REGION);
    there.create_cluster("prod").unwrap();
    let definition = json!({
        "family": "shop", "containerDefinitions": [{"name": "app", "image": format!("{}:latest", scene.uri), "memory": 64}],
    });
    let first = there.register_task_definition(&definition).unwrap();
    there.create_service("prod", "shop", &first, 2).unwrap();
    let (gate, door) = Gate::before(&scene.aws.endpoint());
    let context = format!(
        "[aws.production]\nregion = \"{OTHER_REGION}\"\nendpoint_url = \"{door}\"\n\
         role_arn = \"arn:aws:iam::{OTHER_ACCOUNT}:role/deployer\"\nexternal_id = \"6f1c7d1e\"\n"
    );
    let service = "[[repository.service]]\ncluster = \"prod\"\nservice = \"shop\"\naws = \"production\"\n";
    let home = Home::new(&format!("{}{service}{context}", scene.config(0)));

    // The role's trust policy goes by these two.
    gate.shut(Shut::Refused("RoleSessionName=ecs-deployd&ExternalId=6f1c7d1e", "AccessDenied"));
    let (code, _) = home.run(&["check"]);
    assert_eq!(code, 1);
    assert!(gate.struck() > 0, "the role is assumed under the program's name, with the external id");
    gate.open();
    let (code, log) = home.run(&["check"]);
    assert_eq!(code, 0, "{log}");
    let daemon = home.start();
    daemon.wait_until_ready();
    let digest = scene.push("v1");
    daemon
        .wait_for_metric("ecs_deployd_deployments_total{cluster=\"prod\",outcome=\"completed\",service=\"shop\"}", 1.0);

    let set_to = there.describe_service("prod", "shop").unwrap()["taskDefinition"].clone();
    assert!(set_to.as_str().unwrap().starts_with(&format!("arn:aws:ecs:{OTHER_REGION}:{OTHER_ACCOUNT}:")), "{set_to}");
    let revision = there.describe_task_definition(set_to.as_str().unwrap()).unwrap();
    let image = &revision["taskDefinition"]["containerDefinitions"][0]["image"];
    // The image stays in the registry that it was pushed to.
    assert_eq!(image, &json!(format!("{}@{digest}", scene.uri)));
    let events = |client: &Client, name: &str| -> Vec<Value> {
        let asked = json!({"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": name}]});
        let answer = client.call(CLOUDTRAIL, "LookupEvents", &asked).unwrap();
        let records = answer["Events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["CloudTrailEvent"].as_str().unwrap().to_owned());
        records.map(|text| serde_json::from_str(&text).unwrap()).collect()
    };
    assert_eq!(events(&there, "UpdateService").len(), 1);
    assert_eq!(
        events(&scene.client, "UpdateService"),
        Vec::<Value>::new(),
        "nothing was changed in the repository's account"
    );
}
