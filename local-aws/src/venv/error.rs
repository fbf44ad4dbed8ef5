//! Why there is no virtual environment, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why there is no virtual environment.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// No interpreter.
    #[error(
        "python3 is not installed: install it (Debian, Ubuntu: `apt-get install python3 python3-venv`; \
         Fedora: `dnf install python3`; macOS: `brew install python3`)"
    )]
    NoPython,
    /// An interpreter that is too old for the packages.
    #[error("python3 is {found}, and Python 3.10 or newer is needed: install one and put it first in PATH")]
    OldPython {
        /// Its path and version.
        found: String,
    },
    /// Debian and Ubuntu split these modules off.
    #[error(
        "python3 lacks its modules venv and ensurepip: install them (Debian, Ubuntu: \
         `apt-get install python3-venv`; Fedora: `dnf install python3`; macOS: `brew install python3`)"
    )]
    NoVenvModule,
    /// The interpreter does not run.
    #[error("python3 does not work ({status}); it says:\n{output}")]
    BrokenPython {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote.
        output: String,
    },
    /// `python3 -m venv` failed.
    #[error("`python3 -m venv` failed ({status}); the end of its output:\n{output}")]
    Create {
        /// How it ended.
        status: ExitStatus,
        /// The last lines it wrote.
        output: String,
    },
    /// `pip install` failed.
    #[error(
        "pip could not install the packages ({status}): is there a way to https://pypi.org, or are \
         HTTPS_PROXY or PIP_INDEX_URL set as they must be here? The end of its output:\n{output}"
    )]
    Install {
        /// How it ended.
        status: ExitStatus,
        /// The last lines it wrote.
        output: String,
    },
    /// A file, folder or process could not be handled.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// [`Hooks::cancelled`](crate::Hooks::cancelled) said so.
    #[error("stopped before the virtual environment was made")]
    Cancelled,
}
