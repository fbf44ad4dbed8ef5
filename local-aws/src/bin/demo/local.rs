//! The local AWS, made ready beside the build of the daemon.

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::screen::Screen;
use local_aws::{Hooks, MiniStack, Options, StartError};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

type Outcome = Result<MiniStack, StartError>;

/// A MiniStack that is being started by a thread. Dropping it stops that.
pub(crate) struct Preparation {
    thread: Option<JoinHandle<Outcome>>,
    progress: Receiver<String>,
    is_given_up: Arc<AtomicBool>,
}

impl Preparation {
    pub(crate) fn begin(folder: PathBuf, interrupt: &Interrupt) -> Self {
        let (sender, progress) = channel();
        let is_given_up = Arc::new(AtomicBool::new(false));
        let stop = Stop { is_given_up: Arc::clone(&is_given_up), interrupt: interrupt.clone() };
        Self { thread: Some(thread::spawn(move || start(folder, &sender, &stop))), progress, is_given_up }
    }

    /// Waits for it. Its progress shows only now, since cargo's progress bar had the terminal before.
    pub(crate) fn finish(mut self, screen: &Screen) -> Result<MiniStack, Failure> {
        while let Ok(text) = self.progress.recv() {
            screen.note(&text);
        }
        let thread = self.thread.take().ok_or(Failure::Panicked)?;
        match thread.join().map_err(|_| Failure::Panicked)? {
            Err(StartError::Cancelled) => Err(Failure::Interrupted),
            Err(StartError::Venv(local_aws::venv::EnsureError::Cancelled)) => Err(Failure::Interrupted),
            outcome => Ok(outcome?),
        }
    }
}

impl Drop for Preparation {
    fn drop(&mut self) {
        self.is_given_up.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A MiniStack that was started in the meantime is dropped here, hence stopped.
            let _ = thread.join();
        }
    }
}

struct Stop {
    is_given_up: Arc<AtomicBool>,
    interrupt: Interrupt,
}

fn start(folder: PathBuf, progress: &Sender<String>, stop: &Stop) -> Outcome {
    let hooks = Hooks {
        progress: &|text| {
            // Nobody listens any more if the demo is about to end.
            let _ = progress.send(text.to_owned());
        },
        cancelled: &|| stop.interrupt.came() || stop.is_given_up.load(Ordering::Relaxed),
    };
    MiniStack::start(&Options { folder: Some(folder), hooks, ..Options::default() })
}
