//! A proposal as the text of a configuration.

use std::fmt::{self, Display, Write as _};

use super::{Obstacle, Proposal, Reach, Registry, Repository, Service};
use crate::domain::types::ContextName;

/// Columns of a comment.
const WIDTH: usize = 100;
/// A line to be filled in where no tag is known.
const ANY_TAG: &str = "NAME-OF-A-TAG";

impl Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut page = Page::default();
        page.head(self);
        for (registry, name) in self.contexts_in_order() {
            page.context(self, registry, name);
        }
        for (registry, _) in self.contexts_in_order() {
            for repository in self.repositories.iter().filter(|one| &one.registry == registry) {
                page.repository(self, repository);
            }
        }
        page.left_out(&self.left_out);
        f.write_str(&page.text)
    }
}

impl Proposal {
    /// The one that was asked first.
    fn contexts_in_order(&self) -> Vec<(&Registry, &ContextName)> {
        let (home, others): (Vec<_>, Vec<_>) =
            self.contexts.iter().partition(|(registry, _)| **registry == self.snapshot.home);
        home.into_iter().chain(others).collect()
    }
}

/// Lines of TOML, and comments.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, commented: bool, line: &str) {
        let mark = if commented { "# " } else { "" };
        // Writing to a text does not fail.
        let _ = writeln!(self.text, "{mark}{line}");
    }

    fn space(&mut self) {
        self.text.push('\n');
    }

    /// A comment of as many lines as it takes.
    fn comment(&mut self, text: &str) {
        let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut line = String::new();
        for word in printable.split_whitespace() {
            if !line.is_empty() && line.chars().count() + word.chars().count() + 3 > WIDTH {
                self.line(true, &line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        if !line.is_empty() {
            self.line(true, &line);
        }
    }

    fn head(&mut self, proposal: &Proposal) {
        let Registry { account, region } = &proposal.snapshot.home;
        let (found, followed) = (proposal.snapshot.services.len(), proposal.followed());
        self.comment(&format!(
            "Written by `ecs-deployd init` from what is there in the account {account} in {region}: {followed} of {found} services are followed, \
             each by the tag that its task definition names."
        ));
        if proposal.decisions() > 0 {
            self.comment("What a person has to decide is a comment that begins with DECIDE.");
        }
        self.comment("Compare it with AWS: ecs-deployd check --config FILE. Every key: config/example.toml.");
    }

    fn context(&mut self, proposal: &Proposal, registry: &Registry, name: &ContextName) {
        let Registry { account, region } = registry;
        let reach =
            proposal.snapshot.registries.get(registry).map_or(&Reach::Unknown, |registry_view| &registry_view.reach);
        let is_home = *registry == proposal.snapshot.home;
        let commented = !is_home && *reach == Reach::Unknown;
        self.space();
        if commented {
            self.comment(&format!(
                "DECIDE: services here run images of the account {account} in {region}, and no profile here leads to it. Say how it is reached, \
                 by a role or by a profile, and take this table and its repositories below out of the comments."
            ));
        } else if !is_home {
            self.comment(&format!("Services here run images of the account {account} in {region}."));
        }
        self.line(commented, &format!("[aws.{name}]"));
        self.line(commented, &format!("region = \"{region}\""));
        match (is_home, reach) {
            (true, _) => {
                if let Some(profile) = proposal.snapshot.profile.as_deref().and_then(quoted) {
                    self.line(
                        true,
                        &format!(
                            "profile = {profile}    # init was run with it; a daemon with a role of its own needs none"
                        ),
                    );
                }
            }
            (false, Reach::Ambient) => {}
            (false, Reach::Profile(profile)) => {
                if let Some(profile) = quoted(profile) {
                    self.line(false, &format!("profile = {profile}"));
                }
            }
            (false, Reach::Unknown) => {
                self.line(true, &format!("role_arn = \"arn:aws:iam::{account}:role/ecs-deployd\""));
            }
        }
        if let Some(url) = proposal.snapshot.endpoint_url.as_deref().and_then(quoted) {
            self.line(commented, &format!("endpoint_url = {url}"));
        }
        if is_home {
            self.comment("With a queue that EventBridge fills, pushes are seen within seconds (docs/guides/queue.md):");
            self.line(true, &format!("queue = \"https://sqs.{region}.amazonaws.com/{account}/ecs-deployd\""));
        }
    }

    fn repository(&mut self, proposal: &Proposal, repository: &Repository) {
        let Some(context) = proposal.contexts.get(&repository.registry) else { return };
        let usual = repository.usual_tag();
        let commented = usual.is_none();
        self.space();
        if let Some(obstacle) = &repository.obstacle {
            self.comment(&format!("DECIDE {}: {}", repository.name, obstacle.reason()));
        }
        if !commented {
            for remark in &repository.remarks {
                self.comment(&remark.text());
            }
        }
        self.line(commented, "[[repository]]");
        self.line(commented, &format!("name = \"{}\"", repository.name));
        if context.as_str() != "default" {
            self.line(commented, &format!("aws = \"{context}\""));
        }
        let tag = usual.or_else(|| any_tag(repository)).map_or(ANY_TAG, |tag| tag.as_str());
        self.line(commented, &format!("tags = [\"{tag}\"]"));
        let in_order = |is_followed: bool| {
            repository.services.iter().filter(move |one| is_followed == (one.obstacles.is_empty() && !commented))
        };
        for service in in_order(true).chain(in_order(false)) {
            self.service(service, repository, context, commented);
        }
    }

    fn service(&mut self, service: &Service, repository: &Repository, context: &ContextName, commented: bool) {
        let is_followed = service.obstacles.is_empty() && !commented;
        self.space();
        for obstacle in &service.obstacles {
            self.comment(&format!("DECIDE {}/{}: {}", service.cluster, service.name, obstacle.reason()));
        }
        let remarks = || service.remarks.iter().filter(|_| is_followed);
        for remark in remarks().filter(|remark| remark.line().is_none()) {
            self.comment(&remark.text());
        }
        self.line(!is_followed, "[[repository.service]]");
        self.line(!is_followed, &format!("cluster = \"{}\"", service.cluster));
        self.line(!is_followed, &format!("service = \"{}\"", service.name));
        if context.as_str() != "default" {
            self.line(!is_followed, "aws = \"default\"");
        }
        match &service.tag {
            Some(tag) if !is_followed || repository.tags_differ() => {
                self.line(!is_followed, &format!("tags = [\"{tag}\"]"));
            }
            Some(_) | None => {}
        }
        for (remark, line) in remarks().filter_map(|remark| Some((remark, remark.line()?))) {
            self.comment(&remark.text());
            self.line(true, &line);
        }
        for obstacle in &service.obstacles {
            self.choices(obstacle);
        }
    }

    /// The lines of which one is kept.
    fn choices(&mut self, obstacle: &Obstacle) {
        match obstacle {
            Obstacle::Pinned { tags, .. } if tags.is_empty() => self.line(true, &format!("tags = [\"{ANY_TAG}\"]")),
            Obstacle::Pinned { tags, .. } => {
                for tag in tags {
                    self.line(true, &format!("tags = [\"{tag}\"]"));
                }
            }
            Obstacle::SeveralTags(named) => {
                for (container, tag) in named {
                    if let Some(container) = quoted(container) {
                        self.line(true, &format!("container = {container}"));
                        self.line(true, &format!("tags = [\"{tag}\"]"));
                    }
                }
            }
            Obstacle::Downtime(_) => self.line(true, "downtime = \"warn\""),
            Obstacle::Controller(_) | Obstacle::Unreachable(_) | Obstacle::NoRepository => {}
        }
    }

    fn left_out(&mut self, left_out: &[(String, String)]) {
        if left_out.is_empty() {
            return;
        }
        self.space();
        self.comment("Not listed, since nothing can be rolled there:");
        for (service, why) in left_out {
            self.comment(&format!("{service}: {why}"));
        }
    }
}

/// A tag that may be meant, where none is followed.
fn any_tag(repository: &Repository) -> Option<&crate::domain::types::Tag> {
    repository.services.iter().find_map(|service| {
        service.tag.as_ref().or_else(|| {
            service.obstacles.iter().find_map(|obstacle| match obstacle {
                Obstacle::Pinned { tags, .. } => tags.first(),
                Obstacle::SeveralTags(named) => named.first().map(|(_, tag)| tag),
                Obstacle::Controller(_) | Obstacle::Downtime(_) | Obstacle::Unreachable(_) | Obstacle::NoRepository => {
                    None
                }
            })
        })
    })
}

/// A text as a TOML string; nothing where it holds what does not belong on a line.
fn quoted(text: &str) -> Option<String> {
    let is_printable = !text.chars().any(char::is_control);
    is_printable.then(|| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}
