//! Why a push is not deployed: a closed set, the same in the log, in metrics, in JSON and in the documents.
//!
//! A reason is declared once, below. Everything that depends on it alone is a member of its declaration: the compiler asks for each of
//! them when a reason is added, and nothing else has to be touched but the code that gives the reason.

use serde::{Deserialize, Serialize};

use super::finding::Severity;
use super::level::Level;
use super::words::words;

macro_rules! reasons {
    ($($variant:ident = $text:literal {
        meaning: $meaning:literal,
        remedy: $remedy:literal,
        level: $level:ident,
        severity: $severity:ident,
        listed: $listed:literal,
        stands: $stands:literal,
    })+) => {
        /// Why a push is not deployed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum SkipReason {
            $(
                #[doc = $meaning]
                #[serde(rename = $text)]
                $variant,
            )+
        }

        words!(for SkipReason { $($variant = $text, $meaning;)+ });

        impl SkipReason {
            /// What an operator does who expected a deployment. Empty where nothing is to be done.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),+ }
            }

            /// The level of the log event for a push that was read and is skipped at once.
            #[must_use]
            pub fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level),+ }
            }

            /// How much it matters to somebody who looks at the service: a note is as it should be, a warning is held on purpose, and an
            /// error needs a change before anything of this kind is deployed.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity),+ }
            }

            /// Whether a push that is skipped as soon as it is read is kept among the last decisions. What every poll or every push of
            /// several architectures brings would push out what matters.
            #[must_use]
            pub fn is_listed(self) -> bool {
                match self { $(Self::$variant => $listed),+ }
            }

            /// Whether the push counts as decided for the service, so that an older one is superseded by it. A push that never meant an
            /// image of the service does not stand in the way of an older one.
            #[must_use]
            pub fn stands(self) -> bool {
                match self { $(Self::$variant => $stands),+ }
            }
        }
    };
}

reasons! {
    Duplicate = "duplicate" {
        meaning: "The event was read, or decided, before. This is normal: each poll reads the overlap again.",
        remedy: "",
        level: Debug,
        severity: Note,
        listed: false,
        stands: true,
    }
    FailedPush = "failed_push" {
        meaning: "ECR refused the push; the log has the error code.",
        remedy: "ECR refuses the same image under the same tag: it is there already. Push another image, or deploy by hand.",
        level: Info,
        severity: Note,
        listed: true,
        stands: true,
    }
    Untagged = "untagged" {
        meaning: "The push has no tag, like the parts of a multi-architecture image.",
        remedy: "Push with a tag.",
        level: Debug,
        severity: Note,
        listed: false,
        stands: true,
    }
    TagMismatch = "tag_mismatch" {
        meaning: "No policy of the repository admits the tag, or, after a change of the configuration, the service's does not any more.",
        remedy: "Add the tag to `tags`, or widen the range or expression.",
        level: Info,
        severity: Note,
        listed: true,
        stands: false,
    }
    NotConfigured = "not_configured" {
        meaning: "The repository is not in the configuration of this AWS context, is another account's, or no longer has the service.",
        remedy: "Add a `[[repository]]`, or set its `aws`.",
        level: Debug,
        severity: Note,
        listed: true,
        stands: true,
    }
    Superseded = "superseded" {
        meaning: "A newer push is decided already or at the same time, or 16 newer ones wait for a decision.",
        remedy: "",
        level: Info,
        severity: Note,
        listed: true,
        stands: false,
    }
    LowerVersion = "lower_version" {
        meaning: "The policy ranks another tag in the repository higher.",
        remedy: "",
        level: Info,
        severity: Note,
        listed: true,
        stands: true,
    }
    AlreadyDeployed = "already_deployed" {
        meaning: "The service runs this digest, or is being rolled to it.",
        remedy: "",
        level: Info,
        severity: Note,
        listed: true,
        stands: true,
    }
    TagGone = "tag_gone" {
        meaning: "ECR does not know the tag, or the whole repository, any more.",
        remedy: "Look for a lifecycle policy that removes images too early.",
        level: Info,
        severity: Note,
        listed: true,
        stands: false,
    }
    Held = "held" {
        meaning: "A rollout of this digest to this service failed or was rolled back, and no newer push came since; or an operator holds the service.",
        remedy: "Push again, or run `ecs-deployd release CLUSTER/SERVICE`.",
        level: Info,
        severity: Warning,
        listed: true,
        stands: true,
    }
    BeforeStart = "before_start" {
        meaning: "The push is older than the first start with this state, or than the repository in the configuration.",
        remedy: "Run `ecs-deployd deploy CLUSTER/SERVICE`, or set `when_missing = \"reconcile\"` before a first start.",
        level: Info,
        severity: Note,
        listed: true,
        stands: true,
    }
    Malformed = "malformed" {
        meaning: "The record cannot be understood.",
        remedy: "Report it with the line of the log.",
        level: Warn,
        severity: Error,
        listed: true,
        stands: true,
    }
    NotAnImage = "not_an_image" {
        meaning: "The push is a signature, an attestation or another artifact that is not an image.",
        remedy: "",
        level: Info,
        severity: Note,
        listed: true,
        stands: false,
    }
    Downtime = "downtime" {
        meaning: "ECS cannot replace the service's tasks without downtime, or not at all: another deployment controller, no task definition.",
        remedy: "Change the setting that the log names, or set `[deploy] downtime`.",
        level: Info,
        severity: Error,
        listed: true,
        stands: true,
    }
    ServiceMissing = "service_missing" {
        meaning: "There is no such service in the cluster, or it is being deleted; or there is no such schedule or rule.",
        remedy: "Check `cluster`, `service` and `aws`, or `scheduler`, `rule` and `aws`.",
        level: Info,
        severity: Error,
        listed: true,
        stands: true,
    }
    NoContainer = "no_container" {
        meaning: "No container of the task definition has an image from the repository, or the one that `container` names is not there.",
        remedy: "Set `container` for the first deployment, or correct it.",
        level: Info,
        severity: Error,
        listed: true,
        stands: true,
    }
    Rejected = "rejected" {
        meaning: "An operator rejected the digest for the service while its rollout waited.",
        remedy: "Push another image, or run `ecs-deployd release CLUSTER/SERVICE`.",
        level: Info,
        severity: Warning,
        listed: true,
        stands: true,
    }
    ScanFindings = "scan_findings" {
        meaning: "ECR's scan of the image found something of the severity that `scan` names, or worse; the detail names it.",
        remedy: "Push an image without it. After a change of the findings, run `ecs-deployd release CLUSTER/SERVICE`.",
        level: Info,
        severity: Warning,
        listed: true,
        stands: true,
    }
    ScanMissing = "scan_missing" {
        meaning: "ECR has no scan of the image, and will have none: it is off, failed, does not support the image, or took longer than `scan_timeout`.",
        remedy: "Do what the detail says, then run `ecs-deployd release CLUSTER/SERVICE`.",
        level: Info,
        severity: Warning,
        listed: true,
        stands: true,
    }
    Unsigned = "unsigned" {
        meaning: "A signing profile of `signed_by` could not sign the image, or has not within `scan_timeout`.",
        remedy: "Look at the signing configuration of the registry, sign the image, then run `ecs-deployd release CLUSTER/SERVICE`.",
        level: Info,
        severity: Warning,
        listed: true,
        stands: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_words_of_the_declaration() {
        for reason in SkipReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn what_a_reason_entails_does_not_change_by_accident() {
        let all = |holds: fn(SkipReason) -> bool| -> Vec<&str> {
            SkipReason::ALL.into_iter().filter(|reason| holds(*reason)).map(SkipReason::as_str).collect()
        };
        assert_eq!(all(|reason| !reason.is_listed()), ["duplicate", "untagged"]);
        assert_eq!(all(|reason| !reason.stands()), ["tag_mismatch", "superseded", "tag_gone", "not_an_image"]);
        assert_eq!(all(|reason| reason.level() == Level::Debug), ["duplicate", "untagged", "not_configured"]);
        assert_eq!(all(|reason| reason.level() == Level::Warn), ["malformed"]);
        assert_eq!(
            all(|reason| reason.severity() == Severity::Warning),
            ["held", "rejected", "scan_findings", "scan_missing", "unsigned"]
        );
        let errors = ["malformed", "downtime", "service_missing", "no_container"];
        assert_eq!(all(|reason| reason.severity() == Severity::Error), errors);
    }
}
