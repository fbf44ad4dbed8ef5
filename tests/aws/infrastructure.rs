//! `config/cloudformation/`, created for real in the emulator, and the daemon run as what it made says.

use std::path::Path;

use local_aws::{ECS, Part};
use serde_json::{Value, json};

use crate::commands::run;
use crate::daemon::{Daemon, Home, wait_for};
use crate::scene::{ACCOUNT, REGION, Scene, name};

const EVENTS: &str = "AWSEvents";
const SSM: &str = "AmazonSSM";

/// The services that speak AWS's query protocol: a form goes in, XML comes out.
struct Query<'a> {
    scene: &'a Scene,
    service: &'static str,
}

impl Query<'_> {
    fn call(&self, action: &str, version: &str, parameters: &[(&str, &str)]) -> String {
        let own = [("Action", action), ("Version", version)];
        let pairs = own.iter().chain(parameters);
        let form: Vec<String> = pairs.map(|(key, value)| format!("{}={}", encoded(key), encoded(value))).collect();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={ACCOUNT}/20260101/{REGION}/{}/aws4_request, SignedHeaders=host, Signature={:064}",
            self.service, 0
        );
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let mut answer = agent
            .post(self.scene.aws.endpoint())
            .header("Authorization", authorization)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .send(form.join("&"))
            .unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        assert_eq!(answer.status(), 200, "{action}: {text}");
        text
    }
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The text between a pair of tags, each time that it is there.
fn between<'a>(xml: &'a str, tag: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    xml.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).collect()
}

/// Creates a stack of the template, and gives its outputs.
fn stack(scene: &Scene, name: &str, parameters: &[(&str, &str)]) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/cloudformation/ecs-deployd.yaml");
    let template = std::fs::read_to_string(path).unwrap();
    let cloudformation = Query { scene, service: "cloudformation" };
    let mut form = vec![
        ("StackName".to_owned(), name.to_owned()),
        ("TemplateBody".to_owned(), template),
        ("Capabilities.member.1".to_owned(), "CAPABILITY_IAM".to_owned()),
    ];
    for (index, (key, value)) in parameters.iter().enumerate() {
        form.push((format!("Parameters.member.{}.ParameterKey", index + 1), (*key).to_owned()));
        form.push((format!("Parameters.member.{}.ParameterValue", index + 1), (*value).to_owned()));
    }
    let form: Vec<(&str, &str)> = form.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    cloudformation.call("CreateStack", "2010-05-15", &form);
    let described = wait_for(&format!("the stack {name}"), || {
        let xml = cloudformation.call("DescribeStacks", "2010-05-15", &[("StackName", name)]);
        let status = between(&xml, "StackStatus")[0].to_owned();
        (!status.ends_with("IN_PROGRESS")).then_some((status, xml))
    });
    if described.0 != "CREATE_COMPLETE" {
        let events = cloudformation.call("DescribeStackEvents", "2010-05-15", &[("StackName", name)]);
        panic!("{}: {:?}", described.0, between(&events, "ResourceStatusReason"));
    }
    let (keys, values) = (between(&described.1, "OutputKey"), between(&described.1, "OutputValue"));
    keys.into_iter().map(str::to_owned).zip(values.into_iter().map(str::to_owned)).collect()
}

fn output<'a>(outputs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    outputs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// The policy of the daemon, as a person makes it: from what `iam` prints.
fn policy(scene: &Scene, home: &Home) -> String {
    let (code, text, errors) = run(home, &["iam"]);
    assert_eq!(code, 0, "{errors}");
    let iam = Query { scene, service: "iam" };
    let xml = iam.call("CreatePolicy", "2010-05-08", &[("PolicyName", "ecs-deployd"), ("PolicyDocument", &text)]);
    between(&xml, "Arn")[0].to_owned()
}

/// A member of a task definition: the emulator's CloudFormation keeps the names of the template below the first level.
fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    let pascal = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
    value.get(name).unwrap_or_else(|| &value[pascal.as_str()])
}

/// A stack with the daemon as a service of the cluster ops, and what that needs.
fn service_stack(
    scene: &Scene,
    policy: &str,
    configuration: &str,
    with: (&'static str, &str),
) -> Vec<(String, String)> {
    let ec2 = Query { scene, service: "ec2" };
    let vpc = ec2.call("CreateVpc", "2016-11-15", &[("CidrBlock", "10.0.0.0/16")]);
    let vpc = between(&vpc, "vpcId")[0].to_owned();
    let subnet = |block: &str, zone: &str| {
        let zone = format!("{REGION}{zone}");
        let parameters = [("VpcId", vpc.as_str()), ("CidrBlock", block), ("AvailabilityZone", &zone)];
        let xml = ec2.call("CreateSubnet", "2016-11-15", &parameters);
        between(&xml, "subnetId")[0].to_owned()
    };
    let (a, b) = (subnet("10.0.1.0/24", "a"), subnet("10.0.2.0/24", "b"));
    scene.client.create_cluster("ops").unwrap();
    let parameter = json!({"Name": "/ecs-deployd/config", "Type": "String", "Value": "in the end"});
    scene.client.call(SSM, "PutParameter", &parameter).unwrap();
    stack(
        scene,
        "ecs-deployd",
        &[
            ("PolicyArn", policy),
            with,
            ("Image", "ecs-deployd:0.1.0"),
            ("Configuration", configuration),
            ("ClusterName", "ops"),
            ("VpcId", &vpc),
            ("SubnetA", &a),
            ("SubnetB", &b),
        ],
    )
}

/// The daemon as ECS would start it, with the configuration out of its parameter; and its address.
fn start(home: &Home, container: &Value, content: &str) -> (Daemon, String) {
    let daemon = home.start_with(&["run"], |command| {
        for pair in container["environment"].as_array().unwrap() {
            command.env(member(pair, "name").as_str().unwrap(), member(pair, "value").as_str().unwrap());
        }
        command.env_remove("ECS_DEPLOYD_CONFIG").env("ECS_DEPLOYD_CONFIG_CONTENT", content)
    });
    let address = wait_for("the address in the log", || {
        let log = daemon.log();
        log.split("\"http\":\"").nth(1)?.split('"').next().map(str::to_owned)
    });
    (daemon, address)
}

fn get(address: &str, path: &str) -> Option<(u16, String)> {
    local_aws::http::get(&format!("http://{address}{path}"), std::time::Duration::from_secs(10)).ok()
}

/// The daemon may do what `iam` prints. ECS gives a task its role; here it is assumed, which the role's own policy has no need to allow.
fn may_assume(scene: &Scene, home: &Home, role: &str) {
    let printed: Value = serde_json::from_str(&run(home, &["iam"]).1).unwrap();
    let assume = json!({"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role}]});
    scene.aws.settings().attach(Part::Daemon, &[printed, assume]).unwrap();
}

#[test]
fn the_stack_is_created_and_the_daemon_runs_as_it_says() {
    let scene = Scene::new(1);
    let home = scene.home(&scene.config(1));
    let policy = policy(&scene, &home);
    let configuration = format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ecs-deployd/config");
    let outputs = service_stack(&scene, &policy, &configuration, ("WithQueue", "true"));

    // One task at a time: the state is one process's.
    let service = scene.client.describe_service("ops", "ecs-deployd").unwrap();
    let deployment = &service["deploymentConfiguration"];
    assert_eq!((&deployment["minimumHealthyPercent"], &deployment["maximumPercent"]), (&json!(0), &json!(100)));
    let definition = scene.client.describe_task_definition("ecs-deployd").unwrap()["taskDefinition"].clone();
    let container = &definition["containerDefinitions"][0];
    assert_eq!(output(&outputs, "RoleArn"), definition["taskRoleArn"].as_str());
    assert_eq!(output(&outputs, "LogGroupName"), Some("/ecs/ecs-deployd"));

    // The rule sends pushes to the queue, and what cannot be delivered to the other one.
    let rules = scene.client.call(EVENTS, "ListRules", &json!({})).unwrap();
    let rule = &rules["Rules"][0];
    let pattern: Value = serde_json::from_str(rule["EventPattern"].as_str().unwrap()).unwrap();
    assert_eq!(pattern["source"], json!(["aws.ecr"]));
    assert_eq!(pattern["detail"], json!({"action-type": ["PUSH"], "result": ["SUCCESS"]}));
    let targets = scene.client.call(EVENTS, "ListTargetsByRule", &json!({"Rule": rule["Name"]})).unwrap();
    let queue = output(&outputs, "QueueUrl").unwrap().rsplit('/').next().unwrap();
    assert!(targets["Targets"][0]["Arn"].as_str().unwrap().ends_with(&format!(":{queue}")), "{targets:#}");
    let dead = output(&outputs, "DeadLetterQueueUrl").unwrap().rsplit('/').next().unwrap();
    let undeliverable = &targets["Targets"][0]["DeadLetterConfig"]["Arn"];
    assert!(undeliverable.as_str().unwrap().ends_with(&format!(":{dead}")), "{targets:#}");

    // The daemon as ECS would start it: the configuration out of the parameter, the environment of the container, the task role.
    let secret = &container["secrets"][0];
    assert_eq!(member(secret, "name"), "ECS_DEPLOYD_CONFIG_CONTENT");
    assert_eq!(member(secret, "valueFrom"), &json!(configuration));
    let text = std::fs::read_to_string(home.path("config.toml")).unwrap();
    let role = output(&outputs, "RoleArn").unwrap();
    let value = text.replace("[aws.default]", &format!("[aws.default]\nrole_arn = \"{role}\""));
    may_assume(&scene, &home, role);
    let parameter = json!({"Name": "/ecs-deployd/config", "Type": "String", "Value": value, "Overwrite": true});
    scene.client.call(SSM, "PutParameter", &parameter).unwrap();
    let kept = scene.client.call(SSM, "GetParameter", &json!({"Name": "/ecs-deployd/config"})).unwrap();
    let content = kept["Parameter"]["Value"].as_str().unwrap();
    let (daemon, address) = start(&home, container, content);
    wait_for("readiness", || get(&address, "/readyz").is_some_and(|(status, _)| status == 200).then_some(()));
    let digest = scene.push("v1");
    scene.wait_for_image(&name(0), &digest);
    daemon.stop();
}

#[test]
fn with_a_table_the_stack_has_a_second_replica() {
    let scene = Scene::new(1);
    let (one, other) = (Home::new(""), Home::new(""));
    let of = |home: &Home, role: &str| {
        format!(
            "[state]\ntable = \"the-state\"\nlease = \"5s\"\n[control]\nsocket = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n{}",
            home.path("control.sock"),
            scene.config(1).replace("[aws.default]", &format!("[aws.default]\n{role}"))
        )
    };
    std::fs::write(one.path("config.toml"), of(&one, "")).unwrap();
    let policy = policy(&scene, &one);
    let configuration = format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ecs-deployd/config");
    let outputs = service_stack(&scene, &policy, &configuration, ("TableName", "the-state"));
    assert_eq!(output(&outputs, "TableName"), Some("the-state"));

    // One task after the other is replaced.
    let service = scene.client.describe_service("ops", "ecs-deployd").unwrap();
    let deployment = &service["deploymentConfiguration"];
    assert_eq!((&deployment["minimumHealthyPercent"], &deployment["maximumPercent"]), (&json!(50), &json!(150)));
    assert_eq!(service["desiredCount"], 2);

    // Two tasks as ECS would start them.
    let definition = scene.client.describe_task_definition("ecs-deployd").unwrap()["taskDefinition"].clone();
    let container = &definition["containerDefinitions"][0];
    let role = output(&outputs, "RoleArn").unwrap();
    may_assume(&scene, &one, role);
    let role = format!("role_arn = \"{role}\"");
    let (first, at_first) = start(&one, container, &of(&one, &role));
    let leads =
        |address: &str| get(address, "/metrics").is_some_and(|(_, text)| text.contains("\necs_deployd_leader 1"));
    wait_for("an active replica", || leads(&at_first).then_some(()));
    let (second, at_second) = start(&other, container, &of(&other, &role));
    wait_for("a standby", || get(&at_second, "/readyz").is_some_and(|(status, _)| status == 200).then_some(()));
    assert!(!leads(&at_second));
    first.stop();
    wait_for("the second one to be active", || leads(&at_second).then_some(()));
    let digest = scene.push("v1");
    scene.wait_for_image(&name(0), &digest);
    second.stop();
}

#[test]
fn the_role_alone_is_for_a_machine() {
    let scene = Scene::new(1);
    let home = scene.home(&scene.config(1));
    let policy = policy(&scene, &home);
    let outputs = stack(&scene, "ops-host", &[("Mode", "role"), ("PolicyArn", &policy)]);
    let role = output(&outputs, "RoleArn").unwrap().rsplit('/').next().unwrap();
    assert!(output(&outputs, "InstanceProfileName").is_some(), "{outputs:?}");
    assert_eq!(output(&outputs, "QueueUrl"), None);
    let iam = Query { scene: &scene, service: "iam" };
    let attached = iam.call("ListAttachedRolePolicies", "2010-05-08", &[("RoleName", role)]);
    assert_eq!(between(&attached, "PolicyArn"), [policy.as_str()]);
    let trust = iam.call("GetRole", "2010-05-08", &[("RoleName", role)]);
    assert!(trust.contains("ec2.amazonaws.com"), "{trust}");
    let services = scene.client.call(ECS, "ListServices", &json!({"cluster": "web"})).unwrap();
    assert_eq!(services["serviceArns"].as_array().unwrap().len(), 1, "nothing else is made");
}
