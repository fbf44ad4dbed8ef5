//! `configuration.md`, and whether `config/example.toml` shows every key.

use super::{anchor, code, table, title};
use crate::config::{Key, Need, SECTIONS, Section, Shape};

/// A default that is longer stands below the table.
const LONGEST_DEFAULT: usize = 60;

pub(super) fn document() -> String {
    let mut text = title("Configuration");
    text.push_str(
        "\nThe configuration is one TOML file. Durations are texts such as `\"30s\"`, `\"15m\"` or `\"1h 30m\"`; the shortest is one second. A \
         key that is not known is an error, which names its line and the nearest known key. `ecs-deployd check --offline` validates a file.\n\n\
         [config/example.toml](../../config/example.toml) shows every key in its place, and \
         [config/minimal.toml](../../config/minimal.toml) is the smallest file.\n",
    );
    for section in SECTIONS {
        text.push_str(&format!("\n## {}\n\n{}\n", heading(section), section.meaning));
        if !section.groups.is_empty() {
            let groups =
                section.groups.iter().map(|group| format!("[{0}](#{1})", heading(group), anchor(&heading(group))));
            let groups: Vec<String> = groups.collect();
            let groups = match groups.split_last() {
                Some((last, others @ [_, ..])) => format!("{} and {last}", others.join(", ")),
                Some((_, [])) | None => groups.concat(),
            };
            text.push_str(&format!("\nIt may also have the keys of {groups}.\n"));
        }
        text.push_str(&table(["key", "type", "default", "meaning"], section.keys.iter().map(row)));
        for key in section.keys {
            if let Some(default) = default(key).filter(|default| default.len() > LONGEST_DEFAULT) {
                text.push_str(&format!("\nThe default of `{}`:\n\n```toml\n{} = {default}\n```\n", key.name, key.name));
            }
            for (index, (word, meaning)) in (key.words)().into_iter().enumerate() {
                text.push_str(if index == 0 { "\n" } else { "" });
                text.push_str(&format!("- `{} = \"{word}\"`: {meaning}\n", key.name));
            }
        }
    }
    text
}

/// The line that begins the table; a name for a group.
fn heading(section: &Section) -> String {
    match section.shape {
        Shape::Table => format!("`[{}]`", section.path()),
        Shape::Named => format!("`[{}.NAME]`", section.path()),
        Shape::List => format!("`[[{}]]`", section.path()),
        Shape::Group => format!("Keys of a {}", section.name),
    }
}

fn default(key: &Key) -> Option<String> {
    match key.need {
        Need::Default(default) => Some(default()),
        Need::Optional | Need::Required => None,
    }
}

fn row(key: &Key) -> [String; 4] {
    let without = match key.need {
        Need::Required => "required".to_owned(),
        Need::Optional => String::new(),
        Need::Default(default) if default().len() > LONGEST_DEFAULT => "below".to_owned(),
        Need::Default(default) => code(&default()),
    };
    [code(key.name), key.form.to_owned(), without, key.meaning.to_owned()]
}

/// The lines of the example that belong to a table, with comment signs taken away from what looks like a key.
fn lines_of(example: &str, section: &Section) -> Vec<String> {
    let begins = match section.shape {
        Shape::Table | Shape::Group => format!("[{}]", section.path()),
        Shape::Named => format!("[{}.", section.path()),
        Shape::List => format!("[[{}]]", section.path()),
    };
    let mut inside = false;
    let mut lines = Vec::new();
    for line in example.lines() {
        if line.starts_with('[') {
            inside = line.starts_with(&begins);
        } else if inside {
            lines.push(line.trim_start_matches(['#', ' ']).to_owned());
        }
    }
    lines
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let example = include_str!("../../config/example.toml");
    for section in SECTIONS {
        // The keys of a group stand where it is used.
        let homes: Vec<&&Section> = match section.shape {
            Shape::Group => {
                SECTIONS.iter().filter(|home| home.groups.iter().any(|group| group.name == section.name)).collect()
            }
            Shape::Table | Shape::Named | Shape::List => vec![section],
        };
        let lines: Vec<String> = homes.into_iter().flat_map(|home| lines_of(example, home)).collect();
        for key in section.keys {
            let wanted = match default(key).filter(|default| default.len() <= LONGEST_DEFAULT) {
                Some(default) => format!("{} = {default}", key.name),
                None => format!("{} = ", key.name),
            };
            let shown = lines.iter().any(|line| line.starts_with(&wanted));
            assert!(shown, "config/example.toml does not show `{wanted}` in {}", heading(section));
        }
    }
    // The long default stands in several lines there.
    let shown: toml::Table = example.parse().unwrap();
    for section in SECTIONS.iter().filter(|section| section.shape == Shape::Table) {
        for key in section.keys {
            let Some(default) = default(key) else { continue };
            let default: toml::Table = format!("value = {default}").parse().unwrap();
            assert_eq!(shown[section.name][key.name], default["value"], "{} {}", heading(section), key.name);
        }
    }
}
