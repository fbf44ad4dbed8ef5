//! `check`: asks AWS whether the configuration fits what is there. Changes nothing.

mod gates;
mod lifecycles;
mod names;
mod queues;
mod untried;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::admission;
use crate::aws::{self, AwsError, Common, ConnectError, Contexts, Fault, LookupPage, RegionWait, Window};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Places, StatePlace};
use crate::daemon::SAFE_OVERLAP;
use crate::discoverer::{self, LookedOnce};
use crate::domain::aws_error::Cause;
use crate::domain::discovery::Doubt;
use crate::domain::event;
use crate::domain::finding::{self, Finding, Home, NOTHING_SELECTED, Severity};
use crate::domain::plan::ServiceSnapshot;
use crate::domain::polling::{Demand, PAGE, Polling, Request};
use crate::domain::settings::{Base, RepositoryKey, ServiceRule};
use crate::domain::state::State;
use crate::domain::types::{ContextName, Digest, ServiceKey};
use crate::domain::view::RepositoryView;
use crate::engine::Observation;
use crate::metrics::Metrics;
use crate::observer::Observer;
use crate::place;
use crate::plan;
use crate::usage::Seen;
use crate::wording::chain;

pub use untried::Calls;

/// Services for which the calls are tried that hardly ever are made: one is like the next.
const RARE_CALLS: usize = 20;
/// How far back these calls look: far enough to find a deployment, of which the rest of the call depends.
const RARE_CALLS_LOOK_BACK: SignedDuration = SignedDuration::from_hours(90 * 24);
/// The part of the event history from which the number of pushes is estimated.
const SAMPLE: SignedDuration = SignedDuration::from_hours(1);

/// A finding, and where the configuration says what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The line, from 1, where there is one.
    pub line: Option<usize>,
    /// What was found there.
    #[serde(flatten)]
    pub finding: Finding,
}

/// Why nothing could be asked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A context cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The metrics cannot be made.
    #[error("cannot make the metrics")]
    Metrics(#[from] prometheus::Error),
}

/// Asks everything, side by side. The worst comes first.
///
/// # Errors
/// There is nothing to ask with.
pub async fn run(config: &Arc<Config>, places: &Places) -> Result<Vec<Placed>, CheckError> {
    let now = SystemClock.now();
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), env!("ECS_DEPLOYD_COMMIT"), now)?;
    let common = Common::new(Arc::new(metrics), Arc::default(), Arc::default());
    let (mut contexts, mut calls) = (Contexts::new(), Calls::new());
    for (name, settings) in &config.aws {
        // What was tried is asked of each context by itself.
        let common = Common { tried: Arc::default(), ..common.clone() };
        let only = BTreeMap::from([(name.clone(), settings.clone())]);
        contexts.extend(aws::connect(&only, &common, RegionWait::Short).await?);
        calls.insert(name.clone(), common.tried);
    }
    let mut found = of_table(config, &common, &calls).await;
    found.extend(look(config, places, &contexts, &calls, now).await);
    Ok(found)
}

/// Whether the table can hold the state, where there is one.
async fn of_table(config: &Config, common: &Common, calls: &Calls) -> Vec<Placed> {
    let Some(settings) = config.state.place.table() else { return Vec::new() };
    let subject = format!("table {}", settings.name);
    let tried = calls.get(&settings.aws).unwrap_or(&common.tried);
    let common = Common { tried: Arc::clone(tried), ..common.clone() };
    match place::look(config, settings, &common).await {
        Ok(_) => Vec::new(),
        Err(error) => {
            let remedy = "nothing is deployed before the table can be used";
            let finding = Finding::new(Severity::Error, "table", subject, chain(&error), remedy);
            vec![Placed { line: None, finding }]
        }
    }
}

/// The same with everything given. Where it is known which calls of a context were tried, what was not tried of its policy is a note.
pub async fn look(
    config: &Arc<Config>,
    places: &Places,
    contexts: &Contexts,
    calls: &Calls,
    now: Timestamp,
) -> Vec<Placed> {
    let mut state = State::default();
    let looked = discoverer::look_once(config, contexts, &mut state, now).await;
    let config = &*config.with_discovered(&state);
    let mut check = Check { config, places, contexts, found: Vec::new(), seen: BTreeMap::new() };
    check.of_file();
    check.of_tags(looked);
    check.of_contexts(now).await;
    check.of_queues().await;
    let views = check.of_repositories().await;
    check.of_lifecycles(&views).await;
    let images = check.of_services(now).await;
    check.of_gates(&images).await;
    check.of_rare_calls(now).await;
    check.of_untried(calls).await;
    let mut found = check.found;
    found.sort_by(|a, b| {
        (a.finding.severity, a.line, a.finding.code).cmp(&(b.finding.severity, b.line, b.finding.code))
    });
    found.dedup();
    found
}

struct Check<'a> {
    config: &'a Config,
    places: &'a Places,
    contexts: &'a Contexts,
    found: Vec<Placed>,
    /// What the services were seen to be, so that nobody has to ask again.
    seen: BTreeMap<ContextName, Seen>,
}

impl Check<'_> {
    fn add(&mut self, line: Option<usize>, finding: Finding) {
        self.found.push(Placed { line, finding });
    }

    fn of_file(&mut self) {
        if !self.config.discover.is_empty() && self.config.policies.is_empty() {
            let message = "there is a [[discover]] and no [policy.NAME]: no service that is found is followed";
            self.add(None, Finding::new(Severity::Warning, "no_policy", "configuration", message, "add one"));
        }
        if self.config.repositories.is_empty() && self.config.discover.is_empty() {
            let message = "there is neither a [[repository]] nor a [[discover]]: nothing will ever be deployed";
            self.add(None, Finding::new(Severity::Warning, "no_repository", "configuration", message, "add one"));
        }
        if self.config.poll.overlap < SAFE_OVERLAP {
            let overlap = humantime::format_duration(self.config.poll.overlap);
            let message = format!("overlap {overlap} is shorter than CloudTrail may take to deliver an event");
            self.add(None, Finding::new(Severity::Warning, "short_overlap", "poll.overlap", message, "30m is safe"));
        }
        if !self.config.http.listen.ip().is_loopback() {
            let message = format!("{} is not loopback: whoever reaches it reads the metrics", self.config.http.listen);
            let remedy = "none needed, if that is meant: nothing can be changed there";
            self.add(None, Finding::new(Severity::Note, "listens_to_all", "http.listen", message, remedy));
        }
        let file = match &self.config.state.place {
            StatePlace::File(path) => Some(path),
            StatePlace::Table(_) => None,
        };
        let folder = file.and_then(|path| path.parent()).filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let message = format!("there is no folder {}", folder.display());
            let remedy = "create it for the user that ecs-deployd runs as";
            self.add(None, Finding::new(Severity::Error, "no_state_folder", "state.path", message, remedy));
        }
    }

    /// What the tags of services say.
    fn of_tags(&mut self, looked: LookedOnce) {
        for (aws, error) in looked.errors {
            self.add(self.places.context(aws.as_str()), of_error(&format!("aws context {aws}"), &error));
        }
        for (key, doubt) in looked.doubts {
            let severity = match doubt {
                Doubt::ListedOtherwise { .. } => Severity::Error,
                Doubt::UnknownPolicy { .. } | Doubt::NoRepository => Severity::Warning,
            };
            let subject = self.config.name_of(&key);
            let finding = Finding::new(severity, doubt.code(), subject, doubt.message(), doubt.remedy());
            self.add(self.line_of(&key, None), finding);
        }
    }

    async fn of_contexts(&mut self, now: Timestamp) {
        let window = Window { start: now - SAMPLE, end: now };
        let sample = Request { window, limit: PAGE, token: None };
        let sample = &sample;
        let polled: BTreeSet<&ContextName> =
            self.config.polled_contexts().into_iter().chain(self.config.audited_contexts()).collect();
        let polled = polled.into_iter();
        let asked = polled.filter_map(|name| self.contexts.get(name).map(|context| (name, context)));
        let answers =
            join_all(asked.map(|(name, context)| async move {
                (name, context.cloudtrail.lookup(event::PUT_IMAGE, sample).await)
            }));
        for (name, answer) in answers.await {
            let finding = match answer {
                Err(error) => Some(of_error(&format!("aws context {name}"), &error)),
                Ok(page) => self.of_demand(name, &page, now),
            };
            if let Some(finding) = finding {
                self.add(self.places.context(name.as_str()), finding);
            }
        }
    }

    async fn of_queues(&mut self) {
        for (aws, finding) in queues::findings(self.config, self.contexts).await {
            self.add(self.places.context(aws.as_str()), finding);
        }
    }

    /// Whether the requests suffice for the pushes of the account.
    fn of_demand(&self, name: &ContextName, sample: &LookupPage, now: Timestamp) -> Option<Finding> {
        let poll = &self.config.poll;
        let rate = self.config.aws.get(name)?.max_lookups_per_second;
        let polling = Polling { interval: poll.interval, overlap: poll.overlap, rate };
        let oldest = sample.records.last().and_then(|record| record.time).filter(|_| sample.next.is_some());
        let covered = oldest.map_or(SAMPLE, |oldest| now.duration_since(oldest));
        let events = f64::from(u32::try_from(sample.records.len()).unwrap_or(u32::MAX));
        let demand = Demand::of(events / covered.as_secs_f64().max(1.0), &polling);
        let polled = self.config.polled_contexts().contains(&name);
        (polled && demand.exceeds(&polling)).then(|| {
            let delay = humantime::format_duration(Duration::from_secs(demand.delay.as_secs()));
            let message = format!(
                "about {:.0} pushes a day in this account and Region take {:.2} requests per second of the {rate} that max_lookups_per_second allows: a push may be seen {delay} later than CloudTrail delivers it, and late events much later",
                demand.pushes_a_day, demand.requests
            );
            let subject = format!("aws context {name}");
            Finding::new(Severity::Warning, "busy_account", subject, message, Demand::remedy(&polling))
        })
    }

    /// Gives the repositories that are there, as far as they could be listed.
    async fn of_repositories(&mut self) -> BTreeMap<RepositoryKey, RepositoryView> {
        let mut views = BTreeMap::new();
        let names: BTreeSet<&ContextName> = self.config.repositories.keys().map(|key| &key.aws).collect();
        let asked = names.into_iter().filter_map(|name| self.contexts.get(name).map(|context| (name, context)));
        let answers =
            join_all(asked.map(|(name, context)| async move { (name, context.inventory.repositories().await) })).await;
        for (aws, answer) in answers {
            let config = self.config;
            let rules = config.repositories.iter().filter(|(key, _)| &key.aws == aws);
            match answer {
                Err(error) if error.fault == Fault::Denied => {
                    let message =
                        "the repositories cannot be listed, so their names and tag mutability are not checked";
                    let subject = format!("aws context {aws}");
                    let remedy = "allow ecr:DescribeRepositories, if check is to do that; the daemon does not need it";
                    self.add(
                        self.places.context(aws.as_str()),
                        Finding::new(Severity::Note, "not_checked", subject, message, remedy),
                    );
                }
                // What is wrong with all calls is said once.
                Err(_) => {}
                Ok(there) => {
                    for (key, rule) in rules {
                        let line = self.places.repository(key.aws.as_str(), key.name.as_str());
                        if let Some(finding) = names::of_repository(key, &rule.services, &there) {
                            self.add(line, finding);
                        }
                        let view = there.iter().find(|one| one.name == key.name.as_str());
                        views.extend(view.map(|view| (key.clone(), view.clone())));
                    }
                }
            }
        }
        views
    }

    async fn of_lifecycles(&mut self, views: &BTreeMap<RepositoryKey, RepositoryView>) {
        let config = self.config;
        let (found, denied) = lifecycles::findings(self.contexts, config.repositories.keys(), views).await;
        for (key, finding) in found {
            self.add(self.places.repository(key.aws.as_str(), key.name.as_str()), finding);
        }
        for (aws, finding) in denied {
            self.add(self.places.context(aws.as_str()), finding);
        }
    }

    /// Policies that select no image: a warning where there are tags that they do not admit, else the note that it is.
    async fn of_unselected(&mut self, notes: Vec<(ServiceKey, RepositoryKey, Finding)>) {
        let repositories = notes.iter().map(|(_, repository, _)| repository.clone()).collect();
        let tags = admission::tags_of(self.contexts, repositories).await;
        for (key, repository, note) in notes {
            let rules = self.config.rules_of(&key);
            let doubt = rules.get(&repository).zip(tags.get(&repository)).and_then(|(rule, tags)| {
                finding::of_tags(&self.config.name_of(&key), &repository.name, rule.policy.as_ref(), tags)
            });
            let line = self.line_of(&key, Some(&repository));
            self.add(line, doubt.unwrap_or(note));
        }
    }

    async fn of_gates(&mut self, images: &BTreeMap<RepositoryKey, Digest>) {
        for (key, finding) in gates::findings(self.config, self.contexts, images).await {
            self.add(self.places.repository(key.aws.as_str(), key.name.as_str()), finding);
        }
    }

    /// Gives an image of each repository, as far as one is selected.
    async fn of_services(&mut self, now: Timestamp) -> BTreeMap<RepositoryKey, Digest> {
        let (mut unselected, mut images) = (Vec::new(), BTreeMap::new());
        let observed = plan::ask(self.config, self.contexts, &State::default(), now).await;
        for (request, snapshot) in observed {
            let key = request.key;
            let rules = self.config.rules_of(&key);
            match snapshot {
                Err(error) => {
                    let finding = of_error(&self.config.name_of(&key), &error);
                    self.add(self.line_of(&key, None), finding);
                }
                Ok(observation) => {
                    self.of_images(&observation);
                    let snapshot = observation.snapshot;
                    images.extend(snapshot.images.iter().filter_map(|(repository, answers)| {
                        Some((repository.clone(), answers.best.as_ref()?.1.digest.clone()))
                    }));
                    if snapshot.service.is_none() {
                        let finding = self.of_missing(&key, &snapshot).await;
                        self.add(self.line_of(&key, None), finding);
                        continue;
                    }
                    self.note(&key, &snapshot);
                    let homes = self.homes(&rules, &snapshot);
                    for (repository, finding) in
                        finding::of_service(&self.config.name_of(&key), &rules, &homes, &snapshot)
                    {
                        match repository {
                            Some(repository) if finding.code == NOTHING_SELECTED => {
                                unselected.push((key.clone(), repository, finding));
                            }
                            other => self.add(self.line_of(&key, other.as_ref()), finding),
                        }
                    }
                }
            }
        }
        self.of_unselected(unselected).await;
        images
    }

    fn note(&mut self, key: &ServiceKey, snapshot: &ServiceSnapshot) {
        let follows_latest = self.config.rules_of(key).values().any(|rule| rule.deploy.base == Base::Latest);
        let seen = self.seen.entry(key.aws.clone()).or_default();
        seen.services.extend(snapshot.service.clone().map(|view| (key.clone(), view)));
        for definition in snapshot.current.iter().chain(&snapshot.base) {
            seen.definitions.insert(definition.arn().as_str().to_owned(), definition.clone());
        }
        let latest = snapshot.base.as_ref().filter(|_| follows_latest);
        seen.definitions.extend(latest.map(|latest| (latest.arn().family().to_owned(), latest.clone())));
    }

    async fn of_untried(&mut self, calls: &Calls) {
        let seen = std::mem::take(&mut self.seen);
        for (aws, finding) in untried::findings(self.config, self.contexts, calls, seen).await {
            self.add(self.places.context(aws.as_str()), finding);
        }
    }

    /// What ECS is asked only after the answer of an UpdateService was lost. That it is denied shows now, and not then.
    async fn of_rare_calls(&mut self, now: Timestamp) {
        let keys: BTreeSet<ServiceKey> = self.config.services().map(|(_, rule)| rule.key.clone()).collect();
        let observer = &Observer::new(self.contexts.clone());
        let asked = keys.into_iter().take(RARE_CALLS).map(|key| async move {
            let answer = observer.deployments(&key, now - RARE_CALLS_LOOK_BACK).await;
            (key, answer)
        });
        for (key, answer) in join_all(asked).await {
            if let Err(error) = answer
                && error.fault == Fault::Denied
            {
                let finding = of_error(&self.config.name_of(&key), &error);
                self.add(self.line_of(&key, None), Finding { severity: Severity::Warning, ..finding });
            }
        }
    }

    /// Repositories that cannot be asked, or are not there, as far as nobody could list them.
    fn of_images(&mut self, observation: &Observation) {
        for (repository, error) in &observation.unanswered {
            let finding = of_error(&format!("repository {}", repository.name), error);
            self.add(self.places.repository(repository.aws.as_str(), repository.name.as_str()), finding);
        }
        for (repository, _) in observation.snapshot.images.iter().filter(|(_, answers)| answers.no_repository) {
            let finding = names::unknown_repository(repository, "create it, or correct its name or its `aws`");
            let is_known = self
                .found
                .iter()
                .any(|one| (one.finding.code, &one.finding.subject) == (finding.code, &finding.subject));
            if !is_known {
                self.add(self.places.repository(repository.aws.as_str(), repository.name.as_str()), finding);
            }
        }
    }

    fn homes(
        &self,
        rules: &BTreeMap<RepositoryKey, &ServiceRule>,
        snapshot: &ServiceSnapshot,
    ) -> BTreeMap<RepositoryKey, Home> {
        let home = |key: &RepositoryKey| {
            let region = self.contexts.get(&key.aws)?.region.clone();
            let best = snapshot.images.get(key).and_then(|answers| answers.best.as_ref());
            Some((key.clone(), Home { region, account: best.map(|(_, image)| image.registry.account.clone()) }))
        };
        rules.keys().filter_map(home).collect()
    }

    /// The line of a service: under the repository, or under the first one that has it.
    fn line_of(&self, key: &ServiceKey, repository: Option<&RepositoryKey>) -> Option<usize> {
        let rules = self.config.rules_of(key);
        let repository = repository.or_else(|| rules.keys().next())?;
        self.places.service(repository, key)
    }

    async fn of_missing(&self, key: &ServiceKey, snapshot: &ServiceSnapshot) -> Finding {
        let subject = self.config.name_of(key);
        if let Some(why) = &snapshot.unrollable {
            return Finding::new(Severity::Error, "unrollable", subject, why, "take it out of the configuration");
        }
        if key.schedule().is_some() {
            let message = "there is no such schedule or rule in this account and Region";
            let remedy = "correct its name, with its group or event bus before it, or its `aws`";
            return Finding::new(Severity::Error, "unknown_schedule", subject, message, remedy);
        }
        let Some(context) = self.contexts.get(&key.aws) else {
            return Finding::new(Severity::Error, "unknown_service", subject, "its AWS context is not there", "add it");
        };
        names::missing(&Observer::new(self.contexts.clone()), context, key, subject).await
    }
}

/// A call that failed.
fn of_error(subject: &str, error: &AwsError) -> Finding {
    let (code, remedy) = match error.fault {
        _ if error.cause == Cause::Clock => {
            ("clock_skew", Some("set this machine's clock: AWS refuses what is signed with the wrong time".to_owned()))
        }
        Fault::Denied => ("missing_permission", error.remedy()),
        Fault::Credentials => ("credentials", error.remedy()),
        Fault::Throttled => ("throttled", Some("try again in a while".to_owned())),
        Fault::NotFound => ("not_found", None),
        Fault::Refused => ("refused", None),
        Fault::Unavailable => ("unreachable", Some("check the network, the Region and endpoint_url".to_owned())),
    };
    Finding::new(Severity::Error, code, subject, error.to_string(), remedy.unwrap_or_default())
}
