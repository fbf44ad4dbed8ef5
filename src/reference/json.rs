//! `json.md`, and whether the program writes what it says.

use std::collections::{BTreeSet, VecDeque};

use jiff::Timestamp;
use serde_json::Value;

use super::shapes::{DOCUMENTS, Document, Shape, Type};
use super::{anchor, code, samples, table, title};

/// Words are listed below the table of the member, up to so many; more of them have a document of their own.
const FEW: usize = 8;

pub(super) fn document() -> String {
    let mut text = title("JSON");
    text.push_str(
        "\nWhat `check`, `plan`, `status` and `history` write with `--json`, and the state file. Members may be added without a change of \
         `version`. Times are in RFC 3339, in UTC.\n",
    );
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for Document { title, about, shape } in DOCUMENTS {
        text.push_str(&format!("\n## {title}\n\n{about}\n"));
        let mut open = VecDeque::from([*shape]);
        while let Some(shape) = open.pop_front() {
            if !told.insert(shape.name) {
                continue;
            }
            text.push_str(&of_shape(shape));
            open.extend(shape.members.iter().filter_map(|(_, of, _)| object_of(of)));
        }
    }
    text
}

fn of_shape(shape: &Shape) -> String {
    let mut text = format!("\n### {}\n", shape.name);
    let rows = shape.members.iter().map(|(name, of, meaning)| [code(name), type_text(of), (*meaning).to_owned()]);
    text.push_str(&table(["member", "type", "meaning"], rows));
    for (name, of, _) in shape.members {
        let Some(words) = words_of(of) else { continue };
        let own: Vec<_> = words.iter().take(FEW).filter(|(word, _)| words.len() <= FEW || !is_reason(word)).collect();
        text.push_str(&format!("\nThe words of `{name}`:\n\n"));
        for (word, meaning) in own {
            text.push_str(&format!("- `{word}`: {meaning}\n"));
        }
        if words.len() > FEW {
            text.push_str("- a [skip reason](skip-reasons.md)\n");
        }
    }
    text
}

fn is_reason(word: &str) -> bool {
    use crate::domain::words::Word as _;
    crate::domain::skip::SkipReason::of(word).is_some()
}

fn type_text(of: &Type) -> String {
    match of {
        Type::Text => "text".to_owned(),
        Type::Time => "time".to_owned(),
        Type::Integer => "integer".to_owned(),
        Type::Number => "number".to_owned(),
        Type::Bool => "true or false".to_owned(),
        Type::Word(_) => "word".to_owned(),
        Type::Object(shape) => format!("[{}](#{})", shape.name, anchor(shape.name)),
        Type::List(of) => format!("list of {}", type_text(of)),
        Type::Map(by, of) => format!("object by {by}: {}", type_text(of)),
        Type::OrNull(of) => format!("{}, or null", type_text(of)),
        Type::Optional(of) => format!("{}, may be left out", type_text(of)),
    }
}

/// What lies at the bottom of lists, maps and the like.
fn inner(of: &Type) -> &Type {
    match of {
        Type::List(of) | Type::Map(_, of) | Type::OrNull(of) | Type::Optional(of) => inner(of),
        Type::Text | Type::Time | Type::Integer | Type::Number | Type::Bool | Type::Word(_) | Type::Object(_) => of,
    }
}

fn object_of(of: &Type) -> Option<&'static Shape> {
    if let Type::Object(shape) = inner(of) { Some(*shape) } else { None }
}

fn words_of(of: &Type) -> Option<Vec<(&'static str, &'static str)>> {
    if let Type::Word(words) = inner(of) { Some(words()) } else { None }
}

/// Compares a value with its type. `seen` collects the members that were there, and not null.
fn compare(value: &Value, of: &Type, path: &str, seen: &mut BTreeSet<(&'static str, &'static str)>) {
    let right = match (of, value) {
        (Type::Text, Value::String(_)) | (Type::Bool, Value::Bool(_)) | (Type::OrNull(_), Value::Null) => true,
        (Type::Time, Value::String(text)) => text.parse::<Timestamp>().is_ok(),
        (Type::Integer, Value::Number(number)) => number.is_i64() || number.is_u64(),
        (Type::Number, Value::Number(_)) => true,
        (Type::Word(words), Value::String(text)) => words().iter().any(|(word, _)| word == text),
        (Type::OrNull(of) | Type::Optional(of), value) => {
            compare(value, of, path, seen);
            true
        }
        (Type::List(of), Value::Array(values)) => {
            values.iter().for_each(|value| compare(value, of, &format!("{path}[]"), seen));
            true
        }
        (Type::Map(_, of), Value::Object(values)) => {
            values.values().for_each(|value| compare(value, of, &format!("{path}.*"), seen));
            true
        }
        (Type::Object(shape), Value::Object(members)) => {
            for (name, value) in members {
                let declared = shape.members.iter().find(|(known, ..)| known == name);
                let Some((name, of, _)) = declared else {
                    panic!("{path}.{name} is not in src/reference/shapes.rs: add it to {:?}", shape.name)
                };
                if !value.is_null() {
                    seen.insert((shape.name, *name));
                }
                compare(value, of, &format!("{path}.{name}"), seen);
            }
            for (name, of, _) in shape.members {
                let missing = !members.contains_key(*name) && !matches!(of, Type::Optional(_));
                assert!(!missing, "{path}.{name} is not written");
            }
            true
        }
        _ => false,
    };
    assert!(right, "{path} is not {}: {value}", type_text(of));
}

#[test]
fn the_program_writes_the_members_that_are_declared() {
    let mut seen = BTreeSet::new();
    let mut shapes: VecDeque<&Shape> = VecDeque::new();
    for (document, values) in samples::all() {
        shapes.push_back(document.shape);
        for value in values {
            compare(&value, &Type::Object(document.shape), document.title, &mut seen);
        }
    }
    assert_eq!(shapes.len(), DOCUMENTS.len(), "each document has samples");
    let mut told = BTreeSet::new();
    while let Some(shape) = shapes.pop_front() {
        if told.insert(shape.name) {
            for (name, of, _) in shape.members {
                assert!(seen.contains(&(shape.name, *name)), "{} of {:?} is never written", name, shape.name);
                shapes.extend(object_of(of));
            }
        }
    }
}
