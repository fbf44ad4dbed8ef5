//! The lease: which of several replicas is the active one (decision 41).
//!
//! It is one item of the table, with the holder, a term and a renewal number. The term changes when the lease is taken, and every
//! transaction of the state is made only as long as the term is that of the writer. The renewal number changes with each sign of life, so
//! that a renewal disturbs no transaction under way. The clocks of machines are never compared: whoever waits for a lease measures on its
//! own monotonic clock for how long the item has not changed.

mod keeper;
mod machine;
mod tenure;

pub(crate) use keeper::term_now;
pub use keeper::{Doubts, Keeper, Watch, holder_now, lost, seen_alive, stop_when_lost, this_process};
pub use machine::{Answer, Effect, Input, Lease, Machine, Standing};
pub use tenure::{Fence, Tenure};
