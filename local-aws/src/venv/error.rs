//! Why there is no virtual environment, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why there is no virtual environment.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// There is no interpreter of Python on this machine.
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
        /// How the process ended.
        status: ExitStatus,
        /// What the process wrote.
        output: String,
    },
    /// `python3 -m venv` failed.
    #[error("`python3 -m venv` failed ({status}); the end of its output:\n{output}")]
    Create {
        /// How the process ended.
        status: ExitStatus,
        /// The last lines it wrote.
        output: String,
    },
    /// The command `pip install` has failed.
    #[error(
        "pip could not install the packages ({status}): is there a way to https://pypi.org, or are \
         HTTPS_PROXY or PIP_INDEX_URL set as they must be here? The end of its output:\n{output}"
    )]
    Install {
        /// How the process ended.
        status: ExitStatus,
        /// The last lines it wrote.
        output: String,
    },
    /// A file, folder or process could not be handled.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried, for people.
        what: &'static str,
        /// The path that it was tried with.
        path: PathBuf,
        /// Why it was not possible.
        source: io::Error,
    },
    /// The caller asked to stop, by [`Hooks::cancelled`](crate::Hooks::cancelled).
    #[error("stopped before the virtual environment was made")]
    Cancelled,
}
