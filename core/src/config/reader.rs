//! Walks a TOML table key by key, collecting every finding with its place instead of stopping at the first one.
//!
//! Serde stops at its first error; an operator who edits a file by hand wants all of them (decision 38).

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::keys::{Section, tables_in};
use crate::domain::printable::is_printable;
use crate::domain::words::Word;

/// What is set to more than this is a mistake, or a way to say never.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// Byte offset in the text.
    pub(super) at: usize,
    /// The key, with its tables.
    pub(super) key: String,
    /// What is wrong and what would be right.
    pub(super) message: String,
}

/// The line of a byte offset, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Collects the findings of a whole file.
#[derive(Debug, Default)]
pub(super) struct Findings(RefCell<Vec<Finding>>);

impl Findings {
    pub(super) fn add(&self, at: usize, key: impl Into<String>, message: impl Into<String>) {
        self.0.borrow_mut().push(Finding { at, key: key.into(), message: message.into() });
    }

    pub(super) fn into_inner(self) -> Vec<Finding> {
        self.0.into_inner()
    }
}

/// One table of the file, with its place.
pub(super) struct Table<'a> {
    /// Its declaration; none for the file itself.
    section: Option<&'static Section>,
    table: Option<&'a DeTable<'a>>,
    /// Where the table stands.
    pub(super) span: Range<usize>,
    path: String,
    findings: &'a Findings,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

/// The value of a key that has a default.
#[derive(Debug, Clone)]
pub(super) struct Setting<T> {
    /// The value, or the default.
    pub(super) value: T,
    /// Where the value stands, if there is one that can be read.
    pub(super) at: Option<usize>,
}

impl<T> Setting<T> {
    /// The value, or that of the table which this one overrides.
    pub(super) fn or(self, inherited: T) -> T {
        if self.at.is_some() { self.value } else { inherited }
    }
}

/// A list of texts, each with its place.
#[derive(Debug, Clone)]
pub(super) struct Texts(pub(super) Vec<Found<String>>);

impl Texts {
    /// Texts that stand nowhere: a default.
    pub(super) fn of(texts: &[&str]) -> Self {
        Self(texts.iter().map(|text| Found { value: (*text).to_owned(), at: 0 }).collect())
    }
}

/// A type that keys can have: how it is read, and how documents show it.
pub(super) trait Form: Sized {
    /// What documents call it.
    const NAME: &'static str;

    /// The words that it takes.
    fn words() -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// Reads the key, and reports what is wrong with it.
    fn read(table: &Table<'_>, key: &'static str) -> Option<Found<Self>>;

    /// The value in TOML.
    fn toml(&self) -> String;
}

impl<'a> Table<'a> {
    pub(super) fn root(table: &'a Spanned<DeTable<'a>>, findings: &'a Findings) -> Self {
        Self { section: None, table: Some(table.get_ref()), span: 0..0, path: String::new(), findings }
    }

    /// A table below this one.
    fn below(
        &self,
        section: Option<&'static Section>,
        table: Option<&'a DeTable<'a>>,
        span: Range<usize>,
        path: String,
    ) -> Table<'a> {
        Table { section, table, span, path, findings: self.findings }
    }

    /// The value of an optional key.
    pub(super) fn read<T: Form>(&self, key: &'static str) -> Option<Found<T>> {
        T::read(self, key)
    }

    /// The value of a key, or its default.
    pub(super) fn read_or<T: Form>(&self, key: &'static str, default: impl FnOnce() -> T) -> Setting<T> {
        match T::read(self, key) {
            Some(found) => Setting { value: found.value, at: Some(found.at) },
            None => Setting { value: default(), at: None },
        }
    }

    /// The value of a key that must be there; without it the message is reported.
    pub(super) fn required<T: Form>(&self, key: &'static str, missing: &str) -> Option<Found<T>> {
        if !self.has(key) {
            self.missing(key, missing);
        }
        T::read(self, key)
    }

    /// The full name of one of the table's keys.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports something about one of the table's keys.
    pub(super) fn wrong(&self, at: usize, key: &str, message: impl Into<String>) {
        self.findings.add(at, self.name(key), message);
    }

    /// Reports a key that is not there.
    pub(super) fn missing(&self, key: &str, message: &str) {
        self.findings.add(self.span.start, self.name(key), message);
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(key)
    }

    fn typed<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<Found<T>> {
        let value = self.get(key)?;
        let at = value.span().start;
        match read(value.get_ref()) {
            Some(value) => Some(Found { value, at }),
            None => {
                self.wrong(at, key, format!("expected {wanted}, found {}", kind(value.get_ref())));
                None
            }
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &'static str) -> Option<Found<&'a str>> {
        let found = self.typed(key, "a text in quotes", |value| value.as_str())?;
        if found.value.trim().is_empty() {
            self.wrong(found.at, key, "must not be empty");
            return None;
        }
        self.shown(key, found)
    }

    /// A text that can be shown as it is. Values stand in the log and on terminals, so one that is not is refused, not altered.
    fn shown(&self, key: &str, found: Found<&'a str>) -> Option<Found<&'a str>> {
        if is_printable(found.value) {
            return Some(found);
        }
        // The value is not repeated: it may be a secret.
        self.wrong(found.at, key, "must not contain control characters, line breaks or invisible marks");
        None
    }

    /// A text with a form of its own.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Found<T>> {
        let found = self.text(key)?;
        match parse(found.value) {
            Ok(value) => Some(Found { value, at: found.at }),
            Err(error) => {
                self.wrong(found.at, key, error.to_string());
                None
            }
        }
    }

    /// A duration between a second and a year, or none at all.
    pub(super) fn duration_or_zero(&self, key: &'static str) -> Option<Found<Duration>> {
        let is_zero = |text: &str| humantime::parse_duration(text).is_ok_and(|value| value.is_zero());
        match self.get(key) {
            Some(value) if value.get_ref().as_str().is_some_and(is_zero) => {
                Some(Found { value: Duration::ZERO, at: value.span().start })
            }
            Some(_) | None => self.duration(key),
        }
    }

    /// A duration between a second and a year.
    pub(super) fn duration(&self, key: &'static str) -> Option<Found<Duration>> {
        let found = self.typed(key, "a duration in quotes like \"30s\" or \"15m\"", |value| value.as_str())?;
        match humantime::parse_duration(found.value) {
            Ok(value) if value < Duration::from_secs(1) => {
                self.wrong(found.at, key, format!("must be one second or more, found {:?}", found.value));
                None
            }
            Ok(value) if value > LONGEST => {
                self.wrong(found.at, key, format!("must be a year or less, found {:?}", found.value));
                None
            }
            Ok(value) => Some(Found { value, at: found.at }),
            Err(_) => {
                self.wrong(
                    found.at,
                    key,
                    format!("expected a duration like \"30s\" or \"15m\", found {:?}", found.value),
                );
                None
            }
        }
    }

    /// A number, whole or not.
    pub(super) fn number(&self, key: &'static str) -> Option<Found<f64>> {
        self.typed(key, "a number", |value| match value {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) => integer.as_str().parse().ok(),
            _ => None,
        })
    }

    pub(super) fn truth(&self, key: &'static str) -> Option<Found<bool>> {
        self.typed(key, "true or false", |value| match value {
            DeValue::Boolean(truth) => Some(*truth),
            _ => None,
        })
    }

    /// One of a closed set of words.
    pub(super) fn word<W: Word>(&self, key: &'static str) -> Option<Found<W>> {
        let found = self.typed(key, &one_of::<W>(), |value| value.as_str())?;
        match W::of(found.value) {
            Some(value) => Some(Found { value, at: found.at }),
            None => {
                let nearest = nearest(found.value, W::WORDS.iter().map(|word| word.text()));
                let hint = nearest.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
                self.wrong(found.at, key, format!("expected {}, found {:?}{hint}", one_of::<W>(), found.value));
                None
            }
        }
    }

    /// A list of texts, each with its place.
    pub(super) fn texts(&self, key: &'static str) -> Option<Found<Texts>> {
        let found = self.typed(key, "a list of texts like [\"latest\"]", |value| value.as_array())?;
        let mut texts = Vec::new();
        for item in found.value.iter() {
            match item.get_ref().as_str() {
                Some(text) => {
                    let shown = self.shown(key, Found { value: text, at: item.span().start });
                    texts.extend(shown.map(|found| Found { value: found.value.to_owned(), at: found.at }));
                }
                None => self.wrong(
                    item.span().start,
                    key,
                    format!("expected a text in quotes, found {}", kind(item.get_ref())),
                ),
            }
        }
        Some(Found { value: Texts(texts), at: found.at })
    }

    /// A table; an empty one where there is none.
    pub(super) fn table(&self, section: &'static Section) -> Table<'a> {
        let key = section.name;
        let value = self.get(key);
        let table = value.and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.wrong(
                    value.span().start,
                    key,
                    format!("expected a table [{}], found {}", self.name(key), kind(value.get_ref())),
                );
            }
            table
        });
        self.below(Some(section), table, value.map_or(0..0, Spanned::span), self.name(key))
    }

    /// A list of tables; none where there is none.
    pub(super) fn tables(&self, section: &'static Section) -> Vec<Table<'a>> {
        let key = section.name;
        let Some(value) = self.get(key) else { return Vec::new() };
        let wrong = |at, found| {
            self.wrong(at, key, format!("expected tables, each under a line [[{}]], found {found}", self.name(key)));
        };
        let items: &DeArray<'_> = match value.get_ref().as_array() {
            Some(items) => items,
            None => {
                wrong(value.span().start, kind(value.get_ref()));
                return Vec::new();
            }
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.get_ref().as_table() {
                Some(table) => {
                    let path = format!("{}[{index}]", self.name(key));
                    tables.push(self.below(Some(section), Some(table), item.span(), path));
                }
                None => wrong(item.span().start, kind(item.get_ref())),
            }
        }
        tables
    }

    /// Every table below this one, whatever its name.
    pub(super) fn named_tables(&self) -> Vec<(Found<&'a str>, Table<'a>)> {
        let mut tables = Vec::new();
        for (key, value) in self.table.into_iter().flatten() {
            let name: &'a str = key.get_ref();
            let at = key.span().start;
            match value.get_ref().as_table() {
                Some(table) => {
                    let below = self.below(self.section, Some(table), value.span(), self.name(name));
                    tables.push((Found { value: name, at }, below));
                }
                None => self.wrong(
                    at,
                    name,
                    format!(
                        "expected a table [{}], found {}: settings stand in a table for each {}, like [{}.default]",
                        self.name(name),
                        kind(value.get_ref()),
                        if self.path == "aws" { "context" } else { &self.path },
                        self.path
                    ),
                ),
            }
        }
        tables
    }

    /// Whether the key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Reports something under a name of its own.
    pub(super) fn report(&self, at: usize, name: &str, message: impl Into<String>) {
        self.findings.add(at, name, message);
    }

    /// Reports every key and table that the declaration does not have.
    pub(super) fn report_unknown(&self) {
        let mut known = self.section.map_or_else(|| tables_in("").collect(), Section::known);
        known.sort_unstable();
        for (key, value) in self.table.into_iter().flatten() {
            let text: &str = key.get_ref();
            if known.contains(&text) {
                continue;
            }
            let hint = match nearest(text, known.iter().copied()) {
                Some(nearest) => format!("unknown key; did you mean {nearest}?"),
                None => format!("unknown key; known here: {}", known.join(", ")),
            };
            let at = if key.span().is_empty() { value.span().start } else { key.span().start };
            self.findings.add(at, self.name(text), hint);
        }
    }
}

/// Whether a text is an address to which HTTP speaks.
pub(super) fn is_http(url: &str) -> bool {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    host.is_some_and(|host| !host.is_empty())
}

fn one_of<W: Word>() -> String {
    W::WORDS.iter().map(|word| format!("{:?}", word.text())).collect::<Vec<_>>().join(" or ")
}

fn kind(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {text:?}"),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(value) => format!("{value}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The name that was probably meant.
fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(text, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}
