//! Each table is what happens to one replica, with the lease of 30 seconds: the second, what comes in, and what follows from it.

use super::*;

const ME: &str = "me";

fn at(seconds: f64) -> Moment {
    Moment::after_start(Duration::from_secs_f64(seconds))
}

fn lease(holder: &str, term: u64, renewal: u64) -> Lease {
    let holder = (!holder.is_empty()).then(|| holder.to_owned());
    Lease { holder, term, renewal, length: Duration::from_secs(30) }
}

fn found(holder: &str, term: u64, renewal: u64) -> Input {
    Input::Read(Some(Some(lease(holder, term, renewal))))
}

fn none() -> Input {
    Input::Read(Some(None))
}

fn write(over: (u64, u64), holder: &str, term: u64, renewal: u64) -> Effect {
    Effect::Write { over: Some(over), lease: lease(holder, term, renewal) }
}

fn standby(holder: &str) -> Effect {
    Effect::Stand(Standing::Standby { holder: (!holder.is_empty()).then(|| holder.to_owned()) })
}

fn active(term: u64, until: f64) -> Effect {
    Effect::Stand(Standing::Active { term, until: at(until) })
}

const OVER: Effect = Effect::Stand(Standing::Over);
const DONE: Input = Input::Written(Answer::Done);
const UNMET: Input = Input::Written(Answer::Unmet);
const UNKNOWN: Input = Input::Written(Answer::Unknown);

fn follow(steps: Vec<(f64, Input, Vec<Effect>)>) -> Machine {
    let mut machine = Machine::new(ME.to_owned(), Duration::from_secs(30));
    for (number, (second, input, expected)) in steps.into_iter().enumerate() {
        let told = format!("step {number}, at {second}: {input:?}");
        assert_eq!(machine.handle(input, at(second)), expected, "{told}");
        assert!(
            machine.next_wake().is_none_or(|wake| wake > at(second)),
            "{told}: it would be woken at once, again and again"
        );
    }
    machine
}

/// The first seconds of a replica that finds no lease.
fn taken() -> Vec<(f64, Input, Vec<Effect>)> {
    let first = Effect::Write { over: None, lease: lease(ME, 1, 0) };
    vec![
        (0.0, Input::Time, vec![standby(""), Effect::Read]),
        (0.1, none(), vec![first]),
        (0.2, DONE, vec![active(1, 30.1)]),
    ]
}

fn and(mut first: Vec<(f64, Input, Vec<Effect>)>, then: Vec<(f64, Input, Vec<Effect>)>) -> Machine {
    first.extend(then);
    follow(first)
}

#[test]
fn a_lease_that_nobody_holds_is_taken_and_renewed_at_a_third_of_it() {
    let machine = and(
        taken(),
        vec![
            (5.0, Input::Time, vec![]),
            (10.1, Input::Time, vec![write((1, 0), ME, 1, 1)]),
            (10.3, DONE, vec![active(1, 40.1)]),
            (20.1, Input::Time, vec![write((1, 1), ME, 1, 2)]),
            (20.2, DONE, vec![active(1, 50.1)]),
        ],
    );
    assert_eq!(machine.next_wake(), Some(at(20.1 + 10.0)));
}

#[test]
fn somebody_elses_lease_is_looked_at_once_a_second_and_taken_when_it_has_not_changed_for_its_whole_length() {
    let mut steps = vec![
        (0.0, Input::Time, vec![standby(""), Effect::Read]),
        (0.1, found("other", 7, 3), vec![standby("other")]),
        (1.1, Input::Time, vec![Effect::Read]),
        // A sign of life: the wait begins anew.
        (1.2, found("other", 7, 4), vec![]),
    ];
    for second in 2..31 {
        steps.push((f64::from(second) + 0.2, Input::Time, vec![Effect::Read]));
        steps.push((f64::from(second) + 0.2, found("other", 7, 4), vec![]));
    }
    steps.extend([(31.2, Input::Time, vec![write((7, 4), ME, 8, 0)]), (31.3, DONE, vec![active(8, 61.2)])]);
    follow(steps);
}

#[test]
fn the_longer_of_two_lengths_is_waited_for() {
    let longer = Lease { length: Duration::from_secs(60), ..lease("other", 1, 0) };
    let machine = follow(vec![
        (0.0, Input::Time, vec![standby(""), Effect::Read]),
        (0.1, Input::Read(Some(Some(longer))), vec![standby("other")]),
        (31.0, Input::Time, vec![Effect::Read]),
    ]);
    assert_eq!(machine.expiry(), Some(at(60.1)));
}

#[test]
fn of_two_that_take_an_ended_lease_the_second_goes_on_waiting() {
    follow(vec![
        (0.0, Input::Time, vec![standby(""), Effect::Read]),
        (0.1, found("other", 1, 5), vec![standby("other")]),
        (30.1, Input::Time, vec![write((1, 5), ME, 2, 0)]),
        (30.2, UNMET, vec![Effect::Read]),
        (30.3, found("third", 2, 0), vec![standby("third")]),
        (31.3, Input::Time, vec![Effect::Read]),
        (31.4, found("third", 2, 0), vec![]),
    ]);
}

#[test]
fn one_that_cannot_take_an_ended_lease_looks_again_first_once_a_second() {
    follow(vec![
        (0.0, Input::Time, vec![standby(""), Effect::Read]),
        (0.1, found("other", 1, 5), vec![standby("other")]),
        (30.1, Input::Time, vec![write((1, 5), ME, 2, 0)]),
        (35.1, UNKNOWN, vec![Effect::Read]),
        (40.1, Input::Read(None), vec![]),
        (41.1, Input::Time, vec![Effect::Read]),
        (46.1, Input::Read(None), vec![]),
        (47.1, Input::Time, vec![Effect::Read]),
        (47.2, found("other", 1, 5), vec![write((1, 5), ME, 2, 0)]),
    ]);
}

#[test]
fn a_lease_that_was_given_back_is_taken_at_the_next_look() {
    follow(vec![
        (0.0, Input::Time, vec![standby(""), Effect::Read]),
        (0.1, found("other", 3, 9), vec![standby("other")]),
        (1.1, Input::Time, vec![Effect::Read]),
        (1.2, found("", 3, 10), vec![standby(""), write((3, 10), ME, 4, 0)]),
        (1.3, DONE, vec![active(4, 31.2)]),
    ]);
}

#[test]
fn a_renewal_whose_answer_was_lost_is_read_before_it_is_tried_again() {
    // It was made.
    and(
        taken(),
        vec![
            (10.1, Input::Time, vec![write((1, 0), ME, 1, 1)]),
            (15.0, UNKNOWN, vec![Effect::Read]),
            (15.1, found(ME, 1, 1), vec![active(1, 40.1)]),
            (20.1, Input::Time, vec![write((1, 1), ME, 1, 2)]),
        ],
    );
    // It was not, and the second try is.
    and(
        taken(),
        vec![
            (10.1, Input::Time, vec![write((1, 0), ME, 1, 1)]),
            (15.0, UNKNOWN, vec![Effect::Read]),
            (15.1, found(ME, 1, 0), vec![write((1, 0), ME, 1, 1)]),
            (15.2, DONE, vec![active(1, 45.1)]),
        ],
    );
    // It came after it was looked for. The lease counts from the first try.
    and(
        taken(),
        vec![
            (10.1, Input::Time, vec![write((1, 0), ME, 1, 1)]),
            (15.0, UNKNOWN, vec![Effect::Read]),
            (15.1, found(ME, 1, 0), vec![write((1, 0), ME, 1, 1)]),
            (15.2, UNMET, vec![Effect::Read]),
            (15.3, found(ME, 1, 1), vec![active(1, 40.1)]),
        ],
    );
}

#[test]
fn a_replica_that_cannot_renew_stands_by_when_its_lease_ends_and_takes_it_again_if_nobody_did() {
    and(
        taken(),
        vec![
            (10.1, Input::Time, vec![write((1, 0), ME, 1, 1)]),
            (20.0, UNKNOWN, vec![Effect::Read]),
            (29.0, Input::Read(None), vec![]),
            (30.1, Input::Time, vec![standby(""), Effect::Read]),
            (35.0, Input::Read(None), vec![]),
            (36.0, Input::Time, vec![Effect::Read]),
            (36.1, found(ME, 1, 0), vec![standby(ME), write((1, 0), ME, 2, 0)]),
            (36.2, DONE, vec![active(2, 66.1)]),
        ],
    );
}

#[test]
fn a_process_that_was_stopped_beyond_its_lease_stands_by_before_anything_else() {
    and(
        taken(),
        vec![
            (100.0, Input::Time, vec![standby(""), Effect::Read]),
            (100.1, found("other", 2, 4), vec![standby("other")]),
        ],
    );
    // In the middle of a renewal, which the answer says was made in time; nobody knows what has happened since.
    and(
        taken(),
        vec![(10.1, Input::Time, vec![write((1, 0), ME, 1, 1)]), (100.0, DONE, vec![standby(""), Effect::Read])],
    );
    // In the middle of taking it.
    follow(vec![
        (0.0, Input::Time, vec![standby(""), Effect::Read]),
        (0.1, none(), vec![Effect::Write { over: None, lease: lease(ME, 1, 0) }]),
        (100.0, DONE, vec![Effect::Read]),
    ]);
}

#[test]
fn a_transaction_that_the_fence_held_off_has_the_lease_looked_at() {
    and(taken(), vec![(2.0, Input::Fenced, vec![Effect::Read]), (2.1, found("other", 2, 0), vec![standby("other")])]);
    and(
        taken(),
        vec![
            (2.0, Input::Fenced, vec![Effect::Read]),
            (2.1, found(ME, 1, 0), vec![write((1, 0), ME, 1, 1)]),
            (2.2, DONE, vec![active(1, 32.1)]),
        ],
    );
}

#[test]
fn a_stop_gives_the_lease_back_and_makes_sure_of_that() {
    and(
        taken(),
        vec![(5.0, Input::Stop, vec![write((1, 0), "", 1, 1)]), (5.1, DONE, vec![OVER]), (6.0, Input::Time, vec![])],
    );
    and(
        taken(),
        vec![
            (5.0, Input::Stop, vec![write((1, 0), "", 1, 1)]),
            (6.0, UNKNOWN, vec![Effect::Read]),
            (6.1, found(ME, 1, 0), vec![write((1, 0), "", 1, 1)]),
            (6.2, UNMET, vec![Effect::Read]),
            (6.3, found("", 1, 1), vec![OVER]),
        ],
    );
    // A standby has nothing to give back; one that is just taking the lease waits for that first.
    follow(vec![
        (0.0, Input::Time, vec![standby(""), Effect::Read]),
        (0.1, none(), vec![Effect::Write { over: None, lease: lease(ME, 1, 0) }]),
        (0.2, Input::Stop, vec![]),
        (0.3, DONE, vec![active(1, 30.1), write((1, 0), "", 1, 1)]),
        (0.4, DONE, vec![OVER]),
    ]);
    follow(vec![
        (0.0, Input::Time, vec![standby(""), Effect::Read]),
        (0.1, found("other", 1, 0), vec![standby("other")]),
        (0.2, Input::Stop, vec![OVER]),
    ]);
}
