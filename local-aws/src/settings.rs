//! What `ecs-deployd` is answered beside what MiniStack itself says: by its policies, and about scans and signatures of images.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Which part of the program sends a call. Each has policies of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The daemon, and the commands that do or tell what it does.
    Daemon,
    /// `check`, which asks more than the daemon.
    Check,
    /// What a person runs before there is a policy: `init` and `iam`.
    Person,
}

impl Part {
    /// Every part of the program that has permissions of its own.
    pub const ALL: [Self; 3] = [Self::Daemon, Self::Check, Self::Person];

    /// The value of `AWS_EXECUTION_ENV`, which the SDK puts into the user agent of each call, by which a call is told to be of this part.
    #[must_use]
    pub const fn execution_environment(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Check => "check",
            Self::Person => "person",
        }
    }
}

/// The settings of a running MiniStack, which each call is judged by.
#[derive(Debug, Clone)]
pub struct Settings {
    folder: PathBuf,
    endpoint: String,
}

impl Settings {
    pub(crate) fn new(folder: &Path, endpoint: String) -> Self {
        Self { folder: folder.to_owned(), endpoint }
    }

    /// The address at which MiniStack answers.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Gives a part the policies that it has from now on in every account, in place of those that it had. One that never got any may do
    /// everything, as may whatever is not `ecs-deployd`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn attach(&self, part: Part, policies: &[Value]) -> io::Result<()> {
        self.write(&of_all(part), &together(policies))?;
        self.forget(part, |_| true)
    }

    /// Gives a part policies by the account (12 digits) whose credentials it makes a call with, in place of those that it had. Elsewhere
    /// nothing is allowed.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn attach_by_account(&self, part: Part, policies: &BTreeMap<String, Vec<Value>>) -> io::Result<()> {
        for (account, policies) in policies {
            self.write(&of_one(part, account), &together(policies))?;
        }
        self.write(&of_all(part), &together(&[]))?;
        self.forget(part, |name| !policies.keys().any(|account| of_one(part, account) == name))
    }

    /// Has a part refused whatever needs an action that is not among these, such as `ecs:UpdateService`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn allow_only<'a>(&self, part: Part, actions: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
        let actions: Vec<&str> = actions.into_iter().collect();
        self.attach(part, &[json!({"Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]})])
    }

    /// What was refused for lack of a permission, in order: `ACTION on RESOURCE by PART`.
    #[must_use]
    pub fn denied(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("denied")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What DescribeImageScanFindings answers about images, by digest: `imageScanStatus` and `imageScanFindings`. An image that is not
    /// among them was never scanned.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn set_scans(&self, by_digest: &Value) -> io::Result<()> {
        self.write("scans", by_digest)
    }

    /// What DescribeImageSigningStatus answers about images, by digest: a list of `signingStatuses`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn set_signatures(&self, by_digest: &Value) -> io::Result<()> {
        self.write("signatures", by_digest)
    }

    /// Removes policies of single accounts.
    fn forget(&self, part: Part, is_old: impl Fn(&str) -> bool) -> io::Result<()> {
        let (first, all) = (format!("{}.", part.execution_environment()), of_all(part));
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != all && name.starts_with(&first) && name.ends_with(POLICY) && is_old(&name) {
                fs::remove_file(self.folder.join(name))?;
            }
        }
        Ok(())
    }

    /// A file is read at each request, so it is never there in part.
    fn write(&self, name: &str, value: &Value) -> io::Result<()> {
        let new = self.folder.join(format!("{name}.new"));
        fs::write(&new, value.to_string())?;
        fs::rename(&new, self.folder.join(name))
    }
}

/// How the names of files with policies end.
const POLICY: &str = ".policy";

fn of_all(part: Part) -> String {
    format!("{}{POLICY}", part.execution_environment())
}

fn of_one(part: Part, account: &str) -> String {
    format!("{}.{account}{POLICY}", part.execution_environment())
}

fn together(policies: &[Value]) -> Value {
    let statements: Vec<&Value> =
        policies.iter().filter_map(|policy| policy["Statement"].as_array()).flatten().collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}
