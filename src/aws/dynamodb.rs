//! Amazon DynamoDB: the items of one table.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, ConditionCheck, Delete, KeyType, Put, TransactWriteItem,
};
use aws_smithy_runtime_api::http::Response;

use super::call::Caller;
use super::connect::{ConnectError, RegionWait, bases};
use super::date::AwsDate;
use super::table::{
    Attribute, Change, Condition, Item, ItemKey, ItemPage, PARTITION_KEY, SORT_KEY, Table, TableView, Written,
};
use super::{AwsError, Common};
use crate::config::AwsSettings;
use crate::domain::types::ContextName;

/// The reason of a change that is not made because its condition does not hold (Amazon DynamoDB API Reference, `TransactWriteItems`).
const UNMET: &str = "ConditionalCheckFailed";

#[derive(Debug)]
struct SdkTable {
    client: Client,
    caller: Caller,
    name: String,
}

/// Makes the client of a table. Reads files and the environment; asks AWS for nothing, except that it waits for the EC2 instance metadata
/// where nothing else says the Region.
///
/// # Errors
/// The context has no Region.
pub async fn connect_table(
    context: &ContextName,
    settings: &AwsSettings,
    name: &str,
    common: &Common,
    wait: RegionWait,
) -> Result<Arc<dyn Table>, ConnectError> {
    let only = BTreeMap::from([(context.clone(), settings.clone())]);
    let base = bases(&only, common, wait).await?.remove(context);
    let base = base.ok_or_else(|| ConnectError::NoRegion(context.clone()))?;
    let config =
        aws_sdk_dynamodb::config::Builder::from(&base.config).interceptor(AwsDate::new(common.clone())).build();
    let caller = Caller::new("dynamodb", common, &base.credentials);
    Ok(Arc::new(SdkTable { client: Client::from_conf(config), caller, name: name.to_owned() }))
}

#[async_trait]
impl Table for SdkTable {
    fn name(&self) -> &str {
        &self.name
    }

    async fn describe(&self) -> Result<TableView, AwsError> {
        const OPERATION: &str = "DescribeTable";
        let request = self.client.describe_table().table_name(&self.name);
        let answer = self.caller.call(OPERATION, request.send()).await?;
        let table = answer.table().ok_or_else(|| self.caller.unusable(OPERATION, "the answer describes no table"))?;
        let kind = |name: &str| {
            let defined = table.attribute_definitions().iter().find(|one| one.attribute_name() == name);
            defined.map_or("?", |one| one.attribute_type().as_str()).to_owned()
        };
        let mut keys: Vec<_> = table.key_schema().iter().collect();
        keys.sort_by_key(|key| key.key_type() != &KeyType::Hash);
        Ok(TableView {
            status: table.table_status().map_or("?", |status| status.as_str()).to_owned(),
            keys: keys.into_iter().map(|key| (key.attribute_name().to_owned(), kind(key.attribute_name()))).collect(),
        })
    }

    async fn get(&self, key: &ItemKey) -> Result<Option<Item>, AwsError> {
        let request = self.client.get_item().table_name(&self.name).set_key(Some(of_key(key))).consistent_read(true);
        let answer = self.caller.call("GetItem", request.send()).await?;
        Ok(answer.item.and_then(item))
    }

    async fn query(&self, pk: &str, after: Option<String>) -> Result<ItemPage, AwsError> {
        let start = after.map(|sk| of_key(&ItemKey::new(pk, sk)));
        let request = self
            .client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", PARTITION_KEY)
            .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
            .set_exclusive_start_key(start);
        let answer = self.caller.call("Query", request.send()).await?;
        let next = answer.last_evaluated_key.and_then(|mut key| match key.remove(SORT_KEY) {
            Some(AttributeValue::S(sk)) => Some(sk),
            _ => None,
        });
        Ok(ItemPage { items: answer.items.unwrap_or_default().into_iter().filter_map(item).collect(), next })
    }

    async fn write(&self, change: &Change) -> Result<Written, AwsError> {
        match change {
            Change::Put(written, condition) => {
                let Expression { text, names, values } = Expression::of(condition.as_ref());
                let request = self
                    .client
                    .put_item()
                    .table_name(&self.name)
                    .set_item(Some(of_item(written)))
                    .set_condition_expression(text)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values);
                let sent = async {
                    match request.send().await {
                        Ok(_) => Ok(Written::Done),
                        Err(SdkError::ServiceError(error))
                            if matches!(error.err(), PutItemError::ConditionalCheckFailedException(_)) =>
                        {
                            Ok(Written::Unmet(vec![0]))
                        }
                        Err(error) => Err(error),
                    }
                };
                self.caller.call("PutItem", sent).await
            }
            Change::Delete(key, condition) => {
                let Expression { text, names, values } = Expression::of(condition.as_ref());
                let request = self
                    .client
                    .delete_item()
                    .table_name(&self.name)
                    .set_key(Some(of_key(key)))
                    .set_condition_expression(text)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values);
                let sent = async {
                    match request.send().await {
                        Ok(_) => Ok(Written::Done),
                        Err(SdkError::ServiceError(error))
                            if matches!(error.err(), DeleteItemError::ConditionalCheckFailedException(_)) =>
                        {
                            Ok(Written::Unmet(vec![0]))
                        }
                        Err(error) => Err(error),
                    }
                };
                self.caller.call("DeleteItem", sent).await
            }
            Change::Check(..) => self.transact(std::slice::from_ref(change)).await,
        }
    }

    async fn transact(&self, changes: &[Change]) -> Result<Written, AwsError> {
        const OPERATION: &str = "TransactWriteItems";
        let actions = changes.iter().map(|change| self.action(change)).collect::<Result<Vec<_>, _>>();
        let actions = actions.map_err(|why| self.caller.unusable(OPERATION, why))?;
        let request = self.client.transact_write_items().set_transact_items(Some(actions));
        let sent = async {
            match request.send().await {
                Ok(_) => Ok(Written::Done),
                Err(error) => cancelled(&error).ok_or(error),
            }
        };
        self.caller.call(OPERATION, sent).await
    }
}

impl SdkTable {
    fn action(&self, change: &Change) -> Result<TransactWriteItem, String> {
        let incomplete = |error: aws_sdk_dynamodb::error::BuildError| error.to_string();
        let action = TransactWriteItem::builder();
        let action = match change {
            Change::Put(written, condition) => {
                let Expression { text, names, values } = Expression::of(condition.as_ref());
                let put = Put::builder()
                    .table_name(&self.name)
                    .set_item(Some(of_item(written)))
                    .set_condition_expression(text)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values);
                action.put(put.build().map_err(incomplete)?)
            }
            Change::Delete(key, condition) => {
                let Expression { text, names, values } = Expression::of(condition.as_ref());
                let delete = Delete::builder()
                    .table_name(&self.name)
                    .set_key(Some(of_key(key)))
                    .set_condition_expression(text)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values);
                action.delete(delete.build().map_err(incomplete)?)
            }
            Change::Check(key, condition) => {
                let Expression { text, names, values } = Expression::of(Some(condition));
                let check = ConditionCheck::builder()
                    .table_name(&self.name)
                    .set_key(Some(of_key(key)))
                    .set_condition_expression(text)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values);
                action.condition_check(check.build().map_err(incomplete)?)
            }
        };
        Ok(action.build())
    }
}

/// Why a transaction was not made, where that is no failure: AWS tells a reason for each of its changes.
fn cancelled(error: &SdkError<TransactWriteItemsError, Response>) -> Option<Written> {
    let SdkError::ServiceError(service) = error else { return None };
    let reasons = match service.err() {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => cancelled.cancellation_reasons(),
        TransactWriteItemsError::TransactionInProgressException(_) => {
            return Some(Written::Busy("TransactionInProgressException".to_owned()));
        }
        _ => return None,
    };
    let code = |reason: &CancellationReason| reason.code().unwrap_or_default().to_owned();
    let unmet: Vec<usize> =
        reasons.iter().enumerate().filter(|(_, reason)| code(reason) == UNMET).map(|(place, _)| place).collect();
    if !unmet.is_empty() {
        return Some(Written::Unmet(unmet));
    }
    let passing = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "ThrottlingException"];
    reasons.iter().map(code).find(|code| passing.contains(&code.as_str())).map(Written::Busy)
}

/// A condition in the words of DynamoDB.
#[derive(Default)]
struct Expression {
    text: Option<String>,
    names: Option<HashMap<String, String>>,
    values: Option<HashMap<String, AttributeValue>>,
}

impl Expression {
    fn of(condition: Option<&Condition>) -> Self {
        match condition {
            None => Self::default(),
            Some(Condition::Absent) => {
                Self { text: Some(format!("attribute_not_exists({PARTITION_KEY})")), ..Self::default() }
            }
            Some(Condition::Holds(attributes)) => {
                let term = |place: usize| format!("#c{place} = :c{place}");
                let text: Vec<String> = (0..attributes.len()).map(term).collect();
                let numbered = || attributes.iter().enumerate();
                Self {
                    text: Some(text.join(" AND ")),
                    names: Some(numbered().map(|(at, (name, _))| (format!("#c{at}"), (*name).to_owned())).collect()),
                    values: Some(numbered().map(|(at, (_, held))| (format!(":c{at}"), value(held))).collect()),
                }
            }
        }
    }
}

fn value(attribute: &Attribute) -> AttributeValue {
    match attribute {
        Attribute::Text(text) => AttributeValue::S(text.clone()),
        Attribute::Number(number) => AttributeValue::N(number.to_string()),
    }
}

fn of_key(key: &ItemKey) -> HashMap<String, AttributeValue> {
    HashMap::from([
        (PARTITION_KEY.to_owned(), AttributeValue::S(key.pk.clone())),
        (SORT_KEY.to_owned(), AttributeValue::S(key.sk.clone())),
    ])
}

fn of_item(written: &Item) -> HashMap<String, AttributeValue> {
    let attributes = written.attributes.iter().map(|(name, held)| (name.clone(), value(held)));
    attributes.chain(of_key(&written.key)).collect()
}

fn item(mut found: HashMap<String, AttributeValue>) -> Option<Item> {
    let mut key = |name: &str| match found.remove(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    };
    let key = ItemKey { pk: key(PARTITION_KEY)?, sk: key(SORT_KEY)? };
    let attributes = found.into_iter().filter_map(|(name, held)| match held {
        AttributeValue::S(text) => Some((name, Attribute::Text(text))),
        AttributeValue::N(number) => Some((name, Attribute::Number(number.parse().ok()?))),
        _ => None,
    });
    Some(Item { attributes: attributes.collect(), key })
}
