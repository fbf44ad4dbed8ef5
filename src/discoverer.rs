//! The looks at the tags of services: a source beside the schedulers, one for each `[[discover]]`.
//!
//! A look takes a call for each hundred services that have the tag. A service is described once, when it is new or its tag has another value,
//! ten in a call; what its revision names says which repositories it follows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::asking::again;
use crate::aws::{AwsContext, AwsError, Contexts, Ecs, TaggedPage};
use crate::clock;
use crate::config::Config;
use crate::domain::discovery::{self, DiscoverRule, Doubt, Look, NamedService, repositories_of};
use crate::domain::state::State;
use crate::domain::types::{AccountId, ContextName, EcsName, Region, RepositoryName, ServiceKey, TaskDefinitionArn};

/// DescribeServices takes at most 10 services of one cluster.
const SERVICES_A_CALL: usize = 10;
/// Reads under way at once: what is found is no hurry, and rollouts share the rate limits.
const AT_ONCE: usize = 4;
/// A look that failed is tried again after this time, unless the next one comes sooner.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Pages of a hundred that are read at most: a bound, so that an answer that always names a next page ends, too.
const PAGES: usize = 200;

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Home {
    account: AccountId,
    region: Region,
}

/// The services that have a tag, each with its value and where it is.
type Tagged = BTreeMap<ServiceKey, (String, Home)>;

/// Looks for the services of one `[[discover]]`.
#[derive(Debug)]
pub struct Discoverer {
    rule: DiscoverRule,
    context: AwsContext,
    /// The services that were described, with the values that their tags had then.
    described: BTreeMap<ServiceKey, String>,
    /// The ARNs of the last look that do not name the cluster, which was said.
    unnamed: BTreeSet<String>,
    /// Why services could not be described by the last look.
    undescribed: Vec<AwsError>,
}

/// The discoverers of a configuration.
#[must_use]
pub fn all(config: &Config, contexts: &Contexts) -> Vec<Discoverer> {
    let one = |rule: &DiscoverRule| Some(Discoverer::new(rule.clone(), contexts.get(&rule.aws)?.clone()));
    config.discover.iter().filter_map(one).collect()
}

/// What one look at the tags of all contexts brought, beside what is in the state.
#[derive(Debug, Default)]
pub struct LookedOnce {
    /// What could not be asked.
    pub errors: Vec<(ContextName, AwsError)>,
    /// What is wrong with services that have the tag.
    pub doubts: Vec<(ServiceKey, Doubt)>,
}

/// Looks once for the services of each `[[discover]]`, and takes what is found into the state.
pub async fn look_once(config: &Config, contexts: &Contexts, state: &mut State, now: Timestamp) -> LookedOnce {
    let mut once = LookedOnce::default();
    for mut discoverer in all(config, contexts) {
        let aws = discoverer.rule.aws.clone();
        match discoverer.look().await {
            Ok(look) => {
                discovery::take(state, &look, now);
                for (key, value) in &look.tagged {
                    let known = state.services.get(key).and_then(|known| known.discovered.as_ref());
                    once.doubts.extend(config.doubt_of(key, value, known).map(|doubt| (key.clone(), doubt)));
                }
            }
            Err(error) => once.errors.push((aws.clone(), error)),
        }
        once.errors.extend(discoverer.undescribed.drain(..).map(|error| (aws.clone(), error)));
    }
    once
}

/// What is wrong with the services that have a tag now, as far as the tags and the configuration tell.
///
/// # Errors
/// The tags cannot be read.
pub async fn doubts(config: &Config, contexts: &Contexts, state: &State) -> Result<Vec<(ServiceKey, Doubt)>, AwsError> {
    let mut doubts = Vec::new();
    for mut discoverer in all(config, contexts) {
        for (key, (value, _)) in discoverer.tagged().await? {
            let known = state.services.get(&key).and_then(|known| known.discovered.as_ref());
            doubts.extend(config.doubt_of(&key, &value, known).map(|doubt| (key, doubt)));
        }
    }
    Ok(doubts)
}

impl Discoverer {
    fn new(rule: DiscoverRule, context: AwsContext) -> Self {
        Self { rule, context, described: BTreeMap::new(), unnamed: BTreeSet::new(), undescribed: Vec::new() }
    }

    /// The AWS context whose services are discovered.
    #[must_use]
    pub fn context(&self) -> &ContextName {
        &self.rule.aws
    }

    /// Looks for ever, or until nobody takes what is found any more.
    pub async fn run(mut self, looks: mpsc::Sender<Look>) {
        let mut last_error = None;
        loop {
            let begun = clock::instant();
            let pause = match self.look().await {
                Ok(look) => {
                    if last_error.take().is_some() {
                        info!(aws = %self.rule.aws, tag = self.rule.tag, "the tags of services can be read again");
                    }
                    if looks.send(look).await.is_err() {
                        return;
                    }
                    self.rule.every
                }
                Err(error) => {
                    self.report_failure(&mut last_error, &error);
                    self.rule.every.min(TRIED_AGAIN_AFTER)
                }
            };
            clock::sleep_until(begun + pause).await;
        }
    }

    /// Says what is wrong once, and again when it changes.
    fn report_failure(&self, last_error: &mut Option<String>, error: &AwsError) {
        let text = error.to_string();
        if last_error.as_ref() == Some(&text) {
            debug!(aws = %self.rule.aws, error = text, "the tags of services still cannot be read");
            return;
        }
        let remedy = error.remedy().unwrap_or_else(|| "the next look tries again".to_owned());
        warn!(aws = %self.rule.aws, tag = self.rule.tag, error = text, remedy, "the tags of services cannot be read: those that were found before are followed on");
        *last_error = Some(text);
    }

    /// One complete look.
    ///
    /// # Errors
    /// The tags cannot be read. Services that cannot be described are left for the next look.
    pub async fn look(&mut self) -> Result<Look, AwsError> {
        let tagged = self.tagged().await?;
        self.described.retain(|key, _| tagged.contains_key(key));
        let is_new = |(key, (value, _)): &(&ServiceKey, &(String, Home))| self.described.get(*key) != Some(value);
        let new: Vec<(ServiceKey, Home)> =
            tagged.iter().filter(is_new).map(|(key, (_, home))| (key.clone(), home.clone())).collect();
        let (described, undescribed) = self.describe(new).await;
        self.tell_undescribed(undescribed);
        let tagged: BTreeMap<ServiceKey, String> = tagged.into_iter().map(|(key, (value, _))| (key, value)).collect();
        for key in described.keys() {
            self.described.extend(tagged.get_key_value(key).map(|(key, value)| (key.clone(), value.clone())));
        }
        debug!(aws = %self.rule.aws, tag = self.rule.tag, services = tagged.len(), described = described.len(), "looked for services by their tag");
        Ok(Look { aws: self.rule.aws.clone(), tag: self.rule.tag.clone(), tagged, described })
    }

    /// Every service of the clusters that has the tag.
    async fn tagged(&mut self) -> Result<Tagged, AwsError> {
        let (mut tagged, mut next, mut unnamed) = (Tagged::new(), None, BTreeSet::new());
        for _ in 0..PAGES {
            let page: TaggedPage = again(|| self.context.tagging.tagged_services(&self.rule.tag, next.clone())).await?;
            for (arn, value) in page.services {
                match self.named(&arn) {
                    Some((key, home)) if self.rule.admits(&key) => drop(tagged.insert(key, (value, home))),
                    Some(_) => {}
                    None => drop(unnamed.insert(arn)),
                }
            }
            next = page.next;
            if next.is_none() {
                self.tell_unnamed(unnamed);
                return Ok(tagged);
            }
        }
        Err(AwsError::unusable("tag", "GetResources", "the pages have no end"))
    }

    /// The service of an ARN; `None` if the ARN does not name its cluster.
    fn named(&self, arn: &str) -> Option<(ServiceKey, Home)> {
        let NamedService { region, account, cluster, service } = NamedService::parse(arn)?;
        Some((ServiceKey { aws: self.rule.aws.clone(), cluster, service }, Home { account, region }))
    }

    /// Says once of each what cannot be followed.
    fn tell_unnamed(&mut self, unnamed: BTreeSet<String>) {
        for arn in unnamed.difference(&self.unnamed) {
            warn!(
                aws = %self.rule.aws, arn, remedy = "list the service, or create it anew with the account setting serviceLongArnFormat",
                "a service that has the tag cannot be followed, as its ARN is of the old format and does not name its cluster"
            );
        }
        self.unnamed = unnamed;
    }

    /// The repositories of services, as far as they can be described, and why others cannot.
    async fn describe(
        &self,
        services: Vec<(ServiceKey, Home)>,
    ) -> (BTreeMap<ServiceKey, BTreeSet<RepositoryName>>, Vec<AwsError>) {
        let mut clusters: BTreeMap<EcsName, Vec<(ServiceKey, Home)>> = BTreeMap::new();
        for (key, home) in services {
            clusters.entry(key.cluster.clone()).or_default().push((key, home));
        }
        let parts = clusters
            .into_values()
            .flat_map(|services| services.chunks(SERVICES_A_CALL).map(<[_]>::to_vec).collect::<Vec<_>>());
        let ecs = self.context.ecs.as_ref();
        let answers: Vec<_> = stream::iter(parts).map(|part| revisions_of(ecs, part)).buffered(AT_ONCE).collect().await;
        let (mut running, mut errors) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer {
                Ok(found) => running.extend(found),
                Err(error) => errors.push(error),
            }
        }
        let wanted: BTreeMap<TaskDefinitionArn, Home> =
            running.iter().map(|(_, home, arn)| (arn.clone(), home.clone())).collect();
        let read = stream::iter(wanted).map(|(arn, home)| async move {
            let answer = again(|| ecs.describe_task_definition(arn.as_str())).await;
            let repositories = answer.map(|definition| repositories_of(&definition, &home.account, &home.region));
            (arn, repositories)
        });
        let mut repositories = BTreeMap::new();
        for (arn, answer) in read.buffered(AT_ONCE).collect::<Vec<_>>().await {
            match answer {
                Ok(names) => drop(repositories.insert(arn, names)),
                Err(error) => errors.push(error),
            }
        }
        let known = |(key, _, arn): (ServiceKey, Home, TaskDefinitionArn)| Some((key, repositories.get(&arn)?.clone()));
        (running.into_iter().filter_map(known).collect(), errors)
    }

    /// Says once why services cannot be described, as long as it stays the same.
    fn tell_undescribed(&mut self, mut errors: Vec<AwsError>) {
        errors.dedup();
        if let Some(error) = errors.first().filter(|_| self.undescribed != errors) {
            let remedy = error.remedy().unwrap_or_else(|| "the next look tries again".to_owned());
            warn!(aws = %self.rule.aws, tag = self.rule.tag, %error, remedy, "services that were found by their tag cannot be described, and are not followed before they can");
        }
        self.undescribed = errors;
    }
}

/// The revisions that services of one cluster are set to: at most ten. One that is not there, or that ECS cannot roll, has none.
async fn revisions_of(
    ecs: &dyn Ecs,
    part: Vec<(ServiceKey, Home)>,
) -> Result<Vec<(ServiceKey, Home, TaskDefinitionArn)>, AwsError> {
    let Some((first, _)) = part.first() else { return Ok(Vec::new()) };
    let names: Vec<EcsName> = part.iter().map(|(key, _)| key.service.clone()).collect();
    let mut found = again(|| ecs.describe_services(&first.cluster, &names)).await?;
    let revision = |(key, home): (ServiceKey, Home)| match found.remove(&key.service) {
        Some(Ok(view)) if view.active => Some((key, home, view.task_definition)),
        Some(Ok(_)) | None => None,
        Some(Err(why)) => {
            debug!(service = %key, %why, "a service that has the tag is not followed");
            None
        }
    };
    Ok(part.into_iter().filter_map(revision).collect())
}
