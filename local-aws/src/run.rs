//! Runs a command to its end, unless the caller stops it.

use crate::hooks::Hooks;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The exit status, or `None` if the caller stopped it: then the command and what it started are dead.
pub(crate) fn to_the_end(command: &mut Command, hooks: Hooks<'_>) -> io::Result<Option<ExitStatus>> {
    // A group of its own, so that its children can be ended with it.
    let mut child = command.process_group(0).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if (hooks.cancelled)() {
            end_group(&mut child)?;
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn end_group(child: &mut Child) -> io::Result<()> {
    let group = rustix::process::Pid::from_child(child);
    // It may have ended in the meantime, which is what is wanted.
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    child.wait().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn gives_the_status() {
        let status = to_the_end(Command::new("sh").args(["-c", "exit 3"]), Hooks::QUIET)
            .expect("sh is there")
            .expect("nobody stopped it");
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn a_stopped_command_is_killed() {
        let start = Instant::now();
        let hooks = Hooks { cancelled: &|| start.elapsed() > Duration::from_millis(100), ..Hooks::QUIET };
        let ended = to_the_end(Command::new("sh").args(["-c", "sleep 600; true"]), hooks);
        assert!(ended.expect("sh is there").is_none());
        assert!(start.elapsed() < Duration::from_secs(300), "it was waited for");
    }
}
