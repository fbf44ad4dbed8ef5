//! Processes that are frozen.

use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::rng::Rng;

/// Whether a process is frozen. What waits for its thaw goes on in an order that the seed gives, so that a life is the same whenever it is
/// lived: a `watch` channel wakes those who wait for it in an order of its own.
#[derive(Debug, Clone)]
pub struct Frozen(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    is: bool,
    waiting: Vec<Waker>,
    rng: Rng,
}

impl Default for Frozen {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Frozen {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State { is: false, waiting: Vec::new(), rng: Rng::new(seed) })))
    }

    pub fn is(&self) -> bool {
        self.0.lock().unwrap().is
    }

    pub fn set(&self, frozen: bool) {
        let mut state = self.0.lock().unwrap();
        state.is = frozen;
        if frozen {
            return;
        }
        let mut waiting = std::mem::take(&mut state.waiting);
        while !waiting.is_empty() {
            let next = state.rng.below(waiting.len() as u64);
            waiting.swap_remove(usize::try_from(next).unwrap()).wake();
        }
    }

    /// Waits until the process goes on.
    pub async fn thawed(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.0.lock().unwrap();
            if !state.is {
                return Poll::Ready(());
            }
            if !state.waiting.iter().any(|known| known.will_wake(context.waker())) {
                state.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
