//! What operators order, and what they are told.

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::observe::describe_service;
use super::pace::Group;
use super::patience::paced;
use super::{Deployer, Done, execute};
use crate::aws::{Contexts, Fault};
use crate::domain::image::ImageReference;
use crate::domain::plan::Plan;
use crate::domain::settings::RepositoryKey;
use crate::domain::state::{Direction, Ordered, OutcomeKind};
use crate::domain::steering::{self, Named, Order, Refused};
use crate::domain::task_definition::TaskDefinition;
use crate::domain::types::{ServiceKey, TaskDefinitionArn};
use crate::status::{DaemonStatus, Status};

/// What comes in from outside, and where the answer goes.
#[derive(Debug)]
pub enum Request {
    /// How things are, and what ECS says that the services are set to.
    Status(oneshot::Sender<Status>),
    /// How things are, without asking ECS.
    Glance(oneshot::Sender<Status>),
    /// Something to do.
    Order(OrderOf),
}

/// An order, who gives it and for which service.
#[derive(Debug)]
pub struct OrderOf {
    /// `CLUSTER/SERVICE`, or `AWS/CLUSTER/SERVICE`.
    pub service: String,
    /// What to do.
    pub order: Order,
    /// The operator.
    pub by: String,
    /// What came of it.
    pub answer: oneshot::Sender<Answer>,
}

/// What came of an order.
pub type Answer = Result<String, Refused>;

/// An answer, and where it goes.
pub(super) type Reply = (oneshot::Sender<Answer>, Answer);

/// An order that is being carried out.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: ServiceKey,
    order: Order,
    by: String,
    answer: oneshot::Sender<Answer>,
}

/// What a rollback has to know.
#[derive(Debug)]
pub(super) struct Place {
    current: TaskDefinitionArn,
    to: Option<Named>,
}

impl Deployer {
    pub(super) fn requested(&mut self, request: Request) {
        match request {
            Request::Status(answer) => self.tell_status(answer),
            Request::Glance(answer) => {
                // Who asked may have gone meanwhile.
                let _ = answer.send(self.status());
            }
            Request::Order(OrderOf { service, order, by, answer }) => match self.find_service(&service) {
                Ok(key) => self.order(Pending { key, order, by, answer }),
                Err(refused) => {
                    warn!(service, order = order.as_str(), by, refused = %refused, "order refused");
                    let _ = answer.send(Err(refused));
                }
            },
        }
    }

    /// How things are.
    pub(super) fn status(&self) -> Status {
        let now = self.clock.now();
        let mut status = Status::of(&self.config, &self.state, now);
        status.daemon = Some(DaemonStatus {
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("ECS_DEPLOYD_COMMIT").to_owned(),
            started_at: self.started_at,
            state_trouble: self.commit_complaint.clone(),
            audit_trouble: self.health.unaudited().into_iter().map(|(aws, why)| (aws.to_string(), why)).collect(),
        });
        status.changes = self.recent.changes();
        for context in &mut status.contexts {
            context.delivery = self.recent.delivery(&context.aws);
            if let Some((ago, trouble)) = self.health.of_context(&context.aws) {
                let ago = ago.and_then(|ago| jiff::SignedDuration::try_from(ago).ok());
                context.polled_at = ago.and_then(|ago| now.checked_sub(ago).ok());
                context.trouble = trouble;
            }
        }
        for (key, run) in &self.runs {
            status.add_details(key, run.counts, run.complaint());
        }
        self.add_sightings(&mut status);
        status
    }

    fn find_service(&self, named: &str) -> Result<ServiceKey, Refused> {
        self.config.names.find(named).cloned().map_err(Refused)
    }

    fn order(&mut self, pending: Pending) {
        let repositories: Vec<RepositoryKey> = self.config.rules_of(&pending.key).into_keys().collect();
        let now = self.clock.now();
        let known = self.state.services.get_or_default(pending.key.clone());
        self.dirty = true;
        match &pending.order {
            Order::Hold { reason } => {
                let answer = steering::hold(known, &pending.by, reason.as_deref(), now);
                self.answered(pending, Ok(answer));
            }
            Order::Release => {
                let answer = steering::release(known, &repositories, now);
                self.answered(pending, Ok(answer));
            }
            Order::Deploy => match steering::deploy(known, &repositories, now) {
                Ok(()) => self.orders.push(pending),
                Err(refused) => self.answered(pending, Err(refused)),
            },
            Order::Rollback { to } => {
                let to = to.clone();
                self.launch_place(pending, to);
            }
        }
    }

    /// What the service runs has to be known before it is set back.
    fn launch_place(&mut self, pending: Pending, to: Option<String>) {
        let Some(context) = self.contexts.get(&pending.key.aws).cloned() else {
            return self.answered(pending, Err(Refused("its AWS context is not in the configuration".to_owned())));
        };
        let (pace, key, contexts) = (self.pace.clone(), pending.key.clone(), self.contexts.clone());
        self.jobs.spawn(async move {
            let place = async {
                let refused = |error: crate::aws::AwsError| Refused(error.to_string());
                let seen = describe_service(&context, &pace, &key).await.map_err(refused)?;
                let service = seen.and_then(Result::ok).filter(|service| service.active);
                let current =
                    service.ok_or_else(|| Refused("there is no such service in ECS".to_owned()))?.task_definition;
                let Some(named) = to else { return Ok(Place { current, to: None }) };
                let revision = steering::revision(&named, &current)?;
                let read = || context.ecs.describe_task_definition(&revision);
                match paced(&pace, &key.aws, Group::TaskDefinitions, read).await {
                    Ok(found) => Ok(Place { current, to: Some(with_tags(&contexts, &found).await) }),
                    Err(error) if error.fault == Fault::Refused => {
                        Err(Refused(format!("ECS does not know {revision}")))
                    }
                    Err(error) => Err(refused(error)),
                }
            };
            Done::Placed(pending, place.await)
        });
    }

    pub(super) fn placed(&mut self, pending: Pending, place: Result<Place, Refused>) {
        let key = pending.key.clone();
        let now = self.clock.now();
        let busy = self.run_mut(&key).busy;
        let begun = place.and_then(|place| {
            if busy {
                return Err(Refused("a rollout is just being begun; try again in a moment".to_owned()));
            }
            let known = self.state.services.get_or_default(key.clone());
            let back = steering::rollback(known, &place.current, place.to, &pending.by, now)?;
            Ok((back, place.current))
        });
        match begun {
            Err(refused) => self.answered(pending, Err(refused)),
            Ok((back, current)) => {
                let because = match &back.direction {
                    Direction::Back { because } => because.clone(),
                    Direction::Forward => String::new(),
                };
                self.end(&key, OutcomeKind::Superseded, format!("rollback {because}"));
                let answer = format!("going back from {} to {}", current.short(), back.base.short());
                self.begin(&key, back);
                self.run_mut(&key).certain = false;
                self.answered(pending, Ok(answer));
            }
        }
    }

    /// Tells those who ordered a deployment what was decided.
    pub(super) fn deploy_decided(&mut self, key: &ServiceKey, plan: &Plan) {
        let asked = plan.skips.iter().any(|skip| skip.push.is_reconciliation())
            || plan
                .roll
                .iter()
                .flat_map(|roll| roll.rollout.targets.values())
                .any(|target| target.push.is_reconciliation());
        if asked {
            self.answer_deploys(key, || told(plan));
        }
    }

    /// Tells those who ordered a deployment that it cannot be decided yet.
    pub(super) fn deploy_undecided(&mut self, key: &ServiceKey, why: &str) {
        self.answer_deploys(key, || Err(Refused(format!("not decided yet, it is tried again: {why}"))));
    }

    fn answer_deploys(&mut self, key: &ServiceKey, answer: impl Fn() -> Answer) {
        let (these, others) = std::mem::take(&mut self.orders).into_iter().partition(|pending| &pending.key == key);
        self.orders = others;
        let these: Vec<Pending> = these;
        for pending in these {
            self.answered(pending, answer());
        }
    }

    /// Writes an order and its answer into the log and the history.
    fn answered(&mut self, pending: Pending, answer: Answer) {
        let Pending { key, order, by, answer: to } = pending;
        let text = match &answer {
            Ok(text) => {
                info!(
                    aws = %key.aws, cluster = %key.cluster, service = %key.service, order = order.as_str(), by, answer = text,
                    "order carried out"
                );
                text.clone()
            }
            Err(refused) => {
                warn!(
                    aws = %key.aws, cluster = %key.cluster, service = %key.service, order = order.as_str(), by, %refused,
                    "order refused"
                );
                format!("refused: {refused}")
            }
        };
        let at = self.clock.now();
        if let Some(known) = self.state.services.get_mut(&key) {
            known.note_order(Ordered { at, by, order, answer: text });
        }
        self.gauge(&key);
        self.dirty = true;
        self.replies.push((to, answer));
    }

    /// Gives the answers, once what they say is on the disk.
    pub(super) fn reply(&mut self, committed: Result<(), &str>) {
        for (to, answer) in self.replies.drain(..) {
            let answer = match committed {
                Ok(()) => answer,
                Err(why) => answer.and_then(|text| {
                    Err(Refused(format!("{text}; but that is not on the disk, and a restart forgets it: {why}")))
                }),
            };
            // Who asked may have gone meanwhile.
            let _ = to.send(answer);
        }
    }
}

/// A revision that an operator named, with what its tags mean now.
async fn with_tags(contexts: &Contexts, definition: &TaskDefinition) -> Named {
    let mut tags = Vec::new();
    for (_, image) in definition.containers() {
        let reference = ImageReference::split(image);
        if reference.is_movable()
            && let Some(digest) = execute::resolve(contexts, &reference).await
        {
            tags.push((image.to_owned(), digest));
        }
    }
    Named { revision: definition.arn().clone(), tags }
}

/// What a plan means to who ordered it.
fn told(plan: &Plan) -> Answer {
    if let Some(roll) = &plan.roll {
        let targets = roll.rollout.targets.iter().map(|(repository, target)| {
            let tag = target.push.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
            format!("{}{tag} ({})", repository.name, target.digest)
        });
        return Ok(format!("rolling to {}", targets.collect::<Vec<_>>().join(" and ")));
    }
    if let Some(reason) = &plan.refused {
        return Err(Refused(reason.clone()));
    }
    let reasons: Vec<String> = plan.skips.iter().map(|skip| format!("{}: {}", skip.reason, skip.detail)).collect();
    let text = reasons.join("; ");
    let all_well = plan.skips.iter().all(|skip| skip.reason == crate::domain::skip::SkipReason::AlreadyDeployed);
    if all_well { Ok(format!("nothing to do: {text}")) } else { Err(Refused(text)) }
}
