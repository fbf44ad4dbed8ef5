//! The documents in `docs/reference/`, generated from the declarations in the code. They are no part of the program: a test compares what
//! is committed with what is generated, and writes it anew when `UPDATE_REFERENCE` is set.

mod command_line;
mod configuration;
mod json;
mod metrics;
mod samples;
mod shapes;
mod words;

use std::fs;
use std::path::Path;

/// How the documents are written anew.
const COMMAND: &str = "UPDATE_REFERENCE=1 cargo test --lib reference";
/// A table cell that is longer is hard to read: the text belongs below the table.
const LONGEST_CELL: usize = 200;

/// Every document, by its file name.
fn documents() -> [(&'static str, String); 6] {
    [
        ("command-line.md", command_line::document()),
        ("configuration.md", configuration::document()),
        ("exit-codes.md", words::exit_codes()),
        ("json.md", json::document()),
        ("metrics.md", metrics::document()),
        ("skip-reasons.md", words::skip_reasons()),
    ]
}

/// The beginning of a document.
fn title(title: &str) -> String {
    format!("<!-- Generated from the declarations in the code. To write it anew: {COMMAND} -->\n\n# {title}\n")
}

/// A table in Markdown.
fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: [String; N]| format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    let mut text = format!("\n{}| {} |\n", line(headings.map(str::to_owned)), ["---"; N].join(" | "));
    text.extend(rows.into_iter().map(line));
    text
}

/// A text as code.
fn code(text: &str) -> String {
    format!("`{text}`")
}

/// The anchor that GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_ascii_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn the_reference_is_what_the_declarations_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
    let documents = documents();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in &documents {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    for (name, text) in &documents {
        let committed = fs::read_to_string(folder.join(name)).unwrap_or_default();
        let place = committed.lines().zip(text.lines()).position(|(committed, generated)| committed != generated);
        assert!(
            &committed == text,
            "docs/reference/{name} is not what the declarations say, from line {} on. Write it anew with: {COMMAND}",
            place.map_or(committed.lines().count().min(text.lines().count()), |line| line) + 1
        );
    }
    let mut there: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    there.sort();
    assert_eq!(there, documents.map(|(name, _)| name), "docs/reference/ holds what nothing generates");
}

#[test]
fn no_cell_of_a_table_is_too_long() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut texts: Vec<(String, String)> = documents().map(|(name, text)| (name.to_owned(), text)).to_vec();
    let mut folders = vec![docs];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What is generated is looked at before it is written.
                folders.extend((!path.ends_with("docs/reference")).then_some(path));
            } else if path.extension().is_some_and(|end| end == "md") {
                texts.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    for (name, text) in texts {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
            for cell in line.replace("\\|", "!").split('|').map(str::trim) {
                let length = cell.chars().count();
                assert!(length <= LONGEST_CELL, "{name}:{}: a cell of {length} characters: {cell}", number + 1);
            }
        }
    }
}
