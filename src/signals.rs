//! Signals, turned into messages: SIGTERM and SIGINT stop, a second one forces, SIGHUP reloads.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::mpsc;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Stop when what is under way is written down; asked again: stop now.
    Stop,
    /// Read the configuration again.
    Reload,
}

/// Listens for signals from here on, on a thread of its own.
///
/// # Errors
/// The signals cannot be taken over.
pub fn listen() -> io::Result<mpsc::UnboundedReceiver<Wish>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (wishes, receiver) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let wish = if signal == SIGHUP { Wish::Reload } else { Wish::Stop };
            if wishes.send(wish).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}
