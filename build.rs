//! Puts the commit into the binary, for `--version` and the metric `build_info`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=ECS_DEPLOYD_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    // A file that is not there would make cargo compile the program at every build: in a worktree it stands elsewhere, and sources that were
    // not cloned have none.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = std::env::var("ECS_DEPLOYD_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=ECS_DEPLOYD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// What git says, if there is a git and it knows these sources.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !said.is_empty()).then_some(said)
}
