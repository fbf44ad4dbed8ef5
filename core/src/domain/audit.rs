//! Who changed what in ECS: CloudTrail records of other events than pushes.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::event::{EventRef, Record, shorten};
use super::state::{ServiceState, State};
use super::types::{ContextName, EventId, ServiceKey};
use super::words::{words, words_in_json};

/// The name of an API call, such as `UpdateService`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventName(String);

impl EventName {
    /// What is followed unless the configuration says otherwise.
    pub const DEFAULT: [&'static str; 13] = [
        "CreateService",
        "UpdateService",
        "DeleteService",
        "RegisterTaskDefinition",
        "DeregisterTaskDefinition",
        "RunTask",
        "StopTask",
        "ExecuteCommand",
        "StopServiceDeployment",
        "CreateCluster",
        "UpdateCluster",
        "DeleteCluster",
        "PutClusterCapacityProviders",
    ];

    /// Reads a name.
    ///
    /// # Errors
    /// It is not the name of an API call.
    pub fn parse(text: &str) -> Result<Self, String> {
        let good = text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.len() <= 64
            && text.chars().all(|c| c.is_ascii_alphanumeric());
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("expected the name of an API call like \"UpdateService\", found {text:?}"))
        }
    }

    /// The name as CloudTrail writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One call to ECS that somebody made. The texts are short and printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The event of CloudTrail that reported it.
    pub event: EventRef,
    /// The name of the call.
    pub name: EventName,
    /// Who made it: an ARN, or an AWS service.
    pub who: String,
    /// From which address, or by which AWS service.
    pub source: String,
    /// The user agent of the program that made it.
    pub agent: String,
    /// What it was about: `web/shop`, `family:7`.
    pub target: String,
    /// Cluster and service, where it was about one.
    pub service: Option<(String, String)>,
    /// The task definition that it named.
    pub revision: Option<String>,
    /// The error code, where AWS refused it.
    pub error: Option<String>,
    /// Whether Application Auto Scaling set the desired count, as it does all day.
    pub scales: bool,
}

/// Reads a record. `None` if it is of another AWS service, or cannot be read at all.
#[must_use]
pub fn read(name: &EventName, record: &Record) -> Option<Change> {
    let body: Value = serde_json::from_str(record.body.as_deref()?).ok()?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(shorten);
    // CreateCluster, for one, is a call of several AWS services.
    if body["eventSource"] != "ecs.amazonaws.com" || body["eventName"] != name.as_str() {
        return None;
    }
    let id = [body["eventID"].as_str(), record.id.as_deref()].into_iter().flatten();
    let id = id.filter_map(|id| EventId::parse(id).ok()).next()?;
    let time = record.time.or_else(|| body["eventTime"].as_str().and_then(|time| time.parse().ok()))?;
    let identity = &body["userIdentity"];
    let who = ["arn", "invokedBy", "principalId", "type"].into_iter().find_map(|member| text(&identity[member]));
    let request = &body["requestParameters"];
    let service = service_of(request).or_else(|| service_of_task(&body));
    let revision = text(&request["taskDefinition"])
        .or_else(|| text(&body["responseElements"]["taskDefinition"]["taskDefinitionArn"]));
    let by_scaling = [&identity["invokedBy"], &body["sourceIPAddress"]]
        .into_iter()
        .any(|by| by.as_str().is_some_and(|by| by.ends_with("application-autoscaling.amazonaws.com")));
    Some(Change {
        event: EventRef { id, shared_id: None, time },
        scales: by_scaling && revision.is_none() && request["desiredCount"].is_number(),
        name: name.clone(),
        who: who.unwrap_or_else(|| "unknown".to_owned()),
        source: text(&body["sourceIPAddress"]).unwrap_or_default(),
        agent: text(&body["userAgent"]).unwrap_or_default(),
        target: target_of(request, service.as_ref(), revision.as_deref()),
        service,
        revision,
        error: text(&body["errorCode"]),
    })
}

/// The last part of an ARN, or the name itself.
fn name_of(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    Some(shorten(text.rsplit('/').next().unwrap_or(text)))
}

/// The service that a call is about because its task is one of the service's (`group` is `service:NAME`).
fn service_of_task(body: &Value) -> Option<(String, String)> {
    let response = &body["responseElements"];
    let task = if response["task"].is_object() { &response["task"] } else { &response["tasks"][0] };
    let service = task["group"].as_str()?.strip_prefix("service:")?;
    let cluster = name_of(&task["clusterArn"]).or_else(|| name_of(&body["requestParameters"]["cluster"]));
    Some((cluster.unwrap_or_else(|| "default".to_owned()), shorten(service)))
}

fn service_of(request: &Value) -> Option<(String, String)> {
    // arn:aws:ecs:REGION:ACCOUNT:service-deployment/CLUSTER/SERVICE/ID
    let deployment = request["serviceDeploymentArn"].as_str().and_then(|arn| arn.split_once(":service-deployment/"));
    if let Some([cluster, service, _]) = deployment.map(|(_, path)| path.splitn(3, '/').collect::<Vec<_>>()).as_deref()
    {
        return Some((shorten(cluster), shorten(service)));
    }
    let service = name_of(&request["service"]).or_else(|| name_of(&request["serviceName"]))?;
    // An ARN of today names the cluster, too; without either it is the one called default.
    let of_arn = request["service"].as_str().and_then(|arn| arn.split_once(":service/")?.1.split_once('/'));
    let cluster = name_of(&request["cluster"]).or_else(|| of_arn.map(|(cluster, _)| shorten(cluster)));
    Some((cluster.unwrap_or_else(|| "default".to_owned()), service))
}

fn target_of(request: &Value, service: Option<&(String, String)>, revision: Option<&str>) -> String {
    let short = |arn: &str| shorten(arn.rsplit('/').next().unwrap_or(arn));
    let mut more = String::new();
    if let Some(desired) = request["desiredCount"].as_i64() {
        more += &format!(", desired count {desired}");
    }
    if request["forceNewDeployment"] == true {
        more += ", forced";
    }
    if let (Some(_), Some(task)) = (service, name_of(&request["task"])) {
        more += &format!(", task {task}");
    }
    match (service, revision) {
        (Some((cluster, service)), Some(revision)) => format!("{cluster}/{service} to {}{more}", short(revision)),
        (Some((cluster, service)), None) => format!("{cluster}/{service}{more}"),
        (None, Some(revision)) => short(revision),
        (None, None) => {
            let named = ["family", "task", "clusterName", "cluster", "serviceDeploymentArn"];
            named.into_iter().find_map(|member| name_of(&request[member])).unwrap_or_default()
        }
    }
}

words! {
    /// Whom a change concerns.
    pub enum Concern {
        Ours = "ours", "This program made it.";
        Watched = "watched", "Somebody else changed a service of the configuration.";
        Others = "others", "Somebody else changed something else.";
    }
}

words_in_json!(Concern);

/// Tells it. `watched` is the service of the configuration that it is about.
#[must_use]
pub fn concern(change: &Change, watched: Option<&ServiceKey>, state: &State) -> Concern {
    // What a program calls itself proves nothing: it also has to be what this program did, when this program did it.
    let by_name = change.agent.contains("app/ecs-deployd");
    let is_registration = change.name.as_str() == "RegisterTaskDefinition";
    match watched {
        Some(key) if by_name && state.services.get(key).is_some_and(|known| knows(known, change)) => Concern::Ours,
        Some(_) => Concern::Watched,
        None if by_name && is_registration && state.services.values().any(|known| knows(known, change)) => {
            Concern::Ours
        }
        None => Concern::Others,
    }
}

/// This machine's clock and that of CloudTrail, and the time that a call takes.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(5);

/// Whether this program was rolling the service to the revision at that time.
fn knows(known: &ServiceState, change: &Change) -> bool {
    let Some(revision) = change.revision.as_deref() else { return false };
    let during = |from: Timestamp, to: Option<Timestamp>| {
        let at = change.event.time;
        at.duration_since(from) >= -CLOCKS_APART && to.is_none_or(|to| at.duration_since(to) <= CLOCKS_APART)
    };
    let under_way = known.rollout.iter().filter(|rollout| during(rollout.decided_at, None));
    let rolling = under_way.filter_map(|rollout| rollout.phase.revision());
    let past = known.history.iter().filter(|outcome| during(outcome.decided_at, Some(outcome.ended_at)));
    let ended = past.filter_map(|outcome| outcome.revision.as_ref());
    rolling.chain(ended).any(|known| known.as_str() == revision || known.short() == revision)
}

/// Remembers a change, and tells whether it is new.
pub fn take(state: &mut State, context: &ContextName, change: &Change) -> bool {
    state.audits.get_mut(context).is_some_and(|audit| audit.is_news(&change.event))
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
