//! The exit codes: each is declared once, with its meaning.

use std::process::ExitCode;

macro_rules! exits {
    ($($name:ident = $code:literal, $meaning:literal;)+) => {
        /// How a command ends, as the calling program sees it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Exit {
            $(#[doc = $meaning] $name,)+
        }

        impl Exit {
            /// Every exit code, from 0.
            pub const ALL: [Self; [$($code),+].len()] = [$(Self::$name),+];

            /// The exit code as a number.
            #[must_use]
            pub fn code(self) -> u8 {
                match self { $(Self::$name => $code),+ }
            }

            /// What it means, in a sentence for operators.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning),+ }
            }
        }
    };
}

// clap ends with 2, too, where the command line is wrong.
exits! {
    Success = 0, "Done. For `run`: asked to stop, and stopped.";
    Failure = 1, "It failed, or was refused. For `run`: the address is in use, it was stopped by force, or a defect (a panic ends it with SIGABRT instead).";
    BadConfiguration = 2, "Wrong usage or configuration, which includes an AWS context without a Region.";
    BadState = 3, "The state cannot be used: corrupt, of a newer version, locked, not readable or not writable. Nothing is overwritten.";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
