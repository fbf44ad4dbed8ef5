//! A loopback AWS that says what a test wants it to: for what an emulator has no words for, such as another time of day.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use ecs_deployd::domain::permission::GRANTS;
use local_aws::{Judge, Part};
use serde_json::{Value, json};

use crate::daemon::Home;
use crate::scene::{ACCOUNT, REGION};

/// What is answered to an operation; `None` if it is not this one's to answer.
type Answers = dyn Fn(&str, &Value) -> Option<Value> + Send + Sync;

/// What it says, and what it was asked.
#[derive(Debug, Default)]
struct State {
    /// AWS's time less this machine's, in seconds.
    ahead: i64,
    /// What LookupEvents gives.
    events: Vec<Value>,
    /// Head and body of each request.
    requests: Vec<(String, String)>,
    /// Whether a person asks for a policy: they are told about a service, and it is not recorded.
    prints: bool,
}

/// The part of it that serves.
#[derive(Clone)]
struct Server {
    state: Arc<Mutex<State>>,
    answers: Arc<Answers>,
}

/// A server. It lives as long as the test's process. In the end, what the program has sent to it is judged by what `iam` prints, as the
/// emulator judges what it is sent.
pub struct Fake {
    pub address: SocketAddr,
    server: Server,
    judge: Judge,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let requests = self.server.state.lock().unwrap().requests.clone();
            let denied = self.judge.denied(&requests).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(denied, Vec::<String>::new(), "the policy that `iam` prints does not allow this");
        }
    }
}

impl Fake {
    pub fn start() -> Self {
        Self::at("127.0.0.1:0")
    }

    pub fn at(address: &str) -> Self {
        Self::serving(address, Arc::new(|_, _| None))
    }

    /// One that gives answers of its own.
    pub fn answering(answers: impl Fn(&str, &Value) -> Option<Value> + Send + Sync + 'static) -> Self {
        Self::serving("127.0.0.1:0", Arc::new(answers))
    }

    fn serving(address: &str, answers: Arc<Answers>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server { state: Arc::default(), answers };
        let serving = server.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let serving = serving.clone();
                // A client that goes away is no matter.
                std::thread::spawn(move || drop(serving.serve(client)));
            }
        });
        let judge = Judge::new(&format!("http://{address}"), ACCOUNT).unwrap();
        for part in [Part::Daemon, Part::Check] {
            judge.settings().attach(part, &[]).unwrap();
        }
        judge.settings().allow_only(Part::Person, GRANTS.iter().map(|grant| grant.action)).unwrap();
        Self { address, server, judge }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A home whose program may do what `iam` prints for its configuration, and nothing else.
    pub fn home(&self, config: &str) -> Home {
        let home = Home::new(config);
        self.print(&home, config);
        home
    }

    /// Gives the program what `iam` prints for a configuration.
    pub fn print(&self, home: &Home, config: &str) {
        self.print_beside(home, config, &[]);
    }

    /// The same, beside other policies.
    pub fn print_beside(&self, home: &Home, config: &str, others: &[Value]) {
        // A person has credentials of their own.
        let config: String =
            config.lines().filter(|line| !line.starts_with("profile = ")).map(|line| format!("{line}\n")).collect();
        let config = &config;
        self.server.state.lock().unwrap().prints = true;
        crate::policy::print_beside(home, &self.judge.settings(), config, others);
        self.server.state.lock().unwrap().prints = false;
    }

    /// Sets its clock that many seconds before this machine's.
    pub fn is_ahead_by(&self, seconds: i64) {
        self.server.state.lock().unwrap().ahead = seconds;
    }

    /// Its time.
    pub fn now(&self) -> jiff::Timestamp {
        self.server.now()
    }

    /// CloudTrail tells of a push from now on.
    pub fn tell_of_push(&self, repository: &str, at: jiff::Timestamp) {
        let record = json!({
            "eventVersion": "1.10", "eventSource": "ecr.amazonaws.com", "eventName": "PutImage", "eventID": "0f1e", "eventTime": at.to_string(),
            "requestParameters": {"repositoryName": repository, "imageTag": "latest", "registryId": ACCOUNT},
            "responseElements": {"image": {
                "repositoryName": repository, "registryId": ACCOUNT,
                "imageId": {"imageTag": "latest", "imageDigest": format!("sha256:{}", "a".repeat(64))},
            }},
            "recipientAccountId": ACCOUNT,
        });
        let event = json!({"EventId": "0f1e", "EventName": "PutImage", "EventTime": at.as_second(), "CloudTrailEvent": record.to_string()});
        self.server.state.lock().unwrap().events.push(event);
    }

    /// The requests so far whose head or body has a word in it: head and body.
    pub fn asked(&self, word: &str) -> Vec<(String, String)> {
        let requests = &self.server.state.lock().unwrap().requests;
        requests.iter().filter(|(head, body)| head.contains(word) || body.contains(word)).cloned().collect()
    }
}

impl Server {
    fn now(&self) -> jiff::Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the daemon under test has this clock, too")]
        let now = jiff::Timestamp::now();
        now + jiff::SignedDuration::from_secs(self.state.lock().unwrap().ahead)
    }

    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        loop {
            let Some((head, body)) = request(&mut client)? else { return Ok(()) };
            {
                let mut state = self.state.lock().unwrap();
                if !state.prints {
                    state.requests.push((head.clone(), body.clone()));
                }
            }
            let (status, kind, text) = self.answer(&head, &body);
            let date = self.now().strftime("%a, %d %b %Y %H:%M:%S GMT");
            write!(
                client,
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ndate: {date}\r\nx-amzn-requestid: 1\r\n\
                 x-aws-ec2-metadata-token-ttl-seconds: 21600\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            )?;
        }
    }

    fn answer(&self, head: &str, body: &str) -> (&'static str, &'static str, String) {
        const JSON: &str = "application/x-amz-json-1.1";
        let operation = head.lines().find(|line| line.to_ascii_lowercase().starts_with("x-amz-target:"));
        let operation = operation.and_then(|line| line.rsplit('.').next()).unwrap_or_default();
        let request = serde_json::from_str(body).unwrap_or_default();
        if let Some(answer) = (self.answers)(operation, &request) {
            return ("200 OK", JSON, answer.to_string());
        }
        if self.state.lock().unwrap().prints
            && let Some(answer) = of_a_service(operation, &request)
        {
            return ("200 OK", JSON, answer.to_string());
        }
        if head.contains("LookupEvents") {
            let events = json!({"Events": self.state.lock().unwrap().events});
            return ("200 OK", JSON, events.to_string());
        }
        if body.contains("Action=GetCallerIdentity") {
            return ("200 OK", "text/xml", whose());
        }
        if body.contains("Action=AssumeRole") {
            let action = if body.contains("WebIdentity") { "AssumeRoleWithWebIdentity" } else { "AssumeRole" };
            return ("200 OK", "text/xml", assumed(action));
        }
        if head.starts_with("PUT /latest/api/token") {
            return ("200 OK", "text/plain", "token".to_owned());
        }
        if head.contains("/latest/meta-data/placement/region") {
            return ("200 OK", "text/plain", REGION.to_owned());
        }
        ("400 Bad Request", JSON, json!({"__type": "AccessDeniedException", "message": "not\nhere"}).to_string())
    }
}

/// What a person is told about a service, so that there is a policy for it.
fn of_a_service(operation: &str, request: &Value) -> Option<Value> {
    let revision = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/hello:1");
    let primary =
        json!({"id": "ecs-svc/1", "status": "PRIMARY", "taskDefinition": revision, "rolloutState": "COMPLETED"});
    match operation {
        "DescribeServices" => Some(json!({"services": [{
            "serviceName": request["services"][0], "status": "ACTIVE", "taskDefinition": revision, "deployments": [primary],
        }]})),
        "DescribeTaskDefinition" => Some(json!({"taskDefinition": {
            "taskDefinitionArn": revision, "family": "hello", "revision": 1, "status": "ACTIVE",
            "containerDefinitions": [{"name": "app", "image": format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/hello:latest")}],
        }})),
        _ => None,
    }
}

fn whose() -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::{ACCOUNT}:user/ops</Arn><UserId>AIDA</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult>\
         </GetCallerIdentityResponse>"
    )
}

fn assumed(action: &str) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>ASIAOFSTS</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::{ACCOUNT}:assumed-role/r/s</Arn>\
         <AssumedRoleId>AROA:s</AssumedRoleId></AssumedRoleUser></{action}Result></{action}Response>"
    )
}

/// Head and body of the next request, if there is one.
fn request(client: &mut TcpStream) -> std::io::Result<Option<(String, String)>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
            });
            if body.len() >= length.unwrap_or(0) {
                return Ok(Some((head.to_owned(), body.to_owned())));
            }
        }
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            length => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}
