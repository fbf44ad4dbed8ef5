//! `cargo demo`: the main job of `ecs-deployd` on an AWS on loopback, as a person sees it.

mod args;
mod build;
mod config;
mod daemon;
mod failure;
mod folder;
mod interrupt;
mod local;
mod metrics;
mod report;
mod scene;
mod screen;
mod story;
mod verdict;

use args::Command;
use failure::Failure;
use interrupt::Interrupt;
use screen::Screen;
use std::io::{self, Write};
use std::process::ExitCode;

const BAD_USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    match args::understand(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            let _ = io::stdout().write_all(args::HELP.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Command::Demo { once }) => demo(once),
        Err(complaint) => {
            let _ = writeln!(io::stderr(), "{complaint}\n\n{}", args::HELP);
            ExitCode::from(BAD_USAGE)
        }
    }
}

fn demo(once: bool) -> ExitCode {
    let screen = Screen::new();
    let result = Interrupt::listen().and_then(|interrupt| story::tell(once, &screen, &interrupt));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => {
            screen.note("interrupted: everything that was started is stopped");
            ExitCode::from(INTERRUPTED)
        }
        Err(failure) => {
            screen.failed(&failure.with_causes());
            ExitCode::FAILURE
        }
    }
}
