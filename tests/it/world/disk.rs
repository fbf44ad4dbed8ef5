//! A disk: what was written is there while the machine runs, and only what was synced is sure to be there after it crashed.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ecs_deployd::clock;
use ecs_deployd::domain::state::State;
use ecs_deployd::state_store::{self, Folder, StateStore, StateStoreError, Store};

use super::rng::Rng;

/// A state file on a disk.
#[derive(Debug)]
pub struct Disk {
    inner: Arc<Mutex<Inner>>,
    state_store: StateStore<Simulated>,
}

#[derive(Debug)]
struct Simulated(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// What each file holds, by its number.
    files: BTreeMap<usize, File>,
    /// The names as they are, as long as the machine runs.
    names: Names,
    /// The names that are on the disk, and what was done to them since, in order. A journaling file system keeps the order.
    durable: Names,
    since: Vec<Names>,
    full: bool,
    /// Everything fails from this step of a commit on.
    dies_in: Option<u32>,
    /// How long commits take, if the disk is slow.
    slow: Option<Rng>,
    /// Every commit takes this long.
    stalled: Duration,
}

#[derive(Debug, Default)]
struct File {
    text: Vec<u8>,
    synced: bool,
}

/// File numbers by name.
#[derive(Debug, Default, Clone, Copy)]
struct Names {
    new: Option<usize>,
    state: Option<usize>,
    previous: Option<usize>,
}

impl Default for Disk {
    fn default() -> Self {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let state_store = StateStore::within(Simulated(Arc::clone(&inner)));
        Self { inner, state_store }
    }
}

impl Disk {
    pub fn set_full(&self, full: bool) {
        self.inner.lock().unwrap().full = full;
    }

    /// From now on commits take up to half a minute, or no time.
    pub fn set_slow(&self, slow: Option<Rng>) {
        self.inner.lock().unwrap().slow = slow;
    }

    /// From now on every commit takes this long.
    pub fn set_stalled(&self, stalled: Duration) {
        self.inner.lock().unwrap().stalled = stalled;
    }

    /// The state file is lost.
    pub fn lose(&self) {
        let mut inner = self.inner.lock().unwrap();
        *inner = Inner { slow: inner.slow.take(), ..Inner::default() };
    }

    /// A commit stops for good at this step, from 0.
    pub fn die_in(&self, step: u32) {
        self.inner.lock().unwrap().dies_in = Some(step);
    }

    /// Whether it did.
    pub fn died(&self) -> bool {
        self.inner.lock().unwrap().dies_in == Some(0)
    }

    /// The machine loses its power: of what was not synced anything may be left.
    pub fn crash(&self, rng: &mut Rng) {
        let mut inner = self.inner.lock().unwrap();
        inner.dies_in = None;
        for file in inner.files.values_mut().filter(|file| !file.synced) {
            let whole = file.text.len() as u64;
            let left = *rng.pick(&[0, whole / 2, whole.saturating_sub(1), whole]);
            file.text.truncate(usize::try_from(left).unwrap());
            file.synced = true;
        }
        let kept = usize::try_from(rng.below(inner.since.len() as u64 + 1)).unwrap();
        let names = kept.checked_sub(1).map_or(inner.durable, |last| inner.since[last]);
        inner.names = names;
        inner.durable = names;
        inner.since.clear();
    }

    /// The process died, and the machine runs on.
    pub fn outlive(&self) {
        self.inner.lock().unwrap().dies_in = None;
    }

    /// What a start finds.
    pub fn state(&self) -> Option<State> {
        let inner = self.inner.lock().unwrap();
        inner.names.state.map(|file| read(&inner.files[&file].text))
    }

    /// What is left in the worst case.
    pub fn durable_state(&self) -> Option<State> {
        let inner = self.inner.lock().unwrap();
        inner.durable.state.filter(|file| inner.files[file].synced).map(|file| read(&inner.files[&file].text))
    }
}

fn read(text: &[u8]) -> State {
    state_store::parse(Path::new("state.json"), text).unwrap_or_else(|error| panic!("{error}"))
}

#[async_trait]
impl Store for Disk {
    /// A slow disk takes its time before and after the moment of the commit. Who dies meanwhile does not know on which side.
    async fn commit(self: Arc<Self>, state: State) -> std::result::Result<(), StateStoreError> {
        let (before, after) = self.inner.lock().unwrap().takes();
        clock::sleep(before).await;
        let done = self.state_store.commit_here(&state);
        clock::sleep(after).await;
        done
    }
}

impl Inner {
    fn takes(&mut self) -> (Duration, Duration) {
        let Some(rng) = &mut self.slow else { return (self.stalled, Duration::ZERO) };
        let most = *rng.pick(&[10, 200, 3_000, 15_000]);
        (Duration::from_millis(rng.below(most)), Duration::from_millis(rng.below(most)))
    }

    fn step(&mut self) -> Result<()> {
        match &mut self.dies_in {
            Some(0) => Err(Error::from(ErrorKind::Interrupted)),
            Some(steps) => {
                *steps -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn rename(&mut self, change: impl FnOnce(&mut Names)) {
        change(&mut self.names);
        self.since.push(self.names);
    }
}

impl Folder for Simulated {
    fn write_new(&self, text: &[u8]) -> Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.step()?;
        let part = if inner.full { text.len() / 3 } else { text.len() };
        let file = inner.files.last_key_value().map_or(0, |(last, _)| last + 1);
        inner.files.insert(file, File { text: text[..part].to_vec(), synced: false });
        inner.rename(|names| names.new = Some(file));
        if inner.full { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync_new(&self) -> Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.step()?;
        let file = inner.names.new.ok_or(ErrorKind::NotFound)?;
        inner.files.get_mut(&file).ok_or(ErrorKind::NotFound)?.synced = true;
        Ok(())
    }

    fn keep_previous(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.rename(|names| names.previous = names.state);
    }

    fn replace(&self) -> Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.step()?;
        let file = inner.names.new.ok_or(ErrorKind::NotFound)?;
        inner.rename(|names| *names = Names { new: None, state: Some(file), ..*names });
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.step()?;
        inner.durable = inner.names;
        inner.since.clear();
        forget_unnamed(&mut inner);
        Ok(())
    }
}

/// Files that have no name any more are gone.
fn forget_unnamed(inner: &mut Inner) {
    let Names { new, state, previous } = inner.names;
    let named = [new, state, previous];
    inner.files.retain(|number, _| named.contains(&Some(*number)));
}
