//! Machines that are suspended: the lease goes on, and the monotonic clock does not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecs_deployd::aws;
use ecs_deployd::aws::Fault;
use ecs_deployd::clock::{self, Clock};
use ecs_deployd::domain::schedule::ScheduleName;
use ecs_deployd::domain::types::{ContextName, EcsName, ServiceKey};
use ecs_deployd::lease::{Fence, Keeper, Tenure, Watch};
use jiff::Timestamp;

use crate::harness::hello_world;
use crate::world::{Door, Frozen, SharedTable, World};

use super::replica::LEASE;

const SECOND: Duration = Duration::from_secs(1);

/// A clock whose machine is suspended when a test says so.
#[derive(Debug, Default)]
struct Suspending(Mutex<Duration>);

impl Suspending {
    /// The machine was suspended for so long, right now. The monotonic clock has not seen it.
    fn suspend(&self, span: Duration) {
        *self.0.lock().unwrap() += span;
    }
}

impl Clock for Suspending {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn suspended(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

fn tenure(clock: &Arc<Suspending>) -> Arc<Tenure> {
    let fence = Fence { holder: "one".to_owned(), term: 1 };
    let clock = Arc::<Suspending>::clone(clock);
    Arc::new(Tenure::new(fence, 30 * SECOND, clock::instant() + 30 * SECOND, clock))
}

#[tokio::test(start_paused = true)]
async fn a_lease_goes_on_while_the_machine_of_its_holder_is_suspended() {
    let (now, clock) = (clock::instant(), Arc::<Suspending>::default());
    clock.suspend(3600 * SECOND);
    let tenure = tenure(&clock);
    assert_eq!(tenure.end_of_a_write(), Some(now + 25 * SECOND), "what was before the lease does not count");
    clock.suspend(12 * SECOND);
    assert_eq!(tenure.end_of_a_write(), Some(now + 13 * SECOND), "the monotonic clock stood still meanwhile");
    clock.suspend(10 * SECOND);
    assert_eq!((tenure.end_of_a_write(), tenure.is_valid()), (None, true));
    clock.suspend(8 * SECOND);
    assert!(!tenure.is_valid());
    tenure.lasts_until(now + 30 * SECOND);
    assert_eq!(tenure.end_of_a_write(), Some(now + 25 * SECOND), "a renewal counts from its own moment");
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_machine_was_suspended_beyond_its_lease_stands_by_first() {
    let (table, clock) = (SharedTable::new(1), Arc::<Suspending>::default());
    let door = Door { replica: 0, frozen: Frozen::default() };
    let keeper = Keeper::start(table.door(door), "one".to_owned(), LEASE, Arc::<Suspending>::clone(&clock));
    let mut standing = keeper.standing();
    let is_active = |now: &Watch| matches!(now, Watch::Active(_));
    let Watch::Active(first) = standing.wait_for(is_active).await.unwrap().clone() else { unreachable!() };
    clock::sleep(12 * SECOND).await;
    assert!(first.is_valid() && first.end_of_a_write().is_some());
    clock.suspend(LEASE);
    assert!(!first.is_valid(), "at once, before anything else is done");
    // Nobody has taken it, so that it is taken anew: another term, in which everything is read again.
    let stands_by = standing.wait_for(|now| matches!(now, Watch::Standby { .. }));
    assert!(clock::within(LEASE, stands_by).await.is_some(), "it goes on as if the lease were its own");
    let Watch::Active(second) = standing.wait_for(is_active).await.unwrap().clone() else { unreachable!() };
    assert_eq!((first.fence().term, second.fence().term), (1, 2));
    assert!(!first.is_valid() && second.is_valid());
    // What the machine was suspended for before does not shorten the new lease.
    clock::sleep(300 * SECOND).await;
    assert!(matches!(&*standing.borrow(), Watch::Active(held) if held.fence().term == 2));
}

/// ECS as a replica reaches it that is frozen, or not.
fn hello(clock: &Arc<Suspending>) -> (World, aws::Contexts, Frozen) {
    let (world, _, _) = hello_world();
    let frozen = Frozen::default();
    let contexts = world.for_replica(Door { replica: 0, frozen: frozen.clone() }).contexts();
    (world, aws::fenced(contexts, &tenure(clock)), frozen)
}

#[tokio::test(start_paused = true)]
async fn a_write_that_a_suspension_held_up_is_not_sent_when_the_lease_is_over() {
    let name = |text: &str| EcsName::parse(text).unwrap();
    for (suspended, is_sent) in [(10 * SECOND, true), (25 * SECOND, false)] {
        let clock = Arc::<Suspending>::default();
        let (world, contexts, frozen) = hello(&clock);
        let ecs = Arc::clone(&contexts.values().next().unwrap().ecs);
        let revision = ecs.describe_task_definition("hello").await.unwrap().arn().clone();
        world.forget_calls();
        frozen.set(true);
        let update = tokio::spawn(async move { ecs.update_service(&name("web"), &name("hello"), &revision).await });
        // It was decided, and what is to be sent waits.
        clock::sleep(SECOND).await;
        clock.suspend(suspended);
        frozen.set(false);
        let answer = update.await.unwrap();
        let sent = world.count().contains_key("UpdateService");
        assert_eq!((sent, answer.is_ok()), (is_sent, is_sent), "suspended for {suspended:?}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_begun_is_called_by_the_action_that_it_would_have_been() {
    let clock = Arc::<Suspending>::default();
    let (_, contexts, _) = hello(&clock);
    let ecs = Arc::clone(&contexts.values().next().unwrap().ecs);
    let revision = ecs.describe_task_definition("hello").await.unwrap().arn().clone();
    clock.suspend(29 * SECOND);
    let name = |text: &str| EcsName::parse(text).unwrap();
    let schedule = |name: ScheduleName| {
        let key = ServiceKey::of_schedule(ContextName::parse("default").unwrap(), &name);
        (key.cluster, key.service)
    };
    for ((cluster, service), action) in [
        ((name("web"), name("hello")), "ecs:UpdateService"),
        (schedule(ScheduleName::scheduler("nightly").unwrap()), "scheduler:UpdateSchedule"),
        (schedule(ScheduleName::rule("nightly").unwrap()), "events:PutTargets"),
    ] {
        let refused = ecs.update_service(&cluster, &service, &revision).await.unwrap_err();
        assert_eq!((refused.action().as_str(), refused.fault), (action, Fault::Throttled));
    }
}
