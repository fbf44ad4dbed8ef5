//! Judges, by the policies of MiniStack, what was sent to another server.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::hooks::Hooks;
use crate::run_folder::RunFolder;
use crate::settings::Settings;
use crate::target::target_folder;
use crate::venv::{self, EnsureError};

const PROGRAM: &str = concat!(include_str!("policy.py"), include_str!("inspection.py"), include_str!("judge.py"));

/// Why nothing is judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The virtual environment could not be made.
    #[error("MiniStack's judge cannot be installed")]
    Venv(#[from] EnsureError),
    /// Its folder or its process could not be had.
    #[error("cannot run MiniStack's judge")]
    Io(#[from] io::Error),
    /// It ended with an error.
    #[error("MiniStack's judge failed:\n{0}")]
    Failed(String),
}

/// Policies, and who judges by them.
#[derive(Debug)]
pub struct Judge {
    folder: RunFolder,
    endpoint: String,
    account: String,
}

impl Judge {
    /// For a server at that address. Whatever access key a request is signed with, it belongs to this account (12 digits).
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(endpoint: &str, account: &str) -> Result<Self, JudgeError> {
        let folder = RunFolder::new(&target_folder(), None)?;
        Ok(Self { folder, endpoint: endpoint.to_owned(), account: account.to_owned() })
    }

    /// The policies that it judges by.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings::new(self.folder.path(), self.endpoint.clone())
    }

    /// What the policies do not allow of these requests, given as head and body, in order: `ACTION on RESOURCE by PART`. A request that is
    /// not signed needs no permission.
    ///
    /// # Errors
    /// There is no judge, or it does not understand a request.
    pub fn denied(&self, requests: &[(String, String)]) -> Result<Vec<String>, JudgeError> {
        let python = venv::ensure(&target_folder(), Hooks::QUIET)?;
        let mut child = Command::new(python)
            .args(["-I", "-c", PROGRAM])
            .current_dir(self.folder.path())
            .env("MINISTACK_ACCOUNT_ID", &self.account)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let lines: String = requests.iter().map(|request| format!("{}\n", json!(request))).collect();
        let mut input = child.stdin.take().ok_or_else(|| io::Error::other("no stdin"))?;
        // It reads as it judges, and what it writes fits into its pipe.
        input.write_all(lines.as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()),
            false => Err(JudgeError::Failed(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }
}
