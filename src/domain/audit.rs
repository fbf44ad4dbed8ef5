//! Who changed what in ECS: CloudTrail records of other events than pushes.

use std::fmt;

use serde_json::Value;

use super::event::{EventRef, Record, shorten};
use super::state::{ServiceState, State};
use super::types::{ContextName, EventId, ServiceKey};

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

    /// The name.
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
    /// The event.
    pub event: EventRef,
    /// The call.
    pub name: EventName,
    /// Who made it: an ARN, or an AWS service.
    pub who: String,
    /// From which address, or by which AWS service.
    pub source: String,
    /// With which program.
    pub agent: String,
    /// What it was about: `web/shop`, `family:7`.
    pub target: String,
    /// Cluster and service, where it was about one.
    pub service: Option<(String, String)>,
    /// The task definition that it named.
    pub revision: Option<String>,
    /// The error code, where AWS refused it.
    pub error: Option<String>,
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
    let service = service_of(request);
    let revision = text(&request["taskDefinition"])
        .or_else(|| text(&body["responseElements"]["taskDefinition"]["taskDefinitionArn"]));
    Some(Change {
        event: EventRef { id, shared_id: None, time },
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

fn service_of(request: &Value) -> Option<(String, String)> {
    let service = name_of(&request["service"]).or_else(|| name_of(&request["serviceName"]))?;
    // An ARN of today names the cluster, too; without either it is the one called default.
    let of_arn = request["service"].as_str().and_then(|arn| arn.split_once(":service/")?.1.split_once('/'));
    let cluster = name_of(&request["cluster"]).or_else(|| of_arn.map(|(cluster, _)| shorten(cluster)));
    Some((cluster.unwrap_or_else(|| "default".to_owned()), service))
}

fn target_of(request: &Value, service: Option<&(String, String)>, revision: Option<&str>) -> String {
    let short = |arn: &str| shorten(arn.rsplit('/').next().unwrap_or(arn));
    match (service, revision) {
        (Some((cluster, service)), Some(revision)) => format!("{cluster}/{service} to {}", short(revision)),
        (Some((cluster, service)), None) => format!("{cluster}/{service}"),
        (None, Some(revision)) => short(revision),
        (None, None) => {
            let named = ["family", "task", "clusterName", "cluster", "serviceDeploymentArn"];
            named.into_iter().find_map(|member| name_of(&request[member])).unwrap_or_default()
        }
    }
}

/// Whom a change concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// This program made it.
    Ours,
    /// Somebody else changed a service that this program looks after.
    Watched,
    /// Somebody else changed something else.
    Others,
}

impl Concern {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Watched => "watched",
            Self::Others => "others",
        }
    }
}

/// Tells it. `watched` is the service of the configuration that it is about.
#[must_use]
pub fn concern(change: &Change, watched: Option<&ServiceKey>, state: &State) -> Concern {
    // What a program calls itself proves nothing: for a service it also has to be what this program did there.
    let by_name = change.agent.contains("app/ecs-deployd");
    match watched {
        Some(key) if by_name && state.services.get(key).is_some_and(|known| knows(known, change)) => Concern::Ours,
        Some(_) => Concern::Watched,
        None if by_name && change.name.as_str() == "RegisterTaskDefinition" => Concern::Ours,
        None => Concern::Others,
    }
}

/// Whether this program rolled the service to the revision.
fn knows(known: &ServiceState, change: &Change) -> bool {
    let Some(revision) = change.revision.as_deref() else { return false };
    let rolling = known.rollout.iter().flat_map(|rollout| rollout.phase.revision());
    let deployed = known.deployed.iter().map(|deployed| &deployed.revision);
    let ended = known.history.iter().filter_map(|outcome| outcome.revision.as_ref());
    rolling.chain(deployed).chain(ended).any(|known| known.as_str() == revision || known.short() == revision)
}

/// Remembers a change, and tells whether it is new.
pub fn take(state: &mut State, context: &ContextName, change: &Change) -> bool {
    state.audits.get_mut(context).is_some_and(|audit| audit.is_news(&change.event))
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
