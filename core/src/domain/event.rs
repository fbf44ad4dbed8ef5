//! CloudTrail records to pushes.
//!
//! The filter is the one that people build by hand from a CloudWatch metric filter: event source `ecr.amazonaws.com`, event name
//! `PutImage`, no `errorCode`. Every member of a record is optional and may have another type than the documentation says
//! (emulators write booleans as text, AWS cuts large members out), so nothing here insists on more than it uses.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::artifact;
use super::lenient::{Flag, Object, Objects, Text, object};
use super::printable::printable;
use super::skip::SkipReason;
use super::types::{AccountId, Digest, EventId, Region, RepositoryName, Tag};

/// The name of the event that reports a push.
pub const PUT_IMAGE: &str = "PutImage";
/// The error code of a push that changes nothing: ECR has the same manifest under the same tag (Amazon ECR API Reference, PutImage).
const IMAGE_ALREADY_EXISTS: &str = "ImageAlreadyExistsException";

/// One event as LookupEvents gives it: the envelope's members that matter, and the record as text.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// `EventId` of the envelope.
    pub id: Option<String>,
    /// `EventTime` of the envelope.
    pub time: Option<Timestamp>,
    /// `CloudTrailEvent`: the record, a JSON text.
    pub body: Option<String>,
}

/// What a record turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedEvent {
    /// A successful push of something with a tag (or with a tag that the record does not hold).
    Push(Push),
    /// A push, but not one that can be deployed.
    Skip(Skipped),
    /// Not a push to a private ECR repository at all.
    Foreign,
}

/// Identity of an event: what deduplication and the log need, whether or not it can be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRef {
    /// Unique within the account that received the event.
    pub id: EventId,
    /// The same for the copies of one event that two accounts receive.
    pub shared_id: Option<EventId>,
    /// When the call was made; CloudTrail's resolution is one second.
    pub time: Timestamp,
}

/// A push that was rejected while reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The event of CloudTrail that reported it.
    pub event: EventRef,
    /// The repository, where the record names one.
    pub repository: Option<RepositoryName>,
    /// Why it is not deployed.
    pub reason: SkipReason,
    /// The particulars: an error code, what is missing.
    pub detail: String,
    /// The image, where the push failed because ECR has it already: a pipeline was run again, for example.
    pub repeats: Option<Repeated>,
    /// What was pushed, where it is nothing to deploy.
    pub brought: Option<Brought>,
}

/// What a push brought into a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// The tag, if it has one.
    pub tag: Option<Tag>,
    /// The digest, as far as it is told.
    pub digest: Option<Digest>,
}

/// What a push tried to push although ECR has it already, under the same tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// The tag, as far as the record has it.
    pub tag: Option<Tag>,
    /// The digest, as far as the record has it or tells it by the manifest.
    pub digest: Option<Digest>,
}

/// A push that ECR took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The event of CloudTrail that reported it.
    pub event: EventRef,
    /// The repository pushed to.
    pub repository: RepositoryName,
    /// The account that owns the repository, where the record says so. Never the account of the caller.
    pub owner: Option<AccountId>,
    /// The account whose CloudTrail holds the record.
    pub recipient: Option<AccountId>,
    /// The Region of the call.
    pub region: Option<Region>,
    /// The tag. `None` when AWS cut it out of the record because the manifest is large: ECR has to be asked.
    pub tag: Option<Tag>,
    /// The digest pushed, where the record tells. A hint: ECR decides.
    pub digest: Option<Digest>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow)]
    event_source: Text<'a>,
    #[serde(borrow)]
    event_name: Text<'a>,
    #[serde(borrow)]
    event_time: Text<'a>,
    #[serde(rename = "eventID", borrow)]
    event_id: Text<'a>,
    #[serde(rename = "sharedEventID", borrow)]
    shared_event_id: Text<'a>,
    #[serde(borrow)]
    aws_region: Text<'a>,
    #[serde(borrow)]
    recipient_account_id: Text<'a>,
    error_code: Value,
    error_message: Value,
    #[serde(borrow)]
    request_parameters: Object<Request<'a>>,
    #[serde(borrow)]
    response_elements: Object<Response<'a>>,
    #[serde(borrow)]
    resources: Objects<Resource<'a>>,
}

object!(
    /// What was asked for.
    Request {
        omitted: Flag = "omitted",
        repository: Text<'a> = "repositoryName",
        registry: Text<'a> = "registryId",
        tag: Text<'a> = "imageTag",
        digest: Text<'a> = "imageDigest",
        manifest: Text<'a> = "imageManifest",
        manifest_type: Text<'a> = "imageManifestMediaType",
    }
);

object!(
    /// What ECR answered the request.
    Response {
        image: Object<Image<'a>> = "image",
    }
);

object!(
    /// The image as the registry has it.
    Image {
        id: Object<ImageId<'a>> = "imageId",
        repository: Text<'a> = "repositoryName",
        registry: Text<'a> = "registryId",
        manifest_type: Text<'a> = "imageManifestMediaType",
    }
);

object!(
    /// What identifies the image in its repository.
    ImageId {
        tag: Text<'a> = "imageTag",
        digest: Text<'a> = "imageDigest",
    }
);

object!(
    /// One of the resources that the call was about.
    Resource {
        arn: Text<'a> = "ARN",
        lower_arn: Text<'a> = "arn",
        account: Text<'a> = "accountId",
    }
);

impl Body<'_> {
    fn request(&self) -> Option<&Request<'_>> {
        self.request_parameters.get()
    }

    fn image(&self) -> Option<&Image<'_>> {
        self.response_elements.get()?.image.get()
    }

    fn image_id(&self) -> Option<&ImageId<'_>> {
        self.image()?.id.get()
    }
}

object!(
    /// An answer, of which only the manifest is wanted.
    ManifestResponse {
        image: Object<ManifestImage<'a>> = "image",
    }
);

object!(
    /// An image, of which only the manifest is wanted.
    ManifestImage {
        manifest: Text<'a> = "imageManifest",
    }
);

object!(
    /// A record, of which only the manifest in the answer is wanted.
    ManifestBody {
        response: Object<ManifestResponse<'a>> = "responseElements",
    }
);

/// Reads one record of CloudTrail.
#[must_use]
pub fn read(record: &Record) -> ParsedEvent {
    let text = record.body.as_deref().unwrap_or("");
    let parsed: Result<Body<'_>, _> = serde_json::from_str(text);
    let body = match parsed {
        Ok(body) => body,
        Err(error) => return unreadable(record, text, &error.to_string()),
    };
    match (body.event_source.any(), body.event_name.any()) {
        (Some("ecr.amazonaws.com"), Some(PUT_IMAGE)) => {}
        (Some(_), Some(_)) => return ParsedEvent::Foreign,
        _ => return unreadable(record, text, "no eventSource or eventName"),
    }
    let Some(event) = event_ref(record, &body, text) else {
        return unreadable(record, text, "no event time");
    };
    let repository = repository_name(&body);
    if let Some(code) = present(&body.error_code) {
        let message = present(&body.error_message).unwrap_or_default();
        let detail = shorten(&format!("{code}: {message}"));
        let repeats = (code == IMAGE_ALREADY_EXISTS).then(|| repeated(&body));
        let reason = SkipReason::FailedPush;
        return ParsedEvent::Skip(Skipped { event, repository, reason, detail, repeats, brought: None });
    }
    let skip = |event, repository, reason, detail: String, brought: Option<Brought>| {
        ParsedEvent::Skip(Skipped { event, repository, reason, detail, repeats: None, brought })
    };
    let Some(name) = repository else {
        return skip(event, None, SkipReason::Malformed, "the record names no repository".to_owned(), None);
    };
    let tag = match tag_of(&body) {
        TagOf::Tag(tag) => Some(tag),
        TagOf::CutOut => None,
        TagOf::Absent => {
            let brought = Brought { tag: None, digest: digest_of(&body) };
            return skip(event, Some(name), SkipReason::Untagged, String::new(), Some(brought));
        }
        TagOf::Invalid(text) => {
            let detail = format!("{} is not an image tag", shorten(&text));
            return skip(event, Some(name), SkipReason::Malformed, detail, None);
        }
    };
    if let Some(why) = tag.as_ref().and_then(artifact::of_tag).or_else(|| why_no_image(&body, text)) {
        let brought = Brought { tag, digest: digest_of(&body) };
        return skip(event, Some(name), SkipReason::NotAnImage, why, Some(brought));
    }
    ParsedEvent::Push(Push {
        repository: name,
        owner: owner_of(&body),
        recipient: body.recipient_account_id.get().and_then(|text| AccountId::parse(text).ok()),
        region: body.aws_region.get().and_then(|text| Region::parse(text).ok()),
        tag,
        digest: digest_of(&body),
        event,
    })
}

fn unreadable(record: &Record, text: &str, detail: &str) -> ParsedEvent {
    let id = record.id.as_deref().and_then(|id| EventId::parse(id).ok()).unwrap_or_else(|| id_of_text(text));
    let time = record.time.unwrap_or(Timestamp::UNIX_EPOCH);
    ParsedEvent::Skip(Skipped {
        event: EventRef { id, shared_id: None, time },
        repository: None,
        reason: SkipReason::Malformed,
        detail: shorten(detail),
        repeats: None,
        brought: None,
    })
}

fn repeated(body: &Body<'_>) -> Repeated {
    let tag = match tag_of(body) {
        TagOf::Tag(tag) => Some(tag),
        TagOf::Absent | TagOf::CutOut | TagOf::Invalid(_) => None,
    };
    Repeated { tag, digest: digest_of(body) }
}

fn event_ref(record: &Record, body: &Body<'_>, text: &str) -> Option<EventRef> {
    let id = [body.event_id.get(), record.id.as_deref()]
        .into_iter()
        .flatten()
        .find_map(|id| EventId::parse(id).ok())
        .unwrap_or_else(|| id_of_text(text));
    let shared_id = body.shared_event_id.get().and_then(|id| EventId::parse(id).ok());
    let time = record.time.or_else(|| body.event_time.get().and_then(|time| time.parse().ok()))?;
    Some(EventRef { id, shared_id, time })
}

/// A record without an id is identified by what it says.
pub(super) fn id_of_text(text: &str) -> EventId {
    let id = format!("text:{}", hex(&Sha256::digest(text.as_bytes())));
    #[expect(clippy::expect_used, reason = "69 graphic ASCII characters are a valid event id")]
    EventId::parse(&id).expect("a hexadecimal text is an event id")
}

enum TagOf {
    Tag(Tag),
    Absent,
    CutOut,
    Invalid(String),
}

fn tag_of(body: &Body<'_>) -> TagOf {
    let (request, image_id) = (body.request(), body.image_id());
    let named = request.and_then(|request| request.tag.get()).or_else(|| image_id?.tag.get());
    match named {
        Some(text) => Tag::parse(text).map_or_else(|_| TagOf::Invalid(text.to_owned()), TagOf::Tag),
        // The request is whole and has no tag, or the answer is whole and has none.
        None if request.is_some_and(|request| !request.omitted.0) => TagOf::Absent,
        None if image_id.is_some() => TagOf::Absent,
        None => TagOf::CutOut,
    }
}

fn repository_name(body: &Body<'_>) -> Option<RepositoryName> {
    let parse = |name: &str| RepositoryName::parse(name).ok();
    let asked = || body.request()?.repository.get().and_then(parse);
    let answered = || body.image()?.repository.get().and_then(parse);
    let of_arn = || repository_arn(body).and_then(|(_, name)| parse(name));
    asked().or_else(answered).or_else(of_arn)
}

fn owner_of(body: &Body<'_>) -> Option<AccountId> {
    let parse = |id: &str| AccountId::parse(id).ok();
    let answered = || body.image()?.registry.get().and_then(parse);
    let asked = || body.request()?.registry.get().and_then(parse);
    let of_arn = || repository_arn(body).and_then(|(account, _)| parse(account));
    let of_resource = || body.resources.iter().find_map(|one| one.account.get()).and_then(parse);
    answered().or_else(asked).or_else(of_arn).or_else(of_resource)
}

/// Account and name from `resources[].ARN`, which AWS gives even when it cuts out the request.
fn repository_arn<'a>(body: &'a Body<'_>) -> Option<(&'a str, &'a str)> {
    body.resources.iter().find_map(|resource| {
        let arn = resource.arn.get().or_else(|| resource.lower_arn.get())?;
        let mut parts = arn.splitn(6, ':').skip(2);
        let (service, _region, account, path) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        (service == "ecr").then_some((account, path.strip_prefix("repository/")?))
    })
}

fn digest_of(body: &Body<'_>) -> Option<Digest> {
    let parse = |text: &str| Digest::parse(text).ok();
    let answered = || body.image_id()?.digest.get().and_then(parse);
    let asked = || body.request()?.digest.get().and_then(parse);
    let of_manifest = || {
        let manifest = body.request()?.manifest.get()?;
        parse(&format!("sha256:{}", hex(&Sha256::digest(manifest.as_bytes()))))
    };
    answered().or_else(asked).or_else(of_manifest)
}

/// Why what was pushed is no image, as its manifest tells.
fn why_no_image(body: &Body<'_>, text: &str) -> Option<String> {
    let asked = body.request();
    let media_type = asked.and_then(|request| request.manifest_type.get());
    let media_type = media_type.or_else(|| body.image()?.manifest_type.get());
    match asked.and_then(|request| request.manifest.get()) {
        Some(manifest) => artifact::of_manifest(manifest, media_type),
        // The answer repeats the manifest of the request. It is large, so that it is read only where the request has none.
        None => {
            let answer: Object<ManifestBody<'_>> = serde_json::from_str(text).ok()?;
            let image = answer.get()?.response.get()?.image.get()?;
            artifact::of_manifest(image.manifest.get()?, media_type)
        }
    }
}

/// A member that is there and not empty, as text.
fn present(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The longest text that is taken from a record, in characters.
const DETAIL: usize = 200;

/// What of a text in a record reaches the log, the state and people.
#[must_use]
pub fn shorten(text: &str) -> String {
    printable(text, DETAIL)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
