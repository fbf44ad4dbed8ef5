//! The table against a table in memory that does what DynamoDB does with conditions, and fails when it is told to.

use std::sync::Mutex as StdMutex;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::aws::table::ItemPage;
use crate::clock::SystemClock;
use crate::domain::state::{ContextState, ServiceState, SharedMap};
use crate::domain::test_support::{at, event_id, push_ref, repository_key, service_key};
use crate::domain::types::{ContextName, RepositoryName};
use crate::state_store::{parse, properties, render};

/// What becomes of the next transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Made,
    /// It is made, and nobody hears of it.
    Lost,
    /// It is not made yet: it arrives after this many others.
    Late(usize),
    Throttled,
}

#[derive(Debug, Default)]
struct Memory {
    items: BTreeMap<ItemKey, Item>,
    fates: Vec<Fate>,
    late: Vec<(usize, Vec<Change>)>,
    transactions: Vec<Vec<Change>>,
}

#[derive(Debug, Default)]
struct Fake(StdMutex<Memory>);

impl Memory {
    fn holds(&self, key: &ItemKey, condition: Option<&Condition>) -> bool {
        let found = self.items.get(key);
        match condition {
            None => true,
            Some(Condition::Absent) => found.is_none(),
            Some(Condition::Holds(wanted)) => {
                found.is_some_and(|item| wanted.iter().all(|(name, value)| item.attributes.get(*name) == Some(value)))
            }
        }
    }

    fn apply(&mut self, changes: &[Change]) -> Written {
        let keys: std::collections::BTreeSet<&ItemKey> = changes.iter().map(Change::key).collect();
        assert_eq!(keys.len(), changes.len(), "two actions on one item");
        assert!(changes.len() <= TRANSACTION, "{} changes", changes.len());
        assert!(changes.iter().map(Change::size).sum::<usize>() < 4_000_000);
        let condition = |change: &Change| match change {
            Change::Put(_, condition) | Change::Delete(_, condition) => condition.clone(),
            Change::Check(_, condition) => Some(condition.clone()),
        };
        let unmet: Vec<usize> = changes
            .iter()
            .enumerate()
            .filter(|(_, change)| !self.holds(change.key(), condition(change).as_ref()))
            .map(|(place, _)| place)
            .collect();
        if !unmet.is_empty() {
            return Written::Unmet(unmet);
        }
        for change in changes {
            match change {
                Change::Put(item, _) => {
                    assert!(item.size() < 400_000, "{} has {} bytes", item.key, item.size());
                    self.items.insert(item.key.clone(), item.clone());
                }
                Change::Delete(key, _) => drop(self.items.remove(key)),
                Change::Check(..) => {}
            }
        }
        self.transactions.push(changes.to_vec());
        Written::Done
    }
}

fn error(fault: Fault) -> AwsError {
    AwsError { fault, ..AwsError::timed_out("dynamodb", "TransactWriteItems") }
}

#[async_trait]
impl Table for Fake {
    fn name(&self) -> &str {
        "replicas"
    }

    async fn describe(&self) -> Result<TableView, AwsError> {
        Err(error(Fault::Unavailable))
    }

    async fn get(&self, key: &ItemKey) -> Result<Option<Item>, AwsError> {
        Ok(self.0.lock().unwrap().items.get(key).cloned())
    }

    /// Three items a page, as long as there are few.
    async fn query(&self, pk: &str, after: Option<String>) -> Result<ItemPage, AwsError> {
        let memory = self.0.lock().unwrap();
        let most = if memory.items.len() < 1_000 { 3 } else { 1_000 };
        let from = ItemKey::new(pk, after.clone().unwrap_or_default());
        let rest = memory.items.range(from..).map(|(_, item)| item).take_while(|item| item.key.pk == pk);
        let items: Vec<Item> =
            rest.filter(|item| after.as_ref().is_none_or(|after| item.key.sk > *after)).take(most).cloned().collect();
        let next = items.last().filter(|_| items.len() == most).map(|item| item.key.sk.clone());
        Ok(ItemPage { items, next })
    }

    async fn write(&self, change: &Change) -> Result<Written, AwsError> {
        Ok(self.0.lock().unwrap().apply(std::slice::from_ref(change)))
    }

    async fn transact(&self, changes: &[Change]) -> Result<Written, AwsError> {
        let mut memory = self.0.lock().unwrap();
        for (left, _) in &mut memory.late {
            *left -= 1;
        }
        let fate = if memory.fates.is_empty() { Fate::Made } else { memory.fates.remove(0) };
        let answer = match fate {
            Fate::Made => Ok(memory.apply(changes)),
            Fate::Lost => {
                memory.apply(changes);
                Err(error(Fault::Unavailable))
            }
            Fate::Late(others) => {
                memory.late.push((others, changes.to_vec()));
                Err(error(Fault::Unavailable))
            }
            Fate::Throttled => Err(error(Fault::Throttled)),
        };
        let due: Vec<_> = std::mem::take(&mut memory.late);
        for (left, changes) in due {
            if left == 0 {
                memory.apply(&changes);
            } else {
                memory.late.push((left, changes));
            }
        }
        answer
    }
}

fn fence(term: u64) -> Fence {
    Fence { holder: format!("replica-{term}"), term }
}

/// The lease is taken.
fn lease(fake: &Fake, term: u64) {
    let Fence { holder, term } = fence(term);
    let attributes = [("holder", Attribute::Text(holder)), ("term", Attribute::Number(term))];
    fake.0.lock().unwrap().items.insert(Fence::key(), Item::new(Fence::key(), attributes));
}

async fn open(fake: &Arc<Fake>, term: u64) -> (Arc<TableStore>, Loaded) {
    let table: Arc<dyn Table> = Arc::<Fake>::clone(fake);
    let (store, found) = TableStore::open(table, fence(term), None, Arc::new(SystemClock)).await.unwrap();
    (Arc::new(store), found)
}

/// A table with a lease, and the store of its holder.
async fn begin() -> (Arc<Fake>, Arc<TableStore>) {
    let fake = Arc::new(Fake::default());
    lease(&fake, 1);
    let (store, found) = open(&fake, 1).await;
    assert_eq!(found, Loaded::Missing);
    (fake, store)
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(future)
}

/// As a file would hold it, whose text is what the state means.
fn text(state: &State) -> String {
    String::from_utf8(render(state)).unwrap()
}

fn state_of(found: Loaded) -> State {
    match found {
        Loaded::State(state) => *state,
        Loaded::Missing => panic!("the table holds no state"),
    }
}

/// The events that were read and can still be read again; those that were forgotten one by one may come again.
fn covers(read: &State, written: &State) -> bool {
    written.contexts.iter().all(|(name, context)| {
        context
            .seen
            .shared()
            .all(|(_, part)| part.iter().all(|(id, time)| read.contexts[name].seen.contains(id, *time)))
    })
}

fn without_seen(state: &State) -> State {
    let mut state = state.clone();
    state.contexts.values_mut().for_each(|context| context.seen = Default::default());
    state.audits.values_mut().for_each(|audit| audit.seen = Default::default());
    state
}

fn services(number: usize) -> State {
    let one = |number: usize| {
        let mut known = ServiceState::default();
        known.add_pending(&repository_key("hello"), push_ref(&format!("push-{number}"), "latest", 5));
        (service_key(&format!("service-{number:05}")), known)
    };
    let mut state = State { services: (0..number).map(one).collect::<SharedMap<_, _>>(), ..State::default() };
    let context = ContextState { cursor: Some(at(7)), ..ContextState::new(at(1)) };
    state.contexts.insert(ContextName::default(), context);
    state
}

#[test]
fn whatever_is_written_is_read_as_it_was_and_a_file_of_it_says_the_same() {
    let runner = &mut TestRunner::new(ProptestConfig::with_cases(64));
    runner
        .run(&properties::state(), |state| {
            wait(async {
                let (fake, store) = begin().await;
                store.commit(state.clone()).await.unwrap();
                let (_, found) = open(&fake, 1).await;
                // From a file into the table and back into a file.
                let back = state_of(found);
                prop_assert_eq!(text(&back), text(&state));
                prop_assert_eq!(parse(std::path::Path::new("x"), text(&back).as_bytes()).unwrap(), state);
                Ok(())
            })
        })
        .unwrap();
}

#[test]
fn from_any_state_to_any_other_the_items_follow() {
    let runner = &mut TestRunner::new(ProptestConfig::with_cases(64));
    let states = prop::collection::vec(properties::state(), 2..4);
    runner
        .run(&states, |states| {
            wait(async {
                let (fake, store) = begin().await;
                for state in &states {
                    Arc::clone(&store).commit(state.clone()).await.unwrap();
                    let read = state_of(open(&fake, 1).await.1);
                    prop_assert_eq!(text(&without_seen(&read)), text(&without_seen(state)));
                    prop_assert!(covers(&read, state));
                }
                Ok(())
            })
        })
        .unwrap();
}

#[test]
fn a_commit_writes_what_has_changed_and_nothing_else() {
    wait(async {
        let (fake, store) = begin().await;
        let mut state = services(10_000);
        Arc::clone(&store).commit(state.clone()).await.unwrap();
        fake.0.lock().unwrap().transactions.clear();
        let known = state.services.get_mut(&service_key("service-00500")).unwrap();
        known.add_pending(&repository_key("hello"), push_ref("another", "latest", 9));
        let context = state.contexts.get_mut(&ContextName::default()).unwrap();
        context.cursor = Some(at(10));
        context.seen.insert(event_id("another"), at(9));
        store.commit(state.clone()).await.unwrap();
        let written: Vec<String> =
            fake.0.lock().unwrap().transactions.concat().iter().map(|change| change.key().to_string()).collect();
        let expected = [
            "lease lease",
            "state meta",
            "state service/default/web/service-00500",
            "state seen/default/3000000/00000000000000000001",
            "state context/default",
        ];
        assert_eq!(written, expected);
        assert_eq!(text(&state_of(open(&fake, 1).await.1)), text(&state));
    });
}

#[test]
fn pushes_are_written_before_the_cursor_wherever_a_page_takes_several_transactions() {
    wait(async {
        for fails_at in 0..4 {
            let (fake, store) = begin().await;
            Arc::clone(&store).commit(State::default()).await.unwrap();
            let page = services(250);
            let mut fates = vec![Fate::Made; fails_at];
            fates.extend([Fate::Throttled; TRIES as usize]);
            fake.0.lock().unwrap().fates = fates;
            let failed = Arc::clone(&store).commit(page.clone()).await;
            assert_eq!(failed.is_err(), fails_at < 3, "three transactions");
            fake.0.lock().unwrap().fates.clear();
            // The replica dies, and another one reads what is there.
            let read = state_of(open(&fake, 1).await.1);
            let passed = read.contexts.values().any(|context| context.cursor.is_some());
            let written = read.services.keys().count();
            assert_eq!(passed, written == 250, "after {fails_at}: {written} services");
            // Or it goes on.
            store.commit(page.clone()).await.unwrap();
            assert_eq!(text(&state_of(open(&fake, 1).await.1)), text(&page));
        }
    });
}

#[test]
fn a_first_state_that_was_not_written_to_its_end_is_none() {
    wait(async {
        let (fake, store) = begin().await;
        fake.0.lock().unwrap().fates = [vec![Fate::Made], vec![Fate::Throttled; TRIES as usize]].concat();
        assert!(store.commit(services(150)).await.is_err());
        lease(&fake, 2);
        let (store, found) = open(&fake, 2).await;
        assert_eq!(found, Loaded::Missing);
        // What was left of it is gone afterwards.
        store.commit(services(3)).await.unwrap();
        assert_eq!(text(&state_of(open(&fake, 2).await.1)), text(&services(3)));
    });
}

#[test]
fn a_transaction_whose_answer_was_lost_does_not_come_after_a_later_one() {
    wait(async {
        for fate in [Fate::Lost, Fate::Late(1), Fate::Late(2), Fate::Late(3)] {
            let (fake, store) = begin().await;
            Arc::clone(&store).commit(services(1)).await.unwrap();
            let mut state = services(1);
            let add = |state: &mut State, event: &str, second| {
                let known = state.services.get_mut(&service_key("service-00000")).unwrap();
                known.add_pending(&repository_key("hello"), push_ref(event, "latest", second));
            };
            add(&mut state, "second", 20);
            fake.0.lock().unwrap().fates = vec![fate];
            assert!(Arc::clone(&store).commit(state.clone()).await.is_err());
            for (event, second) in [("third", 30), ("fourth", 40), ("fifth", 50)] {
                add(&mut state, event, second);
                Arc::clone(&store).commit(state.clone()).await.unwrap();
                assert_eq!(text(&state_of(open(&fake, 1).await.1)), text(&state), "{fate:?} and {event}");
            }
        }
    });
}

#[test]
fn a_replica_whose_lease_was_taken_writes_nothing() {
    wait(async {
        let (fake, store) = begin().await;
        Arc::clone(&store).commit(services(1)).await.unwrap();
        lease(&fake, 2);
        let before = fake.0.lock().unwrap().items.clone();
        let error = store.commit(services(300)).await.unwrap_err();
        assert!(matches!(error, StateStoreError::Table(TableError::Fenced { .. })), "{error}");
        assert_eq!(fake.0.lock().unwrap().items, before);
    });
}

#[test]
fn no_item_comes_near_the_limit_with_ten_thousand_repositories_and_pushes() {
    wait(async {
        let (fake, store) = begin().await;
        let mut state = services(10);
        let context = state.contexts.get_mut(&ContextName::default()).unwrap();
        let name = |number: usize| RepositoryName::parse(&format!("team/repository-{number:05}")).unwrap();
        context.followed = Some((0..10_000).map(|number| (name(number), at(1))).collect());
        for number in 0..10_000 {
            context.seen.insert(event_id(&format!("01234567-89ab-cdef-0123-4567{number:08}")), at(number % 500));
        }
        store.commit(state.clone()).await.unwrap();
        let largest = fake.0.lock().unwrap().items.values().map(Item::size).max().unwrap();
        assert!(largest < 100_000, "{largest} bytes");
        assert_eq!(text(&state_of(open(&fake, 1).await.1)), text(&state));
    });
}

#[test]
fn what_nobody_wrote_is_said_by_its_key_and_a_newer_state_is_left_alone() {
    wait(async {
        let (fake, store) = begin().await;
        store.commit(services(1)).await.unwrap();
        let put = |pk: &str, sk: &str, attributes: Vec<(&'static str, Attribute)>| {
            let key = ItemKey::new(pk, sk);
            fake.0.lock().unwrap().items.insert(key.clone(), Item::new(key, attributes));
        };
        put("state", "service/default/web/x", vec![("body", Attribute::Text("{".to_owned()))]);
        let error = read(fake.as_ref()).await.unwrap_err().to_string();
        assert!(
            error.contains("the item state service/default/web/x of the DynamoDB table replicas is corrupt"),
            "{error}"
        );
        let numbers = [("version", Attribute::Number(9)), ("sequence", Attribute::Number(1))];
        put("state", "meta", numbers.to_vec());
        let error = read(fake.as_ref()).await.unwrap_err();
        assert!(matches!(error, TableError::Newer { found: 9, .. }), "{error}");
    });
}

#[test]
fn four_ways_of_not_being_usable_are_four_messages() {
    let fake = Fake::default();
    let of = |fault| TableError::of(&fake, error(fault)).to_string();
    let messages = [of(Fault::NotFound), of(Fault::Denied), of(Fault::Throttled), of(Fault::Unavailable)];
    for (message, says) in messages.iter().zip(["there is no", "may not be used", "is throttled", "cannot be read"]) {
        assert!(message.contains("DynamoDB table replicas") && message.contains(says), "{message}");
    }
    let keys = |keys: &[(&str, &str)]| TableView {
        status: "ACTIVE".to_owned(),
        keys: keys.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect(),
    };
    assert!(keys(&[("pk", "S"), ("sk", "S")]).has_the_keys());
    for wrong in [&[("id", "S")][..], &[("pk", "S")], &[("pk", "S"), ("sk", "N")], &[("sk", "S"), ("pk", "S")]] {
        assert!(!keys(wrong).has_the_keys(), "{wrong:?}");
    }
}

#[test]
fn times_are_those_of_the_writer() {
    wait(async {
        let (fake, store) = begin().await;
        store.commit(services(1)).await.unwrap();
        let Contents { at, whole, .. } = read(fake.as_ref()).await.unwrap();
        let written: Timestamp = at.unwrap();
        assert!(whole && written > "2020-01-01T00:00:00Z".parse().unwrap());
    });
}
