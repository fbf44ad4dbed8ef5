//! Where in the text the tables of a configuration stand, for findings that come later than reading.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::reader::line_of;
use crate::domain::schedule::{CLUSTER, ScheduleName};
use crate::domain::settings::RepositoryKey;
use crate::domain::types::ServiceKey;

/// Line numbers, from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    contexts: BTreeMap<String, usize>,
    repositories: BTreeMap<(String, String), usize>,
    services: BTreeMap<(String, String), usize>,
}

impl Places {
    /// Looks for them in a text that is known to be valid.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut places = Self::default();
        let (root, _) = DeTable::parse_recoverable(text);
        let root = root.get_ref();
        if let Some(DeValue::Table(contexts)) = root.get("aws").map(Spanned::get_ref) {
            for (name, table) in contexts.iter() {
                places.contexts.insert(name.get_ref().to_string(), line_of(text, table.span().start));
            }
        }
        for table in tables(root, "repository") {
            let (aws, name) = (text_of(table.table, "aws").unwrap_or("default"), text_of(table.table, "name"));
            let Some(name) = name else { continue };
            let line = line_of(text, table.start);
            places.repositories.insert((aws.to_owned(), name.to_owned()), line);
            for service in tables(table.table, "service") {
                let of = |key| text_of(service.table, key).unwrap_or_default().to_owned();
                let context = text_of(service.table, "aws").unwrap_or(aws);
                let key = (format!("{aws}/{name}"), format!("{context}/{}/{}", of("cluster"), of("service")));
                places.services.insert(key, line_of(text, service.start));
            }
            for schedule in tables(table.table, "schedule") {
                let of = |key| text_of(schedule.table, key);
                let named = of("scheduler").map(ScheduleName::scheduler).or_else(|| of("rule").map(ScheduleName::rule));
                let Some(Ok(named)) = named else { continue };
                let context = of("aws").unwrap_or(aws);
                let key = (format!("{aws}/{name}"), format!("{context}/{CLUSTER}/{named}"));
                places.services.insert(key, line_of(text, schedule.start));
            }
        }
        places
    }

    /// The line of `[aws.NAME]`; none for one that is left out.
    #[must_use]
    pub fn context(&self, name: &str) -> Option<usize> {
        self.contexts.get(name).copied()
    }

    /// The line of a `[[repository]]`.
    #[must_use]
    pub fn repository(&self, aws: &str, name: &str) -> Option<usize> {
        self.repositories.get(&(aws.to_owned(), name.to_owned())).copied()
    }

    /// The line of a `[[repository.service]]`, or of a `[[repository.schedule]]`.
    #[must_use]
    pub fn service(&self, repository: &RepositoryKey, service: &ServiceKey) -> Option<usize> {
        self.services.get(&(repository.to_string(), String::from(service.clone()))).copied()
    }
}

fn tables<'a>(table: &'a DeTable<'a>, key: &str) -> impl Iterator<Item = TableAt<'a>> {
    let array: Option<&DeArray<'_>> = match table.get(key).map(Spanned::get_ref) {
        Some(DeValue::Array(array)) => Some(array),
        _ => None,
    };
    array.into_iter().flat_map(|array| array.iter()).filter_map(|value| match value.get_ref() {
        DeValue::Table(table) => Some(TableAt { table, start: value.span().start }),
        _ => None,
    })
}

/// A table, and where it begins.
struct TableAt<'a> {
    table: &'a DeTable<'a>,
    start: usize,
}

fn text_of<'a>(table: &'a DeTable<'a>, key: &str) -> Option<&'a str> {
    match table.get(key).map(Spanned::get_ref) {
        Some(DeValue::String(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_support::repository_key;
    use crate::domain::types::ContextName;

    #[test]
    fn each_table_has_its_line() {
        let text = "[aws.default]\nregion = \"eu-west-1\"\n\n[[repository]]\nname = \"aa\"\ntags = [\"x\"]\n[[repository.service]]\ncluster = \"c\"\nservice = \"s\"\n[[repository.service]]\ncluster = \"c\"\nservice = \"s\"\naws = \"other\"\n[[repository]]\nname = \"bb\"\naws = \"other\"\n[[repository.schedule]]\nscheduler = \"nightly\"\n[[repository.schedule]]\nrule = \"bus/hourly\"\n";
        let places = Places::of(text);
        assert_eq!(places.context("default"), Some(1));
        assert_eq!(places.context("other"), None);
        assert_eq!((places.repository("default", "aa"), places.repository("other", "bb")), (Some(4), Some(14)));
        let service = |key: &str| places.service(&repository_key("aa"), &ServiceKey::try_from(key.to_owned()).unwrap());
        assert_eq!((service("default/c/s"), service("other/c/s")), (Some(7), Some(10)));
        assert_eq!(service("default/c/t"), None);
        let of_other = |key: &str| {
            let repository = RepositoryKey { aws: ContextName::parse("other").unwrap(), ..repository_key("bb") };
            places.service(&repository, &ServiceKey::try_from(key.to_owned()).unwrap())
        };
        assert_eq!(of_other("other/schedule/default/nightly"), Some(17));
        assert_eq!(of_other("other/schedule/rule/bus/hourly"), Some(19));
    }
}
