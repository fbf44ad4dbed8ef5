//! The documents hold together: links and anchors resolve, tables can be read, the README is short and decisions are numbered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use regex_lite::Regex;

/// A new user reads the README whole.
const README_BYTES: usize = 12_000;
/// A longer cell is a paragraph, and a table of paragraphs cannot be read.
const CELL_CHARACTERS: usize = 200;

/// One Markdown file, with its fenced code left out.
struct Document {
    /// Relative to the root of the repository, like all paths here.
    path: PathBuf,
    /// Line number and text.
    lines: Vec<(usize, String)>,
}

impl Document {
    fn read(path: &Path) -> Self {
        let text = text_of(path);
        let mut fenced = false;
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                lines.push((index + 1, line.to_owned()));
            }
        }
        assert!(!fenced, "{}: a code block is not closed", path.display());
        Self { path: path.to_owned(), lines }
    }

    /// The anchors that GitHub gives the headings; a repeated one gets a number.
    fn anchors(&self) -> BTreeSet<String> {
        let link = Regex::new(r"\[([^\]]*)\]\([^)]*\)").unwrap();
        let mut uses: BTreeMap<String, usize> = BTreeMap::new();
        let headings = self.lines.iter().filter(|(_, line)| line.starts_with('#'));
        headings
            .map(|(_, line)| {
                let title = link.replace_all(line.trim_start_matches('#').trim(), "$1").to_lowercase();
                let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
                let slug = kept.collect::<String>().replace(' ', "-");
                let again = uses.entry(slug.clone()).or_default();
                *again += 1;
                if *again == 1 { slug } else { format!("{slug}-{}", *again - 1) }
            })
            .collect()
    }

    /// Line number and destination of each link, web addresses left out.
    fn links(&self) -> Vec<(usize, String)> {
        let code = Regex::new("`[^`]*`").unwrap();
        let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
        // A link may be broken over two lines inside its text, never inside its destination.
        let of_line = |(number, line): &(usize, String)| {
            let text = code.replace_all(line, "`").into_owned();
            let found: Vec<String> = link.captures_iter(&text).map(|found| found[1].to_owned()).collect();
            found.into_iter().map(|destination| (*number, destination)).collect::<Vec<_>>()
        };
        let all = self.lines.iter().flat_map(of_line);
        all.filter(|(_, destination)| !destination.starts_with("http")).collect()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below a folder of the repository, build output and hidden folders left out.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let here = root().join(folder);
    for entry in fs::read_dir(&here).unwrap_or_else(|error| panic!("{}: {error}", here.display())) {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = folder.join(&name);
        if entry.file_type().unwrap().is_file() {
            found.push(path);
        } else if !name.starts_with('.') && name != "target" {
            files(&path, found);
        }
    }
}

fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    files(Path::new(""), &mut found);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found.sort();
    assert!(found.len() > 20, "{found:?}");
    found.iter().map(|path| Document::read(path)).collect()
}

/// A path without `.` and `..`; `None` if it leaves the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::CurDir => {}
            Component::ParentDir if parts.pop() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts)
}

/// Where a link of a document leads: a path, and an anchor or nothing.
fn target(from: &Path, destination: &str) -> (Option<PathBuf>, String) {
    let (path, anchor) = destination.split_once('#').unwrap_or((destination, ""));
    let path = if path.is_empty() { from.to_owned() } else { from.parent().unwrap().join(path) };
    (normal(&path), anchor.to_owned())
}

/// What is wrong with a place in the repository, if something is.
fn wrong(path: Option<&Path>, anchor: &str, anchors: &BTreeMap<PathBuf, BTreeSet<String>>) -> Option<String> {
    let Some(path) = path.filter(|path| root().join(path).exists()) else { return Some("does not exist".to_owned()) };
    match anchors.get(path) {
        Some(known) if !anchor.is_empty() && !known.contains(anchor) => Some(format!("has no heading #{anchor}")),
        None if !anchor.is_empty() => Some("is no document, so it has no anchors".to_owned()),
        _ => None,
    }
}

fn anchors_of(documents: &[Document]) -> BTreeMap<PathBuf, BTreeSet<String>> {
    documents.iter().map(|document| (document.path.clone(), document.anchors())).collect()
}

#[test]
fn every_link_and_anchor_of_the_documents_resolves() {
    let documents = documents();
    let anchors = anchors_of(&documents);
    let mut broken = Vec::new();
    let mut checked = 0;
    for document in &documents {
        for (line, destination) in document.links() {
            checked += 1;
            let (path, anchor) = target(&document.path, &destination);
            if let Some(why) = wrong(path.as_deref(), &anchor, &anchors) {
                broken.push(format!("{}:{line}: {destination} {why}", document.path.display()));
            }
        }
    }
    assert!(checked > 100, "only {checked} links were found");
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn documents_that_code_and_configuration_name_exist() {
    let documents = documents();
    let anchors = anchors_of(&documents);
    let name = Regex::new(r"\bdocs/[a-z/-]+\.md(#[a-z0-9-]+)?").unwrap();
    let mut named = Vec::new();
    for folder in ["config", "core/src", "packaging", "src", "systemd"] {
        files(Path::new(folder), &mut named);
    }
    let mut broken = Vec::new();
    let mut checked = 0;
    for path in named.iter().filter(|path| path.extension().is_none_or(|extension| extension != "md")) {
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        for found in name.find_iter(&text) {
            checked += 1;
            let (to, anchor) = found.as_str().split_once('#').unwrap_or((found.as_str(), ""));
            if let Some(why) = wrong(Some(Path::new(to)), anchor, &anchors) {
                broken.push(format!("{}: {} {why}", path.display(), found.as_str()));
            }
        }
    }
    assert!(checked > 10, "only {checked} names were found");
    assert!(broken.is_empty(), "broken names:\n{}", broken.join("\n"));
}

#[test]
fn every_document_is_linked_from_another_one() {
    let documents = documents();
    let mut linked = BTreeSet::from([PathBuf::from("README.md")]);
    for document in &documents {
        let elsewhere = document.links().into_iter().filter_map(|(_, to)| target(&document.path, &to).0);
        linked.extend(elsewhere.filter(|path| path != &document.path));
    }
    let orphans: Vec<_> =
        documents.iter().map(|document| &document.path).filter(|path| !linked.contains(*path)).collect();
    assert!(orphans.is_empty(), "no document links to {orphans:?}");
}

#[test]
fn no_table_cell_is_a_paragraph() {
    let mut long = Vec::new();
    let mut rows = 0;
    for document in documents() {
        for (line, text) in document.lines.iter().filter(|(_, text)| text.starts_with('|')) {
            rows += 1;
            let text = text.replace("\\|", "/");
            let cells = text.split('|').map(|cell| cell.trim().chars().count());
            let longest = cells.max().unwrap_or_default();
            if longest > CELL_CHARACTERS {
                long.push(format!("{}:{line}: {longest} characters", document.path.display()));
            }
        }
    }
    assert!(rows > 50, "only {rows} rows were found");
    assert!(long.is_empty(), "cells of more than {CELL_CHARACTERS} characters:\n{}", long.join("\n"));
}

#[test]
fn the_readme_is_short() {
    let bytes = text_of(Path::new("README.md")).len();
    assert!(bytes <= README_BYTES, "README.md has {bytes} bytes, {README_BYTES} are allowed");
}

/// The numbers and titles of all decisions.
fn decisions() -> BTreeMap<usize, String> {
    let number = Regex::new(r"^## (\d+)\. (.+)$").unwrap();
    let folder = Path::new("docs/decisions");
    let of_folder = documents().into_iter().filter(|document| document.path.parent() == Some(folder));
    let lines = of_folder.flat_map(|document| document.lines);
    lines
        .filter_map(|(_, text)| number.captures(&text).map(|one| (one[1].parse().unwrap(), one[2].to_owned())))
        .collect()
}

#[test]
fn each_decision_is_cited_where_the_code_keeps_it() {
    let citation = Regex::new(r"\bdecisions? (\d+)").unwrap();
    let mut files_of_code = Vec::new();
    for folder in ["core/src", "src"] {
        files(Path::new(folder), &mut files_of_code);
    }
    let mut cited = BTreeSet::new();
    for path in files_of_code.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        cited.extend(citation.captures_iter(&text_of(path)).map(|one| one[1].parse::<usize>().unwrap()));
    }
    let decisions = decisions();
    let unknown: Vec<_> = cited.iter().filter(|number| !decisions.contains_key(number)).collect();
    assert!(unknown.is_empty(), "there is no decision {unknown:?}");
    let nowhere: Vec<_> = decisions.iter().filter(|(number, _)| !cited.contains(number)).collect();
    assert!(nowhere.is_empty(), "no comment below core/src/ or src/ cites \"decision N\" for {nowhere:?}");
}

#[test]
fn decisions_are_numbered_without_a_gap_and_all_are_listed() {
    let number = Regex::new(r"^## (\d+)\. (.+)$").unwrap();
    let mut found = BTreeMap::new();
    let mut entries = Vec::new();
    let index = Path::new("docs/decisions/README.md");
    for document in documents().iter().filter(|document| document.path.parent() == index.parent()) {
        for (line, text) in &document.lines {
            let Some(decision) = number.captures(text) else { continue };
            let twice = found.insert(decision[1].parse::<usize>().unwrap(), decision[2].to_owned());
            assert!(twice.is_none(), "{}:{line}: the number {} is taken", document.path.display(), &decision[1]);
        }
        if document.path == index {
            entries = document.lines.iter().map(|(_, text)| text.clone()).collect();
        }
    }
    assert!(found.keys().copied().eq(1..=found.len()), "{:?}", found.keys());
    for (number, title) in &found {
        let entry = format!("- {number}: [{title}](");
        assert!(entries.iter().any(|text| text.starts_with(&entry)), "{} has no entry {entry}", index.display());
    }
}

/// The texts of the doc comments of a file, each with the number of its first line.
fn doc_comments(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        let said = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        match (said, found.last_mut()) {
            (Some(said), Some((_, before))) if goes_on => *before += said,
            (Some(said), _) => found.push((number, said.to_owned())),
            (None, _) => {}
        }
        goes_on = said.is_some();
    }
    found
}

#[test]
fn a_doc_comment_is_a_sentence_and_no_label() {
    let mut of_code = Vec::new();
    for folder in ["core/src", "local-aws/src", "src"] {
        files(Path::new(folder), &mut of_code);
    }
    let mut labels = Vec::new();
    for path in of_code.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let comments = doc_comments(&text_of(path)).into_iter();
        let short = comments.filter(|(_, said)| said.split_whitespace().count() <= 3);
        labels.extend(short.map(|(line, said)| format!("{}:{line}:{said}", path.display())));
    }
    assert!(labels.is_empty(), "doc comments of three words or fewer:\n{}", labels.join("\n"));
    assert_eq!(
        doc_comments("/// One.\n/// Two.\nx\n    /// Three.\n"),
        [(1, " One. Two.".to_owned()), (4, " Three.".to_owned())]
    );
}
