//! What is wrong with several services at once: it is said once, with their names, and each of them leads there.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::status::{ServiceStatus, Status};
use crate::wording::{counted, in_general};

/// Services that are named at once; the others are behind one more step.
const NAMED: usize = 5;
/// What has no more characters than this is said at each service, too.
const SHORT: usize = 60;
/// The beginning of the anchors.
const ANCHOR: &str = "shared";

/// The last errors that several services have, without the names that AWS puts into them, and those services.
#[derive(Debug)]
pub(super) struct Shared<'a>(BTreeMap<String, Vec<&'a str>>);

/// The last errors of a service, if a call about it fails.
fn last_errors(one: &ServiceStatus) -> impl Iterator<Item = &str> {
    let seen = one.runs.as_ref().and_then(|runs| runs.last_error.as_deref());
    one.last_error.as_deref().into_iter().chain(seen.filter(|seen| Some(*seen) != one.last_error.as_deref()))
}

impl<'a> Shared<'a> {
    pub(super) fn of(status: &'a Status) -> Self {
        let mut all: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for one in &status.services {
            for last_error in last_errors(one) {
                all.entry(in_general(last_error, &one.cluster, &one.service)).or_default().push(&one.name);
            }
        }
        all.retain(|_, names| names.len() > 1);
        Self(all)
    }

    /// What a service says of its last error: where others have it, too, and it is long, that it is told above.
    pub(super) fn say(&self, one: &ServiceStatus, last_error: &str) -> Markup {
        let general = in_general(last_error, &one.cluster, &one.service);
        let place = self.0.keys().position(|known| *known == general).filter(|_| last_error.chars().count() > SHORT);
        match (place, self.0.get(&general)) {
            (Some(place), Some(names)) => html! {
                a href=(format!("#{ANCHOR}-{place}")) { "the same as " (counted(names.len() - 1, "other service", "other services")) }
            },
            _ => html! { (last_error) },
        }
    }

    pub(super) fn draw(&self) -> Markup {
        html! {
            @for (place, (last_error, names)) in self.0.iter().enumerate() {
                div .alarm id=(format!("{ANCHOR}-{place}")) {
                    strong { (counted(names.len(), "service", "services")) ": " } (last_error)
                    div .faint {
                        (names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", "))
                        @if names.len() > NAMED {
                            details {
                                summary { "and " (names.len() - NAMED) " more" }
                                (names.iter().skip(NAMED).copied().collect::<Vec<_>>().join(", "))
                            }
                        }
                    }
                }
            }
        }
    }
}
