//! Keeps writes to ECS, EventBridge and SQS within the lease: none is begun that could still be under way when the lease ends.

use std::sync::Arc;

use async_trait::async_trait;

use super::guarded::{Call, Guard, Guarded};
use super::{AwsContext, AwsError, Contexts, Fault, Queue, QueueMessage, Waiting};
use crate::domain::queue_url::QueueUrl;
use crate::lease::Tenure;

/// Contexts whose writes end with a tenure.
#[must_use]
pub fn fenced(contexts: Contexts, tenure: &Arc<Tenure>) -> Contexts {
    let fence = |context: AwsContext| AwsContext {
        ecs: Arc::new(Guarded { ecs: Arc::clone(&context.ecs), guard: WithinTenure { tenure: Arc::clone(tenure) } }),
        queue: Arc::new(FencedQueue { queue: Arc::clone(&context.queue), tenure: Arc::clone(tenure) }),
        ..context
    };
    contexts.into_iter().map(|(name, context)| (name, fence(context))).collect()
}

/// Lets reads through, and writes within a tenure.
#[derive(Debug)]
struct WithinTenure {
    tenure: Arc<Tenure>,
}

/// Makes a write, if the lease leaves time for it, and gives it up before the lease ends. The end is looked at first: a process that was
/// stopped in the middle of this goes on with nothing.
async fn within<T>(
    tenure: &Tenure,
    (api, operation): (&'static str, &'static str),
    call: impl Future<Output = Result<T, AwsError>>,
) -> Result<T, AwsError> {
    let Some(end) = tenure.end_of_a_write() else {
        let message = "not begun, as the lease of this replica ends too soon";
        return Err(AwsError { fault: Fault::Throttled, ..AwsError::unusable(api, operation, message) });
    };
    tokio::select! {
        biased;
        () = tenure.is_over(end) => Err(AwsError::timed_out(api, operation)),
        answer = call => answer,
    }
}

impl Guard for WithinTenure {
    async fn around<T: Send>(
        &self,
        call: Call,
        answer: impl Future<Output = Result<T, AwsError>> + Send,
    ) -> Result<T, AwsError> {
        match call.write {
            Some(action) => within(&self.tenure, action, answer).await,
            None => answer.await,
        }
    }
}

#[derive(Debug)]
struct FencedQueue {
    queue: Arc<dyn Queue>,
    tenure: Arc<Tenure>,
}

#[async_trait]
impl Queue for FencedQueue {
    async fn receive(&self, queue: &QueueUrl, waiting: Waiting) -> Result<Vec<QueueMessage>, AwsError> {
        self.queue.receive(queue, waiting).await
    }

    async fn delete(&self, queue: &QueueUrl, receipts: &[String]) -> Result<Vec<String>, AwsError> {
        within(&self.tenure, ("sqs", "DeleteMessage"), self.queue.delete(queue, receipts)).await
    }

    async fn hide(&self, queue: &QueueUrl, receipts: &[String]) -> Result<Vec<String>, AwsError> {
        within(&self.tenure, ("sqs", "ChangeMessageVisibility"), self.queue.hide(queue, receipts)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::clock::{self, SystemClock};
    use crate::lease::Fence;

    /// A queue that never answers, and counts what was begun.
    #[derive(Debug, Default)]
    struct Silent(AtomicUsize);

    #[async_trait]
    impl Queue for Silent {
        async fn receive(&self, _: &QueueUrl, _: Waiting) -> Result<Vec<QueueMessage>, AwsError> {
            Ok(Vec::new())
        }

        async fn delete(&self, _: &QueueUrl, _: &[String]) -> Result<Vec<String>, AwsError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        }

        async fn hide(&self, queue: &QueueUrl, receipts: &[String]) -> Result<Vec<String>, AwsError> {
            self.delete(queue, receipts).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_neither_deleted_nor_hidden_beyond_the_lease() {
        let begun = clock::instant();
        let seconds = Duration::from_secs;
        let fence = Fence { holder: "one".to_owned(), term: 1 };
        let tenure = Arc::new(Tenure::new(fence, seconds(30), begun + seconds(30), Arc::new(SystemClock)));
        let silent = Arc::new(Silent::default());
        let queue = FencedQueue { queue: Arc::clone(&silent) as Arc<dyn Queue>, tenure };
        let url = QueueUrl::parse("https://sqs.eu-west-1.amazonaws.com/111111111111/pushes").unwrap();

        let error = queue.delete(&url, &["receipt".to_owned()]).await.unwrap_err();
        assert_eq!(error.operation, "DeleteMessage");
        assert_eq!(clock::instant(), begun + seconds(25), "it is given up before the lease ends");
        for answer in [queue.delete(&url, &[]).await, queue.hide(&url, &[]).await] {
            assert!(answer.unwrap_err().message.starts_with("not begun"), "none is begun so late");
        }
        assert_eq!(silent.0.load(Ordering::Relaxed), 1);
    }
}
