//! CloudTrail: every push is an event; it is delivered when it is.

use async_trait::async_trait;
use ecs_deployd::aws::{AwsError, CloudTrail, Fault, LookupPage};
use ecs_deployd::domain::event::Record;
use ecs_deployd::domain::polling::Request;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::faults::{error, with_fate};
use super::{ACCOUNT, Inner, REGION, World};

/// The event history goes back this far.
const KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(90 * 24);

#[derive(Debug, Clone)]
pub struct Stored {
    id: String,
    time: Timestamp,
    visible_at: Timestamp,
    body: Value,
    repository: String,
    tag: Option<String>,
    name: &'static str,
    cut: bool,
}

/// Stands for the name where the event is a PutImage that pushed nothing.
const NO_PUSH: &str = "PutImage, refused";

impl Stored {
    fn text(&self) -> String {
        let text = self.body.to_string();
        if self.cut { text[..text.len() / 2].to_owned() } else { text }
    }
}

/// What CloudTrail reports of a push, and when.
#[derive(Debug, Clone)]
pub struct Told {
    pub id: String,
    pub repository: String,
    pub tag: Option<String>,
    pub time: Timestamp,
    pub visible_at: Timestamp,
}

impl Inner {
    /// Records a PutImage that is delivered after a while.
    pub(super) fn record_push(
        &mut self,
        repository: &str,
        tag: Option<&str>,
        manifest: &str,
        late: jiff::SignedDuration,
    ) {
        let now = self.now();
        let id = self.next("event-");
        let time = Timestamp::from_second(now.as_second()).unwrap();
        let mut request = json!({"repositoryName": repository, "imageManifest": manifest, "registryId": self.account});
        if let Some(tag) = tag {
            request["imageTag"] = json!(tag);
        }
        let body = json!({
            "eventVersion": "1.10", "eventSource": "ecr.amazonaws.com", "eventName": "PutImage", "awsRegion": REGION,
            "eventTime": time.to_string(), "eventID": id, "recipientAccountId": self.account,
            "requestParameters": request, "responseElements": null,
        });
        self.events.push(Stored {
            id,
            time,
            visible_at: now + late,
            body,
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            name: "PutImage",
            cut: false,
        });
    }

    fn last_push(&mut self) -> &mut Stored {
        self.events.iter_mut().rfind(|event| event.name == "PutImage").unwrap()
    }

    /// Records a change to ECS.
    pub(super) fn record_change(&mut self, name: &'static str, agent: &str, request: &Value) {
        let now = self.now();
        let id = self.next("change-");
        let time = Timestamp::from_second(now.as_second()).unwrap();
        let body = json!({
            "eventSource": "ecs.amazonaws.com", "eventName": name, "eventTime": time.to_string(), "eventID": id,
            "userIdentity": {"arn": format!("arn:aws:iam::{ACCOUNT}:user/bob")}, "sourceIPAddress": "192.0.2.7",
            "userAgent": agent, "requestParameters": request,
        });
        let (repository, tag) = (String::new(), None);
        self.events.push(Stored { id, time, visible_at: now, body, repository, tag, name, cut: false });
    }
}

impl World {
    /// The newest event comes again under another id, as it does in a second account.
    pub fn twin_last_event(&self) {
        let mut inner = self.lock();
        let id = inner.next("twin-");
        let last = inner.last_push();
        last.body["sharedEventID"] = json!(format!("shared-{id}"));
        let mut twin = last.clone();
        twin.body["eventID"] = json!(id);
        twin.id = id;
        inner.events.push(twin);
    }
}

impl World {
    /// The record of the newest event is too large for CloudTrail, which leaves the request and the answer out.
    pub fn omit_last_event(&self) {
        let mut inner = self.lock();
        let event = inner.last_push();
        let omitted = json!({"omitted": true, "originalSize": 123_456, "reason": "requestParameters too large"});
        event.body["requestParameters"] = omitted.clone();
        event.body["responseElements"] = omitted;
        let arn = format!("arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{}", event.repository);
        event.body["resources"] = json!([{"ARN": arn, "accountId": ACCOUNT}]);
    }

    /// A push that ECR refused, or one to somebody else's registry: CloudTrail reports it, and no tag moves.
    pub fn tell_of_no_push(&self, repository: &str, tag: &str, edit: impl FnOnce(&mut Value)) {
        let mut inner = self.lock();
        inner.record_push(repository, Some(tag), "{}", jiff::SignedDuration::ZERO);
        let event = inner.last_push();
        event.name = NO_PUSH;
        edit(&mut event.body);
    }

    /// Of the newest record only a part arrives.
    pub fn cut_last_event(&self) {
        self.lock().last_push().cut = true;
    }

    /// A page token is of no use after this.
    pub fn set_token_life(&self, life: Option<jiff::SignedDuration>) {
        self.lock().token_life = life;
    }

    /// Everything that CloudTrail tells, sooner or later.
    pub fn told(&self) -> Vec<Told> {
        let tell = |event: &Stored| Told {
            id: event.id.clone(),
            repository: event.repository.clone(),
            tag: event.tag.clone(),
            time: event.time,
            visible_at: event.visible_at,
        };
        self.lock().events.iter().filter(|event| event.name == "PutImage").map(tell).collect()
    }

    /// Forgets the events that CloudTrail does not keep any more: years of them would take long to look through.
    #[allow(dead_code, reason = "the benchmark of a year is the only one that lives for so long")]
    pub fn forget_old_events(&self) {
        let mut inner = self.lock();
        let now = inner.now();
        inner.events.retain(|event| now.duration_since(event.time) <= KEPT);
    }

    /// How many events a page holds.
    pub fn set_page_size(&self, size: usize) {
        self.lock().page_size = size;
    }

    /// The last event of a page comes again as the first of the next one.
    pub fn set_overlapping_pages(&self, overlapping: bool) {
        self.lock().overlapping_pages = overlapping;
    }

    /// Changes the newest event's record.
    pub fn edit_last_event(&self, edit: impl FnOnce(&mut Value)) {
        edit(&mut self.lock().last_push().body);
    }
}

#[async_trait]
impl CloudTrail for World {
    async fn lookup(&self, event: &str, request: &Request) -> Result<LookupPage, AwsError> {
        let Request { window, limit, token: next } = request;
        let fate = self.call("LookupEvents", next.clone().unwrap_or_default()).await;
        with_fate(fate, "cloudtrail", "LookupEvents", || {
            let inner = self.lock();
            let now = inner.now();
            let window_text = format!("{}..{}", window.start, window.end);
            let mut offset = 0;
            if let Some(token) = next {
                let [token_window, at, given]: [&str; 3] = token.split('@').collect::<Vec<_>>().try_into().unwrap();
                let age = now.duration_since(given.parse::<Timestamp>().unwrap());
                if token_window != window_text || inner.token_life.is_some_and(|life| age > life) {
                    return Err(error("cloudtrail", "LookupEvents", Fault::Refused, "InvalidNextTokenException"));
                }
                offset = at.parse().unwrap();
            }
            let mut visible: Vec<&Stored> = inner
                .events
                .iter()
                .filter(|stored| stored.name == event || (stored.name == NO_PUSH && event == "PutImage"))
                .filter(|event| event.visible_at <= now && now.duration_since(event.time) <= KEPT)
                .filter(|event| event.time >= window.start && event.time <= window.end)
                .collect();
            visible.sort_by_key(|event| std::cmp::Reverse((event.time, event.id.clone())));
            let size = inner.page_size.min(usize::from(*limit));
            let page = visible.iter().skip(offset).take(size);
            let records = page
                .map(|event| Record { id: Some(event.id.clone()), time: Some(event.time), body: Some(event.text()) })
                .collect();
            // A border may be shown twice.
            let end = (offset + size - usize::from(inner.overlapping_pages)).max(offset + 1);
            Ok(LookupPage { records, next: (end < visible.len()).then(|| format!("{window_text}@{end}@{now}")) })
        })
        .await
    }
}
