//! Puts the commit into the binary, for `--version` and the metric `build_info`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=ECS_DEPLOYD_COMMIT");
    println!("cargo::rerun-if-changed=.git/logs/HEAD");
    println!("cargo::rerun-if-changed=build.rs");
    let commit = std::env::var("ECS_DEPLOYD_COMMIT").ok().or_else(from_git).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=ECS_DEPLOYD_COMMIT={commit}");
}

fn from_git() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
