//! ECR lifecycle policies: whether one can take away an image that a service runs by its digest.
//!
//! An image loses its tag when the tag moves on to a newer one, and is then an untagged image although a service may still run it, or go
//! back to it. ECR does not know what runs (Amazon ECR User Guide, "Lifecycle policies").

use std::fmt;

use serde::Deserialize;

use super::finding::{Finding, Severity};
use super::types::RepositoryName;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    rules: Vec<Rule>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Rule {
    rule_priority: i64,
    selection: Selection,
    action: Action,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Selection {
    tag_status: String,
    count_type: String,
    count_number: i64,
    storage_class: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Action {
    r#type: String,
}

/// Looks at the text of a repository's lifecycle policy. `tags_move` says whether a tag of the repository can be put on another image.
///
/// Rules for tagged images alone are left out: they do not reach an image whose tag moved on, and of the others only their author knows
/// which tags may still be needed. A text that is no policy is ECR's to refuse.
#[must_use]
pub fn of_policy(repository: &RepositoryName, text: &str, tags_move: bool) -> Option<Finding> {
    let document: Document = serde_json::from_str(text).ok()?;
    let reaches = |rule: &&Rule| {
        let of_running = match rule.selection.tag_status.as_str() {
            "any" => true,
            "untagged" => tags_move,
            _ => false,
        };
        of_running && rule.selection.storage_class != "archive"
    };
    let rule = document.rules.iter().filter(reaches).min_by_key(|rule| rule.rule_priority)?;
    let message = format!(
        "{rule}, and an image that a service runs by its digest {}",
        match rule.selection.tag_status.as_str() {
            "any" => "is no exception",
            _ => "has no tag any more once its tag has moved on to a newer image",
        }
    );
    let remedy = "give each image a tag of its own beside the one that moves, and let no rule reach those that may still run or be gone back \
                  to: a task whose image is gone cannot be started again";
    Some(Finding::new(Severity::Warning, "lifecycle_policy", format!("repository {repository}"), message, remedy))
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule_priority, selection, action } = self;
        let verb = if action.r#type == "transition" { "archives" } else { "expires" };
        let images = if selection.tag_status == "any" { "images, tagged or not," } else { "untagged images" };
        let number = selection.count_number;
        write!(f, "rule {rule_priority} of its lifecycle policy {verb} {images} ")?;
        match selection.count_type.as_str() {
            "sinceImagePushed" => write!(f, "{number} days after their push"),
            "sinceImagePulled" => write!(f, "{number} days after their last pull"),
            "imageCountMoreThan" => write!(f, "but the newest {number}"),
            other => write!(f, "by {other} {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rule(priority: i64, status: &str, count: &str, action: &str) -> Value {
        json!({
            "rulePriority": priority,
            "selection": {"tagStatus": status, "countType": count, "countNumber": 14},
            "action": {"type": action},
        })
    }

    fn told(rules: &[Value], tags_move: bool) -> Option<String> {
        let repository = RepositoryName::parse("team/api").unwrap();
        of_policy(&repository, &json!({"rules": rules}).to_string(), tags_move).map(|finding| finding.message)
    }

    #[test]
    fn a_rule_that_reaches_an_image_whose_tag_moved_on_is_told() {
        let untagged = rule(2, "untagged", "sinceImagePushed", "expire");
        let any = rule(1, "any", "imageCountMoreThan", "expire");
        let archive = rule(1, "untagged", "sinceImagePulled", "transition");
        let tagged = rule(1, "tagged", "imageCountMoreThan", "expire");
        let mut of_archive = rule(1, "any", "sinceImageTransitioned", "expire");
        of_archive["selection"]["storageClass"] = json!("archive");
        for (rules, tags_move, expected) in [
            (
                vec![untagged.clone()],
                true,
                Some("rule 2 of its lifecycle policy expires untagged images 14 days after their push, and"),
            ),
            (vec![untagged.clone()], false, None),
            (
                vec![untagged, any.clone()],
                true,
                Some("rule 1 of its lifecycle policy expires images, tagged or not, but the newest 14,"),
            ),
            (vec![any], false, Some("is no exception")),
            (vec![archive], true, Some("archives untagged images 14 days after their last pull")),
            (vec![tagged], true, None),
            (vec![of_archive], true, None),
            (vec![], true, None),
        ] {
            let found = told(&rules, tags_move);
            assert_eq!(found.is_some(), expected.is_some(), "{rules:?} {found:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{rules:?}");
        }
    }

    #[test]
    fn what_is_no_policy_is_no_finding() {
        let repository = RepositoryName::parse("team/api").unwrap();
        for text in ["", "{", "[]", "{}", "{\"rules\": [{}]}", "{\"rules\": 1}", "{\"rules\": [{\"selection\": 1}]}"] {
            assert_eq!(of_policy(&repository, text, true), None, "{text}");
        }
    }
}
