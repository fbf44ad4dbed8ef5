//! What `ecs-deployd` is answered beside what MiniStack itself says: by its policies, and about scans and signatures of images.

use serde_json::{Value, json};
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

    /// Gives a part the policies that it has from now on, in place of those that it had. One that never got any may do everything, as may
    /// whatever is not `ecs-deployd`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn attach(&self, part: Part, policies: &[Value]) -> io::Result<()> {
        let statements: Vec<&Value> =
            policies.iter().filter_map(|policy| policy["Statement"].as_array()).flatten().collect();
        let name = format!("{}.policy", part.execution_environment());
        self.write(&name, &json!({"Version": "2012-10-17", "Statement": statements}))
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

    /// A file is read at each request, so it is never there in part.
    fn write(&self, name: &str, value: &Value) -> io::Result<()> {
        let new = self.folder.join(format!("{name}.new"));
        fs::write(&new, value.to_string())?;
        fs::rename(&new, self.folder.join(name))
    }
}
