//! Lists of names.

use async_trait::async_trait;
use ecs_deployd::aws::{AwsError, Inventory};
use ecs_deployd::domain::types::{EcsName, RepositoryName};
use ecs_deployd::domain::view::RepositoryView;

use super::World;
use super::faults::with_fate;

#[async_trait]
impl Inventory for World {
    async fn clusters(&self) -> Result<Vec<String>, AwsError> {
        let fate = self.call("ListClusters", String::new()).await;
        let mut names: Vec<String> = self.lock().services.keys().map(|(cluster, _)| cluster.clone()).collect();
        names.dedup();
        with_fate(fate, "ecs", "ListClusters", || Ok(names)).await
    }

    async fn services(&self, cluster: &EcsName) -> Result<Vec<String>, AwsError> {
        let fate = self.call("ListServices", cluster.to_string()).await;
        let all: Vec<(String, String)> = self.lock().services.keys().cloned().collect();
        let names = all.into_iter().filter(|(of, _)| of == cluster.as_str()).map(|(_, name)| name).collect();
        with_fate(fate, "ecs", "ListServices", || Ok(names)).await
    }

    async fn lifecycle_policy(&self, repository: &RepositoryName) -> Result<Option<String>, AwsError> {
        let fate = self.call("GetLifecyclePolicy", repository.to_string()).await;
        with_fate(fate, "ecr", "GetLifecyclePolicy", || Ok(None)).await
    }

    async fn repositories(&self) -> Result<Vec<RepositoryView>, AwsError> {
        let fate = self.call("DescribeRepositories", String::new()).await;
        let names: Vec<String> = self.lock().repositories.keys().cloned().collect();
        let found = names.into_iter().map(|name| RepositoryView { name, immutable: false, except: Vec::new() });
        let found = found.collect();
        with_fate(fate, "ecr", "DescribeRepositories", || Ok(found)).await
    }
}
