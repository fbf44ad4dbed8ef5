//! What the person sees: numbered steps with the elapsed time, notes below them, the daemon's log.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Writes to stdout. That nobody reads any more is no reason to leave without stopping the daemon, so
/// errors of writing are ignored.
#[derive(Clone, Copy)]
pub(crate) struct Screen {
    start: Instant,
    has_colour: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let forbidden = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { start: Instant::now(), has_colour: io::stdout().is_terminal() && !forbidden }
    }

    /// Shows that a step begins.
    pub(crate) fn step(&self, number: u8, text: &str) {
        let elapsed = self.start.elapsed().as_secs_f64();
        self.line(BOLD, &format!("[{elapsed:6.1}s] {number}. {text}"));
    }

    /// Says something about the step.
    pub(crate) fn note(&self, text: &str) {
        for line in text.lines() {
            self.line("", &format!("             {line}"));
        }
    }

    /// One line of the daemon's log.
    pub(crate) fn log(&self, line: &str) {
        self.line(DIM, &format!("  | {line}"));
    }

    /// Shows that the demonstration succeeded.
    pub(crate) fn done(&self, text: &str) {
        let elapsed = self.start.elapsed().as_secs_f64();
        self.line(GREEN, &format!("[{elapsed:6.1}s] OK: {text}"));
    }

    /// Shows that the demonstration failed.
    pub(crate) fn failed(&self, text: &str) {
        let elapsed = self.start.elapsed().as_secs_f64();
        self.line(RED, &format!("[{elapsed:6.1}s] FAILED: {text}"));
    }

    fn line(&self, colour: &str, text: &str) {
        let mut out = io::stdout().lock();
        let _ = if self.has_colour && !colour.is_empty() {
            writeln!(out, "{colour}{text}{PLAIN}")
        } else {
            writeln!(out, "{text}")
        };
    }
}
