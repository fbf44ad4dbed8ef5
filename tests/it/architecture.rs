//! The layers of the source keep apart: what ARCHITECTURE.md says of them holds for every file below `core/src/` and `src/`.

use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

/// The dependencies that neither wait nor touch anything outside their arguments. The crate of the pure layers has these and no
/// others, so that the compiler refuses any other there.
const PURE: [&str; 12] = [
    "globset",
    "humantime",
    "jiff",
    "regex-lite",
    "regex-syntax",
    "semver",
    "serde",
    "serde_json",
    "sha2",
    "strsim",
    "thiserror",
    "toml",
];

/// What reads a clock, reaches outside or waits, beside the dependencies.
const IMPURE: &str = r"\basync\b|\.await\b|\bSystemTime\b|\bInstant\b|\bTimestamp::now\b|\bZoned::now\b|\bstd::(env|fs|io|net|os|process|thread)\b|\b(debug|error|eprintln|info|log_at|println|trace|warn)!";

/// The layers, from the top to the bottom: each names only those below it.
const LAYERS: [&[&str]; 11] = [
    &["cli"],
    &["daemon", "once", "plan"],
    &["table_commands"],
    &["deployer"],
    &["scheduler", "queue"],
    &["observer"],
    &["place"],
    &["engine"],
    &["aws", "state_store"],
    &["config"],
    &["domain"],
];

/// A file below `core/src/` or `src/` without comments and tests.
struct Source {
    /// Relative to the repository.
    path: PathBuf,
    lines: Vec<(usize, String)>,
}

impl Source {
    fn new(path: PathBuf, text: &str) -> Self {
        // A module of tests stands at the end of its file.
        let program = text.lines().enumerate().take_while(|(_, line)| *line != "mod tests {");
        let code = |line: &str| match line.trim_start().starts_with("//") {
            true => String::new(),
            false => line.split(" // ").next().unwrap().to_owned(),
        };
        let lines = program.map(|(index, line)| (index + 1, code(line))).collect();
        Self { path, lines }
    }

    /// The part of the path below `src/`: the module of the crate.
    fn module(&self) -> String {
        let mut parts = self.path.components().skip_while(|part| part.as_os_str() != "src").skip(1);
        let first = parts.next().map(|part| Path::new(part.as_os_str()).with_extension(""));
        first.map(|first| first.display().to_string()).unwrap_or_default()
    }

    /// Each place that matches, as a line for people.
    fn found(&self, pattern: &Regex) -> Vec<String> {
        let of_line = |(number, line): &(usize, String)| {
            let found = pattern.find(line)?.as_str().trim().to_owned();
            Some(format!("{}:{number}: {found}", self.path.display()))
        };
        self.lines.iter().filter_map(of_line).collect()
    }
}

fn is_of_tests(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    stem == "tests"
        || stem == "test_support"
        || ["_tests", "_properties"].iter().any(|end| stem.ends_with(end))
        || stem == "properties"
        || path.components().any(|part| part.as_os_str() == "tests")
}

fn read(folder: &Path, below: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            read(&entry.path(), &path, found);
        } else if !is_of_tests(&path) {
            found.push(Source::new(path, &fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["core/src", "src"] {
        read(&root().join(folder), Path::new(folder), &mut found);
    }
    assert!(found.len() > 150, "only {} files were found", found.len());
    found
}

fn of_modules(modules: &[&str]) -> Vec<Source> {
    let found: Vec<Source> =
        sources().into_iter().filter(|source| modules.contains(&source.module().as_str())).collect();
    assert!(!found.is_empty(), "no file belongs to {modules:?}");
    found
}

/// The names of the crates that a package of the workspace depends on.
fn dependencies(manifest: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(manifest)).unwrap();
    let table = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names = table.lines().filter(|line| line.starts_with(char::is_alphabetic));
    names.map(|line| line.split([' ', '=', '.']).next().unwrap().to_owned()).collect()
}

fn crates(names: impl IntoIterator<Item = impl AsRef<str>>) -> Regex {
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().replace('-', "_")).collect();
    Regex::new(&format!(r"(^|[^:\w])(::)?({})(::|;)", names.join("|"))).unwrap()
}

/// Which modules of this crate a layer must not name: those above it.
fn above(layer: usize) -> Regex {
    Regex::new(&format!(r"\b(crate|ecs_deployd_core)::({})\b", LAYERS[..layer].concat().join("|"))).unwrap()
}

fn assert_none(found: &[String], why: &str) {
    assert!(found.is_empty(), "{why}:\n{}", found.join("\n"));
}

#[test]
fn the_sdk_is_named_below_aws_alone() {
    let sdk = crates(dependencies("Cargo.toml").iter().filter(|name| name.starts_with("aws-")));
    let elsewhere = sources().into_iter().filter(|source| source.module() != "aws");
    let found: Vec<String> = elsewhere.flat_map(|source| source.found(&sdk)).collect();
    assert_none(&found, "only src/aws names the SDK; elsewhere its traits are used");
    assert!(of_modules(&["aws"]).iter().any(|source| !source.found(&sdk).is_empty()), "the pattern finds nothing");
}

#[test]
fn the_crate_of_the_pure_layers_depends_on_nothing_impure() {
    assert_eq!(dependencies("core/Cargo.toml"), PURE);
    assert!(dependencies("Cargo.toml").len() > 30);
}

#[test]
fn the_engine_and_the_domain_are_pure() {
    let impure = Regex::new(IMPURE).unwrap();
    // The configuration is parsed where it comes in.
    let form_of_files = crates(["toml"]);
    let own = Regex::new(r"\bcrate::[a-z_]+").unwrap();
    let mut found = Vec::new();
    for (module, may_name) in [("engine", &["engine", "domain", "config"][..]), ("domain", &["domain"])] {
        for source in of_modules(&[module]) {
            found.extend(source.found(&impure));
            found.extend(source.found(&form_of_files));
            let may = |place: &String| may_name.iter().any(|name| place.ends_with(&format!("crate::{name}")));
            for (number, line) in &source.lines {
                let named =
                    own.find_iter(line).map(|name| format!("{}:{number}: {}", source.path.display(), name.as_str()));
                found.extend(named.filter(|place| !may(place)));
            }
        }
    }
    assert_none(&found, "the engine and the domain have their facts and the time as arguments");
}

#[test]
fn each_layer_names_only_what_is_below_it() {
    let mut found = Vec::new();
    for (place, layer) in LAYERS.iter().enumerate().skip(1) {
        let above = above(place);
        found.extend(of_modules(layer).iter().flat_map(|source| source.found(&above)));
    }
    assert_none(&found, "dependencies go downwards in the code map of ARCHITECTURE.md");
}

#[test]
fn what_is_forbidden_is_found() {
    let source = |text: &str| Source::new(PathBuf::from("core/src/engine/x.rs"), text);
    let found = |pattern: &Regex, text: &str| source(text).found(pattern).len();
    let sdk = crates(["aws-sdk-ecs", "aws-types"]);
    for text in ["use aws_sdk_ecs::Client;", "fn f(x: ::aws_types::region::Region) {}", "extern crate aws_types;"] {
        assert_eq!(found(&sdk, text), 1, "{text}");
    }
    for text in ["// use aws_sdk_ecs::Client;", "use crate::aws::AwsError;", "let my_aws_types::X = 1;"] {
        assert_eq!(found(&sdk, text), 0, "{text}");
    }
    for text in ["use crate::engine::Engine;", "use ecs_deployd_core::engine::Engine;"] {
        assert_eq!(found(&above(LAYERS.iter().position(|layer| layer.contains(&"aws")).unwrap()), text), 1, "{text}");
    }
    let impure = Regex::new(IMPURE).unwrap();
    for text in ["async fn f() {}", "let now = Timestamp::now();", "std::fs::read(path)", "    info!(\"x\");"] {
        assert_eq!(found(&impure, text), 1, "{text}");
    }
    assert_eq!(found(&impure, "fn now(self) -> Timestamp { self.now } // Timestamp::now"), 0);
    assert_eq!(found(&impure, "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    std::fs::read(path)\n}"), 0);
}
