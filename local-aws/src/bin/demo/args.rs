//! The command line of the demonstration.

pub(crate) const HELP: &str = "\
Shows ecs-deployd at work on an AWS on loopback (MiniStack): builds the daemon, starts both, pushes
an image, and shows the service roll to it. Needs python3 with venv; talks to no real AWS.

Usage: cargo demo [-- --once]

      --once  stop after the rollout; the exit code says whether the service really rolled
  -h, --help  show this

Exits with 0 if the service rolled, 1 if not, 2 on bad usage, 130 if interrupted before the end.
";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Demo { once: bool },
}

/// The command, or what is wrong with it.
pub(crate) fn understand(args: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut once = false;
    for arg in args {
        match arg.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            "--once" => once = true,
            _ => return Err(format!("unknown argument: {arg}")),
        }
    }
    Ok(Command::Demo { once })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(args: &[&str]) -> Result<Command, String> {
        understand(args.iter().map(|arg| (*arg).to_owned()))
    }

    #[test]
    fn knows_its_arguments() {
        assert_eq!(command(&[]), Ok(Command::Demo { once: false }));
        assert_eq!(command(&["--once"]), Ok(Command::Demo { once: true }));
        assert_eq!(command(&["--once", "-h"]), Ok(Command::Help));
        assert_eq!(command(&["--twice"]), Err("unknown argument: --twice".to_owned()));
    }
}
