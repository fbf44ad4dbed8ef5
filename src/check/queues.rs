//! Whether the queues can be read, and their messages hidden and deleted. Nothing is taken from them.

use futures_util::future::join_all;

use super::of_error;
use crate::aws::{AwsContext, AwsError, Contexts, Fault, Waiting};
use crate::config::Config;
use crate::domain::finding::{Finding, Severity};
use crate::domain::queue_url::QueueUrl;
use crate::domain::types::ContextName;

/// A receipt of no message. Whether a call is allowed is judged before what it names, so that nothing is hidden or deleted.
const NO_RECEIPT: &str = "ecs-deployd-check";

/// What is wrong with the queues, by the context that they belong to.
pub(super) async fn findings(config: &Config, contexts: &Contexts) -> Vec<(ContextName, Finding)> {
    let queues = config.contexts_with_queues().into_iter().filter_map(|name| {
        let (context, url) = (contexts.get(name)?, config.aws.get(name)?.queue.as_ref()?);
        Some((name, context, url))
    });
    let answers = queues.map(|(name, context, url)| async move {
        let found = of_queue(name, context, url).await;
        found.into_iter().map(|finding| (name.clone(), finding)).collect::<Vec<_>>()
    });
    join_all(answers).await.into_iter().flatten().collect()
}

async fn of_queue(name: &ContextName, context: &AwsContext, url: &QueueUrl) -> Vec<Finding> {
    let subject = format!("aws context {name}");
    let region = context.region.as_str();
    if let Some(other) = url.region().filter(|other| *other != region) {
        let message = format!("the queue {url} is in the Region {other}, and the context in {region}");
        let remedy = "name a queue of the context's own Region; a rule there can forward the events of others";
        return vec![Finding::new(Severity::Error, "queue_elsewhere", subject, message, remedy)];
    }
    if let Err(error) = context.identity.principal().await {
        return vec![of_error(&subject, &error)];
    }
    let receipt = [NO_RECEIPT.to_owned()];
    let calls = [
        context.queue.receive(url, Waiting::Glance).await.map(drop),
        context.queue.delete(url, &receipt).await.map(drop),
        context.queue.hide(url, &receipt).await.map(drop),
    ];
    let errors: Vec<AwsError> = calls.into_iter().filter_map(Result::err).collect();
    // Whatever is not about a permission is the same for all of them.
    let (denied, others): (Vec<_>, Vec<_>) = errors.into_iter().partition(|error| error.fault == Fault::Denied);
    let first = others.into_iter().next();
    denied.iter().chain(&first).map(|error| of_call(&subject, url, error)).collect()
}

fn of_call(subject: &str, url: &QueueUrl, error: &AwsError) -> Finding {
    let found = of_error(subject, error);
    match error.fault {
        Fault::NotFound => {
            let message = format!("there is no queue {url}");
            let remedy = "create it (docs/guides/queue.md), or correct its URL";
            Finding::new(Severity::Error, "unknown_queue", subject.to_owned(), message, remedy)
        }
        Fault::Refused | Fault::Unavailable | Fault::Throttled | Fault::Denied | Fault::Credentials => found,
    }
}
