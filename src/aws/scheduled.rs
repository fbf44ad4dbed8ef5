//! Schedules and rules among the services: whatever names one of them reads and writes EventBridge, and all else goes to ECS.
//!
//! Nothing is decided here beyond which of the targets of a rule are written, and in which order: the one by which the rule is judged comes
//! last, so that a rule that was written in part is written again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use super::{AwsError, Ecs, Fault, Schedules, Services, Unrollable};
use crate::clock;
use crate::domain::deployment::{HookAction, ServiceDeploymentView};
use crate::domain::schedule::{self, Named, Operations, ScheduleName, Target};
use crate::domain::task::{Started, TaskView};
use crate::domain::task_definition::{Registration, TaskDefinition};
use crate::domain::types::{DeploymentId, EcsName, TaskDefinitionArn};
use crate::domain::view::{DeploymentView, Fate, RunningImages};

/// PutTargets takes at most 10 targets.
const TARGETS_A_CALL: usize = 10;
/// Pages of targets that are read at most.
const PAGES: usize = 20;
/// Attempts at a write that meets with another one.
const ATTEMPTS: u32 = 4;
/// Before the next of them.
const PAUSE: Duration = Duration::from_millis(300);

/// ECS, and EventBridge beside it.
#[derive(Debug)]
pub(super) struct WithSchedules {
    pub(super) ecs: Arc<dyn Ecs>,
    pub(super) schedules: Arc<dyn Schedules>,
}

/// What a schedule runs.
enum Lookup {
    /// There is no such schedule or rule.
    Missing,
    /// It runs no task of ECS.
    NoTask(Unrollable),
    /// It runs this revision. Of a rule with several families it is the one by which the rule is judged.
    Runs(TaskDefinitionArn),
}

impl WithSchedules {
    /// What a schedule or a rule runs.
    async fn find(&self, name: &ScheduleName) -> Result<Lookup, AwsError> {
        let targets = match name {
            ScheduleName::Scheduler { group, name } => {
                let found = self.schedules.schedule(group, name).await?;
                found.map(|schedule| vec![Target::of_schedule(&schedule)])
            }
            ScheduleName::Rule { bus, name } => self.targets(bus, name).await?,
        };
        let Some(targets) = targets else { return Ok(Lookup::Missing) };
        let named: Vec<Named> = targets.iter().filter_map(Target::runs).collect();
        match self.judged_by(&named).await? {
            Some(revision) => Ok(Lookup::Runs(revision)),
            None => {
                let why = match name {
                    ScheduleName::Scheduler { .. } => "its target runs no task of ECS",
                    ScheduleName::Rule { .. } => "none of its targets runs a task of ECS",
                };
                Ok(Lookup::NoTask(Unrollable(why.to_owned())))
            }
        }
    }

    /// The revision by which targets are judged: the lowest one of a family, as long as they differ; of several families, that of the first
    /// one by name with an image in ECR, as the order of the targets is not the same in each answer.
    async fn judged_by(&self, named: &[Named]) -> Result<Option<TaskDefinitionArn>, AwsError> {
        let families: BTreeSet<&str> = named.iter().map(Named::family).collect();
        let mut first = None;
        for family in &families {
            let of_family = named.iter().filter(|one| one.family() == *family);
            let mut revisions = Vec::new();
            for one in of_family.collect::<BTreeSet<_>>() {
                revisions.push(match one {
                    Named::Revision(arn) => arn.clone(),
                    Named::Family(family) => self.ecs.describe_task_definition(family).await?.arn().clone(),
                });
            }
            let Some(lowest) = revisions.into_iter().min_by_key(TaskDefinitionArn::revision) else { continue };
            if families.len() == 1 {
                return Ok(Some(lowest));
            }
            if schedule::runs_from_ecr(&self.ecs.describe_task_definition(lowest.as_str()).await?) {
                return Ok(Some(lowest));
            }
            first.get_or_insert(lowest);
        }
        Ok(first)
    }

    /// Every target of a rule.
    async fn targets(&self, bus: &str, rule: &str) -> Result<Option<Vec<Target>>, AwsError> {
        let (mut targets, mut next) = (Vec::new(), None);
        for _ in 0..PAGES {
            let Some(page) = self.schedules.targets(bus, rule, next).await? else { return Ok(None) };
            targets.extend(page.targets.into_iter().map(Target::of_rule));
            next = page.next;
            if next.is_none() {
                return Ok(Some(targets));
            }
        }
        Err(AwsError::unusable("events", "ListTargetsByRule", "the pages have no end"))
    }

    /// Sets a schedule or a rule to a revision, and tells whether it runs that one now. It is read right before, as EventBridge knows no
    /// condition for a write: what somebody else has given another family meanwhile is left alone.
    async fn write(&self, name: &ScheduleName, revision: &TaskDefinitionArn) -> Result<bool, AwsError> {
        let mut attempt = 1;
        loop {
            let written = match name {
                ScheduleName::Scheduler { group, name } => self.write_schedule(group, name, revision).await,
                ScheduleName::Rule { bus, name } => self.write_rule(bus, name, revision).await,
            };
            match written {
                Err(error) if attempt < ATTEMPTS && is_conflict(&error) => {
                    attempt += 1;
                    clock::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn write_schedule(&self, group: &str, name: &str, revision: &TaskDefinitionArn) -> Result<bool, AwsError> {
        let Some(before) = self.schedules.schedule(group, name).await? else { return Ok(false) };
        let target = Target::of_schedule(&before);
        match target.runs() {
            Some(Named::Family(family)) if family == revision.family() => self.make_latest(revision).await?,
            Some(Named::Revision(now)) if now.family() == revision.family() => {
                if let Some(target) = target.with(revision) {
                    self.schedules.update_schedule(name, &schedule::update(&before, &target)).await?;
                }
            }
            Some(_) | None => return Ok(false),
        }
        Ok(true)
    }

    async fn write_rule(&self, bus: &str, rule: &str, revision: &TaskDefinitionArn) -> Result<bool, AwsError> {
        let Some(targets) = self.targets(bus, rule).await? else { return Ok(false) };
        let (mine, others): (Vec<&Target>, Vec<&Target>) = targets
            .iter()
            .filter(|target| target.runs().is_some())
            .partition(|target| target.runs().is_some_and(|named| named.family() == revision.family()));
        if mine.is_empty() {
            return Ok(false);
        }
        let mut changed = self.following(&others, revision).await?;
        if mine.iter().any(|target| matches!(target.runs(), Some(Named::Family(_)))) {
            self.make_latest(revision).await?;
        }
        changed.extend(mine.iter().filter_map(|target| target.with(revision)));
        let bodies: Vec<_> = changed.iter().map(|target| target.body().clone()).collect();
        for bodies in bodies.chunks(TARGETS_A_CALL) {
            self.schedules.put_targets(bus, rule, bodies).await?;
        }
        Ok(true)
    }

    /// The targets of other families of a rule that run images of the same repositories: each family gets a revision of its own.
    async fn following(&self, others: &[&Target], revision: &TaskDefinitionArn) -> Result<Vec<Target>, AwsError> {
        let named: BTreeSet<Named> = others.iter().filter_map(|target| target.runs()).collect();
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let leading = self.ecs.describe_task_definition(revision.as_str()).await?;
        let mut revisions: BTreeMap<Named, TaskDefinitionArn> = BTreeMap::new();
        for one in named {
            let definition = self.ecs.describe_task_definition(one.which()).await?;
            if let Some(registration) = schedule::following(&leading, &definition) {
                revisions.insert(one, self.registered(&definition, &registration).await?);
            }
        }
        let changed = |target: &&Target| target.with(revisions.get(&target.runs()?)?);
        Ok(others.iter().filter_map(changed).collect())
    }

    /// The revision that says this: the latest one of the family, if it does, or a new one.
    async fn registered(
        &self,
        definition: &TaskDefinition,
        registration: &Registration,
    ) -> Result<TaskDefinitionArn, AwsError> {
        let latest = self.ecs.describe_task_definition(definition.arn().family()).await?;
        match latest.says(registration) {
            true => Ok(latest.arn().clone()),
            false => self.ecs.register_task_definition(registration).await,
        }
    }

    /// Sees to it that the latest revision of a family says what a revision says: tasks of targets that name the family alone run that one.
    async fn make_latest(&self, revision: &TaskDefinitionArn) -> Result<(), AwsError> {
        let latest = self.ecs.describe_task_definition(revision.family()).await?;
        if latest.arn() == revision {
            return Ok(());
        }
        let wanted = self.ecs.describe_task_definition(revision.as_str()).await?.with_images(&BTreeMap::new());
        self.registered(&latest, &wanted).await.map(drop)
    }
}

fn is_conflict(error: &AwsError) -> bool {
    ["ConflictException", "ConcurrentModificationException"].contains(&error.code.as_str())
}

/// The schedules among names of one cluster, and the services.
fn split(cluster: &EcsName, names: &[EcsName]) -> (Vec<(EcsName, ScheduleName)>, Vec<EcsName>) {
    let (mut schedules, mut services) = (Vec::new(), Vec::new());
    for name in names {
        match name.schedule_in(cluster) {
            Some(schedule) => schedules.push((name.clone(), schedule)),
            None => services.push(name.clone()),
        }
    }
    (schedules, services)
}

#[async_trait]
impl Ecs for WithSchedules {
    async fn describe_services(&self, cluster: &EcsName, services: &[EcsName]) -> Result<Services, AwsError> {
        let (schedules, services) = split(cluster, services);
        let mut found = match services.is_empty() && !schedules.is_empty() {
            true => Services::new(),
            false => self.ecs.describe_services(cluster, &services).await?,
        };
        for (name, schedule) in schedules {
            match self.find(&schedule).await? {
                Lookup::Missing => {}
                Lookup::NoTask(why) => drop(found.insert(name, Err(why))),
                Lookup::Runs(revision) => drop(found.insert(name, Ok(schedule::view(&revision)))),
            }
        }
        Ok(found)
    }

    async fn describe_task_definition(&self, which: &str) -> Result<TaskDefinition, AwsError> {
        self.ecs.describe_task_definition(which).await
    }

    async fn register_task_definition(&self, registration: &Registration) -> Result<TaskDefinitionArn, AwsError> {
        self.ecs.register_task_definition(registration).await
    }

    async fn update_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError> {
        let Some(name) = service.schedule_in(cluster) else {
            return self.ecs.update_service(cluster, service, revision).await;
        };
        let Operations { api, read: operation, .. } = name.operations();
        let unusable = || AwsError::unusable(api, operation, "the revision has no usable name");
        if self.write(&name, revision).await? {
            return schedule::deployment(revision).ok_or_else(unusable);
        }
        match self.find(&name).await? {
            Lookup::Runs(now) => schedule::deployment(&now).ok_or_else(unusable),
            Lookup::Missing => Err(AwsError {
                fault: Fault::NotFound,
                ..AwsError::unusable(api, operation, "there is no such schedule or rule any more")
            }),
            Lookup::NoTask(why) => Err(AwsError { fault: Fault::Refused, ..AwsError::unusable(api, operation, why.0) }),
        }
    }

    async fn update_express_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        service_arn: &str,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError> {
        self.ecs.update_express_service(cluster, service, service_arn, revision).await
    }

    async fn deployed_since(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        since: Timestamp,
    ) -> Result<Vec<(TaskDefinitionArn, Fate)>, AwsError> {
        match service.schedule_in(cluster) {
            // EventBridge has no history.
            Some(_) => Ok(Vec::new()),
            None => self.ecs.deployed_since(cluster, service, since).await,
        }
    }

    async fn service_deployments(&self, arns: &[String]) -> Result<Vec<ServiceDeploymentView>, AwsError> {
        self.ecs.service_deployments(arns).await
    }

    async fn describe_service_json(&self, cluster: &EcsName, service: &EcsName) -> Result<Option<Value>, AwsError> {
        self.ecs.describe_service_json(cluster, service).await
    }

    async fn run_task(&self, request: &Value) -> Result<Started, AwsError> {
        self.ecs.run_task(request).await
    }

    async fn describe_tasks(&self, cluster: &EcsName, tasks: &[String]) -> Result<Vec<TaskView>, AwsError> {
        self.ecs.describe_tasks(cluster, tasks).await
    }

    async fn stop_task(&self, cluster: &EcsName, task: &str, reason: &str) -> Result<(), AwsError> {
        self.ecs.stop_task(cluster, task, reason).await
    }

    async fn continue_deployment(&self, arn: &str, hook: &str, action: HookAction) -> Result<(), AwsError> {
        self.ecs.continue_deployment(arn, hook, action).await
    }

    async fn stop_deployment(&self, arn: &str) -> Result<(), AwsError> {
        self.ecs.stop_deployment(arn).await
    }

    async fn stopped_reasons(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        deployment: &DeploymentId,
    ) -> Result<Vec<String>, AwsError> {
        match service.schedule_in(cluster) {
            Some(_) => Ok(Vec::new()),
            None => self.ecs.stopped_reasons(cluster, service, deployment).await,
        }
    }

    async fn list_running_tasks(&self, cluster: &EcsName, service: &EcsName) -> Result<Vec<String>, AwsError> {
        match service.schedule_in(cluster) {
            // What ran at the last time tells nothing of what runs at the next one.
            Some(_) => Ok(Vec::new()),
            None => self.ecs.list_running_tasks(cluster, service).await,
        }
    }

    async fn describe_running_images(&self, cluster: &EcsName, tasks: &[String]) -> Result<RunningImages, AwsError> {
        self.ecs.describe_running_images(cluster, tasks).await
    }
}
