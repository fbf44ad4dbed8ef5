//! Builds the daemon as anyone would, with cargo.

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use local_aws::workspace_folder;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::env;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

const NAME: &str = "ecs-deployd";

/// The path of the daemon's executable, fresh from cargo, whose progress shows on stderr.
pub(crate) fn daemon(interrupt: &Interrupt) -> Result<PathBuf, Failure> {
    let mut child = cargo().spawn().map_err(Failure::io("run cargo"))?;
    // What cargo says must be read while it works, or it would wait for its reader.
    let reader = child.stdout.take().map(|stdout| thread::spawn(move || executable_among(stdout)));
    let status = loop {
        if let Some(status) = child.try_wait().map_err(Failure::io("wait for cargo"))? {
            break status;
        }
        if let Err(interrupted) = interrupt.pause() {
            end(&mut child);
            return Err(interrupted);
        }
    };
    if !status.success() {
        return Err(Failure::Build(status));
    }
    let executable = reader.map(thread::JoinHandle::join).transpose();
    executable.map_err(|_| Failure::Panicked)?.flatten().ok_or(Failure::NoExecutable)
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // There are no examples: asking for them makes cargo build the dependencies with the features that the tests have, so that
    // `cargo test` and `cargo demo` compile them once.
    command
        .args(["build", "--locked", "--package", NAME, "--bin", NAME, "--examples"])
        .arg("--message-format=json-render-diagnostics")
        .arg("--manifest-path")
        .arg(workspace_folder().join("Cargo.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    // `cargo run` has set these for this package. Some build scripts look at them and would run again
    // after each change between `cargo build` and `cargo demo`.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_about_this_package) {
            command.env_remove(name);
        }
    }
    command
}

fn is_about_this_package(name: &str) -> bool {
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// Ends cargo and its compilers.
fn end(child: &mut Child) {
    // They may have ended in the meantime, which is what is wanted.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

fn executable_among(messages: impl Read) -> Option<PathBuf> {
    let lines = BufReader::new(messages).lines().map_while(Result::ok);
    // To the end, although the wanted line may have come.
    lines.filter_map(|line| executable_in(&line)).last()
}

fn executable_in(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_wanted = message["reason"] == "compiler-artifact"
        && message["target"]["name"] == NAME
        && message["target"]["kind"][0] == "bin";
    let executable = message["executable"].as_str()?;
    is_wanted.then(|| PathBuf::from(executable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn artifact(name: &str, kind: &str) -> Value {
        json!({
            "reason": "compiler-artifact",
            "target": {"name": name, "kind": [kind]},
            "executable": format!("/target/debug/{name}"),
        })
    }

    #[test]
    fn finds_the_executable_among_cargos_messages() {
        let messages = [
            json!({"reason": "compiler-artifact", "target": {"name": NAME, "kind": ["lib"]}, "executable": null}),
            artifact("other", "bin"),
            artifact(NAME, "bin"),
            json!({"reason": "build-finished", "success": true}),
        ];
        let text: Vec<String> = messages.iter().map(Value::to_string).collect();
        assert_eq!(executable_among(text.join("\n").as_bytes()), Some(PathBuf::from("/target/debug/ecs-deployd")));
        assert_eq!(executable_among(&b"no json\n"[..]), None);
    }
}
