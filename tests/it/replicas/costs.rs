//! What replicas cost: the requests that DynamoDB would bill, counted.

use std::sync::Arc;
use std::time::Duration;

use ecs_deployd::aws::table::{Attribute, Change, Item};
use ecs_deployd::domain::state::{SharedMap, State};
use ecs_deployd::domain::types::{EcsName, ServiceKey};
use ecs_deployd::lease::Fence;
use ecs_deployd::state_store::table::{TableStore, read};
use ecs_deployd::state_store::{Loaded, Store as _};

use crate::world::{Door, Frozen, REAL_PAGE, Units};

use super::Life;

/// The price of a million units in us-east-1, on demand, in dollars.
const READS: f64 = 0.125;
const WRITES: f64 = 0.625;

fn dollars(units: Units, times: f64) -> f64 {
    let price = |units: usize, a_million: f64| f64::from(u32::try_from(units).unwrap()) * a_million / 1e6;
    times * (price(units.read, READS) + price(units.write, WRITES))
}

fn anybody() -> Door {
    Door { replica: 99, frozen: Frozen::default() }
}

#[tokio::test(start_paused = true)]
async fn two_idle_replicas_cost_less_than_a_dollar_a_month_and_a_push_next_to_nothing() {
    let mut life = Life::new(1, 2, false);
    life.table.set_page(REAL_PAGE);
    life.start(0);
    life.spend(5).await;
    life.start(1);
    life.spend(300).await;
    let _ = (life.table.take_requests(), life.table.take_units());
    life.spend(3600).await;
    let (requests, units) = (life.table.take_requests(), life.table.take_units());
    let month = dollars(units, 730.0);
    eprintln!("an idle hour of two replicas: {requests:?}, {units:?}; {month:.2} USD a month");
    assert!(month < 1.0, "{month}");
    // A standby asks nobody but the table.
    assert!(life.world.calls().iter().all(|call| call.replica != Some(1)), "{:#?}", life.world.calls());
    // Of the standby: one look a second. Of the active one: the renewals, the looks for commands, and a cursor a minute.
    assert!((3_500..3_700).contains(&requests["GetItem"]), "{requests:?}");
    assert!((1_700..1_810).contains(&requests["Query"]), "{requests:?}");
    assert!((355..365).contains(&requests["PutItem"]), "{requests:?}");
    assert!(requests["TransactWriteItems"] <= 62, "{requests:?}");
    life.push().await;
    life.spend(600).await;
    let (requests, all) = (life.table.take_requests(), life.table.take_units());
    let idle = |of_an_hour: usize| of_an_hour * 601 / 3600;
    let push =
        Units { read: all.read.saturating_sub(idle(units.read)), write: all.write.saturating_sub(idle(units.write)) };
    let cost = dollars(push, 1.0);
    eprintln!(
        "a push to three services, of which one has a task: {requests:?} in ten minutes, {push:?} beyond those of idleness: {cost:.6} USD"
    );
    assert!(push.write < 600, "{push:?}");
}

#[tokio::test(start_paused = true)]
async fn a_takeover_with_ten_thousand_services_reads_them_once() {
    let mut life = Life::new(1, 1, false);
    life.start(0);
    life.spend(5).await;
    for _ in 0..4 {
        life.push().await;
        life.spend(400).await;
    }
    life.replicas[0].take().unwrap().stop().await;
    let table = life.table.door(anybody());
    let known = read(table.as_ref()).await.unwrap().state;
    let (_, service) = known.services.iter().next().unwrap();
    let many = (0..10_000).map(|number| {
        let name = EcsName::parse(&format!("a-service-with-a-name-{number:05}")).unwrap();
        let key = known.services.keys().next().unwrap();
        (ServiceKey { service: name, ..key.clone() }, service.clone())
    });
    let mut state = State { services: many.collect::<SharedMap<_, _>>(), ..known.clone() };
    state.bound_history();
    let fence = Fence { holder: "me".to_owned(), term: 9 };
    let lease = Item::new(
        Fence::key(),
        [
            ("holder", Attribute::Text(fence.holder.clone())),
            ("term", Attribute::Number(9)),
            ("renewal", Attribute::Number(0)),
            ("lease_ms", Attribute::Number(30_000)),
        ],
    );
    table.write(&Change::Put(lease, None)).await.unwrap();
    life.table.set_page(REAL_PAGE);
    let clock = Arc::new(life.world.clock());
    let (store, _) = TableStore::open(Arc::clone(&table), fence.clone(), None, clock.clone()).await.unwrap();
    let _ = (life.table.take_requests(), life.table.take_units());
    Arc::new(store).commit(state.clone()).await.unwrap();
    let (requests, units) = (life.table.take_requests(), life.table.take_units());
    eprintln!(
        "10 000 services are written for the first time: {requests:?}, {units:?}, {:.4} USD",
        dollars(units, 1.0)
    );
    let begun = ecs_deployd::clock::instant();
    let (store, found) = TableStore::open(Arc::clone(&table), fence, None, clock).await.unwrap();
    let (requests, units) = (life.table.take_requests(), life.table.take_units());
    let took = begun.elapsed();
    eprintln!("and read at a takeover: {requests:?}, {units:?}, {:.6} USD, {took:.1?} of waiting", dollars(units, 1.0));
    let Loaded::State(read) = found else { panic!("the table holds no state") };
    assert_eq!(read.services.keys().count(), 10_000);
    assert!(requests["Query"] < 30 && took < Duration::from_secs(5), "{requests:?} {took:?}");
    // One service more to deploy costs what one of three does.
    let key = read.services.keys().nth(5_000).unwrap().clone();
    let mut state = *read;
    state.services.get_mut(&key).unwrap().deployed = None;
    Arc::new(store).commit(state).await.unwrap();
    let (requests, units) = (life.table.take_requests(), life.table.take_units());
    eprintln!("one of them changes: {requests:?}, {units:?}");
    assert!(requests["TransactWriteItems"] == 1 && units.write <= 16, "{requests:?} {units:?}");
}
