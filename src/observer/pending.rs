//! What pending pushes need to be decided: what ECR says of the images, and what ECS says of the services.
//!
//! Round trips are what this costs, so all that can be asked at once is: first the images and the services, then the revisions, and the tasks
//! of those whose revision names an image by tag (decision 12). The reads of one round are shared over all its services and clusters: what a tag or a
//! digest of a repository points to and what a revision says is asked once, and for each cluster once what the services before its own run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::{join, join_all, try_join_all};

use super::shared::{Answer, SharedReads, answer};
use super::{Observer, no_context, with_retries};
use crate::aws::{AwsContext, AwsError, Fault, REPOSITORY_NOT_FOUND};
use crate::domain::image::ImageReference;
use crate::domain::plan::{RepositorySnapshot, ServiceSnapshot};
use crate::domain::policy::{self, By, Policy};
use crate::domain::settings::{Base, RepositoryKey};
use crate::domain::state::PushRef;
use crate::domain::task_definition::TaskDefinition;
use crate::domain::types::{ContextName, Digest, EcsName, RepositoryName, ServiceKey, Tag};
use crate::domain::view::{ImageView, RunningImages};
use crate::engine::{
    AtGates, BestImages, ByService, Observation, ObservationRequest, Place, SERVICES_A_CALL, Seen, names_tags,
};

/// DescribeImages takes at most 100 images.
const TAGS_A_CALL: usize = 100;

/// One round of reads about pending pushes. Its reads are begun when the first service needs them.
#[derive(Debug, Clone)]
pub struct Round {
    observer: Observer,
    images: Arc<BTreeMap<RepositoryKey, Answer<FoundImages>>>,
    definitions: Arc<SharedReads<(ContextName, String), TaskDefinition>>,
    running: Arc<SharedReads<(RepositoryKey, ImagesThatRun), Vec<ImageView>>>,
}

/// What was found in one repository.
#[derive(Debug, Default)]
struct FoundImages {
    by_tag: BTreeMap<Tag, ImageView>,
    no_repository: bool,
    /// The best by the policy of each service that wanted the whole repository looked at.
    best: BTreeMap<ServiceKey, Option<(Tag, ImageView)>>,
    /// The digests that were asked for, as far as they are there.
    by_digest: BTreeMap<Digest, ImageView>,
}

impl FoundImages {
    /// What these tags point to, as far as they are there.
    fn of_tags<'a>(&self, tags: impl Iterator<Item = &'a Tag>) -> BTreeMap<Tag, ImageView> {
        tags.filter_map(|tag| Some((tag.clone(), self.by_tag.get(tag)?.clone()))).collect()
    }
}

/// What has to be asked about one repository.
#[derive(Debug, Default)]
struct Ask {
    /// What these tags point to.
    tags: BTreeSet<Tag>,
    /// What these tags point to, which shows when the repository is gone through for the best.
    pushed: BTreeSet<Tag>,
    best: Vec<(ServiceKey, Arc<dyn Policy>)>,
    /// Digests that may be promoted.
    digests: BTreeSet<Digest>,
}

/// The requests about the services of one cluster.
type Requests = Vec<ObservationRequest>;

impl Round {
    /// A round about these services, cluster by cluster: each can be observed by itself.
    #[must_use]
    pub fn new(observer: &Observer, requests: Requests) -> (Self, BTreeMap<Place, Requests>) {
        let mut asks: BTreeMap<RepositoryKey, Ask> = BTreeMap::new();
        for request in &requests {
            add_asks(&mut asks, request);
        }
        let images = asks.into_iter().map(|(key, ask)| {
            let (observer, repository) = (observer.clone(), key.clone());
            (key, answer(async move { observer.images(&repository, ask).await }))
        });
        let round = Self {
            observer: observer.clone(),
            images: Arc::new(images.collect()),
            definitions: Arc::default(),
            running: Arc::default(),
        };
        let mut places: BTreeMap<Place, Requests> = BTreeMap::new();
        for request in requests {
            places.entry((request.key.aws.clone(), request.key.cluster.clone())).or_default().push(request);
        }
        (round, places)
    }

    /// Asks about the services of one cluster.
    pub async fn observe(
        self,
        (aws, cluster): Place,
        requests: Requests,
    ) -> Vec<(ObservationRequest, Result<Observation, AwsError>)> {
        let Ok(context) = self.observer.context(&aws) else {
            return requests.into_iter().map(|request| (request, Err(no_context(&aws)))).collect();
        };
        // What services before run is as old as the answers of this cluster, not as the round, which may take long.
        let services_before = SharedReads::default();
        let reader = Reader { round: &self, aws: &aws, context, cluster: &cluster, services_before: &services_before };
        let images = self.images_for(&requests);
        let (images, services) = join(images, reader.services(&requests)).await;
        let definitions = reader.definitions(&requests, &services).await;
        let snapshot = requests.into_iter().map(|request| {
            let known = Known { images: &images, services: &services, definitions: &definitions };
            async move {
                let observation = match known.assemble(&request) {
                    Ok(observation) => reader.complete(&request, observation).await,
                    error => error,
                };
                let observation = match observation {
                    Ok(observation) => reader.add_what_runs(&request, observation).await,
                    error => error,
                };
                let observation = match observation {
                    Ok(observation) => reader.add_services_before(&request, observation).await,
                    error => error,
                };
                (request, observation)
            }
        });
        join_all(snapshot).await
    }

    async fn images_for(&self, requests: &[ObservationRequest]) -> Images {
        let repositories: BTreeSet<&RepositoryKey> =
            requests.iter().flat_map(|request| request.pushes.keys()).collect();
        let answers = repositories.into_iter().filter_map(|repository| {
            let answer = self.images.get(repository)?.clone();
            Some(async move { (repository.clone(), answer.await) })
        });
        join_all(answers).await.into_iter().collect()
    }

    fn definition(&self, aws: &ContextName, context: &AwsContext, which: &str) -> Answer<TaskDefinition> {
        self.definitions.get((aws.clone(), which.to_owned()), || {
            let (ecs, which) = (Arc::clone(&context.ecs), which.to_owned());
            async move { with_retries(|| ecs.describe_task_definition(&which)).await }
        })
    }

    fn running(&self, repository: &RepositoryKey, images: ImagesThatRun) -> Answer<Vec<ImageView>> {
        self.running.get((repository.clone(), images.clone()), || {
            let (observer, repository) = (self.observer.clone(), repository.clone());
            async move { images.describe(observer.context(&repository.aws)?, &repository.name).await }
        })
    }
}

fn add_asks(asks: &mut BTreeMap<RepositoryKey, Ask>, request: &ObservationRequest) {
    for (repository, pushes) in &request.pushes {
        let Some((policy, _)) = request.rules.get(repository) else { continue };
        let ask = asks.entry(repository.clone()).or_default();
        let untagged = pushes.iter().any(|push| push.tag.is_none());
        match policy.order() {
            By::Text => ask.pushed.extend(wanted_tags(request, repository).cloned()),
            By::Push => ask.tags.extend(wanted_tags(request, repository).cloned()),
        }
        if policy.order() == By::Text || untagged {
            ask.best.push((request.key.clone(), Arc::clone(policy)));
        }
        ask.digests.extend(request.promotable.get(repository).into_iter().flatten().cloned());
    }
}

/// The tags of a repository of which a request wants to know what they point to.
fn wanted_tags<'a>(request: &'a ObservationRequest, repository: &RepositoryKey) -> impl Iterator<Item = &'a Tag> {
    let pushes = request.pushes.get(repository).into_iter().flatten();
    let by_push = request.rules.get(repository).is_some_and(|(policy, _)| policy.order() == By::Push);
    let untagged = pushes.clone().any(|push| push.tag.is_none());
    let decided = request.decided.get(repository).filter(|_| by_push && untagged);
    pushes.filter_map(|push| push.tag.as_ref()).chain(decided)
}

impl Observer {
    /// The best image of a repository for each of these services, by their policies. Tags that policies name are asked about together.
    ///
    /// # Errors
    /// A call failed.
    pub async fn best_images(
        &self,
        repository: &RepositoryKey,
        policies: Vec<(ServiceKey, Arc<dyn Policy>)>,
    ) -> Result<BestImages, AwsError> {
        Ok(self.images(repository, Ask { best: policies, ..Ask::default() }).await?.best)
    }

    async fn images(&self, key: &RepositoryKey, ask: Ask) -> Result<FoundImages, AwsError> {
        match find(self.context(&key.aws)?, &key.name, ask).await {
            Err(error) if error.code == REPOSITORY_NOT_FOUND => {
                Ok(FoundImages { no_repository: true, ..FoundImages::default() })
            }
            other => other,
        }
    }
}

async fn find(context: &AwsContext, repository: &RepositoryName, ask: Ask) -> Result<FoundImages, AwsError> {
    let mut found = FoundImages::default();
    let named = |best: &[(ServiceKey, Arc<dyn Policy>)]| {
        best.iter().filter_map(|(_, policy)| policy.literals()).flatten().cloned().collect::<Vec<_>>()
    };
    let tags: Vec<Tag> = ask.tags.into_iter().chain(named(&ask.best)).collect::<BTreeSet<_>>().into_iter().collect();
    for tags in tags.chunks(TAGS_A_CALL) {
        for image in with_retries(|| context.ecr.describe_tags(repository, tags)).await? {
            for tag in tags.iter().filter(|tag| image.tags.contains(tag)) {
                found.by_tag.insert(tag.clone(), image.clone());
            }
        }
    }
    let digests: Vec<Digest> = ask.digests.into_iter().collect();
    for digests in digests.chunks(TAGS_A_CALL) {
        let images = with_retries(|| context.ecr.describe_digests(repository, digests)).await?;
        found.by_digest.extend(images.into_iter().map(|image| (image.digest.clone(), image)));
    }
    for (key, policy) in &ask.best {
        if let Some(tags) = policy.literals() {
            let images = tags.iter().filter_map(|tag| found.by_tag.get(tag));
            found.best.insert(key.clone(), policy::best(policy.as_ref(), images));
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
    asked: &[(ServiceKey, Arc<dyn Policy>)],
    pushed: &BTreeSet<Tag>,
    found: &mut FoundImages,
) -> Result<(), AwsError> {
    let mut next = None;
    loop {
        let page = with_retries(|| context.ecr.list_tagged(repository, next.clone())).await?;
        for (key, policy) in asked {
            let kept = found.best.entry(key.clone()).or_default();
            let candidates = page.images.iter().chain(kept.as_ref().map(|(_, image)| image));
            *kept = policy::best(policy.as_ref(), candidates);
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

type Images = BTreeMap<RepositoryKey, Arc<Result<FoundImages, AwsError>>>;
type Described = BTreeMap<String, Arc<Result<TaskDefinition, AwsError>>>;

/// Reads from one cluster.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    round: &'a Round,
    aws: &'a ContextName,
    context: &'a AwsContext,
    cluster: &'a EcsName,
    services_before: &'a SharedReads<ServiceKey, Option<Seen>>,
}

impl Reader<'_> {
    async fn services(self, requests: &[ObservationRequest]) -> ByService<Option<Seen>> {
        let names: Vec<EcsName> = requests.iter().map(|request| request.key.service.clone()).collect();
        let observer = &self.round.observer;
        let answers = names.chunks(SERVICES_A_CALL).map(|names| observer.services(self.aws, self.cluster, names));
        join_all(answers).await.into_iter().flatten().collect()
    }

    async fn list_tasks(self, service: &EcsName) -> Result<Vec<String>, AwsError> {
        match with_retries(|| self.context.ecs.list_running_tasks(self.cluster, service)).await {
            // DescribeServices says it better.
            Err(error) if error.fault == Fault::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    async fn describe_tasks(self, tasks: Vec<String>) -> Result<RunningImages, AwsError> {
        if tasks.is_empty() {
            return Ok(RunningImages::default());
        }
        with_retries(|| self.context.ecs.describe_running_images(self.cluster, &tasks)).await
    }

    /// Every revision that is needed, each once.
    async fn definitions(self, requests: &[ObservationRequest], services: &ByService<Option<Seen>>) -> Described {
        let mut wanted = BTreeSet::new();
        for request in requests {
            let Some(Ok(Some(Ok(service)))) = services.get(&request.key.service) else { continue };
            wanted.insert(service.task_definition.as_str().to_owned());
            match request.base {
                Base::Service => {}
                Base::Latest => drop(wanted.insert(service.task_definition.family().to_owned())),
            }
            let completed = service.completed_before_primary().filter(|_| !request.has_rollback_target);
            wanted.extend(completed.map(|deployment| deployment.task_definition.as_str().to_owned()));
        }
        let answers = wanted.into_iter().map(|which| {
            let answer = self.round.definition(self.aws, self.context, &which);
            async move { (which, answer.await) }
        });
        join_all(answers).await.into_iter().collect()
    }

    /// Where a revision that the service runs names an image by tag, only the tasks tell which one runs.
    async fn complete(
        self,
        request: &ObservationRequest,
        mut observation: Observation,
    ) -> Result<Observation, AwsError> {
        let snapshot = &mut observation.snapshot;
        let mut definitions = snapshot.current.iter().chain(&snapshot.completed);
        if !request.has_rollback_target && definitions.any(names_tags) {
            let tasks = self.list_tasks(&request.key.service).await?;
            snapshot.running = self.describe_tasks(tasks).await?;
        }
        Ok(observation)
    }

    /// Where nobody pushed, it matters what ECR still knows of what runs: when it was pushed, and which tags it has.
    async fn add_what_runs(
        self,
        request: &ObservationRequest,
        mut observation: Observation,
    ) -> Result<Observation, AwsError> {
        let snapshot = &mut observation.snapshot;
        let is_compared = |push: &PushRef| push.is_reconciliation() && !push.is_command();
        for (repository, _) in request.pushes.iter().filter(|(_, pushes)| pushes.iter().any(is_compared)) {
            let Ok(context) = self.round.observer.context(&repository.aws) else { continue };
            let running = images_that_run(request, snapshot, repository, context);
            match self.round.running(repository, running).await.as_ref() {
                Ok(images) => drop(snapshot.running_in_ecr.insert(repository.clone(), images.clone())),
                Err(error) if error.code == REPOSITORY_NOT_FOUND => {}
                Err(error) => return Err(error.clone()),
            }
        }
        Ok(observation)
    }
}

impl Reader<'_> {
    /// What the services run that the service comes after, wherever they are.
    async fn add_services_before(
        self,
        request: &ObservationRequest,
        mut observation: Observation,
    ) -> Result<Observation, AwsError> {
        let asked = request.after.iter().filter(|_| !request.promotable.is_empty());
        let answers = asked.map(|key| async move {
            let ask = || {
                let (observer, key) = (self.round.observer.clone(), key.clone());
                async move { observer.service(&key).await }
            };
            let seen = self.services_before.get(key.clone(), ask).await.as_ref().clone()?;
            Ok((key.clone(), seen.and_then(Result::ok)))
        });
        observation.at_gates.services = try_join_all(answers).await?.into_iter().collect();
        Ok(observation)
    }
}

/// The images that the containers which follow a repository run.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct ImagesThatRun {
    digests: BTreeSet<Digest>,
    /// The tags of those whose digest no task tells.
    tags: BTreeSet<Tag>,
}

impl ImagesThatRun {
    async fn describe(self, context: &AwsContext, repository: &RepositoryName) -> Result<Vec<ImageView>, AwsError> {
        let mut images = Vec::new();
        let digests: Vec<Digest> = self.digests.into_iter().take(TAGS_A_CALL).collect();
        if !digests.is_empty() {
            images.extend(with_retries(|| context.ecr.describe_digests(repository, &digests)).await?);
        }
        let tags: Vec<Tag> = self.tags.into_iter().take(TAGS_A_CALL).collect();
        if !tags.is_empty() {
            images.extend(with_retries(|| context.ecr.describe_tags(repository, &tags)).await?);
        }
        Ok(images)
    }
}

fn images_that_run(
    request: &ObservationRequest,
    snapshot: &ServiceSnapshot,
    repository: &RepositoryKey,
    context: &AwsContext,
) -> ImagesThatRun {
    let mut found = ImagesThatRun::default();
    let (Some(current), Some((_, container))) = (&snapshot.current, request.rules.get(repository)) else {
        return found;
    };
    let account = snapshot.images.get(repository).and_then(RepositorySnapshot::account);
    for (name, image) in current.containers() {
        let reference = ImageReference::split(image);
        let follows = container.as_ref().is_none_or(|wanted| wanted == name);
        if !follows || !reference.is_in(account, &context.region, &repository.name) {
            continue;
        }
        let running = snapshot.running.all(name);
        match reference.pinned() {
            Some(pinned) => drop(found.digests.insert(pinned)),
            None if running.is_empty() => found.tags.extend(Tag::parse(reference.tag.unwrap_or("latest")).ok()),
            None => found.digests.extend(running.into_iter().cloned()),
        }
    }
    found
}

/// What one cluster's reads have found.
#[derive(Debug, Clone, Copy)]
struct Known<'a> {
    images: &'a Images,
    services: &'a ByService<Option<Seen>>,
    definitions: &'a Described,
}

impl Known<'_> {
    fn assemble(self, request: &ObservationRequest) -> Result<Observation, AwsError> {
        let name = &request.key.service;
        let seen = self.services.get(name).cloned().transpose()?.flatten();
        let missing = seen.is_none();
        let (service, unrollable) = match seen {
            Some(Ok(service)) => (Some(service).filter(|service| service.active), None),
            Some(Err(why)) => (None, Some(why.to_string())),
            None => (None, None),
        };
        let mut snapshot = ServiceSnapshot {
            missing,
            unrollable,
            current: None,
            base: None,
            running: RunningImages::default(),
            images: BTreeMap::new(),
            completed: None,
            running_in_ecr: BTreeMap::new(),
            service,
        };
        let mut unanswered = BTreeMap::new();
        let mut at_gates = AtGates::default();
        for repository in request.pushes.keys() {
            match self.images.get(repository).map(Arc::as_ref) {
                None => {}
                Some(Ok(found)) => {
                    let best = found.best.get(&request.key).cloned().flatten();
                    let (by_tag, no_repository) =
                        (found.of_tags(wanted_tags(request, repository)), found.no_repository);
                    snapshot.images.insert(repository.clone(), RepositorySnapshot { by_tag, best, no_repository });
                    let promotable = request.promotable.get(repository).into_iter().flatten();
                    let promoted = promotable.filter_map(|digest| found.by_digest.get(digest).cloned()).collect();
                    at_gates.promoted.insert(repository.clone(), promoted);
                }
                Some(Err(error)) => drop(unanswered.insert(repository.clone(), error.clone())),
            }
        }
        if let Some(service) = &snapshot.service {
            let definition =
                |which: &str| self.definitions.get(which).map(|answer| answer.as_ref().clone()).transpose();
            snapshot.current = definition(service.task_definition.as_str())?;
            snapshot.base = match request.base {
                Base::Service => snapshot.current.clone(),
                Base::Latest => definition(service.task_definition.family())?,
            };
            let completed = service.completed_before_primary().filter(|_| !request.has_rollback_target);
            snapshot.completed = match completed.map(|deployment| definition(deployment.task_definition.as_str())) {
                Some(Err(error)) if error.fault != Fault::Refused => return Err(error),
                // A revision that was deleted is nothing to go back to.
                None | Some(Err(_)) => None,
                Some(Ok(found)) => found,
            };
        }
        Ok(Observation { snapshot, unanswered, at_gates })
    }
}
