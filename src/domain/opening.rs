//! The start of a context by a clock that turns out to be wrong.

use jiff::SignedDuration;

use super::state::State;

/// The clock was corrected by this much since the contexts began. A context whose first scan is not complete began by the clock as it was, so
/// its baseline moves along: by a clock that was ahead, pushes made after the start would count as made before it.
pub fn clock_corrected(state: &mut State, by: SignedDuration) {
    for context in state.contexts.values_mut().filter(|context| context.cursor.is_none()) {
        let second = context.baseline.checked_add(by).map(|moved| moved.as_second());
        if let Ok(Ok(moved)) = second.map(jiff::Timestamp::from_second) {
            context.baseline = moved;
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::state::ContextState;
    use crate::domain::types::ContextName;

    #[test]
    fn only_a_start_that_is_not_complete_moves() {
        let start: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let [opening, read] = ["opening", "read"].map(|name| ContextName::parse(name).unwrap());
        let mut state = State::default();
        state.contexts.insert(opening.clone(), ContextState::new(start));
        state.contexts.insert(read.clone(), ContextState { cursor: Some(start), ..ContextState::new(start) });
        clock_corrected(&mut state, SignedDuration::from_millis(-599_500));
        assert_eq!(state.contexts[&opening].baseline.to_string(), "2026-11-22T09:50:00Z");
        assert_eq!(state.contexts[&read].baseline, start);
    }
}
