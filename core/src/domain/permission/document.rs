//! An IAM policy document.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Grant, Usage};

/// The characters that AWS allows in a managed policy, white space not counted (IAM User Guide, "IAM and AWS STS quotas").
const MANAGED: usize = 6_144;

/// A policy document, to be shown as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Texts,
    resource: Texts,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<&'static str, Texts>>,
}

/// One text as it is, several as a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

impl From<Vec<String>> for Texts {
    fn from(mut texts: Vec<String>) -> Self {
        match texts.len() {
            1 => Self::One(texts.remove(0)),
            _ => Self::Several(texts),
        }
    }
}

impl Policy {
    /// Allows these, with one statement for the grants that stand together.
    #[must_use]
    pub fn allowing(grants: impl Iterator<Item = Grant>, usage: &Usage) -> Self {
        let mut together: Vec<(Grant, Vec<String>)> = Vec::new();
        for grant in grants {
            match together.last_mut() {
                Some((first, actions)) if first.statement == grant.statement => actions.push(grant.action.to_owned()),
                _ => together.push((grant, vec![grant.action.to_owned()])),
            }
        }
        let statement = together.into_iter().map(|(grant, actions)| Statement::new(grant, actions, usage)).collect();
        Self { version: "2012-10-17", statement }
    }

    /// The text, with a line break at its end.
    ///
    /// # Errors
    /// None that is known: a document of texts is always JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// Whether it is longer than AWS allows a managed policy to be. An inline policy of a role may have 10,240 characters.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        serde_json::to_string(self).is_ok_and(|text| text.chars().count() > MANAGED)
    }
}

impl Statement {
    fn new(grant: Grant, actions: Vec<String>, usage: &Usage) -> Self {
        let test = grant.condition.test(usage);
        let condition = test.map(|(operator, key, values)| (operator, BTreeMap::from([(key, values.into())])));
        Self {
            sid: grant.statement,
            effect: "Allow",
            action: actions.into(),
            resource: grant.scope.resources(usage).into(),
            condition: condition.into_iter().collect(),
        }
    }
}
