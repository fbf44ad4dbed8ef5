//! What the state keeps of what happened: the outcomes and the commands of operators, and how many of them.

use jiff::Timestamp;

use super::{CommandRecord, OperatorCommand, Outcome, ServiceState, State};

/// Outcomes kept for each service, and commands of operators.
const HISTORY: usize = 20;
/// Outcomes kept for all services together, and as many commands of operators, so that the state of a large installation stays small.
const HISTORY_IN_ALL: usize = 2_000;

impl State {
    /// Forgets the oldest outcomes, and the oldest commands of operators, beyond the bound for all services together.
    pub fn bound_history(&mut self) {
        let ends = |known: &ServiceState| known.history.iter().map(|outcome| outcome.ended_at).collect::<Vec<_>>();
        if let Some(cut) = self.oldest_kept(|known| known.history.len(), ends) {
            let is_old = |outcome: &Outcome| outcome.ended_at < cut;
            let has_old = |known: &ServiceState| known.history.iter().any(is_old);
            self.change_those(has_old, |known| known.history.retain(|outcome| !is_old(outcome)));
        }
        let given = |known: &ServiceState| known.forgettable().map(|given| given.at).collect::<Vec<_>>();
        if let Some(cut) = self.oldest_kept(|known| known.forgettable().count(), given) {
            let has_old = |known: &ServiceState| known.forgettable().any(|given| given.at < cut);
            self.change_those(has_old, |known| {
                let last_release = known.last_release();
                known.commands.retain(|given| given.at >= cut || Some(given.at) == last_release);
            });
        }
    }

    /// The time of the oldest one that is kept, where there are too many.
    fn oldest_kept(
        &self,
        count: impl Fn(&ServiceState) -> usize,
        times: impl Fn(&ServiceState) -> Vec<Timestamp>,
    ) -> Option<Timestamp> {
        let too_many = self.services.values().map(count).sum::<usize>().checked_sub(HISTORY_IN_ALL)?;
        if too_many == 0 {
            return None;
        }
        let mut all: Vec<Timestamp> = self.services.values().flat_map(times).collect();
        Some(*all.select_nth_unstable(too_many).1)
    }

    fn change_those(&mut self, which: impl Fn(&ServiceState) -> bool, change: impl Fn(&mut ServiceState)) {
        let those = self.services.iter().filter(|(_, known)| which(known));
        for key in those.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            if let Some(known) = self.services.get_mut(&key) {
                change(known);
            }
        }
    }
}

impl ServiceState {
    /// Writes an outcome into the history.
    pub fn remember(&mut self, outcome: Outcome) {
        self.history.push_front(outcome);
        self.history.truncate(HISTORY);
    }

    /// Writes down a command of an operator. Beyond the bound the oldest one is forgotten that is not the last release.
    pub fn note_command(&mut self, given: CommandRecord) {
        self.commands.push_front(given);
        if self.commands.len() > HISTORY {
            let last_release = self.last_release();
            let oldest = self.commands.iter().rposition(|given| Some(given.at) != last_release);
            oldest.map(|place| self.commands.remove(place));
        }
    }

    /// When an operator last released the service: what runs has to prove itself from there on.
    #[must_use]
    pub fn last_release(&self) -> Option<Timestamp> {
        self.commands.iter().find(|given| given.command == OperatorCommand::Release).map(|given| given.at)
    }

    /// The commands that may be forgotten for newer ones: all but the last release.
    fn forgettable(&self) -> impl Iterator<Item = &CommandRecord> {
        let last_release = self.last_release();
        self.commands.iter().filter(move |given| Some(given.at) != last_release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::types::ServiceKey;

    fn given(command: OperatorCommand, second: usize) -> CommandRecord {
        let at = Timestamp::from_second(i64::try_from(second).unwrap()).unwrap();
        CommandRecord { at, by: "alice".to_owned(), command, answer: "done".to_owned() }
    }

    #[test]
    fn the_last_release_of_a_service_stays_however_many_commands_follow() {
        let mut known = ServiceState::default();
        known.note_command(given(OperatorCommand::Release, 1));
        known.note_command(given(OperatorCommand::Release, 2));
        for second in 3..100 {
            known.note_command(given(OperatorCommand::Deploy, second));
        }
        let seconds: Vec<i64> = known.commands.iter().map(|given| given.at.as_second()).collect();
        assert_eq!((seconds.len(), seconds[0], seconds[18], seconds[19]), (HISTORY, 99, 81, 2));
        assert_eq!(known.last_release().unwrap().as_second(), 2);
    }

    #[test]
    fn commands_to_thousands_of_services_are_bounded_and_the_last_release_of_each_stays() {
        let key = |number: usize| ServiceKey::try_from(format!("default/web/service-{number:04}")).unwrap();
        let mut state = State::default();
        for number in 0..3_000 {
            let known = state.services.get_or_default(key(number));
            known.note_command(given(OperatorCommand::Release, 10 * number));
            known.note_command(given(OperatorCommand::Deploy, 10 * number + 1));
        }
        let kept = |state: &State, number: usize| -> Vec<&str> {
            state.services[&key(number)].commands.iter().map(|given| given.command.as_str()).collect()
        };
        state.bound_history();
        assert_eq!((kept(&state, 999), kept(&state, 1_000)), (vec!["release"], vec!["deploy", "release"]));
        let before = state.clone();
        state.bound_history();
        assert_eq!(state, before, "nothing goes where there are not too many");
    }
}
