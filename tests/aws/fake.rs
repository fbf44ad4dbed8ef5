//! A loopback AWS that says what a test wants it to: for what an emulator has no words for, such as another time of day.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What it says, and what it was asked.
#[derive(Debug, Default)]
struct State {
    /// AWS's time less this machine's, in seconds.
    ahead: i64,
    /// What LookupEvents gives.
    events: Vec<Value>,
    /// Head and body of each request.
    requests: Vec<(String, String)>,
}

/// A server. It lives as long as the test's process.
#[derive(Debug, Clone)]
pub struct Fake {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Fake {
    pub fn start() -> Self {
        Self::at("127.0.0.1:0")
    }

    pub fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let fake = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let server = fake.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                // A client that goes away is no matter.
                std::thread::spawn(move || drop(server.serve(client)));
            }
        });
        fake
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets its clock that many seconds before this machine's.
    pub fn is_ahead_by(&self, seconds: i64) {
        self.state.lock().unwrap().ahead = seconds;
    }

    /// Its time.
    pub fn now(&self) -> jiff::Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the daemon under test has this clock, too")]
        let now = jiff::Timestamp::now();
        now + jiff::SignedDuration::from_secs(self.state.lock().unwrap().ahead)
    }

    /// CloudTrail tells of a push from now on.
    pub fn tell_of_push(&self, repository: &str, at: jiff::Timestamp) {
        let record = json!({
            "eventVersion": "1.10", "eventSource": "ecr.amazonaws.com", "eventName": "PutImage", "eventID": "0f1e", "eventTime": at.to_string(),
            "requestParameters": {"repositoryName": repository, "imageTag": "latest", "registryId": crate::scene::ACCOUNT},
            "responseElements": {"image": {
                "repositoryName": repository, "registryId": crate::scene::ACCOUNT,
                "imageId": {"imageTag": "latest", "imageDigest": format!("sha256:{}", "a".repeat(64))},
            }},
            "recipientAccountId": crate::scene::ACCOUNT,
        });
        let event = json!({"EventId": "0f1e", "EventName": "PutImage", "EventTime": at.as_second(), "CloudTrailEvent": record.to_string()});
        self.state.lock().unwrap().events.push(event);
    }

    /// The requests so far whose head or body has a word in it: head and body.
    pub fn asked(&self, word: &str) -> Vec<(String, String)> {
        let requests = &self.state.lock().unwrap().requests;
        requests.iter().filter(|(head, body)| head.contains(word) || body.contains(word)).cloned().collect()
    }

    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        loop {
            let Some((head, body)) = request(&mut client)? else { return Ok(()) };
            self.state.lock().unwrap().requests.push((head.clone(), body.clone()));
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
            return ("200 OK", "text/plain", crate::scene::REGION.to_owned());
        }
        ("400 Bad Request", JSON, json!({"__type": "AccessDeniedException", "message": "not\nhere"}).to_string())
    }
}

fn whose() -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::{0}:user/ops</Arn><UserId>AIDA</UserId><Account>{0}</Account></GetCallerIdentityResult>\
         </GetCallerIdentityResponse>",
        crate::scene::ACCOUNT
    )
}

fn assumed(action: &str) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>ASIAOFSTS</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::{0}:assumed-role/r/s</Arn>\
         <AssumedRoleId>AROA:s</AssumedRoleId></AssumedRoleUser></{action}Result></{action}Response>",
        crate::scene::ACCOUNT
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
