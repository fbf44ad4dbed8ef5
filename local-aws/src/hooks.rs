//! What a caller may see of something slow, and how it stops it.

use std::fmt;

/// What a caller may see of something slow, and how it stops it.
#[derive(Clone, Copy)]
pub struct Hooks<'a> {
    /// Is told in half a sentence what is happening now.
    pub progress: &'a dyn Fn(&str),
    /// Is asked several times a second; `true` ends the work with an error.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Hooks<'_> {
    /// Says nothing and never stops.
    pub const QUIET: Hooks<'static> = Hooks { progress: &|_| {}, cancelled: &|| false };
}

impl fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}
