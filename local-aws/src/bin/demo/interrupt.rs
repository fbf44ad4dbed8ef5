//! Ctrl-C: everything that waits looks here, so that everything that was started is stopped.

use crate::failure::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often the demo was asked to stop.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    count: Arc<AtomicUsize>,
}

impl Interrupt {
    /// From now on signals are counted and do not end the process.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Failure::io("listen for signals"))?;
        let this = Self::default();
        let count = Arc::clone(&this.count);
        thread::spawn(move || {
            for _ in signals.forever() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(this)
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn came(&self) -> bool {
        self.count() > 0
    }

    /// Fails if the demo was asked to stop.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.came() {
            return Err(Failure::Interrupted);
        }
        Ok(())
    }

    /// Waits for the time between two looks.
    pub(crate) fn pause(&self) -> Result<(), Failure> {
        self.check()?;
        thread::sleep(LOOK_EVERY);
        self.check()
    }

    /// Waits for a moment.
    pub(crate) fn pause_until(&self, moment: Instant) -> Result<(), Failure> {
        while Instant::now() < moment {
            self.pause()?;
        }
        self.check()
    }
}
