//! Notifications that arrive: at a topic of the emulator, and at webhooks.

use axum::http::StatusCode;
use local_aws::image_manifest;
use serde_json::{Value, json};

use crate::daemon::{Home, wait_for};
use crate::hook::Hook;
use crate::scene::{ACCOUNT, REGION, Scene};

/// A call of SNS or SQS, which speak in forms. The emulator reads account and Region from the credential.
fn form(scene: &Scene, service: &str, fields: &[(&str, &str)]) -> String {
    let scope = format!("Credential={ACCOUNT}/20260101/{REGION}/{service}/aws4_request");
    let authorization = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
    let request = ureq::post(scene.aws.endpoint()).header("Authorization", authorization);
    let mut answer = request.send_form(fields.iter().copied()).unwrap();
    answer.body_mut().read_to_string().unwrap()
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let rest = text.split_once(from)?.1;
    Some(rest.split_once(to)?.0)
}

/// A topic, and a queue that gets what the topic is told.
fn topic(scene: &Scene) -> (String, String) {
    let made = form(scene, "sns", &[("Action", "CreateTopic"), ("Name", "deployments")]);
    let topic = between(&made, "<TopicArn>", "</TopicArn>").unwrap().to_owned();
    let made = form(scene, "sqs", &[("Action", "CreateQueue"), ("QueueName", "heard")]);
    let queue = between(&made, "<QueueUrl>", "</QueueUrl>").unwrap().to_owned();
    let endpoint = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:heard");
    let fields =
        [("Action", "Subscribe"), ("TopicArn", topic.as_str()), ("Protocol", "sqs"), ("Endpoint", endpoint.as_str())];
    form(scene, "sns", &fields);
    (topic, queue)
}

/// What came out of the queue by now.
fn heard(scene: &Scene, queue: &str, all: &mut Vec<Value>) {
    let fields = [
        ("Action", "ReceiveMessage"),
        ("QueueUrl", queue),
        ("MaxNumberOfMessages", "10"),
        ("VisibilityTimeout", "600"),
    ];
    let text = form(scene, "sqs", &fields);
    for body in text.split("<Body>").skip(1) {
        let body = body.split_once("</Body>").unwrap().0;
        let plain = body.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let envelope: Value = serde_json::from_str(&plain).unwrap_or_else(|error| panic!("{error}: {plain}"));
        let mut message: Value = serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
        message["subject"] = envelope["Subject"].clone();
        message["attributes"] = envelope["MessageAttributes"].clone();
        all.push(message);
    }
}

#[test]
fn a_topic_and_webhooks_are_told_what_was_deployed() {
    let scene = Scene::new(1);
    let (topic, queue) = topic(&scene);
    let hook = Hook::start();
    let secret = Home::new("");
    std::fs::write(secret.path("url"), format!("http://{}/services/T0/B0/secret-of-the-chat\n", hook.address)).unwrap();
    let receivers = format!(
        "[[notify]]\nname = \"topic\"\nsns = \"{topic}\"\n\
         [[notify]]\nname = \"program\"\nwebhook = \"http://{address}/program\"\noutcomes = [\"completed\"]\nservices = [\"web/*\"]\nrepositories = [\"hel*\"]\n\
         [[notify]]\nname = \"chat\"\nwebhook_file = {file:?}\nformat = \"slack\"\n\
         [[notify]]\nname = \"teams\"\nwebhook = \"http://{address}/teams\"\nformat = \"teams\"\n\
         [[notify]]\nname = \"others\"\nwebhook = \"http://{address}/others\"\nservices = [\"batch/*\"]\n\
         [[notify]]\nname = \"dead\"\nwebhook = \"http://127.0.0.1:1/hook\"\n",
        address = hook.address,
        file = secret.path("url"),
    );
    let home = Home::new(&(scene.config(1) + &receivers));
    // The first two answers are those of a receiver that is overloaded: it is asked again.
    hook.refuse(2, StatusCode::SERVICE_UNAVAILABLE);
    let daemon = home.start();
    daemon.wait_until_ready();
    let digest = scene.push("v1");
    daemon.wait_for_log("outcome=\"completed\"");
    let mut told = Vec::new();
    let message = wait_for("the message in the queue", || {
        heard(&scene, &queue, &mut told);
        told.first().cloned()
    });
    assert_eq!(message["deployment"]["images"][0]["digest"], digest);
    assert_eq!(message["subject"], "ecs-deployd: web/hello-0: deployed (hello:latest)");
    assert_eq!(message["attributes"]["outcome"]["Value"], "completed");
    for receiver in ["program", "chat", "teams"] {
        daemon.wait_for_metric(
            &format!("ecs_deployd_notifications_total{{outcome=\"sent\",receiver=\"{receiver}\"}}"),
            1.0,
        );
    }
    assert_eq!(hook.bodies("/program")[0]["deployment"]["result"], "completed");
    let chat = &hook.bodies("/services/T0/B0/secret-of-the-chat")[0];
    assert!(chat["text"].as_str().unwrap().contains("web/hello-0: deployed (hello:latest)"), "{chat:#}");
    assert_eq!(hook.bodies("/teams")[0]["type"], "message");
    assert_eq!(hook.bodies("/others"), Vec::<Value>::new());
    let agent = hook.received.lock().unwrap().requests[0].1["user-agent"].clone();
    assert!(agent.to_str().unwrap().starts_with("ecs-deployd/"));
    assert!(!daemon.log().contains("secret-of-the-chat"), "addresses of chats are secrets");
    daemon.wait_for_log("a notification cannot be delivered");
    // The dead receiver delays no deployment.
    let digest = scene.client.put_image("hello", Some("latest"), &image_manifest("v2")).unwrap();
    scene.wait_for_image("hello-0", &digest);
}

#[test]
fn a_test_message_tells_which_receivers_can_be_reached() {
    let scene = Scene::new(1);
    let (topic, queue) = topic(&scene);
    let hook = Hook::start();
    let config = scene.config(1);
    let run = |receivers: &str, arguments: &[&str]| {
        let home = Home::new(&format!("{config}{receivers}"));
        let output = home.command(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    assert_eq!(run("", &["notify"]).0, 2, "nothing but a test can be sent by hand");
    let (code, text) = run("", &["notify", "--test"]);
    assert!(code == 1 && text.contains("there is no [[notify]]"), "{text}");
    let good = format!(
        "[[notify]]\nname = \"topic\"\nsns = \"{topic}\"\noutcomes = []\n[[notify]]\nname = \"hook\"\nwebhook = \"http://{}/x\"\n",
        hook.address
    );
    let (code, text) = run(&good, &["notify", "--test"]);
    assert_eq!((code, text.matches("delivered").count()), (0, 2), "{text}");
    assert_eq!(hook.bodies("/x")[0]["kind"], "test");
    let mut told = Vec::new();
    wait_for("the test in the queue", || {
        heard(&scene, &queue, &mut told);
        told.iter().any(|message| message["kind"] == json!("test")).then_some(())
    });
    let bad = good.replace("/x\"", "/x\"\n[[notify]]\nname = \"wrong\"\nwebhook = \"http://127.0.0.1:1\"\n[[notify]]\nname = \"gone\"\nsns = \"arn:aws:sns:eu-west-1:111111111111:gone\"");
    let (code, text) = run(&bad, &["notify", "--test"]);
    assert!(code == 1 && text.contains("onnection refused") && text.contains("NotFound"), "{text}");
    let (code, text) = run(&bad, &["notify", "--test", "hook"]);
    assert!(code == 0 && !text.contains("wrong"), "{text}");
    let (code, text) = run(&bad, &["notify", "--test", "hoook"]);
    assert!(code == 1 && text.contains("there are topic, hook, wrong, gone"), "{text}");
    hook.refuse(1, StatusCode::FOUND);
    let (code, text) = run(&bad, &["notify", "--test", "hook"]);
    assert!(code == 1 && text.contains("redirects are not followed"), "{text}");
}
