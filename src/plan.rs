//! `plan`: one poll, and what would follow from it, without any change.

mod gates;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::future::{join, join_all};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::aws::{self, AwsError, Common, ConnectError, Contexts, RegionWait};
use crate::clock::{Clock, CorrectedClock};
use crate::config::Config;
use crate::daemon;
use crate::discoverer;
use crate::domain::gate::GatedPlan;
use crate::domain::image::ImageReference;
use crate::domain::operator_command;
use crate::domain::plan::{self, Plan, ServiceSnapshot};
use crate::domain::routing::{self, Fate, Told, Verdict};
use crate::domain::settings::RepositoryKey;
use crate::domain::skip::SkipReason;
use crate::domain::source::PushSource;
use crate::domain::state::{Decision, GateRefusal, PushRef, ServiceState, State};
use crate::domain::types::{ContextName, EventId, ServiceKey};
use crate::domain::waiting::Waiting;
use crate::engine::{Observation, ObservationRequest};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::observer::{Observer, Round};
use crate::place::{self, PlaceError};
use crate::scheduler::{self, Shared};
use crate::state_store::StateStoreError;
use crate::status::{Comparison, PushForecast};
use gates::AskedGates;

/// The version of the shape.
const VERSION: u32 = 1;

/// What would happen with the pushes that are not decided.
#[derive(Debug, Serialize)]
pub struct PlanReport {
    /// The version of this shape.
    pub version: u32,
    /// When it was looked at.
    pub at: Timestamp,
    /// Each push that the poll showed, and what would come of it.
    pub pushes: Vec<PlannedPush>,
    /// Each service, and how it differs from ECR.
    pub services: Vec<ComparedService>,
    /// What could not be asked.
    pub errors: Vec<String>,
}

/// A push, for one service that it concerns, or for none.
#[derive(Debug, Serialize)]
pub struct PlannedPush {
    /// The name of the AWS context.
    pub aws: String,
    /// The repository, as far as the record names one.
    pub repository: Option<String>,
    /// The tag, as far as the record has it.
    pub tag: Option<String>,
    /// The id of CloudTrail's event.
    pub event: String,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// `CLUSTER/SERVICE`, unless it concerns none.
    pub service: Option<String>,
    /// What would be decided.
    pub decision: PushForecast,
    /// What the reason alone does not say, for people.
    pub detail: String,
}

/// A service, and what its policies select in ECR.
#[derive(Debug, Serialize)]
pub struct ComparedService {
    /// The name of the AWS context.
    pub aws: String,
    /// The name of the cluster.
    pub cluster: String,
    /// The name of the service.
    pub service: String,
    /// What it is called, here and in commands: `CLUSTER/SERVICE`, with the AWS context before it where another one is called the same.
    pub name: String,
    /// The revision that it is set to.
    pub revision: Option<String>,
    /// How it compares with ECR.
    pub state: Comparison,
    /// What the reason alone does not say, for people.
    pub detail: String,
    /// What waits, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// What a deployment would change.
    pub images: Vec<ImageChange>,
}

/// A container's image, before and after.
#[derive(Debug, Serialize)]
pub struct ImageChange {
    /// The container whose image changes.
    pub container: String,
    /// What the revision names now.
    pub from: String,
    /// What the new one would name.
    pub to: String,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The state cannot be used.
    #[error(transparent)]
    StateStore(#[from] StateStoreError),
    /// A context cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The metrics cannot be made.
    #[error("cannot make the metrics")]
    Metrics(#[from] prometheus::Error),
}

/// Looks, and touches nothing.
///
/// # Errors
/// There is nothing to look with, or the state cannot be read.
pub async fn make(config: Config) -> Result<PlanReport, PlanError> {
    let corrected = Arc::new(CorrectedClock::default());
    let clock: Arc<dyn Clock> = Arc::<CorrectedClock>::clone(&corrected);
    let now = clock.now();
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), env!("ECS_DEPLOYD_COMMIT"), now)?);
    let config = Arc::new(config);
    let common = Common::new(Arc::clone(&metrics), Arc::default(), corrected);
    let found = place::read(&config, &common).await.map_err(|error| match error {
        PlaceError::StateStore(error) => PlanError::StateStore(error),
        PlaceError::Connect(error) => PlanError::Connect(error),
    })?;
    let state = daemon::begin(&config, found, clock.now());
    let contexts = aws::connect(&config.aws, &common, RegionWait::Short).await?;
    Ok(look(&config, &contexts, state, clock, metrics).await)
}

/// The same with everything given.
pub async fn look(
    config: &Arc<Config>,
    contexts: &Contexts,
    mut state: State,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> PlanReport {
    let now = clock.now();
    let looked = discoverer::look_once(config, contexts, &mut state, now).await;
    let config = &*config.with_discovered(&state);
    let (verdicts, mut errors) = poll(config, contexts, &mut state, Arc::clone(&clock), metrics).await;
    let displaced: BTreeSet<EventId> =
        verdicts.iter().flat_map(|(_, verdict)| &verdict.displaced).map(|(_, push)| push.event.clone()).collect();
    errors.extend(looked.errors.iter().map(|(_, error)| error.to_string()));
    errors.extend(daemon::refuse_contradictions(config, &looked.doubts).err().map(|error| error.to_string()));
    let observer = Observer::new(contexts.clone());
    let observed = ask(config, contexts, &state, now).await;
    let mut report =
        PlanReport { version: VERSION, at: now, pushes: Vec::new(), services: Vec::new(), errors: Vec::new() };
    let mut decided: BTreeMap<(String, String), Vec<PlannedPush>> = BTreeMap::new();
    for (request, snapshot) in observed {
        let key = request.key;
        let known = state.services.get(&key).cloned().unwrap_or_default();
        let name = config.name_of(&key);
        match snapshot {
            Err(error) => {
                errors.push(error.to_string());
                report.services.push(service(&key, name, None, Comparison::Unknown, error.to_string(), Vec::new()));
            }
            Ok(Observation { snapshot, unanswered, at_gates }) => {
                errors.extend(unanswered.values().map(ToString::to_string));
                let answered = |mut known: ServiceState| {
                    known.pending.retain(|repository, _| !unanswered.contains_key(repository));
                    known
                };
                let gates = AskedGates { config, state: &state, observer: &observer, key: &key, now };
                let (pushes, found) = gates.decide(&answered(known.clone()), &snapshot, &at_gates).await;
                errors.extend(found);
                note_pushes(&name, &pushes, &mut decided);
                let compared = answered(compared(config, &key, &known, now));
                let difference = decide(config, &key, &compared, &snapshot, now);
                let mut row = difference_of(&key, name, &snapshot, &difference);
                let copy = gates.missing_copy(&known);
                add_what_stands_against(&mut row, &known, copy.as_ref(), unanswered.values());
                row.waiting = known.waiting.clone().or(pushes.waiting().cloned()).or(copy);
                report.services.push(row);
            }
        }
    }
    let before = &state.decisions;
    report.pushes =
        verdicts.into_iter().flat_map(|verdict| pushes_of(config, verdict, &decided, before, &displaced)).collect();
    // Where nobody pushed, or nobody knows who did: a state that is missing or too old is made up for by what ECR says.
    let nobodys = [PushRef::RECONCILIATION, PushRef::COMMAND];
    let compared = decided.into_iter().filter(|((event, _), _)| nobodys.contains(&event.as_str()));
    report.pushes.extend(compared.flat_map(|(_, pushes)| pushes));
    report.pushes.sort_by(|a, b| b.pushed_at.cmp(&a.pushed_at).then(a.service.cmp(&b.service)));
    errors.sort();
    errors.dedup();
    report.errors = errors;
    report
}

/// One poll of each context, taken into the state.
async fn poll(
    config: &Config,
    contexts: &Contexts,
    state: &mut State,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> (Vec<(ContextName, Verdict)>, Vec<String>) {
    let now = clock.now();
    let (batches, mut pages) = mpsc::channel(4);
    let shared = Shared { clock, metrics, health: Arc::new(Health::new()), batches };
    let schedulers = scheduler::all(config, contexts, state, &shared);
    drop(shared);
    let polls = join_all(schedulers.into_iter().map(scheduler::Scheduler::poll_once));
    let mut verdicts = Vec::new();
    let taking = async {
        while let Some(batch) = pages.recv().await {
            let opening = state.contexts.get(&batch.context).is_some_and(|known| known.cursor.is_none());
            let told = Told { by: PushSource::CloudTrail, at: now, opening };
            for parsed in &batch.parsed_events {
                let verdict = routing::take(state, &config.repositories, &batch.context, parsed, told);
                verdicts.extend(verdict.map(|verdict| (batch.context.clone(), verdict)));
            }
        }
    };
    let (polled, ()) = join(polls, taking).await;
    let errors = polled.into_iter().filter_map(Result::err).map(|error: AwsError| error.to_string());
    (verdicts, errors.collect())
}

/// What was found out about services, each with what was asked.
pub(crate) type Observed = Vec<(ObservationRequest, Result<Observation, AwsError>)>;

/// Asks about every service of the configuration: what its pushes need, and what its policies select.
pub(crate) async fn ask(config: &Config, contexts: &Contexts, state: &State, now: Timestamp) -> Observed {
    let mut keys: Vec<&ServiceKey> = config.services().map(|(_, rule)| &rule.key).collect();
    keys.sort();
    keys.dedup();
    let requests = keys.into_iter().filter_map(|key| {
        let mut known = state.services.get(key).cloned().unwrap_or_default();
        operator_command::add_reconciliation(&mut known, &repositories(config, key), now);
        let pushes = known.pending.clone();
        let request = ObservationRequest::of(config, key, &known, pushes)?;
        Some(request.promoting(|other| state.services.get(other)))
    });
    let (round, places) = Round::new(&Observer::new(contexts.clone()), requests.collect());
    let answers = places.into_iter().map(|(place, requests)| round.clone().observe(place, requests));
    join_all(answers).await.into_iter().flatten().collect()
}

/// What is not seen by comparing the images alone: holds, what a gate refused, what was not copied, and repositories that could not be asked.
fn add_what_stands_against<'a>(
    row: &mut ComparedService,
    known: &ServiceState,
    copy: Option<&Waiting>,
    unanswered: impl Iterator<Item = &'a AwsError>,
) {
    let service_hold = known.service_hold.iter().map(ToString::to_string);
    let holds = known.held.iter().map(|(repository, hold)| {
        format!("held: {}@{} since {:.0}: {}", repository.name, hold.digest, hold.since, hold.reason)
    });
    let refused = known.refused.iter().map(|(repository, refused)| {
        let GateRefusal { digest, reason, at } = refused;
        format!("refused: {}@{digest} at {at:.0}: {reason}; a release has it judged again", repository.name)
    });
    let waits = copy.iter().map(|copy| format!("waits: {}", copy.reason));
    let mut details: Vec<String> = service_hold.chain(holds).chain(refused).chain(waits).collect();
    for error in unanswered {
        if row.state == Comparison::Same {
            row.state = Comparison::Unknown;
        }
        details.push(error.to_string());
    }
    details.extend(Some(std::mem::take(&mut row.detail)).filter(|detail| !detail.is_empty()));
    row.detail = details.join("; ");
}

fn repositories(config: &Config, key: &ServiceKey) -> Vec<RepositoryKey> {
    config.rules_of(key).into_keys().collect()
}

/// The state of a service in which nothing is wanted but what ECR says, and nothing stands against it but what runs. What was decided tells
/// which image was pushed again, of which ECR does not keep the time.
fn compared(config: &Config, key: &ServiceKey, known: &ServiceState, now: Timestamp) -> ServiceState {
    let mut compared = ServiceState {
        deployed: known.deployed.clone(),
        rollout: known.rollout.clone(),
        decided: known.decided.clone(),
        ..ServiceState::default()
    };
    operator_command::add_commanded_reconciliation(
        &mut compared,
        &repositories(config, key),
        now - SignedDuration::from_secs(1),
    );
    compared
}

fn decide(config: &Config, key: &ServiceKey, known: &ServiceState, snapshot: &ServiceSnapshot, now: Timestamp) -> Plan {
    let rules = config.rules_of(key);
    plan::plan(&rules, known, snapshot, now)
}

fn note_pushes(name: &str, gated: &GatedPlan, decided: &mut BTreeMap<(String, String), Vec<PlannedPush>>) {
    let mut note = |repository: &RepositoryKey, push: &PushRef, decision: PushForecast, detail: String| {
        decided.entry((push.event.to_string(), repository.to_string())).or_default().push(PlannedPush {
            aws: repository.aws.to_string(),
            repository: Some(repository.name.to_string()),
            tag: push.tag.as_ref().map(ToString::to_string),
            event: push.event.to_string(),
            pushed_at: push.at,
            service: Some(name.to_owned()),
            decision,
            detail,
        });
    };
    let plan = &gated.plan;
    for skip in &plan.skips {
        note(&skip.repository, &skip.push, PushForecast::Skipped(skip.reason), skip.detail.clone());
    }
    for (repository, target) in plan.roll.iter().flat_map(|roll| &roll.rollout.targets) {
        note(repository, &target.push, PushForecast::Deploy, target.digest.to_string());
    }
    for (repository, pushes) in &gated.kept {
        let waiting = gated.waits.iter().find(|waiting| waiting.repository == repository.name);
        let unknown = || (PushForecast::Unknown, "AWS could not be asked".to_owned());
        let (decision, detail) = waiting.map_or_else(unknown, |waiting| {
            (PushForecast::Waits, format!("{}: {}", waiting.gate.as_str(), waiting.why()))
        });
        for push in pushes {
            note(repository, push, decision, detail.clone());
        }
    }
}

/// What comes of a push: one entry for each service that it concerns, or one that says why it concerns none.
fn pushes_of(
    config: &Config,
    (aws, verdict): (ContextName, Verdict),
    decided: &BTreeMap<(String, String), Vec<PlannedPush>>,
    before: &VecDeque<Decision>,
    displaced: &BTreeSet<EventId>,
) -> Vec<PlannedPush> {
    let one = |service: Option<String>, decision: PushForecast, detail: String| PlannedPush {
        aws: aws.to_string(),
        repository: verdict.repository.as_ref().map(ToString::to_string),
        tag: verdict.tag.as_ref().map(ToString::to_string),
        event: verdict.event.id.to_string(),
        pushed_at: verdict.event.time,
        service,
        decision,
        detail,
    };
    let repository = verdict.configured.as_ref().map(ToString::to_string).unwrap_or_default();
    let known = decided.get(&(verdict.event.id.to_string(), repository));
    match &verdict.fate {
        // It was read before, and is still to be decided.
        Fate::Skip { reason: SkipReason::Duplicate, .. } if known.is_some() => {
            let again = |push: &PlannedPush| one(push.service.clone(), push.decision, push.detail.clone());
            known.into_iter().flatten().map(again).collect()
        }
        // It was decided before: nothing would come of it now, and what came of it then is known for a while.
        Fate::Skip { reason: reason @ SkipReason::Duplicate, .. }
            if before.iter().any(|then| then.event == verdict.event.id) =>
        {
            let then = before.iter().filter(|then| then.event == verdict.event.id);
            let again = |then: &Decision| {
                let detail = format!("decided at {:.0}: {} {}", then.decided_at, then.word(), then.detail);
                let service = then.service.as_ref().map(|key| config.name_of(key));
                PlannedPush {
                    tag: then.tag.as_ref().map(ToString::to_string),
                    ..one(service, PushForecast::Skipped(*reason), detail)
                }
            };
            then.map(again).collect()
        }
        Fate::Skip { reason, detail } => {
            let detail = verdict.explained(detail, |key| config.name_of(key));
            vec![one(None, PushForecast::Skipped(*reason), detail)]
        }
        Fate::Pending(_) if displaced.contains(&verdict.event.id) => {
            vec![one(None, PushForecast::Skipped(SkipReason::Superseded), "many newer ones wait".to_owned())]
        }
        Fate::Pending(services) => {
            let of = |key: &ServiceKey| {
                let name = config.name_of(key);
                let found = known.into_iter().flatten().find(|push| push.service.as_ref() == Some(&name));
                match found {
                    Some(push) => one(push.service.clone(), push.decision, push.detail.clone()),
                    None => one(Some(name), PushForecast::Unknown, "AWS could not be asked".to_owned()),
                }
            };
            services.iter().map(of).collect()
        }
    }
}

fn service(
    key: &ServiceKey,
    name: String,
    revision: Option<String>,
    state: Comparison,
    detail: String,
    images: Vec<ImageChange>,
) -> ComparedService {
    ComparedService {
        aws: key.aws.to_string(),
        cluster: key.cluster.to_string(),
        service: key.service.to_string(),
        name,
        revision,
        state,
        detail,
        waiting: None,
        images,
    }
}

fn difference_of(key: &ServiceKey, name: String, snapshot: &ServiceSnapshot, plan: &Plan) -> ComparedService {
    let revision = snapshot.service.as_ref().map(|service| service.task_definition.as_str().to_owned());
    if let (Some(roll), Some(current)) = (&plan.roll, &snapshot.current) {
        let change = |(container, to): (&String, &String)| {
            let from = current.image_of(container).unwrap_or_default();
            // A tag means what the running tasks say it means.
            let runs = snapshot.running.only(container).filter(|_| ImageReference::split(from).is_movable());
            let from = runs.map_or_else(|| from.to_owned(), |digest| format!("{from} ({digest})"));
            ImageChange { container: container.clone(), from, to: to.clone() }
        };
        let images = roll.rollout.images.iter().map(change).collect();
        return service(key, name, revision, Comparison::Differs, plan.warnings.join("; "), images);
    }
    let details: Vec<&str> = plan.skips.iter().map(|skip| skip.detail.as_str()).collect();
    let state = match plan.skips.iter().map(|skip| skip.reason).find(|reason| *reason != SkipReason::AlreadyDeployed) {
        None => Comparison::Same,
        Some(reason) => Comparison::Skipped(reason),
    };
    service(key, name, revision, state, details.join("; "), Vec::new())
}
