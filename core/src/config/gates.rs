//! The gates of `[deploy]`, `[[repository.service]]` and `[[repository.schedule]]`.
//!
//! What services come `after` can be told apart only when all of them are read, so that it is settled last.

use std::collections::{BTreeMap, BTreeSet};

use super::NamedPolicy;
use super::keys;
use super::names::ServiceNames;
use super::reader::{Findings, Found, Setting, Table, Texts};
use crate::domain::gate::{Freeze, Gates, Window};
use crate::domain::routing::Rules;
use crate::domain::settings::{DeploySettings, PinMode};
use crate::domain::types::ServiceKey;

/// What one table says of promotion.
#[derive(Debug, Default)]
pub(super) struct Promotion {
    /// The services, as they are named; none where the table does not say.
    after: Option<Vec<Found<String>>>,
    /// Where the table has a `bake` of more than nothing.
    bake_at: Option<usize>,
    /// Where the table first has a gate that judges the digest.
    digest_at: Option<(&'static str, usize)>,
}

/// Reads the gates of a table.
pub(super) fn read(table: &Table<'_>, inherited: &Gates) -> (Gates, Promotion) {
    let keys = keys::Gates::read(table);
    let after = keys.after.at.map(|_| keys.after.value.0.clone());
    let bake_at = keys.bake.at.filter(|_| !keys.bake.value.0.is_zero());
    let digest_at = [
        ("after", keys.after.at.filter(|_| !keys.after.value.0.is_empty())),
        ("approval", keys.approval.at),
        ("scan", keys.scan.at),
        ("signed_by", keys.signed_by.at),
    ];
    let digest_at = digest_at.into_iter().find_map(|(name, at)| Some((name, at?)));
    let own = |at: Option<usize>| at.is_some();
    let gates = Gates {
        after: Vec::new(),
        bake: if own(keys.bake.at) { keys.bake.value.0 } else { inherited.bake },
        windows: parsed(table, "windows", &keys.windows, Window::parse).unwrap_or_else(|| inherited.windows.clone()),
        freezes: parsed(table, "freeze", &keys.freeze, Freeze::parse).unwrap_or_else(|| inherited.freezes.clone()),
        approval: if own(keys.approval.at) { keys.approval.value } else { inherited.approval },
        scan: if own(keys.scan.at) { keys.scan.value } else { inherited.scan },
        scan_timeout: if own(keys.scan_timeout.at) { keys.scan_timeout.value } else { inherited.scan_timeout },
        signed_by: parsed(table, "signed_by", &keys.signed_by, profile).unwrap_or_else(|| inherited.signed_by.clone()),
    };
    (gates, Promotion { after, bake_at, digest_at })
}

/// The texts of a key, if it is there.
fn parsed<T>(
    table: &Table<'_>,
    key: &'static str,
    texts: &Setting<Texts>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    texts.at?;
    let mut parsed = Vec::new();
    for text in &texts.value.0 {
        match parse(&text.value) {
            Ok(value) => parsed.push(value),
            Err(message) => table.wrong(text.at, key, message),
        }
    }
    Some(parsed)
}

fn profile(text: &str) -> Result<String, String> {
    match text.starts_with("arn:") && text.contains(":signer:") {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "expected the ARN of a signing profile like \"arn:aws:signer:eu-west-1:111111111111:/signing-profiles/ci\", found {text:?}"
        )),
    }
}

/// A tag may point to another image by the time that ECS resolves it than to the one that a gate judged.
pub(super) fn refuse_tags(table: &Table<'_>, settings: &DeploySettings, pin_at: Option<usize>, given: &Promotion) {
    let (gate, gate_at) = given.digest_at.map_or(("a gate", None), |(name, at)| (name, Some(at)));
    let judges = settings.gates.judge_the_digest() || given.after.as_ref().is_some_and(|after| !after.is_empty());
    if settings.pin == PinMode::Tag
        && judges
        && let Some(at) = pin_at.or(gate_at)
    {
        table.wrong(
            at,
            "pin",
            format!("is \"tag\" beside {gate}, which judges a digest: the tag may point to another image when ECS resolves it; set pin = \"digest\""),
        );
    }
}

/// What all tables say of promotion.
#[derive(Debug, Default)]
pub(super) struct Promotions {
    defaults: Promotion,
    services: Vec<(ServiceKey, Promotion, String)>,
    policies: Vec<(String, Promotion, String)>,
}

impl Promotions {
    /// Takes what `[deploy]` says for all services.
    pub(super) fn defaults(&mut self, given: Promotion) {
        self.defaults = given;
    }

    /// What the table of a service says. `path` is that of its keys.
    pub(super) fn of(&mut self, key: &ServiceKey, given: Promotion, path: String) {
        self.services.push((key.clone(), given, path));
    }

    /// What the table of a policy says.
    pub(super) fn of_policy(&mut self, name: &str, given: Promotion, path: String) {
        self.policies.push((name.to_owned(), given, path));
    }

    /// The services that a table names, and refuses what it contradicts.
    fn named(
        &self,
        given: &Promotion,
        path: &str,
        names: &ServiceNames,
        findings: &Findings,
    ) -> (Vec<ServiceKey>, Option<(usize, String)>) {
        let (named, name) = match &given.after {
            Some(own) => (own.as_slice(), format!("{path}after")),
            None => (self.defaults.after.as_deref().unwrap_or_default(), "deploy.after".to_owned()),
        };
        let mut found: Vec<ServiceKey> = Vec::new();
        for text in named {
            let wrong = match names.find(&text.value) {
                Ok(other) if found.contains(other) => format!("{} is listed twice", text.value),
                Ok(other) => {
                    found.push(other.clone());
                    continue;
                }
                Err(message) => message,
            };
            // What is wrong with the default is reported once.
            if given.after.is_some() {
                findings.add(text.at, name.clone(), wrong);
            }
        }
        if let (Some(at), true) = (given.bake_at, named.is_empty()) {
            findings.add(at, format!("{path}bake"), "needs services that a digest bakes in: add after, or remove it");
        }
        (found, named.first().map(|first| (first.at, name)))
    }

    /// Names the services, and refuses what contradicts itself.
    pub(super) fn resolve(
        &self,
        rules: &mut Rules,
        policies: &mut BTreeMap<String, NamedPolicy>,
        names: &ServiceNames,
        findings: &Findings,
    ) {
        for text in self.defaults.after.iter().flatten() {
            if let Err(message) = names.find(&text.value) {
                findings.add(text.at, "deploy.after", message);
            }
        }
        let mut after: BTreeMap<ServiceKey, Vec<ServiceKey>> = BTreeMap::new();
        let mut places: BTreeMap<ServiceKey, (usize, String)> = BTreeMap::new();
        for (key, given, path) in &self.services {
            let (found, place) = self.named(given, path, names, findings);
            if let Some(place) = place {
                places.insert(key.clone(), place);
            }
            match after.get(key) {
                Some(other) if *other != found => {
                    let message = format!("{key} stands under another repository with another after: they must agree");
                    findings.add(places.get(key).map_or(0, |(at, _)| *at), format!("{path}after"), message);
                }
                _ => drop(after.insert(key.clone(), found)),
            }
        }
        for (name, given, path) in &self.policies {
            let (found, _) = self.named(given, path, names, findings);
            if let Some(policy) = policies.get_mut(name) {
                policy.deploy.gates.after = found;
            }
        }
        let of_policies = policies.values().all(|policy| policy.deploy.gates.after.is_empty());
        if let (Some(at), true) = (self.defaults.bake_at, after.values().all(Vec::is_empty) && of_policies) {
            findings.add(at, "deploy.bake", "needs services that a digest bakes in: add after, or remove it");
        }
        refuse_circles(&after, &places, names, findings);
        for service in rules.values_mut().flat_map(|rule| &mut rule.services) {
            if let Some(after) = after.get(&service.key) {
                service.deploy.gates.after.clone_from(after);
            }
        }
    }
}

/// Services that would wait for each other.
fn refuse_circles(
    after: &BTreeMap<ServiceKey, Vec<ServiceKey>>,
    places: &BTreeMap<ServiceKey, (usize, String)>,
    names: &ServiceNames,
    findings: &Findings,
) {
    let mut reported: BTreeSet<&ServiceKey> = BTreeSet::new();
    for start in after.keys() {
        let Some(circle) = circle(start, after) else { continue };
        if circle.iter().any(|key| !reported.insert(key)) {
            continue;
        }
        let Some((at, name)) = places.get(start) else { continue };
        let circle: Vec<String> = circle.iter().chain([&start]).map(|key| names.of(key)).collect();
        findings.add(
            *at,
            name.clone(),
            format!(
                "is a circle: {}; none of them could ever begin. A service that comes first has after = []",
                circle.join(" after ")
            ),
        );
    }
}

/// The services from one to itself.
fn circle<'a>(start: &'a ServiceKey, after: &'a BTreeMap<ServiceKey, Vec<ServiceKey>>) -> Option<Vec<&'a ServiceKey>> {
    let (mut seen, mut paths) = (BTreeSet::new(), vec![vec![start]]);
    while let Some(path) = paths.pop() {
        for next in path.last().and_then(|last| after.get(*last)).into_iter().flatten() {
            if next == start {
                return Some(path);
            }
            if seen.insert(next) {
                paths.push(path.iter().copied().chain([next]).collect());
            }
        }
    }
    None
}
