//! Arguments -> configuration -> the command -> exit code.

use std::process::ExitCode;

use clap::Parser as _;

use ecs_deployd::cli::Arguments;

fn main() -> ExitCode {
    ecs_deployd::cli::execute(Arguments::parse())
}
