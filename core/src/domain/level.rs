//! The levels of the log, as decisions name them.

use super::words::words;

words! {
    /// The level of a log event. The domain names it; the log writes it.
    pub enum Level {
        Debug = "debug", "Expected all the time. It is logged only with `--log-level debug`.";
        Info = "info", "As it should be.";
        Warn = "warn", "Worth a look.";
        Error = "error", "Somebody has to do something.";
    }
}
