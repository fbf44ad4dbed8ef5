//! What there is in an account: asked of ECS, ECR and STS for `init`. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::asking::{again, each};
use crate::aws::{self, AwsContext, AwsError, CLUSTER_NOT_FOUND, Common, ConnectError, Fault, Identity, RegionWait};
use crate::clock::{self, Clock as _, SystemClock};
use crate::config::AwsSettings;
use crate::domain::finding::nearest;
use crate::domain::proposal::{FoundService, NamedImage, Reach, Registry, RegistryView, Snapshot, Which};
use crate::domain::task_definition::TaskDefinition;
use crate::domain::types::{ContextName, Digest, EcsName, Region, RepositoryName, Tag, TaskDefinitionArn};
use crate::domain::view::ServiceView;
use crate::metrics::Metrics;
use crate::wording::counted;

/// Services that one DescribeServices takes.
const SERVICES: usize = 10;
/// Digests that one DescribeImages takes.
const DIGESTS: usize = 100;
/// Profiles that are tried at most, where images come from accounts that the ambient credentials do not lead to.
const PROFILES: usize = 32;
/// A profile is given this long to answer.
const PROFILE_WITHIN: Duration = Duration::from_secs(15);

/// What `init` asks AWS.
#[derive(Debug, Clone, Default)]
pub struct SurveyRequest {
    /// The Region; without it the ambient one.
    pub region: Option<Region>,
    /// The clusters; none: all that there are.
    pub clusters: Vec<EcsName>,
    /// The endpoint that the environment names.
    pub endpoint_url: Option<String>,
    /// The profile that the environment names.
    pub profile: Option<String>,
}

/// Why it is not known what there is.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// There is no client to ask with.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The metrics cannot be made.
    #[error("cannot make the metrics")]
    Metrics(#[from] prometheus::Error),
    /// AWS did not say.
    #[error("cannot ask AWS about {about}{}", remedy.as_ref().map_or_else(String::new, |remedy| format!(" ({remedy})")))]
    Asking {
        /// What the request was about.
        about: String,
        /// What can be done.
        remedy: Option<String>,
        /// Why AWS did not answer.
        source: AwsError,
    },
    /// A cluster that was named is not there.
    #[error("there is no cluster {name} in {region}{}", hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}")))]
    NoCluster {
        /// The name of the cluster.
        name: EcsName,
        /// The Region that was asked.
        region: Region,
        /// The name that may be meant.
        hint: Option<String>,
    },
}

fn asking(about: impl Into<String>) -> impl FnOnce(AwsError) -> SurveyError {
    let about = about.into();
    move |source| SurveyError::Asking { about, remedy: source.remedy(), source }
}

/// The clients of one way to reach AWS.
struct Clients {
    context: AwsContext,
    identity: Arc<dyn Identity>,
}

async fn open(settings: AwsSettings, common: &Common) -> Result<Clients, ConnectError> {
    let name = ContextName::of_default();
    let (context, identity) = aws::connect_known(&name, &settings, common, RegionWait::Short).await?;
    Ok(Clients { context, identity })
}

/// Asks AWS. `progress` gets, in half a sentence, what has been found so far.
///
/// # Errors
/// AWS cannot be asked, or a cluster that was named is not there.
pub async fn take(request: &SurveyRequest, progress: &dyn Fn(&str)) -> Result<Snapshot, SurveyError> {
    let now = SystemClock.now();
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), env!("ECS_DEPLOYD_COMMIT"), now)?);
    let common = Common::new(metrics, Arc::default(), Arc::default());
    let region = request.region.as_ref().map(|region| region.as_str().to_owned());
    let clients = open(AwsSettings { region, ..AwsSettings::default() }, &common).await?;
    progress("asking whose account it is");
    let principal = again(|| clients.identity.principal()).await.map_err(asking("the account"))?;
    let home = Registry { account: principal.account, region: clients.context.region.clone() };
    let clusters = clusters(&clients.context, request, progress).await?;
    let services = services(&clients.context, clusters, progress).await?;
    let mut survey = Survey { home, clients, common, progress, profiles: None };
    let registries = survey.registries(&services).await?;
    Ok(Snapshot {
        home: survey.home,
        endpoint_url: request.endpoint_url.clone(),
        profile: request.profile.clone(),
        services,
        registries,
    })
}

async fn clusters(
    context: &AwsContext,
    request: &SurveyRequest,
    progress: &dyn Fn(&str),
) -> Result<Vec<EcsName>, SurveyError> {
    progress("listing the clusters");
    let names = match again(|| context.inventory.clusters()).await {
        Ok(names) => names,
        // Who may not list them is believed about them.
        Err(error) if error.fault == Fault::Denied && !request.clusters.is_empty() => {
            return Ok(request.clusters.clone());
        }
        Err(error) => return Err(asking("its clusters")(error)),
    };
    if let Some(missing) = request.clusters.iter().find(|cluster| !names.iter().any(|name| name == cluster.as_str())) {
        return Err(no_cluster(context, missing, &names));
    }
    if !request.clusters.is_empty() {
        return Ok(request.clusters.clone());
    }
    let clusters: BTreeSet<EcsName> = names.iter().filter_map(|name| EcsName::parse(name).ok()).collect();
    Ok(clusters.into_iter().collect())
}

/// A service by its names.
type Named = (EcsName, EcsName);

async fn services(
    context: &AwsContext,
    clusters: Vec<EcsName>,
    progress: &dyn Fn(&str),
) -> Result<Vec<FoundService>, SurveyError> {
    let in_clusters = counted(clusters.len(), "cluster", "clusters");
    progress(&format!("{in_clusters}: listing their services"));
    let lists =
        each(
            clusters,
            |cluster| async move { Ok::<_, SurveyError>((cluster.clone(), list(context, &cluster).await?)) },
        )
        .await?;
    let parts: Vec<(EcsName, Vec<EcsName>)> = lists
        .iter()
        .flat_map(|(cluster, names)| names.chunks(SERVICES).map(|part| (cluster.clone(), part.to_vec())))
        .collect();
    let total: usize = lists.iter().map(|(_, names)| names.len()).sum();
    progress(&format!("{in_clusters}, {}: reading them", counted(total, "service", "services")));
    let answers = each(parts, |(cluster, part)| async move {
        let read = again(|| context.ecs.describe_services(&cluster, &part)).await;
        read.map(|found| (cluster.clone(), found)).map_err(asking(format!("the services of the cluster {cluster}")))
    })
    .await?;
    let mut seen: BTreeMap<Named, Result<ServiceView, String>> = BTreeMap::new();
    for (cluster, found) in answers {
        for (name, view) in found {
            // What is being deleted is gone tomorrow.
            if view.as_ref().is_ok_and(|view| !view.active) {
                continue;
            }
            seen.insert((cluster.clone(), name), view.map_err(|why| why.to_string()));
        }
    }
    let revisions: BTreeSet<TaskDefinitionArn> =
        seen.values().flatten().map(|view| view.task_definition.clone()).collect();
    let count = counted(revisions.len(), "task definition", "task definitions");
    progress(&format!("{in_clusters}, {}, {count}: reading them", counted(total, "service", "services")));
    let definitions = each(revisions, |arn| async move {
        let read = again(|| context.ecs.describe_task_definition(arn.as_str())).await;
        read.map(|definition| (arn.clone(), definition)).map_err(asking(format!("the task definition {arn}")))
    })
    .await?;
    let definitions: BTreeMap<TaskDefinitionArn, TaskDefinition> = definitions.into_iter().collect();
    let found = seen.into_iter().filter_map(|((cluster, service), seen)| {
        let state = match seen {
            Ok(view) => {
                let definition = definitions.get(&view.task_definition)?.clone();
                Ok((view, definition))
            }
            Err(why) => Err(why),
        };
        Some(FoundService { cluster, service, state })
    });
    Ok(found.collect())
}

/// The services of a cluster.
async fn list(context: &AwsContext, cluster: &EcsName) -> Result<Vec<EcsName>, SurveyError> {
    match again(|| context.inventory.services(cluster)).await {
        Ok(names) => Ok(names.iter().filter_map(|name| EcsName::parse(name).ok()).collect()),
        Err(error) if error.code == CLUSTER_NOT_FOUND => Err(no_cluster(context, cluster, &[])),
        Err(error) => Err(asking(format!("the services of the cluster {cluster}"))(error)),
    }
}

fn no_cluster(context: &AwsContext, name: &EcsName, there: &[String]) -> SurveyError {
    let names: Vec<&str> = there.iter().map(String::as_str).collect();
    let hint = nearest(name.as_str(), &names);
    SurveyError::NoCluster { name: name.clone(), region: context.region.clone(), hint }
}

/// What the looks at the registries have in common.
struct Survey<'a> {
    home: Registry,
    clients: Clients,
    common: Common,
    progress: &'a dyn Fn(&str),
    /// The accounts that profiles lead to, once they were asked.
    profiles: Option<Vec<(String, Registry)>>,
}

impl Survey<'_> {
    /// Every registry that the revisions name, with what is wanted of it.
    async fn registries(&mut self, services: &[FoundService]) -> Result<BTreeMap<Registry, RegistryView>, SurveyError> {
        let mut wanted: BTreeMap<Registry, BTreeMap<RepositoryName, BTreeSet<Digest>>> = BTreeMap::new();
        let revisions = services.iter().filter_map(|found| found.state.as_ref().ok());
        let images = revisions.flat_map(|(_, definition)| definition.containers()).map(|(_, image)| image);
        for NamedImage { registry, repository, which } in images.filter_map(NamedImage::read) {
            let digests = wanted.entry(registry).or_default().entry(repository).or_default();
            if let Which::Digest(digest) = which {
                digests.insert(digest);
            }
        }
        let mut registry_views = BTreeMap::new();
        for (registry, repositories) in wanted {
            let registry_view = self.registry_view(&registry, &repositories).await?;
            registry_views.insert(registry, registry_view);
        }
        Ok(registry_views)
    }

    async fn registry_view(
        &mut self,
        registry: &Registry,
        wanted: &BTreeMap<RepositoryName, BTreeSet<Digest>>,
    ) -> Result<RegistryView, SurveyError> {
        (self.progress)(&format!("looking at the repositories of {} in {}", registry.account, registry.region));
        let region = Some(registry.region.as_str().to_owned());
        let reach = match registry.account == self.home.account {
            true => Reach::Ambient,
            false => self.profile_of(registry).await.map_or(Reach::Unknown, Reach::Profile),
        };
        let settings = match &reach {
            Reach::Ambient => AwsSettings { region, ..AwsSettings::default() },
            Reach::Profile(profile) => AwsSettings { region, profile: Some(profile.clone()), ..AwsSettings::default() },
            Reach::Unknown => return Ok(RegistryView { reach, repositories: None, tags: BTreeMap::new() }),
        };
        let other = match *registry == self.home {
            true => None,
            false => Some(open(settings, &self.common).await?),
        };
        let context = &other.as_ref().unwrap_or(&self.clients).context;
        let about = || format!("the repositories of {} in {}", registry.account, registry.region);
        let repositories = match again(|| context.inventory.repositories()).await {
            Ok(repositories) => Some(repositories),
            // Who may not list them is believed about them.
            Err(error) if error.fault == Fault::Denied => None,
            Err(error) => return Err(asking(about())(error)),
        };
        let tags = tags(context, wanted).await?;
        Ok(RegistryView { reach, repositories, tags })
    }

    /// A profile whose credentials are of the registry's account; one that is for its Region comes first.
    async fn profile_of(&mut self, registry: &Registry) -> Option<String> {
        if self.profiles.is_none() {
            self.profiles = Some(self.ask_profiles().await);
        }
        let of_account = || self.profiles.iter().flatten().filter(|(_, leads_to)| leads_to.account == registry.account);
        let fits = of_account().find(|(_, leads_to)| leads_to.region == registry.region);
        fits.or_else(|| of_account().next()).map(|(name, _)| name.clone())
    }

    /// The accounts that the profiles lead to. One that leads nowhere, or not soon, is none.
    async fn ask_profiles(&self) -> Vec<(String, Registry)> {
        let mut found = Vec::new();
        for profile in aws::profiles().await.into_iter().take(PROFILES) {
            (self.progress)(&format!("asking which account the profile {profile} leads to"));
            let region = Some(self.home.region.as_str().to_owned());
            let settings = AwsSettings { region, profile: Some(profile.clone()), ..AwsSettings::default() };
            let Ok(clients) = open(settings, &self.common).await else { continue };
            // A source of credentials may take a minute, which is long for a person who waits.
            if let Some(Ok(principal)) = clock::within(PROFILE_WITHIN, clients.identity.principal()).await {
                found.push((profile, Registry { account: principal.account, region: clients.context.region }));
            }
        }
        found
    }
}

/// The tags of these digests. A repository that cannot be asked has none.
async fn tags(
    context: &AwsContext,
    wanted: &BTreeMap<RepositoryName, BTreeSet<Digest>>,
) -> Result<BTreeMap<(RepositoryName, Digest), Vec<Tag>>, SurveyError> {
    let mut tags = BTreeMap::new();
    for (repository, digests) in wanted {
        let digests: Vec<Digest> = digests.iter().cloned().collect();
        for part in digests.chunks(DIGESTS) {
            match again(|| context.ecr.describe_digests(repository, part)).await {
                Ok(images) => {
                    tags.extend(images.into_iter().map(|image| ((repository.clone(), image.digest), image.tags)));
                }
                Err(error) if matches!(error.fault, Fault::Denied | Fault::NotFound) => {}
                Err(error) => return Err(asking(format!("the images of {repository}"))(error)),
            }
        }
    }
    Ok(tags)
}
