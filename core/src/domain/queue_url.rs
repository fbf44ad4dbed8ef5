//! The address of an SQS queue.

use std::fmt;

use super::types::AccountId;

/// The longest name of a queue, without the ending of a FIFO queue's (Amazon SQS Developer Guide, "Amazon SQS queue quotas").
const LONGEST_NAME: usize = 80;

/// The URL of an SQS queue, such as `https://sqs.eu-west-1.amazonaws.com/111111111111/ecs-deployd`. Its path ends with the account and the name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueUrl {
    url: String,
    account: AccountId,
}

/// Why a text is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the URL of an SQS queue like \"https://sqs.eu-west-1.amazonaws.com/111111111111/ecs-deployd\", found {0:?}"
)]
pub struct NoQueueUrl(String);

impl QueueUrl {
    /// Parses the text.
    ///
    /// # Errors
    /// It has another form.
    pub fn parse(text: &str) -> Result<Self, NoQueueUrl> {
        let no = || NoQueueUrl(text.chars().take(200).collect());
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or_else(no)?;
        let (host, path) = rest.split_once('/').ok_or_else(no)?;
        let mut parts = path.rsplit('/');
        let (name, account) = parts.next().zip(parts.next()).ok_or_else(no)?;
        let plain = name.strip_suffix(".fifo").unwrap_or(name);
        let is_name = (1..=LONGEST_NAME).contains(&plain.len())
            && plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
        match AccountId::parse(account) {
            Ok(account) if is_name && is_host => Ok(Self { url: text.to_owned(), account }),
            _ => Err(no()),
        }
    }

    /// The URL as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The account that owns the queue.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The name of the queue.
    #[must_use]
    pub fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    /// The Region, where the host is one of AWS's own that names it.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        let host = self.url.split("//").nth(1)?.split('/').next()?;
        let of_aws = |rest: &str| rest.starts_with("amazonaws.");
        let mut parts = host.splitn(3, '.');
        match (parts.next()?, parts.next()?, parts.next()?) {
            ("sqs", region, rest) if of_aws(rest) => Some(region),
            (region, "queue", rest) if of_aws(rest) => Some(region),
            _ => None,
        }
    }
}

impl fmt::Display for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_an_account_a_name_and_on_aws_a_region() {
        for (text, name, region) in [
            ("https://sqs.eu-west-1.amazonaws.com/111111111111/ecs-deployd", "ecs-deployd", Some("eu-west-1")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/111111111111/a_b", "a_b", Some("cn-north-1")),
            ("https://eu-west-1.queue.amazonaws.com/111111111111/old", "old", Some("eu-west-1")),
            ("http://127.0.0.1:4566/111111111111/pushes.fifo", "pushes.fifo", None),
            ("https://vpce-0a.sqs.eu-west-1.vpce.amazonaws.com/111111111111/x", "x", None),
        ] {
            let url = QueueUrl::parse(text).unwrap();
            assert_eq!((url.name(), url.region(), url.as_str()), (name, region, text));
            assert_eq!(url.account().as_str(), "111111111111");
        }
    }

    #[test]
    fn anything_else_is_no_queue() {
        for text in [
            "",
            "ecs-deployd",
            "arn:aws:sqs:eu-west-1:111111111111:ecs-deployd",
            "https://sqs.eu-west-1.amazonaws.com/ecs-deployd",
            "https://sqs.eu-west-1.amazonaws.com/1/ecs-deployd",
            "https://sqs.eu-west-1.amazonaws.com/111111111111/",
            "https://sqs.eu-west-1.amazonaws.com/111111111111/a b",
            "https://user@host/111111111111/a",
            "ftp://sqs.eu-west-1.amazonaws.com/111111111111/a",
        ] {
            assert!(QueueUrl::parse(text).unwrap_err().to_string().contains("expected the URL"), "{text}");
        }
    }
}
