//! Credentials from a program: the `credential_process` of an AWS profile.
//!
//! The SDK's own provider waits for the program without a bound, and leaves it running when nobody waits for it any more. This one runs the
//! program in a process group of its own, and the whole group is killed when the wait is given up or the runtime ends.
//!
//! The contract is that of the AWS SDKs and Tools Reference Guide, "Process credential provider".

use std::process::Stdio;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, future};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use crate::domain::event::shorten;
use crate::domain::printable::one_line;

/// An answer is some hundred bytes long. What is longer is cut off, and is then no valid JSON.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// Runs the command of a profile.
#[derive(Debug)]
pub(super) struct Process {
    command: String,
}

impl Process {
    pub(super) fn new(command: impl Into<String>) -> Self {
        Self { command: command.into() }
    }

    async fn credentials(&self) -> Result {
        let failed = |error: std::io::Error| CredentialsError::provider_error(format!("it cannot be run: {error}"));
        let child = Command::new("sh")
            .args(["-c", &self.command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut running = Running::new(child);
        let (out, err) = (running.child.stdout.take(), running.child.stderr.take());
        let (status, answer, stderr) = tokio::try_join!(running.child.wait(), read(out), read(err)).map_err(failed)?;
        running.ended = true;
        if !status.success() {
            let stderr = one_line(&String::from_utf8_lossy(&stderr));
            return Err(CredentialsError::provider_error(format!(
                "it ended with {status}{}",
                if stderr.is_empty() { String::new() } else { format!(": {}", shorten(&stderr)) }
            )));
        }
        parse(&answer).map_err(CredentialsError::provider_error)
    }
}

impl ProvideCredentials for Process {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(LONGEST_ANSWER).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// A program that runs, with what it started. All of it is killed when this is dropped before the program has ended.
#[derive(Debug)]
struct Running {
    child: Child,
    group: Option<Pid>,
    ended: bool,
}

impl Running {
    fn new(child: Child) -> Self {
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { child, group, ended: false }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group.filter(|_| !self.ended) {
            // It fails only if nothing of the group is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Why an answer holds no credentials. The answer itself may hold secrets, so no message repeats it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    #[error("its output is no JSON object")]
    NoObject,
    #[error("its output has no {0}")]
    Missing(&'static str),
    #[error("its output has Version {0}, and only 1 is known")]
    Version(i64),
    #[error("its output has an Expiration that is no time in ISO 8601")]
    Expiration,
}

fn parse(answer: &[u8]) -> std::result::Result<Credentials, Unusable> {
    let answer: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(answer).map_err(|_| Unusable::NoObject)?;
    // As in the SDK's own provider, the case of a key does not matter.
    let member = |name: &'static str| {
        let found = answer.iter().find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null());
        found.map(|(_, value)| value).ok_or(Unusable::Missing(name))
    };
    let text = |name: &'static str| member(name)?.as_str().map(str::to_owned).ok_or(Unusable::Missing(name));
    match member("Version")?.as_i64() {
        Some(1) => {}
        Some(other) => return Err(Unusable::Version(other)),
        None => return Err(Unusable::Missing("Version")),
    }
    let expiration = match text("Expiration") {
        Ok(expiration) => Some(expiration.parse::<Timestamp>().map_err(|_| Unusable::Expiration)?),
        Err(_) => None,
    };
    let (id, secret) = (text("AccessKeyId")?, text("SecretAccessKey")?);
    Ok(Credentials::new(id, secret, text("SessionToken").ok(), expiration.map(SystemTime::from), "CredentialProcess"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn an_answer_is_credentials_or_says_what_it_lacks() {
        let whole = r#"{"Version": 1, "AccessKeyId": "AKIA", "SecretAccessKey": "secret", "SessionToken": "token", "Expiration": "2026-05-02T18:36:00+00:00"}"#;
        let credentials = parse(whole.as_bytes()).unwrap();
        assert_eq!(
            (credentials.access_key_id(), credentials.secret_access_key(), credentials.session_token()),
            ("AKIA", "secret", Some("token"))
        );
        let expiry = Timestamp::try_from(credentials.expiry().unwrap()).unwrap();
        assert_eq!(expiry.to_string(), "2026-05-02T18:36:00Z");
        let lasting = parse(br#"{"version": 1, "accesskeyid": "AKIA", "secretaccesskey": "s", "SessionToken": null}"#);
        assert_eq!(lasting.map(|one| (one.expiry(), one.session_token().map(str::to_owned))), Ok((None, None)));
        for (answer, lacks) in [
            ("", Unusable::NoObject),
            ("[]", Unusable::NoObject),
            ("{}", Unusable::Missing("Version")),
            (r#"{"Version": 2}"#, Unusable::Version(2)),
            (r#"{"Version": 1, "AccessKeyId": "a"}"#, Unusable::Missing("SecretAccessKey")),
            (r#"{"Version": 1, "SecretAccessKey": "s"}"#, Unusable::Missing("AccessKeyId")),
            (
                r#"{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "s", "Expiration": "soon"}"#,
                Unusable::Expiration,
            ),
        ] {
            assert_eq!(parse(answer.as_bytes()).map(drop), Err(lacks), "{answer}");
        }
    }

    #[tokio::test]
    async fn what_it_says_when_it_fails_is_one_line() {
        let error = Process::new("echo first >&2; echo second >&2; exit 3").credentials().await.unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(text, "it ended with exit status: 3: first second");
    }

    /// Whether a process is there and more than a dead entry that waits for its parent.
    fn runs(id: &str) -> bool {
        let status = std::fs::read_to_string(Path::new("/proc").join(id).join("stat")).unwrap_or_default();
        status.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z') && !rest.is_empty())
    }

    #[tokio::test]
    async fn a_program_that_is_given_up_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let ids = folder.path().join("ids");
        let process = Process::new(format!("sleep 300 & echo $! $$ > {0}.new; mv {0}.new {0}; wait", ids.display()));
        let given_up = clock::within(Duration::from_secs(60), async {
            tokio::select! {
                answer = process.credentials() => panic!("an answer: {answer:?}"),
                text = async {
                    loop {
                        if let Ok(text) = std::fs::read_to_string(&ids) {
                            return text;
                        }
                        clock::sleep(Duration::from_millis(10)).await;
                    }
                } => text,
            }
        });
        let ids = given_up.await.expect("the program writes down who it is");
        let all_ended = async {
            while ids.split_whitespace().any(runs) {
                clock::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(clock::within(Duration::from_secs(10), all_ended).await.is_some(), "{ids} still runs");
    }
}
