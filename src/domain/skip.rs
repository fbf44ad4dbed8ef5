//! Why a push was not deployed: a closed set, the same in the log and in the metrics.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident => $text:literal,)+) => {
        /// Why a push was not deployed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum SkipReason {
            $($(#[$meta])* $variant,)+
        }

        impl SkipReason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The reason as it stands in metrics and logs.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

reasons! {
    /// The event was read before.
    Duplicate => "duplicate",
    /// The push failed: the event has an `errorCode`.
    FailedPush => "failed_push",
    /// The push has no tag: the children of a multi-architecture image, for example.
    Untagged => "untagged",
    /// No policy of the repository admits the tag.
    TagMismatch => "tag_mismatch",
    /// The repository is not in the configuration of this AWS context.
    NotConfigured => "not_configured",
    /// A newer push was seen.
    Superseded => "superseded",
    /// A higher version is there already.
    LowerVersion => "lower_version",
    /// The service runs this digest.
    AlreadyDeployed => "already_deployed",
    /// ECR does not know the tag any more.
    TagGone => "tag_gone",
    /// The digest is held for the service.
    Held => "held",
    /// The push is older than the first start.
    BeforeStart => "before_start",
    /// The record cannot be understood.
    Malformed => "malformed",
    /// A signature, an attestation or another artifact that is not an image.
    NotAnImage => "not_an_image",
    /// The service cannot be replaced without downtime.
    Downtime => "downtime",
    /// The service does not exist or is being deleted.
    ServiceMissing => "service_missing",
    /// No container of the service's task definition comes from the repository.
    NoContainer => "no_container",
    /// An operator rejected the digest for the service.
    Rejected => "rejected",
}

impl std::fmt::Display for SkipReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
