//! A repository in one account and Region, its service in another, by a role that is assumed there.

use local_aws::{CLOUDTRAIL, Client};
use serde_json::{Value, json};

use crate::commands::run;
use crate::daemon::wait_for;
use crate::gate::{Gate, Shut};
use crate::hook::Hook;
use crate::scene::Scene;

const OTHER_ACCOUNT: &str = "222222222222";
const OTHER_REGION: &str = "us-east-1";

/// A service of the other account that runs the scene's image.
pub fn service_elsewhere(scene: &Scene, cluster: &str, service: &str) -> Client {
    let there = scene.aws.client(OTHER_ACCOUNT, OTHER_REGION);
    there.create_cluster(cluster).unwrap();
    let definition = json!({
        "family": "shop", "containerDefinitions": [{"name": "app", "image": format!("{}:latest", scene.uri), "memory": 64}],
    });
    let first = there.register_task_definition(&definition).unwrap();
    there.create_service(cluster, service, &first, 2).unwrap();
    there
}

#[test]
fn a_service_in_another_account_is_rolled_by_a_role_of_that_account() {
    let scene = Scene::new(0);
    let there = service_elsewhere(&scene, "prod", "shop");
    let (gate, door) = Gate::before(&scene.aws.endpoint());
    let context = format!(
        "[aws.production]\nregion = \"{OTHER_REGION}\"\nendpoint_url = \"{door}\"\n\
         role_arn = \"arn:aws:iam::{OTHER_ACCOUNT}:role/deployer\"\nexternal_id = \"6f1c7d1e\"\n"
    );
    let service = "[[repository.service]]\ncluster = \"prod\"\nservice = \"shop\"\naws = \"production\"\n";
    let home = scene.home(&format!("{}{service}{context}", scene.config(0)));

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

#[test]
fn services_of_one_name_in_two_accounts_are_told_apart() {
    let scene = Scene::new(1);
    service_elsewhere(&scene, "web", "hello-0");
    let hook = Hook::start();
    let home = scene.home(&format!(
        "{}[[repository.service]]\ncluster = \"web\"\nservice = \"hello-0\"\naws = \"production\"\n\
         [aws.production]\nregion = \"{OTHER_REGION}\"\nendpoint_url = \"{}\"\nrole_arn = \"arn:aws:iam::{OTHER_ACCOUNT}:role/deployer\"\n\
         [[notify]]\nname = \"duty\"\nwebhook = \"http://{}/\"\nservices = [\"production/*\"]\n",
        scene.config(1),
        scene.aws.endpoint(),
        hook.address
    ));
    let names = |text: &str| -> Vec<String> {
        let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let services = value["services"].as_array().unwrap().iter();
        services.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let daemon = home.start();
    daemon.wait_until_ready();
    scene.push("v1");
    let completed = "ecs_deployd_deployments_total{cluster=\"web\",outcome=\"completed\",service=\"hello-0\"}";
    daemon.wait_for_metric(completed, 2.0);

    for command in ["status", "history", "plan"] {
        let (code, text, _) = run(&home, &[command, "--json"]);
        assert_eq!(
            (code, names(&text)),
            (0, vec!["default/web/hello-0".to_owned(), "production/web/hello-0".to_owned()])
        );
        let (_, text, _) = run(&home, &[command]);
        assert!(text.contains("default/web/hello-0") && text.contains("production/web/hello-0"), "{text}");
    }
    let (_, page) = daemon.get("/");
    assert!(
        page.contains("<h3>default/web/hello-0</h3>") && page.contains("<h3>production/web/hello-0</h3>"),
        "{page}"
    );
    let (code, answer) = home.run(&["hold", "web/hello-0"]);
    assert!(code == 1 && answer.contains("say default/web/hello-0 or production/web/hello-0"), "{code} {answer}");
    let (code, answer) = home.run(&["hold", "production/web/hello-0"]);
    assert_eq!(code, 0, "{answer}");
    let heard = wait_for("the notification", || hook.received.lock().unwrap().requests.first().cloned());
    assert_eq!(heard.2["title"], json!("production/web/hello-0: deployed (hello:latest)"));
    let log = daemon.log();
    for aws in ["default", "production"] {
        let line = format!("deployment ended aws={aws} cluster=web service=hello-0");
        assert!(log.contains(&line), "{line} is not in {log}");
    }
    daemon.stop();
    assert_eq!(hook.received.lock().unwrap().requests.len(), 1, "the other one was not asked for");
}
