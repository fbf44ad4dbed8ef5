//! Orders through the table: answered by whoever is active, and never carried out once they are withdrawn.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ecs_deployd::aws::AwsError;
use ecs_deployd::aws::table::{Attribute, Change, Item, ItemKey, ItemPage, Table, TableView, Written};
use ecs_deployd::domain::operator_command::OperatorCommand;
use ecs_deployd::table_commands::{self, Told};

use crate::world::{Door, Frozen};

use super::Life;
use super::replica::LEASE;

/// Somebody's way to the table who is no replica.
fn anybody(life: &Life) -> Arc<dyn Table> {
    life.table.door(Door { replica: 99, frozen: Frozen::default() })
}

#[tokio::test(start_paused = true)]
async fn a_command_is_answered_within_seconds_and_withdrawn_where_nobody_is_active() {
    let mut life = Life::new(1, 1, false);
    let table = life.table.door(Door { replica: 99, frozen: Frozen::default() });
    let give = |id: &'static str, command: OperatorCommand| {
        let table = Arc::clone(&table);
        async move {
            table_commands::give(table.as_ref(), LEASE, id, "web/hello".to_owned(), command, "arn (bob)".to_owned())
                .await
        }
    };
    let begun = ecs_deployd::clock::instant();
    let nobody = give("one", OperatorCommand::Deploy).await.unwrap_err().to_string();
    assert!(nobody.starts_with("no active replica answers within"), "{nobody}");
    assert!(begun.elapsed() <= LEASE + Duration::from_secs(12), "{:?}", begun.elapsed());
    // What was withdrawn is not carried out later.
    life.start(0);
    life.spend(30).await;
    let begun = ecs_deployd::clock::instant();
    let told = give("two", OperatorCommand::Hold { reason: Some("fair".to_owned()) }).await.unwrap();
    assert!(matches!(&told, Told::Done(text) if text.contains("held")), "{told:?}");
    assert!(begun.elapsed() <= Duration::from_secs(5), "{:?}", begun.elapsed());
    let refused = give("three", OperatorCommand::Deploy).await.unwrap();
    assert!(matches!(&refused, Told::Refused(text) if text.contains("bob")), "{refused:?}");
    // One whose giver died before anybody took it is not carried out by a replica that comes later.
    life.replicas[0].take().unwrap().stop().await;
    let abandoned = tokio::spawn(give("four", OperatorCommand::Release));
    life.spend(2).await;
    abandoned.abort();
    life.start(0);
    life.spend(60).await;
    let refused = give("five", OperatorCommand::Deploy).await.unwrap();
    assert!(matches!(&refused, Told::Refused(_)), "the release was not carried out: {refused:?}");
    // One that was taken by a replica which is gone is not waited for any longer.
    let gone = tokio::spawn(give("six", OperatorCommand::Release));
    ecs_deployd::clock::sleep(Duration::from_millis(100)).await;
    let taken = Item::new(
        ItemKey::new("orders", "six"),
        [
            ("body", Attribute::Text("{}".to_owned())),
            ("state", Attribute::Text("taken".to_owned())),
            ("beat", Attribute::Number(0)),
            ("term", Attribute::Number(1)),
        ],
    );
    table.write(&Change::Put(taken, None)).await.unwrap();
    let begun = ecs_deployd::clock::instant();
    let gone = gone.await.unwrap().unwrap_err().to_string();
    assert!(gone.starts_with("the replica that took the command ended before it answered"), "{gone}");
    assert!(begun.elapsed() <= Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// A way on which the first write gets stuck.
#[derive(Debug)]
struct Stuck {
    table: Arc<dyn Table>,
    first: Mutex<Option<Change>>,
}

#[async_trait]
impl Table for Stuck {
    fn name(&self) -> &str {
        self.table.name()
    }

    async fn describe(&self) -> Result<TableView, AwsError> {
        self.table.describe().await
    }

    async fn get(&self, key: &ItemKey) -> Result<Option<Item>, AwsError> {
        self.table.get(key).await
    }

    async fn query(&self, pk: &str, after: Option<String>) -> Result<ItemPage, AwsError> {
        self.table.query(pk, after).await
    }

    async fn write(&self, change: &Change) -> Result<Written, AwsError> {
        let is_first = self.first.lock().unwrap().is_none();
        if is_first {
            *self.first.lock().unwrap() = Some(change.clone());
            return Err(AwsError::timed_out("dynamodb", "PutItem"));
        }
        self.table.write(change).await
    }

    async fn transact(&self, changes: &[Change]) -> Result<Written, AwsError> {
        self.table.transact(changes).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_arrives_after_it_was_withdrawn_is_not_carried_out() {
    let mut life = Life::new(1, 1, false);
    life.start(0);
    life.spend(30).await;
    let table = anybody(&life);
    let stuck = Stuck { table: Arc::clone(&table), first: Mutex::default() };
    let hold = OperatorCommand::Hold { reason: Some("late".to_owned()) };
    let nobody =
        table_commands::give(&stuck, LEASE, "late", "web/hello".to_owned(), hold, "arn (bob)".to_owned()).await;
    let nobody = nobody.unwrap_err().to_string();
    assert!(nobody.contains("the command is withdrawn, and nothing is done"), "{nobody}");
    life.spend(60).await;
    // What gave the command comes through after all.
    let late = stuck.first.lock().unwrap().clone().unwrap();
    assert_eq!(table.write(&late).await.unwrap(), Written::Unmet(vec![0]));
    life.spend(60).await;
    let deploy = OperatorCommand::Deploy;
    let told =
        table_commands::give(&*table, LEASE, "next", "web/hello".to_owned(), deploy, "arn (bob)".to_owned()).await;
    let told = told.unwrap();
    assert!(matches!(&told, Told::Done(_)), "the service is not held: {told:?}");
    // Its place is kept for longer than AWS takes a request that was signed before, and not for ever.
    life.spend(12 * 60).await;
    assert!(table.get(late.key()).await.unwrap().is_some());
    life.spend(2 * 60).await;
    assert_eq!(table.get(late.key()).await.unwrap(), None);
}
