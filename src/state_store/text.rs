//! The text of the state file: a line for each context and each service, for people and for `grep`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::domain::state::{self, ServiceState, State};
use crate::domain::types::ServiceKey;

/// The text of a state that was never rendered before.
#[must_use]
pub fn render(state: &State) -> Vec<u8> {
    Text::default().render(state)
}

/// Room for what stands beside the lines of the services.
const REST: usize = 64 * 1024;

/// The line of a service, and what it was made of.
#[derive(Debug)]
struct Line {
    key: Arc<ServiceKey>,
    known: Arc<ServiceState>,
    text: Box<[u8]>,
}

/// Makes the text. The lines of services that were not changed since the last time are taken from there: one push among ten thousand
/// services makes a few lines, not all of them.
#[derive(Debug, Default)]
pub(super) struct Text {
    lines: Vec<Line>,
}

impl Text {
    /// The text of a state. It is not kept: the lines are as large.
    pub(super) fn render(&mut self, state: &State) -> Vec<u8> {
        self.renew(state);
        let all: usize = self.lines.iter().map(|line| line.text.len() + 2).sum();
        let mut text = Vec::with_capacity(all + REST);
        let text = &mut text;
        text.extend(format!("{{\n\"version\": {},\n", state::VERSION).bytes());
        member(text, "contexts", &state.contexts);
        text.extend(b",\n\"services\": {");
        for (index, line) in self.lines.iter().enumerate() {
            text.extend(separator(index));
            text.extend_from_slice(&line.text);
        }
        text.push(b'}');
        if !state.audits.is_empty() {
            text.extend(b",\n");
            member(text, "audits", &state.audits);
        }
        if !state.decisions.is_empty() {
            text.extend(b",\n\"decisions\": [");
            for (index, decision) in state.decisions.iter().enumerate() {
                text.extend(separator(index));
                json(text, decision);
            }
            text.push(b']');
        }
        text.extend(b"\n}\n");
        std::mem::take(text)
    }

    /// Both the lines and the services are in the order of their keys.
    fn renew(&mut self, state: &State) {
        let mut before = std::mem::take(&mut self.lines).into_iter().peekable();
        for (key, known) in state.services.shared() {
            while before.next_if(|line| line.key < *key).is_some() {}
            let unchanged = before.next_if(|line| Arc::ptr_eq(&line.known, known) && line.key == *key);
            self.lines.push(unchanged.unwrap_or_else(|| Line::of(key, known)));
        }
    }
}

impl Line {
    fn of(key: &Arc<ServiceKey>, known: &Arc<ServiceState>) -> Self {
        let mut text = Vec::new();
        entry(&mut text, key.as_ref(), known.as_ref());
        Self { key: Arc::clone(key), known: Arc::clone(known), text: text.into_boxed_slice() }
    }
}

fn member<K: Serialize, V: Serialize>(text: &mut Vec<u8>, name: &str, map: &BTreeMap<K, V>) {
    text.extend(format!("\"{name}\": {{").bytes());
    for (index, (key, value)) in map.iter().enumerate() {
        text.extend(separator(index));
        entry(text, key, value);
    }
    text.push(b'}');
}

fn separator(index: usize) -> &'static [u8] {
    if index == 0 { b"\n" } else { b",\n" }
}

fn entry(text: &mut Vec<u8>, key: &impl Serialize, value: &impl Serialize) {
    json(text, key);
    text.extend(b": ");
    json(text, value);
}

#[expect(
    clippy::expect_used,
    reason = "every key of the state's maps serializes to a text and nothing in it can fail to"
)]
fn json(text: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(text, value).expect("the state is JSON");
}
