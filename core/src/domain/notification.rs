//! What receivers are notified of, and which receiver gets it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::audit::{Change, Concern};
use super::glob::Globs;
use super::state::{Outcome, OutcomeKind};
use super::types::{ContextName, Digest, EventId, RepositoryName, ServiceKey, Tag};
use super::waiting::Waiting;
use super::words::words;

/// One message to the receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The same for the same thing, also after a restart: who receives it can tell a repetition.
    pub id: String,
    /// The time at which it happened.
    pub at: Timestamp,
    /// What it is about.
    pub about: About,
}

/// How much it matters that a notification arrives: nothing is lost for something lighter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// A change to something that is not looked after, or by this program itself: there may be thousands of RunTask calls a day.
    Noise,
    /// Somebody changed a service of the configuration.
    Change,
    /// How a deployment ended. Nothing else tells that somebody has to do something.
    Deployment,
}

/// A service, and what people call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The service with its AWS context.
    pub key: ServiceKey,
    /// `CLUSTER/SERVICE`, with the AWS context before it where several have a service of that name.
    pub name: String,
}

/// What a notification is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A deployment that has ended.
    Deployment(Named, Outcome),
    /// Somebody changed something in ECS: a service of the configuration, or something else.
    Change(ContextName, Box<Change>, Option<Named>, Concern),
    /// Something that waits for a service.
    Waiting(Named, Waiting),
    /// A push failed because ECR has the image already, and that image is held for a service.
    HeldPush(Named, HeldPush),
    /// Somebody wants to see whether notifications arrive.
    Test,
}

/// A push of an image that is held for a service. ECR has the image already, so the push failed, and nothing comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPush {
    /// The repository of the image.
    pub repository: RepositoryName,
    /// The tag, as far as the record has it.
    pub tag: Option<Tag>,
    /// The digest of the image.
    pub digest: Digest,
    /// The event that reported the push.
    pub event: EventId,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// Why the image is held.
    pub reason: String,
    /// The command that has it tried again.
    pub release: String,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Somebody has to do something.
    Error,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Notification {
    /// A deployment that has ended.
    #[must_use]
    pub fn of_deployment(service: Named, outcome: &Outcome) -> Self {
        let key = &service.key;
        Self {
            id: format!("{}/{key}/{}/{}", key.aws, outcome.result.as_str(), outcome.decided_at),
            at: outcome.ended_at,
            about: About::Deployment(service, outcome.clone()),
        }
    }

    /// Somebody changed something in ECS.
    #[must_use]
    pub fn of_change(aws: &ContextName, change: Change, watched: Option<Named>, concern: Concern) -> Self {
        Self {
            id: format!("change/{}", change.event.id),
            at: change.event.time,
            about: About::Change(aws.clone(), Box::new(change), watched, concern),
        }
    }

    /// Something that waits for a service.
    #[must_use]
    pub fn of_waiting(service: Named, waiting: &Waiting) -> Self {
        let key = &service.key;
        let at = waiting.hook.as_ref().map(|hook| format!("/{}", hook.id)).unwrap_or_default();
        // The same image may wait again.
        let (gate, since) = (waiting.gate.as_str(), waiting.since);
        Self {
            id: format!("{}/{key}/waiting/{gate}/{}{at}/{since}", key.aws, waiting.digest),
            at: waiting.since,
            about: About::Waiting(service, waiting.clone()),
        }
    }

    /// A push failed because ECR has the image already, and that image is held.
    #[must_use]
    pub fn of_held_push(service: Named, push: &HeldPush) -> Self {
        let key = &service.key;
        Self {
            id: format!("held_push/{}/{key}/{}", key.aws, push.event),
            at: push.pushed_at,
            about: About::HeldPush(service, push.clone()),
        }
    }

    /// A notification that only tests the receivers.
    #[must_use]
    pub fn test(now: Timestamp) -> Self {
        Self { id: format!("test/{now}"), at: now, about: About::Test }
    }

    /// How much it matters that it arrives.
    #[must_use]
    pub fn weight(&self) -> Weight {
        match &self.about {
            About::HeldPush(..) | About::Deployment(..) | About::Waiting(..) | About::Test => Weight::Deployment,
            About::Change(_, change, _, Concern::Watched) if !change.scales => Weight::Change,
            About::Change(_, _, _, Concern::Watched | Concern::Ours | Concern::Others) => Weight::Noise,
        }
    }

    /// How much it matters to people.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match &self.about {
            About::Test | About::Waiting(..) => Severity::Info,
            About::HeldPush(..) => Severity::Warning,
            About::Change(_, change, _, Concern::Watched) if !change.scales => Severity::Warning,
            About::Change(..) => Severity::Info,
            About::Deployment(_, outcome) => match outcome.result {
                OutcomeKind::Completed => Severity::Info,
                OutcomeKind::Superseded | OutcomeKind::RolledBack => Severity::Warning,
                OutcomeKind::Failed | OutcomeKind::TimedOut | OutcomeKind::Refused => Severity::Error,
            },
        }
    }

    /// One line for people.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.about {
            About::Test => "ecs-deployd: this is a test, all is well".to_owned(),
            About::Waiting(service, waiting) => {
                let tag = waiting.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
                format!("{}: waiting ({}{tag})", service.name, waiting.repository)
            }
            About::HeldPush(service, push) => {
                let tag = push.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
                format!("{}: pushing {}{tag} again changed nothing, it is held", service.name, push.repository)
            }
            About::Change(_, change, _, concern) => {
                let by = if *concern == Concern::Ours { "ecs-deployd" } else { change.who.as_str() };
                let refused = change.error.as_ref().map(|error| format!(" (refused: {error})")).unwrap_or_default();
                format!("{} {} by {by}{refused}", change.name, change.target)
            }
            About::Deployment(service, outcome) => {
                let what = match outcome.result {
                    OutcomeKind::Completed => "deployed",
                    OutcomeKind::Failed => "deployment failed",
                    OutcomeKind::TimedOut => "deployment timed out",
                    OutcomeKind::RolledBack => "rolled back",
                    OutcomeKind::Superseded => "deployment superseded",
                    OutcomeKind::Refused => "deployment refused",
                };
                let images: Vec<String> = outcome
                    .targets
                    .iter()
                    .map(|(repository, target)| match &target.push.tag {
                        Some(tag) => format!("{}:{tag}", repository.name),
                        None => repository.name.to_string(),
                    })
                    .collect();
                let images = if images.is_empty() { String::new() } else { format!(" ({})", images.join(", ")) };
                format!("{}: {what}{images}", service.name)
            }
        }
    }

    /// The particulars for people; may be empty.
    #[must_use]
    pub fn detail(&self) -> String {
        match &self.about {
            About::Test => String::new(),
            About::Waiting(_, waiting) => waiting.reason.clone(),
            About::Change(_, change, _, concern) => {
                let whose = match concern {
                    Concern::Watched => "somebody else than ecs-deployd changed a service of the configuration; ",
                    Concern::Ours | Concern::Others => "",
                };
                format!("{whose}from {} with {}", change.source, change.agent)
            }
            About::HeldPush(_, push) => {
                format!("ECR has the image already; to try it again: {}; held because {}", push.release, push.reason)
            }
            About::Deployment(_, outcome) => outcome.detail.clone(),
        }
    }
}

words! {
    /// How a webhook wants it.
    pub enum Format {
        Json = "json", "This program's own JSON, for programs.";
        Slack = "slack", "An incoming webhook of Slack, or of what understands the same.";
        Teams = "teams", "A webhook of a Microsoft Teams workflow.";
    }
}

/// What somebody wants to hear.
#[derive(Debug, Clone)]
pub struct Interest {
    /// Deployments that end like this.
    pub outcomes: BTreeSet<OutcomeKind>,
    /// Whether it is about something that waits.
    pub waiting: bool,
    /// The repositories whose images it hears about; `None`: all.
    pub repositories: Option<Globs>,
    /// The services that it hears about, `CLUSTER/SERVICE`, or with the AWS context before it where that is a part of the name; `None`: all.
    pub services: Option<Globs>,
    /// The changes to ECS that it hears about.
    pub changes: Changes,
}

words! {
    /// Which changes to ECS somebody wants to hear of.
    pub enum Changes {
        None = "none", "None.";
        Watched = "watched", "Those of services of the configuration that somebody else made.";
        All = "all", "All that are followed.";
    }
}

impl Interest {
    /// Whether it is to be told. A test always is.
    #[must_use]
    pub fn covers(&self, notification: &Notification) -> bool {
        match &notification.about {
            About::Test => true,
            About::Waiting(service, waiting) => {
                let wanted =
                    self.repositories.as_ref().is_none_or(|wanted| wanted.is_match(waiting.repository.as_str()));
                self.waiting && wanted && self.of_service(service)
            }
            About::Change(_, change, watched, concern) => match self.changes {
                Changes::None => false,
                Changes::Watched => {
                    *concern == Concern::Watched
                        && !change.scales
                        && watched.as_ref().is_some_and(|service| self.of_service(service))
                }
                Changes::All => watched.as_ref().is_none_or(|service| self.of_service(service)),
            },
            About::HeldPush(service, push) => {
                // Whoever hears of what leads to a hold hears of the way out of it.
                let led = [OutcomeKind::Failed, OutcomeKind::TimedOut, OutcomeKind::RolledBack];
                let of_repository =
                    self.repositories.as_ref().is_none_or(|wanted| wanted.is_match(push.repository.as_str()));
                led.iter().any(|outcome| self.outcomes.contains(outcome)) && self.of_service(service) && of_repository
            }
            About::Deployment(service, outcome) => {
                // What was refused before an image was chosen is about every repository of the service.
                let of_repository = self.repositories.as_ref().is_none_or(|wanted| {
                    outcome.targets.is_empty()
                        || outcome.targets.keys().any(|repository| wanted.is_match(repository.name.as_str()))
                });
                self.outcomes.contains(&outcome.result) && self.of_service(service) && of_repository
            }
        }
    }

    fn of_service(&self, service: &Named) -> bool {
        let names = [service.key.to_string(), service.name.clone()];
        self.services.as_ref().is_none_or(|wanted| names.iter().any(|name| wanted.is_match(name)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::domain::glob::Glob;

    use super::*;
    use crate::domain::state::Target;
    use crate::domain::test_support::{at, digest, event_id, push_ref, repository_key, service_key, tag};

    fn outcome(result: OutcomeKind, repositories: &[&str]) -> Outcome {
        let target = |name: &&str| {
            let target = Target { digest: digest('a'), push: push_ref("e", "v1", 1), image_pushed_at: None };
            (repository_key(name), target)
        };
        Outcome {
            result,
            revision: None,
            targets: BTreeMap::from_iter(repositories.iter().map(target)),
            decided_at: at(5),
            ended_at: at(9),
            detail: "why".to_owned(),
        }
    }

    fn globs(globs: &[&str]) -> Option<Globs> {
        Some(globs.iter().map(|glob| Glob::parse(glob).unwrap()).collect())
    }

    /// The service `shop` of a context, where several contexts have one.
    fn named(aws: &str) -> Named {
        let key = ServiceKey { aws: ContextName::parse(aws).unwrap(), ..service_key("shop") };
        Named { name: format!("{aws}/{key}"), key }
    }

    fn all() -> Interest {
        Interest {
            outcomes: OutcomeKind::ALL.into(),
            waiting: true,
            repositories: None,
            services: None,
            changes: Changes::Watched,
        }
    }

    #[test]
    fn who_is_told_is_chosen_by_outcome_repository_and_service() {
        let failed = Notification::of_deployment(named("test"), &outcome(OutcomeKind::Failed, &["app", "envoy"]));
        let refused = Notification::of_deployment(named("test"), &outcome(OutcomeKind::Refused, &[]));
        let only = |outcomes: &[OutcomeKind]| Interest { outcomes: outcomes.iter().copied().collect(), ..all() };
        let from = |names: &[&str]| Interest { repositories: globs(names), ..all() };
        let to = |names: &[&str]| Interest { services: globs(names), ..all() };
        for (interest, of_failed, of_refused) in [
            (all(), true, true),
            (only(&[OutcomeKind::Failed]), true, false),
            (only(&[]), false, false),
            (from(&["env*"]), true, true),
            (from(&["other"]), false, true),
            (to(&["*/shop"]), true, true),
            (to(&["*/other"]), false, false),
            (to(&["test/*/shop"]), true, true),
            (to(&["live/*/shop"]), false, false),
        ] {
            assert_eq!(interest.covers(&failed), of_failed, "{interest:?}");
            assert_eq!(interest.covers(&refused), of_refused, "{interest:?}");
            assert!(interest.covers(&Notification::test(at(1))));
        }
    }

    #[test]
    fn whoever_hears_of_failures_hears_how_to_try_again_what_is_held() {
        let push = HeldPush {
            repository: repository_key("app").name,
            tag: Some(tag("v1")),
            digest: digest('a'),
            event: event_id("e9"),
            pushed_at: at(9),
            reason: "its rollout failed".to_owned(),
            release: "ecs-deployd release test/web/shop".to_owned(),
        };
        let notification = Notification::of_held_push(named("test"), &push);
        assert!(
            notification.title().ends_with("/shop: pushing app:v1 again changed nothing, it is held"),
            "{}",
            notification.title()
        );
        assert!(
            notification.detail().contains("to try it again: ecs-deployd release test/web/shop"),
            "{}",
            notification.detail()
        );
        let only = |outcomes: &[OutcomeKind]| Interest { outcomes: outcomes.iter().copied().collect(), ..all() };
        for (interest, told) in [
            (all(), true),
            (only(&[OutcomeKind::TimedOut]), true),
            (only(&[OutcomeKind::Completed, OutcomeKind::Superseded]), false),
            (Interest { repositories: globs(&["other"]), ..all() }, false),
            (Interest { services: globs(&["test/*/shop"]), ..all() }, true),
            (Interest { services: globs(&["live/*/shop"]), ..all() }, false),
        ] {
            assert_eq!(interest.covers(&notification), told, "{interest:?}");
        }
    }

    #[test]
    fn a_notification_says_what_happened_in_one_line_and_is_known_again() {
        let notification =
            Notification::of_deployment(named("test"), &outcome(OutcomeKind::RolledBack, &["app", "envoy"]));
        assert!(notification.title().ends_with("/shop: rolled back (app:v1, envoy:v1)"), "{}", notification.title());
        assert_eq!((notification.severity(), notification.detail().as_str()), (Severity::Warning, "why"));
        let again = Notification::of_deployment(
            named("test"),
            &Outcome { ended_at: at(99), ..outcome(OutcomeKind::RolledBack, &["app", "envoy"]) },
        );
        assert_eq!(notification.id, again.id, "the same, seen to end later");
        let elsewhere =
            Notification::of_deployment(named("live"), &outcome(OutcomeKind::RolledBack, &["app", "envoy"]));
        assert_ne!(notification.id, elsewhere.id, "a service of the same name in another account");
        assert_ne!(notification.title(), elsewhere.title());
    }
}
