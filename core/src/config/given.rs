//! Names that people copy together with what surrounds them: ARNs, and the URIs of images and repositories.
//!
//! AWS shows them everywhere, and as they are they name nothing: an ECR repository may even be called what a URI says. Each error says the name.

use crate::domain::image::ImageReference;
use crate::domain::types::{EcsName, RepositoryName};

/// The name of an ECR repository.
pub(super) fn repository(text: &str) -> Result<RepositoryName, String> {
    if let Some(arn) = Arn::parse(text) {
        let name = (arn.service == "ecr").then(|| arn.resource.strip_prefix("repository/")).flatten();
        return Err(arn.instead(name));
    }
    let without_scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let reference = ImageReference::split(without_scheme);
    let of_registry = reference.registry().and_then(|_| reference.name.split_once('/')).map(|(_, path)| path);
    let named = of_registry.unwrap_or(reference.name);
    if named != text && RepositoryName::parse(named).is_ok() {
        return Err(format!("expected the name of the repository, without its registry and without a tag: {named:?}"));
    }
    match of_registry {
        Some(_) => Err(format!("expected the name of a repository, found {text:?}")),
        None => RepositoryName::parse(text).map_err(|error| error.to_string()),
    }
}

/// The name of a cluster.
pub(super) fn cluster(text: &str) -> Result<EcsName, String> {
    ecs_name(text, |resource| match resource {
        ["cluster", name] | ["service", name, _] => Some(name),
        _ => None,
    })
}

/// The name of a service.
pub(super) fn service(text: &str) -> Result<EcsName, String> {
    ecs_name(text, |resource| match resource {
        ["service", name] | ["service", _, name] => Some(name),
        _ => None,
    })
}

fn ecs_name<'a>(text: &'a str, of: impl Fn(&[&'a str]) -> Option<&'a str>) -> Result<EcsName, String> {
    if let Some(arn) = Arn::parse(text) {
        let resource: Vec<&str> = arn.resource.split('/').collect();
        return Err(arn.instead((arn.service == "ecs").then(|| of(&resource)).flatten()));
    }
    EcsName::parse(text).map_err(|error| match text.split_once('/') {
        Some((first, second)) => match of(&["service", first, second]).filter(|name| EcsName::parse(name).is_ok()) {
            Some(name) => format!("expected one name, not CLUSTER/SERVICE: {name:?}"),
            None => error.to_string(),
        },
        None => error.to_string(),
    })
}

/// The name of a schedule or a rule, with its group or bus.
pub(super) fn schedule(text: &str) -> Result<&str, String> {
    match Arn::parse(text) {
        Some(arn) => {
            Err(arn.instead(arn.resource.strip_prefix("schedule/").or_else(|| arn.resource.strip_prefix("rule/"))))
        }
        None => Ok(text),
    }
}

/// The name of a container, as it stands in the task definition.
pub(super) fn container(text: &str) -> Result<String, String> {
    match Arn::parse(text) {
        Some(arn) => Err(arn.instead(None)),
        None => Ok(text.to_owned()),
    }
}

/// The name of a task definition family: letters, digits, hyphens and underscores (Amazon ECS API Reference, RegisterTaskDefinition).
pub(super) fn family(text: &str) -> Result<String, String> {
    if let Some(arn) = Arn::parse(text) {
        let resource = arn.resource.strip_prefix("task-definition/");
        return Err(arn.instead(resource.map(|name| name.split_once(':').map_or(name, |(family, _)| family))));
    }
    let is_name = |text: &str| {
        let mut bytes = text.bytes();
        (1..=255).contains(&text.len()) && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    match text.split_once(':') {
        _ if is_name(text) => Ok(text.to_owned()),
        Some((family, _)) if is_name(family) => Err(format!("expected a family without a revision: {family:?}")),
        Some(_) | None => Err(format!("expected the name of a task definition family, found {text:?}")),
    }
}

/// A glob for the names of repositories.
pub(super) fn repository_glob(text: &str) -> Result<&str, String> {
    let is_more = Arn::parse(text).is_some() || ImageReference::split(text).registry().is_some();
    if is_more { repository(text).and(Ok(text)) } else { Ok(text) }
}

/// A glob for the names of clusters.
pub(super) fn cluster_glob(text: &str) -> Result<&str, String> {
    if Arn::parse(text).is_some() { cluster(text).and(Ok(text)) } else { Ok(text) }
}

/// A glob for services as people name them.
pub(super) fn service_glob(text: &str) -> Result<&str, String> {
    match Arn::parse(text) {
        Some(arn) => Err(arn.instead(arn.resource.strip_prefix("service/").filter(|name| name.contains('/')))),
        None => Ok(text),
    }
}

/// The parts of `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.
struct Arn<'a> {
    service: &'a str,
    resource: &'a str,
}

impl<'a> Arn<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", _, service, _, _, resource] = parts[..] else { return None };
        Some(Self { service, resource })
    }

    /// What is said about an ARN where a name is wanted.
    fn instead(&self, name: Option<&str>) -> String {
        match name {
            Some(name) => format!("expected the name, not the ARN: {name:?}"),
            None => {
                let kind = self.resource.split(['/', ':']).next().unwrap_or_default();
                format!("expected the name, and this is the ARN of something else ({} {kind})", self.service)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_named_alone() {
        for (text, expected) in [
            ("team/api", Ok(())),
            ("ab", Ok(())),
            ("docker.io/library/nginx", Ok(())),
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com/team/api", Err("\"team/api\"")),
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com/team/api:latest", Err("\"team/api\"")),
            ("https://111111111111.dkr.ecr.eu-west-1.amazonaws.com/team/api", Err("\"team/api\"")),
            ("111111111111.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu/api", Err("\"api\"")),
            ("111111111111.dkr.ecr.us-iso-east-1.c2s.ic.gov:443/api", Err("\"api\"")),
            ("team/api:latest", Err("\"team/api\"")),
            ("team/api@sha256:00", Err("\"team/api\"")),
            ("arn:aws:ecr:eu-west-1:111111111111:repository/team/api", Err("not the ARN: \"team/api\"")),
            ("arn:aws-cn:ecr:cn-north-1:111111111111:repository/api", Err("not the ARN: \"api\"")),
            ("arn:aws:ecs:eu-west-1:111111111111:service/web/hello", Err("something else (ecs service)")),
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com/Team", Err("found \"111111111111.dkr")),
            ("Team", Err("\"Team\" is not")),
        ] {
            match (repository(text), expected) {
                (Ok(name), Ok(())) => assert_eq!(name.as_str(), text),
                (Err(message), Err(part)) => assert!(message.contains(part), "{text}: {message}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn an_arn_is_no_name_and_its_part_is_said() {
        const SERVICE: &str = "arn:aws:ecs:eu-west-1:111111111111:service/web/hello";
        const OLD: &str = "arn:aws:ecs:eu-west-1:111111111111:service/hello";
        const CLUSTER: &str = "arn:aws:ecs:eu-west-1:111111111111:cluster/web";
        let alone = |name: &str| format!("expected the name, not the ARN: {name:?}");
        assert_eq!(cluster(CLUSTER).unwrap_err(), alone("web"));
        assert_eq!(cluster(SERVICE).unwrap_err(), alone("web"));
        assert_eq!(service(SERVICE).unwrap_err(), alone("hello"));
        assert_eq!(service(OLD).unwrap_err(), alone("hello"));
        assert_eq!(service_glob(SERVICE).unwrap_err(), alone("web/hello"));
        assert!(service(CLUSTER).unwrap_err().contains("something else (ecs cluster)"));
        assert!(container(SERVICE).unwrap_err().contains("something else (ecs service)"));
        assert!(repository_glob("arn:aws:ecr:eu-west-1:1:repository/a*").is_err());
        assert_eq!(service("web/hello").unwrap_err(), "expected one name, not CLUSTER/SERVICE: \"hello\"");
        assert_eq!(cluster("web/hello").unwrap_err(), "expected one name, not CLUSTER/SERVICE: \"web\"");
        assert!(cluster("we b").unwrap_err().contains("is not an ECS name"));
        assert_eq!(cluster("web").unwrap().as_str(), "web");
        assert_eq!(repository_glob("team/*"), Ok("team/*"));
        assert_eq!(service_glob("web/*"), Ok("web/*"));
        assert_eq!(container("app").unwrap(), "app");
    }
}
