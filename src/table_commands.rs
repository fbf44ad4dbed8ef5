//! Operator commands through the table: they reach the active replica from any machine that may write the table.
//!
//! A command is an item. Whoever gives it keeps it fresh as long as they wait; the active replica takes it under the fence of its lease,
//! carries it out, and writes the answer into it. It is carried out once at most: one that was taken by a replica which is not there any more
//! is not taken again. One that is withdrawn stays as such for a while, so that a request which gave it and arrives late finds it and does
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use crate::aws::table::{Attribute, Change, Condition, Item, ItemKey, Table, Written};
use crate::aws::{AwsError, Fault};
use crate::clock::{self, Instant};
use crate::deployer::{CommandRequest, Request};
use crate::domain::operator_command::{OperatorCommand, Refused};
use crate::domain::printable::PrintableText;
use crate::domain::words::{Word as _, words};
use crate::lease::{self, Fence};

/// The partition of the commands.
const PARTITION: &str = "orders";
/// Commands are looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A command that comes up between two looks so close to each other was given just now.
const CLOSE: Duration = Duration::from_secs(10);
/// An answer that nobody has fetched within this time is thrown away.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// For so long a withdrawn command stays. AWS takes a request within five minutes of the time that it was signed with, and the clock of who
/// signed it may be five minutes ahead of AWS's (IAM User Guide, "AWS Signature Version 4 for API requests"): what arrives later is refused.
const WITHDRAWN_FOR: Duration = Duration::from_secs(15 * 60);
/// Tries to withdraw a command that is not as it was found a moment before.
const WITHDRAWALS: usize = 5;
/// A command is carried out within this: it may ask AWS first.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// The answer is looked for, and a sign of life is given, this often.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// An answer is waited for this long beyond the lease, where nobody takes the command.
const BEYOND_LEASE: Duration = Duration::from_secs(10);

/// What is to be done, as it stands in the item.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Body {
    service: PrintableText,
    #[serde(rename = "order")]
    command: OperatorCommand,
    by: PrintableText,
}

/// What came of it, likewise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// It is done, or on its way.
    Done(PrintableText),
    /// It is not done.
    Refused(PrintableText),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The table cannot be used.
    #[error("the command cannot be given through the DynamoDB table {table}{}", .source.remedy().map_or_else(String::new, |remedy| format!(": {remedy}")))]
    Table {
        /// The name of the table.
        table: String,
        /// How the call failed.
        source: AwsError,
    },
    /// No active replica took the command in time.
    #[error("no active replica answers within {}: the command is withdrawn, and nothing is done", humantime::format_duration(*.0))]
    NobodyTookIt(Duration),
    /// Somebody took it, and did not answer.
    #[error(
        "a replica took the command and has not answered in time: `ecs-deployd status` and its log tell what became of it"
    )]
    TakenAndSilent,
    /// Whoever took it is not active any more.
    #[error(
        "the replica that took the command ended before it answered: look at `ecs-deployd status`, and give the command again if it was not carried out"
    )]
    TakenAndGone,
}

words! {
    /// How far a command got.
    pub enum CommandStage {
        Waiting = "waiting", "Nobody has taken it.";
        Taken = "taken", "The active replica carries it out.";
        Answered = "answered", "The answer stands beside it.";
        Withdrawn = "withdrawn", "Whoever gave it does not wait any more.";
    }
}

/// A command as it is found.
#[derive(Debug, Clone)]
struct CommandItem {
    key: ItemKey,
    body: String,
    stage: CommandStage,
    beat: u64,
    /// The term of the replica that took it.
    term: Option<u64>,
    answer: Option<String>,
}

impl CommandItem {
    fn of(item: &Item) -> Option<Self> {
        Some(Self {
            key: item.key.clone(),
            body: item.text("body")?.to_owned(),
            stage: CommandStage::of(item.text("state")?)?,
            beat: item.number("beat")?,
            term: item.number("term"),
            answer: item.text("answer").map(str::to_owned),
        })
    }

    fn put(&self, only_if: Option<Condition>) -> Change {
        let mut attributes = vec![
            ("body", Attribute::Text(self.body.clone())),
            ("state", Attribute::Text(self.stage.to_string())),
            ("beat", Attribute::Number(self.beat)),
        ];
        attributes.extend(self.term.iter().map(|term| ("term", Attribute::Number(*term))));
        attributes.extend(self.answer.iter().map(|answer| ("answer", Attribute::Text(answer.clone()))));
        Change::Put(Item::new(self.key.clone(), attributes), only_if)
    }

    /// It is no further than it was.
    fn no_further(&self) -> Condition {
        Condition::Holds([("state", Attribute::Text(self.stage.to_string()))].into())
    }
}

/// Gives a command, and waits for what the active replica answers. `id` is a name that no other command has.
///
/// # Errors
/// The table cannot be used, or nobody answers.
pub async fn give(
    table: &dyn Table,
    lease: Duration,
    id: &str,
    service: String,
    command: OperatorCommand,
    by: String,
) -> Result<Told, Unanswered> {
    let failed = |source| Unanswered::Table { table: table.name().to_owned(), source };
    let body = Body { service: service.into(), command, by: by.into() };
    let body = serde_json::to_string(&body)
        .map_err(|error| failed(AwsError::unusable("dynamodb", "PutItem", error.to_string())))?;
    let key = ItemKey::new(PARTITION, id);
    let mut mine =
        CommandItem { key: key.clone(), body, stage: CommandStage::Waiting, beat: 0, term: None, answer: None };
    match table.write(&mine.put(Some(Condition::Absent))).await {
        // It may be there nevertheless, and is looked for.
        Err(error) if error.fault != Fault::Unavailable => return Err(failed(error)),
        Ok(_) | Err(_) => {}
    }
    let (begun, limit) = (clock::instant(), lease + BEYOND_LEASE);
    let mut taken_at: Option<Instant> = None;
    loop {
        clock::sleep(ASK_EVERY).await;
        // A table that does not answer once may do so the next time.
        let found = table.get(&key).await.ok().flatten().as_ref().and_then(CommandItem::of);
        match found.map(|found| (found.stage, found)) {
            Some((CommandStage::Answered, found)) => {
                let _ = table.write(&Change::Delete(key, None)).await;
                let told = found.answer.as_deref().and_then(|answer| serde_json::from_str(answer).ok());
                return told.ok_or(Unanswered::TakenAndSilent);
            }
            Some((CommandStage::Taken, found)) => {
                let since = *taken_at.get_or_insert_with(clock::instant);
                if since.elapsed() > ANSWER_WITHIN + limit {
                    return Err(Unanswered::TakenAndSilent);
                }
                if is_over(table, found.term).await {
                    // It may have answered right before its end.
                    let last = table.get(&key).await.ok().flatten().as_ref().and_then(CommandItem::of);
                    let told = last.and_then(|last| serde_json::from_str(last.answer.as_deref()?).ok());
                    let _ = table.write(&Change::Delete(key, None)).await;
                    return told.ok_or(Unanswered::TakenAndGone);
                }
                continue;
            }
            Some((CommandStage::Waiting | CommandStage::Withdrawn, _)) | None => {}
        }
        if begun.elapsed() > limit {
            return Err(withdraw(table, &mine, limit).await.unwrap_or_else(failed));
        }
        // A sign of life, unless it is taken by now. It does not matter if one of them is lost.
        mine.beat += 1;
        let _ = table.write(&mine.put(Some(mine.no_further()))).await;
    }
}

/// Whether the term of a replica is over, for sure.
async fn is_over(table: &dyn Table, term: Option<u64>) -> bool {
    match (lease::term_now(table).await, term) {
        (Ok(Some(now)), Some(term)) => now != term,
        (Ok(None) | Err(_), _) | (_, None) => false,
    }
}

/// Takes a command back that nobody took. It may have got lost, or be on its way still, so that its place is taken.
async fn withdraw(table: &dyn Table, mine: &CommandItem, waited: Duration) -> Result<Unanswered, AwsError> {
    let withdrawn = CommandItem { stage: CommandStage::Withdrawn, ..mine.clone() };
    for _ in 0..WITHDRAWALS {
        let condition = match table.get(&mine.key).await?.as_ref().and_then(CommandItem::of) {
            None => Condition::Absent,
            Some(found) => match found.stage {
                CommandStage::Waiting => found.no_further(),
                CommandStage::Withdrawn => return Ok(Unanswered::NobodyTookIt(waited)),
                CommandStage::Taken | CommandStage::Answered => return Ok(Unanswered::TakenAndSilent),
            },
        };
        match table.write(&withdrawn.put(Some(condition))).await {
            Ok(Written::Done) => return Ok(Unanswered::NobodyTookIt(waited)),
            // It has come up, or was taken, or the write was made and the answer lost: it is looked at again.
            Ok(Written::Unmet(_) | Written::Busy(_)) => {}
            Err(error) if error.fault == Fault::Unavailable => {}
            Err(error) => return Err(error),
        }
    }
    Err(AwsError::timed_out("dynamodb", "PutItem"))
}

/// Takes commands and has them carried out, as long as this replica is the active one.
pub async fn serve(table: Arc<dyn Table>, fence: Fence, asks: mpsc::Sender<Request>) {
    let mut desk = Desk { table, fence, asks, known: BTreeMap::new(), looked: None, warned: false };
    loop {
        desk.look().await;
        clock::sleep(LOOK_EVERY).await;
    }
}

struct Desk {
    table: Arc<dyn Table>,
    fence: Fence,
    asks: mpsc::Sender<Request>,
    /// The commands that were there at the last look, with their signs of life and since when they are known.
    known: BTreeMap<String, (u64, Instant)>,
    looked: Option<Instant>,
    warned: bool,
}

impl Desk {
    async fn look(&mut self) {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            match self.table.query(PARTITION, after).await {
                Ok(page) => {
                    found.extend(page.items.iter().filter_map(CommandItem::of));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.warned, true) {
                        warn!(%error, "commands of operators cannot be read");
                    }
                    return;
                }
            }
        }
        self.warned = false;
        let now = clock::instant();
        let close = self.looked.is_some_and(|before| now.duration_since(before) < CLOSE);
        self.looked = Some(now);
        let before = std::mem::take(&mut self.known);
        for command in found {
            let known = before.get(&command.key.sk);
            let since = known.map_or(now, |(_, since)| *since);
            self.known.insert(command.key.sk.clone(), (command.beat, since));
            // Somebody waits: it came up just now, or it shows a sign of life.
            if command.stage == CommandStage::Waiting && known.map_or(close, |(beat, _)| *beat != command.beat) {
                self.take(command).await;
                continue;
            }
            let kept_for = match command.stage {
                CommandStage::Withdrawn => WITHDRAWN_FOR,
                CommandStage::Waiting | CommandStage::Taken | CommandStage::Answered => KEPT_FOR,
            };
            if now.duration_since(since) > kept_for
                && let Err(error) = self.table.write(&Change::Delete(command.key, None)).await
            {
                debug!(%error, "a command that is over cannot be deleted");
            }
        }
    }

    /// Takes a command, under the fence of the lease, and has it carried out beside this.
    async fn take(&self, command: CommandItem) {
        let taken = CommandItem { stage: CommandStage::Taken, term: Some(self.fence.term), ..command.clone() };
        let changes = [Change::Check(Fence::key(), self.fence.condition()), taken.put(Some(command.no_further()))];
        match self.table.transact(&changes).await {
            Ok(Written::Done) => {}
            // Taken back meanwhile, or a sign of life came in between: the next look tells.
            Ok(Written::Unmet(_) | Written::Busy(_)) => return,
            Err(error) => return warn!(%error, "a command of an operator cannot be taken"),
        }
        let (table, asks) = (Arc::clone(&self.table), self.asks.clone());
        tokio::spawn(async move {
            let told = carry_out(&asks, &taken.body).await;
            let answer = serde_json::to_string(&told).ok();
            let answered = CommandItem { stage: CommandStage::Answered, answer, ..taken.clone() };
            for _ in 0..5 {
                match table.write(&answered.put(Some(taken.no_further()))).await {
                    Ok(Written::Done | Written::Unmet(_)) => return,
                    Ok(Written::Busy(_)) | Err(_) => clock::sleep(ASK_EVERY).await,
                }
            }
            warn!(command = taken.key.sk, "the answer to a command cannot be written");
        });
    }
}

async fn carry_out(asks: &mpsc::Sender<Request>, body: &str) -> Told {
    let Body { service, command, by } = match serde_json::from_str(body) {
        Ok(body) => body,
        Err(error) => return Told::Refused(format!("not understood: {error}").into()),
    };
    let (answer, answered) = oneshot::channel();
    let command = Request::Command(CommandRequest { service: service.into(), command, by: by.into(), answer });
    let asked = async {
        asks.send(command).await.ok()?;
        answered.await.ok()
    };
    match clock::within(ANSWER_WITHIN, asked).await {
        Some(Some(Ok(text))) => Told::Done(text.into()),
        Some(Some(Err(Refused(text)))) => Told::Refused(text.into()),
        Some(None) => Told::Refused(
            "this replica ended before it answered: look at `status`, and give the command again if it was not carried out"
                .into(),
        ),
        None => Told::Refused("no answer in time; `status` and the log tell what became of it".into()),
    }
}
