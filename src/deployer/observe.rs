//! Reads, and nothing but reads: what ECR and ECS say about the services of one cluster.
//!
//! Round trips are what this costs, so all that can be asked at once is: first the images, the services and, where it is not known that the
//! revision pins its images, the tasks; then the revisions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::{join, join_all};

use super::pace::{Group, Pace};
use super::patience::{paced, patiently};
use crate::aws::{
    AwsContext, AwsError, CLUSTER_NOT_FOUND, Contexts, Fault, REPOSITORY_NOT_FOUND, Services, Unrollable,
};
use crate::config::Config;
use crate::domain::image::ImageReference;
use crate::domain::plan::{Answers, Facts};
use crate::domain::policy::{self, By, Policy};
use crate::domain::settings::{Base, RepositoryKey};
use crate::domain::state::{PushRef, ServiceState};
use crate::domain::task_definition::TaskDefinition;
use crate::domain::types::{ContextName, Digest, EcsName, RepositoryName, ServiceKey, Tag, TaskDefinitionArn};
use crate::domain::view::{ImageView, RunningImages, ServiceView};

/// DescribeServices takes at most 10 services.
pub const SERVICES_A_CALL: usize = 10;
/// DescribeImages takes at most 100 images.
const TAGS_A_CALL: usize = 100;

/// What has to be found out about one service.
#[derive(Debug, Clone)]
pub struct Question {
    /// The service.
    pub key: ServiceKey,
    /// The pushes to decide, by repository.
    pub pushes: BTreeMap<RepositoryKey, Vec<PushRef>>,
    /// The policy and the container of each repository.
    pub rules: BTreeMap<RepositoryKey, (Arc<dyn Policy>, Option<String>)>,
    /// The tags of the newest pushes that were decided, by repository.
    pub decided: BTreeMap<RepositoryKey, Tag>,
    /// What a new revision is made from.
    pub base: Base,
    /// A revision of which is known that it names every image in ECR by digest.
    pub pinned: Option<TaskDefinitionArn>,
    /// Whether the way back is known already, because a rollout is being superseded.
    pub has_way_back: bool,
}

impl Question {
    /// What has to be found out to decide what a service wants; nothing for one that is not in the configuration.
    #[must_use]
    pub fn of(config: &Config, key: &ServiceKey, known: &ServiceState) -> Option<Self> {
        let rules = config.rules_of(key);
        let first = rules.values().next()?;
        let pinned =
            known.deployed.as_ref().filter(|deployed| !deployed.names_tags).map(|deployed| deployed.revision.clone());
        Some(Self {
            key: key.clone(),
            pushes: known.wanted.clone(),
            decided: known
                .decided
                .iter()
                .filter_map(|(repository, push)| Some((repository.clone(), push.tag.clone()?)))
                .collect(),
            base: first.deploy.base,
            rules: rules
                .iter()
                .map(|(repository, rule)| (repository.clone(), (Arc::clone(&rule.policy), rule.container.clone())))
                .collect(),
            pinned,
            has_way_back: known.rollout.is_some(),
        })
    }
}

/// The answers, one for each question.
pub type Observed = Vec<(ServiceKey, Result<Observation, AwsError>)>;

/// What was found out about one service.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The facts.
    pub facts: Facts,
    /// Repositories that could not be asked: what was pushed to them cannot be decided yet, what was pushed to others can.
    pub unanswered: BTreeMap<RepositoryKey, AwsError>,
}

/// Asks about services of one cluster.
pub async fn observe(
    contexts: Contexts,
    pace: Pace,
    aws: ContextName,
    cluster: EcsName,
    questions: Vec<Question>,
) -> Observed {
    let Some(context) = contexts.get(&aws) else {
        let error = no_context(&aws);
        return questions.into_iter().map(|question| (question.key, Err(error.clone()))).collect();
    };
    let reader = Reader { aws: &aws, context, pace: &pace, cluster: &cluster };
    let (images, (services, tasks)) =
        join(images(&contexts, &questions), join(reader.services(&questions), reader.tasks_unless_pinned(&questions)))
            .await;
    let (definitions, running) = join(reader.definitions(&questions, &services), reader.running(tasks)).await;
    let facts = questions.into_iter().map(|question| {
        let (contexts, images, services, definitions, running) =
            (&contexts, &images, &services, &definitions, &running);
        async move {
            let observation = match assemble(&question, images, services, definitions, running) {
                Ok(observation) => reader.complete(&question, observation).await,
                error => error,
            };
            let observation = match observation {
                Ok(observation) => compare(contexts, &question, observation).await,
                error => error,
            };
            (question.key, observation)
        }
    });
    join_all(facts).await
}

/// Where nobody pushed, it matters when ECR got what runs.
async fn compare(
    contexts: &Contexts,
    question: &Question,
    mut observation: Observation,
) -> Result<Observation, AwsError> {
    let facts = &mut observation.facts;
    let Some(current) = &facts.current else { return Ok(observation) };
    let is_compared = |push: &PushRef| push.is_reconciliation() && !push.is_order();
    for (repository, _) in question.pushes.iter().filter(|(_, pushes)| pushes.iter().any(is_compared)) {
        let (Some(context), Some((_, container))) = (contexts.get(&repository.aws), question.rules.get(repository))
        else {
            continue;
        };
        let best = facts.images.get(repository).and_then(|answers| answers.best.as_ref());
        let account = best.map(|(_, image)| image.registry.account.clone());
        let is_its = |name: &str, reference: &ImageReference<'_>| match container {
            Some(wanted) => wanted == name,
            None => reference.is_in(account.as_ref(), &context.region, &repository.name),
        };
        let digests: BTreeSet<Digest> = current
            .containers()
            .map(|(name, image)| (name, ImageReference::split(image)))
            .filter(|(name, reference)| is_its(name, reference))
            .filter_map(|(name, reference)| reference.pinned().or_else(|| facts.running.only(name).cloned()))
            .collect();
        if digests.is_empty() {
            continue;
        }
        let digests: Vec<Digest> = digests.into_iter().take(TAGS_A_CALL).collect();
        match patiently(|| context.ecr.describe_digests(&repository.name, &digests)).await {
            Ok(images) => {
                let since = images.iter().filter_map(|image| image.pushed_at).max();
                facts.runs_since.extend(since.map(|since| (repository.clone(), since)));
            }
            Err(error) if error.code == REPOSITORY_NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    Ok(observation)
}

fn no_context(aws: &ContextName) -> AwsError {
    AwsError {
        api: "config",
        operation: "context",
        fault: Fault::Refused,
        code: String::new(),
        message: format!("the aws context {aws} is not in the configuration any more"),
    }
}

/// A service as it is, or why it is none that could be rolled.
pub type Seen = Result<ServiceView, Unrollable>;
/// An answer for each of several services.
pub type ByService<T> = BTreeMap<EcsName, Result<T, AwsError>>;
type Images = BTreeMap<RepositoryKey, Result<Found, AwsError>>;
type Definitions = BTreeMap<String, Result<TaskDefinition, AwsError>>;

/// What was found in one repository.
#[derive(Debug, Default)]
struct Found {
    by_tag: BTreeMap<Tag, ImageView>,
    no_repository: bool,
    /// The best by the policy of each service that wanted the whole repository looked at.
    best: BTreeMap<ServiceKey, Option<(Tag, ImageView)>>,
}

/// What has to be asked about one repository.
#[derive(Debug, Default)]
struct Ask<'a> {
    /// What these tags point to.
    tags: BTreeSet<Tag>,
    /// What these tags point to, which shows when the repository is gone through for the best.
    pushed: BTreeSet<Tag>,
    best: Vec<(&'a ServiceKey, &'a dyn Policy)>,
}

async fn images(contexts: &Contexts, questions: &[Question]) -> Images {
    let mut asks: BTreeMap<&RepositoryKey, Ask<'_>> = BTreeMap::new();
    for question in questions {
        for (repository, pushes) in &question.pushes {
            let Some((policy, _)) = question.rules.get(repository) else { continue };
            let ask = asks.entry(repository).or_default();
            let untagged = pushes.iter().any(|push| push.tag.is_none());
            if policy.order() == By::Text {
                ask.pushed.extend(pushes.iter().filter_map(|push| push.tag.clone()));
            }
            if policy.order() == By::Push {
                ask.tags.extend(pushes.iter().filter_map(|push| push.tag.clone()));
                ask.tags.extend(question.decided.get(repository).filter(|_| untagged).cloned());
            }
            if policy.order() == By::Text || untagged {
                ask.best.push((&question.key, policy.as_ref()));
            }
        }
    }
    let answers = asks.into_iter().map(|(key, ask)| async move {
        let answer = match contexts.get(&key.aws) {
            Some(context) => match find(context, &key.name, ask).await {
                Err(error) if error.code == REPOSITORY_NOT_FOUND => {
                    Ok(Found { no_repository: true, ..Found::default() })
                }
                other => other,
            },
            None => Err(no_context(&key.aws)),
        };
        (key.clone(), answer)
    });
    join_all(answers).await.into_iter().collect()
}

async fn find(context: &AwsContext, repository: &RepositoryName, ask: Ask<'_>) -> Result<Found, AwsError> {
    let mut found = Found::default();
    let tags: Vec<Tag> = ask.tags.into_iter().collect();
    for tags in tags.chunks(TAGS_A_CALL) {
        for image in patiently(|| context.ecr.describe_tags(repository, tags)).await? {
            for tag in tags.iter().filter(|tag| image.tags.contains(tag)) {
                found.by_tag.insert(tag.clone(), image.clone());
            }
        }
    }
    for (key, policy) in &ask.best {
        if let Some(tags) = policy.literals() {
            let mut images = Vec::new();
            for tags in tags.chunks(TAGS_A_CALL) {
                images.extend(patiently(|| context.ecr.describe_tags(repository, tags)).await?);
            }
            found.best.insert((*key).clone(), policy::best(*policy, &images));
        }
    }
    let listed: Vec<_> = ask.best.into_iter().filter(|(_, policy)| policy.literals().is_none()).collect();
    if !listed.is_empty() {
        list(context, repository, &listed, &ask.pushed, &mut found).await?;
    }
    Ok(found)
}

/// Goes through the whole repository, page by page, and keeps only the best.
async fn list(
    context: &AwsContext,
    repository: &RepositoryName,
    asked: &[(&ServiceKey, &dyn Policy)],
    pushed: &BTreeSet<Tag>,
    found: &mut Found,
) -> Result<(), AwsError> {
    let mut next = None;
    loop {
        let page = patiently(|| context.ecr.list_tagged(repository, next.clone())).await?;
        for (key, policy) in asked {
            let kept = found.best.entry((*key).clone()).or_default();
            let candidates = page.images.iter().chain(kept.as_ref().map(|(_, image)| image));
            *kept = policy::best(*policy, candidates);
        }
        for image in &page.images {
            for tag in image.tags.iter().filter(|tag| pushed.contains(*tag)) {
                found.by_tag.insert(tag.clone(), image.clone());
            }
        }
        next = page.next;
        if next.is_none() {
            return Ok(());
        }
    }
}

/// Reads from one cluster.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    aws: &'a ContextName,
    context: &'a AwsContext,
    pace: &'a Pace,
    cluster: &'a EcsName,
}

impl Reader<'_> {
    async fn services(self, questions: &[Question]) -> ByService<Option<Seen>> {
        let names: Vec<EcsName> = questions.iter().map(|question| question.key.service.clone()).collect();
        let answers = names
            .chunks(SERVICES_A_CALL)
            .map(|names| describe_services(self.context, self.pace, self.aws, self.cluster, names));
        join_all(answers).await.into_iter().flatten().collect()
    }

    async fn tasks_unless_pinned(self, questions: &[Question]) -> ByService<Vec<String>> {
        let unknown = questions.iter().filter(|question| question.pinned.is_none() && !question.has_way_back);
        let answers = unknown.map(|question| async move {
            let name = question.key.service.clone();
            let tasks = self.list_tasks(&name).await;
            (name, tasks)
        });
        join_all(answers).await.into_iter().collect()
    }

    async fn list_tasks(self, service: &EcsName) -> Result<Vec<String>, AwsError> {
        let read = || self.context.ecs.list_running_tasks(self.cluster, service);
        match paced(self.pace, self.aws, Group::Tasks, read).await {
            // DescribeServices says it better.
            Err(error) if error.fault == Fault::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    async fn running(self, tasks: ByService<Vec<String>>) -> ByService<RunningImages> {
        let answers = tasks.into_iter().map(|(name, tasks)| async move {
            let running = match tasks {
                Ok(tasks) => self.describe_tasks(tasks).await,
                Err(error) => Err(error),
            };
            (name, running)
        });
        join_all(answers).await.into_iter().collect()
    }

    async fn describe_tasks(self, tasks: Vec<String>) -> Result<RunningImages, AwsError> {
        if tasks.is_empty() {
            return Ok(RunningImages::default());
        }
        let read = || self.context.ecs.describe_running_images(self.cluster, &tasks);
        paced(self.pace, self.aws, Group::Tasks, read).await
    }

    /// Every revision that is needed, each once.
    async fn definitions(self, questions: &[Question], services: &ByService<Option<Seen>>) -> Definitions {
        let mut wanted = BTreeSet::new();
        for question in questions {
            let Some(Ok(Some(Ok(service)))) = services.get(&question.key.service) else { continue };
            wanted.insert(service.task_definition.as_str().to_owned());
            if question.base == Base::Latest {
                wanted.insert(service.task_definition.family().to_owned());
            }
        }
        let answers = wanted.into_iter().map(|which| async move {
            let answer = self.definition(&which).await;
            (which, answer)
        });
        join_all(answers).await.into_iter().collect()
    }

    async fn definition(self, which: &str) -> Result<TaskDefinition, AwsError> {
        paced(self.pace, self.aws, Group::TaskDefinitions, || self.context.ecs.describe_task_definition(which)).await
    }

    /// The revision that the service runs may name an image by tag although it was taken not to: then the tasks have to be asked, too.
    async fn complete(self, question: &Question, mut observation: Observation) -> Result<Observation, AwsError> {
        let facts = &mut observation.facts;
        let asked = question.pinned.is_none() || question.has_way_back;
        let names_tags = facts
            .current
            .as_ref()
            .is_some_and(|current| current.containers().any(|(_, image)| ImageReference::split(image).is_movable()));
        if !asked && names_tags {
            let tasks = self.list_tasks(&question.key.service).await?;
            facts.running = self.describe_tasks(tasks).await?;
        }
        Ok(observation)
    }
}

/// Describes at most 10 services of one cluster, each with an answer of its own.
///
/// IAM denies the whole call where it denies one of the services: then each is asked about alone, so that a permission that is missing for
/// one does not keep the others from being seen.
pub async fn describe_services(
    context: &AwsContext,
    pace: &Pace,
    aws: &ContextName,
    cluster: &EcsName,
    names: &[EcsName],
) -> ByService<Option<Seen>> {
    let describe = |names| describe_together(context, pace, aws, cluster, names);
    match describe(names).await {
        Ok(found) => names.iter().map(|name| (name.clone(), Ok(found.get(name).cloned()))).collect(),
        Err(error) if names.len() > 1 && matches!(error.fault, Fault::Denied | Fault::Refused) => {
            let alone = names.iter().map(|name| async move {
                let answer = describe(std::slice::from_ref(name)).await;
                (name.clone(), answer.map(|mut found| found.remove(name)))
            });
            join_all(alone).await.into_iter().collect()
        }
        Err(error) => names.iter().map(|name| (name.clone(), Err(error.clone()))).collect(),
    }
}

/// Describes one service.
///
/// # Errors
/// The call failed.
pub async fn describe_service(context: &AwsContext, pace: &Pace, key: &ServiceKey) -> Result<Option<Seen>, AwsError> {
    let names = std::slice::from_ref(&key.service);
    describe_together(context, pace, &key.aws, &key.cluster, names).await.map(|mut found| found.remove(&key.service))
}

async fn describe_together(
    context: &AwsContext,
    pace: &Pace,
    aws: &ContextName,
    cluster: &EcsName,
    names: &[EcsName],
) -> Result<Services, AwsError> {
    match paced(pace, aws, Group::ServiceReads, || context.ecs.describe_services(cluster, names)).await {
        // Without the cluster there is no service in it.
        Err(error) if error.code == CLUSTER_NOT_FOUND => Ok(Services::new()),
        other => other,
    }
}

fn assemble(
    question: &Question,
    images: &Images,
    services: &ByService<Option<Seen>>,
    definitions: &Definitions,
    running: &ByService<RunningImages>,
) -> Result<Observation, AwsError> {
    let name = &question.key.service;
    let (service, unrollable) = match services.get(name).cloned().transpose()?.flatten() {
        Some(Ok(service)) => (Some(service).filter(|service| service.active), None),
        Some(Err(why)) => (None, Some(why.to_string())),
        None => (None, None),
    };
    let mut facts = Facts {
        unrollable,
        current: None,
        base: None,
        running: running.get(name).cloned().transpose()?.unwrap_or_default(),
        images: BTreeMap::new(),
        runs_since: BTreeMap::new(),
        service,
    };
    let mut unanswered = BTreeMap::new();
    for repository in question.pushes.keys() {
        match images.get(repository) {
            None => {}
            Some(Ok(found)) => {
                let best = found.best.get(&question.key).cloned().flatten();
                let no_repository = found.no_repository;
                facts.images.insert(repository.clone(), Answers { by_tag: found.by_tag.clone(), best, no_repository });
            }
            Some(Err(error)) => {
                unanswered.insert(repository.clone(), error.clone());
            }
        }
    }
    if let Some(error) = unanswered.values().next().filter(|_| unanswered.len() == question.pushes.len()) {
        return Err(error.clone());
    }
    if let Some(service) = &facts.service {
        let definition = |which: &str| definitions.get(which).cloned().transpose();
        facts.current = definition(service.task_definition.as_str())?;
        facts.base = match question.base {
            Base::Service => facts.current.clone(),
            Base::Latest => definition(service.task_definition.family())?,
        };
    }
    Ok(Observation { facts, unanswered })
}
