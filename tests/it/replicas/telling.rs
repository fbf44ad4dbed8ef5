//! What a replica that lost its lease tells, and what it does not.

use std::collections::BTreeMap;
use std::time::Duration;

use ecs_deployd::aws::Fault;

use crate::world::{Health, World};

use super::replica::LEASE;
use super::{Life, OPS, SERVICES};

/// The results that were told, with how often.
fn told(life: &Life) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for message in life.world.messages(OPS) {
        *told.entry(message.id).or_default() += 1;
    }
    told
}

/// A replica that is active, one that stands by, and a push that begins to be rolled.
async fn rolling() -> Life {
    let mut life = Life::new(1, 2, false);
    life.start(0);
    life.spend(5).await;
    life.start(1);
    life.spend(5).await;
    push(&mut life).await;
    life
}

async fn push(life: &mut Life) {
    let before = life.world.count().get("UpdateService").copied().unwrap_or_default();
    life.push().await;
    life.world.set_health(life.pushed.last().unwrap(), Health::After(Duration::from_secs(3)));
    let first = |world: &World| world.count().get("UpdateService").is_some_and(|now| *now > before);
    life.world.until("a rollout", Duration::from_secs(600), first).await;
}

/// Cuts the first replica off from the table until the other one is active.
async fn lose(life: &mut Life) {
    life.table.set_cut(0, true);
    life.spend(LEASE.as_secs() + 5).await;
    let is_active = |number: usize| life.replicas[number].as_ref().unwrap().is_active();
    assert!(!is_active(0) && is_active(1));
}

/// The second replica ends, and the first one is active again.
async fn return_to_the_first(life: &mut Life) {
    life.table.set_cut(0, false);
    life.spend(5).await;
    life.replicas[1].take().unwrap().stop().await;
    life.spend(5).await;
    assert!(life.replicas[0].as_ref().unwrap().is_active());
}

#[tokio::test(start_paused = true)]
async fn what_was_half_told_when_the_lease_was_lost_is_not_told_later() {
    let mut life = rolling().await;
    life.world.break_topic(OPS, Some(Fault::Unavailable));
    life.spend(300).await;
    assert!(life.world.count()["Publish"] > 3, "it tries to tell of what has completed");
    lose(&mut life).await;
    life.spend(15).await;
    // The receiver is there again, and so is the replica, which has more to tell by then.
    let tried = life.world.count()["Publish"];
    life.world.break_topic(OPS, None);
    life.spend(200).await;
    assert_eq!((life.world.count()["Publish"], told(&life)), (tried, BTreeMap::new()), "nobody tries any more");
    return_to_the_first(&mut life).await;
    push(&mut life).await;
    life.spend(300).await;
    let told = told(&life);
    assert_eq!(told.len(), SERVICES.len(), "of the second push alone: {told:?}");
    assert!(told.iter().all(|(id, times)| id.contains("/completed/") && *times == 1), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_replica_could_not_write_down_before_it_lost_the_lease_is_told_by_the_next_one_alone() {
    let mut life = rolling().await;
    let publishes = |life: &Life| -> Vec<Option<usize>> {
        let calls = life.world.calls();
        calls.iter().filter(|call| call.operation == "Publish").map(|call| call.replica).collect()
    };
    // It sees that they complete, and cannot write that down.
    lose(&mut life).await;
    assert_eq!(publishes(&life).iter().filter(|replica| **replica == Some(0)).count(), 0);
    life.spend(200).await;
    let by_the_next = vec![Some(1); SERVICES.len()];
    assert_eq!(publishes(&life), by_the_next);
    return_to_the_first(&mut life).await;
    life.spend(300).await;
    assert_eq!(publishes(&life), by_the_next, "nothing of it was kept");
    let told = told(&life);
    assert!(told.len() == SERVICES.len() && told.values().all(|times| *times == 1), "{told:?}");
}
