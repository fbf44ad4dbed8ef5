//! The members of the state file.

use super::Type::{Bool, Integer, List, Map, Object, Optional, Text, Time, Word};
use super::status::{COMMAND_RECORD, FIRST_SEEN, SERVICE_HOLD, WAITING};
use super::{Document, Shape};
use crate::domain::skip::SkipReason;
use crate::domain::source::PushSource;
use crate::domain::state::OutcomeKind;
use crate::domain::task::TaskKind;
use crate::domain::words::described;
use crate::status::{Step, Way};

pub(in crate::reference) static STATE: Document = Document {
    title: "The state file",
    about: "What must survive a restart, with a line for each AWS context and each service. It is for reading only: the daemon replaces it as a whole.",
    shape: &Shape {
        name: "State",
        members: &[
            ("version", Integer, "The version of the format: 1."),
            ("contexts", Map("AWS context", &Object(&CONTEXT_STATE)), "How far events were read."),
            ("services", Map("AWS/CLUSTER/SERVICE", &Object(&SERVICE_STATE)), "What is known of each service."),
            (
                "audits",
                Optional(&Map("AWS context", &Object(&AUDIT_STATE))),
                "How far changes to ECS were read, where they are followed.",
            ),
            ("decisions", Optional(&List(&Object(&DECISION))), "The last 100 decisions about pushes, newest first."),
        ],
    },
};

static CONTEXT_STATE: Shape = Shape {
    name: "Events of a context",
    members: &[
        ("baseline", Time, "The first start: a push before it is not deployed."),
        ("cursor", Optional(&Time), "Everything up to here was read, as far as CloudTrail had delivered it."),
        (
            "recent",
            Optional(&Time),
            "While `unread` is there: everything up to here was read, but for what `unread` names.",
        ),
        (
            "unread",
            Optional(&List(&Object(&SPAN))),
            "What is still to be read of a time in which nobody read, newest first.",
        ),
        ("reread", Optional(&Object(&SPAN)), "What is left of the span that is read again for events that came late."),
        ("reread_to", Optional(&Time), "Up to where late events are looked for."),
        (
            "followed",
            Optional(&Map("repository", &Time)),
            "Since when each repository is in the configuration: a push before it is not deployed.",
        ),
        (
            "compares_found",
            Optional(&List(&Text)),
            "The tags whose first look brings services that are compared with ECR, after a start without a state.",
        ),
        (
            "seen",
            Optional(&Map("event", &Time)),
            "The events that were read, with their times, as far back as they can be read again.",
        ),
        (
            "sightings",
            Optional(&Object(&SIGHTINGS)),
            "What the sources have told, where CloudTrail is not the only one.",
        ),
    ],
};

static SIGHTINGS: Shape = Shape {
    name: "Sightings of pushes",
    members: &[
        ("since", Time, "Of pushes before this time CloudTrail alone tells."),
        (
            "pushes",
            Optional(&Map("repository", &List(&Object(&SIGHTING)))),
            "The events of all sources, as far back as one may still tell of them.",
        ),
    ],
};

static SIGHTING: Shape = Shape {
    name: "Sighting of a push",
    members: &[
        ("event", Text, "The event."),
        ("source", Word(described::<PushSource>), "Whose it is."),
        ("tag", Optional(&Text), "The tag."),
        ("digest", Optional(&Text), "The digest, as far as it is told."),
        ("at", Time, "When it was pushed."),
        ("twin", Optional(&Text), "The event of another source that tells of the same push."),
        ("taken", Optional(&Bool), "Whether it is this event by which the push was taken."),
    ],
};

static SPAN: Shape = Shape {
    name: "Span",
    members: &[("from", Time, "The oldest second of it."), ("to", Time, "The newest second of it.")],
};

static AUDIT_STATE: Shape = Shape {
    name: "Changes of a context",
    members: &[
        ("since", Time, "Since when changes are followed."),
        ("cursor", Optional(&Time), "Everything up to here was read, as far as CloudTrail had delivered it."),
        ("round", Optional(&Object(&AUDIT_ROUND)), "The pass over all calls that is under way."),
        ("forgotten_to", Optional(&Time), "Changes before this are not reported any more."),
        (
            "seen",
            Optional(&Map("event", &Time)),
            "The events that were read, with their times, as far back as they can be read again.",
        ),
    ],
};

static AUDIT_ROUND: Shape = Shape {
    name: "Pass over the calls",
    members: &[
        ("from", Time, "The oldest second that is read."),
        ("to", Time, "When it began."),
        ("event", Text, "The call that is being read; those before it in the configuration are done."),
        ("below", Time, "Everything of that call after this is read."),
    ],
};

static SERVICE_STATE: Shape = Shape {
    name: "State of a service",
    members: &[
        (
            "wanted",
            Optional(&Map("AWS/REPOSITORY", &List(&Object(&PUSH_REF)))),
            "Pushes that are not decided yet, newest first.",
        ),
        ("decided", Optional(&Map("AWS/REPOSITORY", &Object(&PUSH_REF))), "The newest push that was decided."),
        (
            "known_since",
            Optional(&Time),
            "Since when the service is known, where it is compared with ECR every so often.",
        ),
        ("deployed", Optional(&Object(&DEPLOYED)), "What was deployed last and is complete."),
        ("rollout", Optional(&Object(&ROLLOUT_STATE)), "What is under way."),
        ("left", Optional(&Object(&FAILED_IN_PLACE)), "What failed and was left in place."),
        ("held", Optional(&Map("AWS/REPOSITORY", &Object(&DIGEST_HOLD_STATE))), "The digests that are held."),
        (
            "ousted",
            Optional(&Map("AWS/REPOSITORY", &Object(&REPLACED_EXTERNALLY))),
            "What another deployer replaced while it was rolled out.",
        ),
        ("frozen", Optional(&Object(&SERVICE_HOLD)), "The hold of an operator on the whole service."),
        ("waiting", Optional(&Object(&WAITING)), "What waits at a lifecycle hook of ECS."),
        ("gated", Optional(&Object(&WAITING)), "What waits at a gate, before its rollout begins."),
        (
            "approved",
            Optional(&Map("AWS/REPOSITORY", &Object(&APPROVAL))),
            "The digests that operators approved, and that were not rolled out yet.",
        ),
        ("passes_windows", Optional(&Object(&WINDOW_PASS)), "The command to pass windows and freezes."),
        (
            "refused",
            Optional(&Map("AWS/REPOSITORY", &Object(&GATE_REFUSAL))),
            "What a gate refused last: a release has it judged again.",
        ),
        (
            "prepared",
            Optional(&Map("AWS/REPOSITORY", &Object(&TARGET))),
            "What the tasks before a rollout have succeeded for, until that rollout is complete.",
        ),
        ("discovered", Optional(&Object(&DISCOVERED_STATE)), "What is known of it because it was found by its tag."),
        ("history", Optional(&List(&Object(&OUTCOME_STATE))), "The last outcomes, newest first."),
        ("orders", Optional(&List(&Object(&COMMAND_RECORD))), "The last commands of operators, newest first."),
    ],
};

static APPROVAL: Shape = Shape {
    name: "Approval",
    members: &[("digest", Text, "The digest."), ("by", Text, "The operator."), ("at", Time, "When.")],
};

static WINDOW_PASS: Shape = Shape {
    name: "Command to pass windows",
    members: &[("by", Text, "The operator."), ("at", Time, "When: what was pushed until then passes.")],
};

static GATE_REFUSAL: Shape = Shape {
    name: "Refusal of a gate",
    members: &[
        ("digest", Text, "The digest."),
        ("reason", Word(described::<SkipReason>), "Why."),
        ("at", Time, "When."),
    ],
};

static DISCOVERED_STATE: Shape = Shape {
    name: "Discovery of the state",
    members: &[
        ("tag", Text, "The key of its tag."),
        ("policy", Text, "The tag's value: the name of a `[policy.NAME]`."),
        ("repositories", List(&Text), "The repositories of its account that its containers have their images from."),
        ("since", Time, "When it was found: what was pushed before is not deployed to it."),
        ("absences", Optional(&Integer), "Complete looks in a row that did not find it."),
    ],
};

static PUSH_REF: Shape = Shape {
    name: "Push of the state",
    members: &[
        ("event", Text, "The event that reported it; `reconcile` or `order` where nobody pushed."),
        ("tag", Optional(&Text), "The tag, where the record holds it."),
        ("at", Time, "When it was pushed."),
        ("digest", Optional(&Text), "The digest that the record names, as long as the push is not decided."),
        ("seen", Optional(&Object(&FIRST_SEEN)), "When it was first seen, where CloudTrail is not the only source."),
    ],
};

static TARGET: Shape = Shape {
    name: "Target",
    members: &[
        ("digest", Text, "The digest."),
        ("push", Object(&PUSH_REF), "The push that asked for it."),
        ("image_pushed_at", Optional(&Time), "When ECR got the image."),
    ],
};

static ROLLBACK_TARGET: Shape = Shape {
    name: "Rollback target",
    members: &[
        ("revision", Text, "The ARN of the revision that ran before."),
        (
            "pinned",
            Optional(&Map("container", &Text)),
            "The images that ran, pinned to digests, where that revision names tags.",
        ),
        (
            "targets",
            Optional(&Map("AWS/REPOSITORY", &Object(&TARGET))),
            "The digests that this program deployed with that revision.",
        ),
    ],
};

static DEPLOYED: Shape = Shape {
    name: "Deployed revision of the state",
    members: &[
        ("revision", Text, "The ARN of the revision."),
        ("targets", Map("AWS/REPOSITORY", &Object(&TARGET)), "The digests that it runs."),
        ("since", Time, "When it was complete."),
        ("names_tags", Bool, "Whether the revision names an image in ECR by a tag."),
        ("way_back", Optional(&Object(&ROLLBACK_TARGET)), "Where to go back to, where an operator rolls back."),
        (
            "unproven",
            Optional(&Object(&ROLLOUT_STATE)),
            "The rollout that brought it, as long as no task has run it because the desired count was 0.",
        ),
        (
            "pinned",
            Optional(&Map("container", &Text)),
            "What ran, pinned to digests, after going back to what no push brought here.",
        ),
    ],
};

static FAILED_IN_PLACE: Shape = Shape {
    name: "Revision that failed in place",
    members: &[
        ("revision", Text, "The ARN of the revision."),
        ("targets", Map("AWS/REPOSITORY", &Object(&TARGET)), "The digests that it brought."),
        ("way_back", Object(&ROLLBACK_TARGET), "Where to go back to, where an operator rolls back."),
    ],
};

static ROLLOUT_STATE: Shape = Shape {
    name: "Rollout of the state",
    members: &[
        ("direction", Object(&DIRECTION), "Where it goes."),
        ("targets", Map("AWS/REPOSITORY", &Object(&TARGET)), "The digests that it brings, or that failed."),
        ("replaces", Text, "The ARN of the revision that the service ran when this was decided."),
        ("base", Text, "The ARN of the revision that the new one is made from."),
        ("images", Map("container", &Text), "The images that it changes."),
        ("way_back", Object(&ROLLBACK_TARGET), "Where to go back to if it fails."),
        ("phase", Object(&PHASE), "How far it got."),
        ("decided_at", Time, "When it was decided."),
        ("names_tags", Bool, "Whether the new revision names an image in ECR by a tag."),
        (
            "supersedes",
            Optional(&Object(&ROLLOUT_STATE)),
            "The rollout that this one supersedes, as long as ECS rolls that one.",
        ),
    ],
};

static DIRECTION: Shape = Shape {
    name: "Direction",
    members: &[("is", Word(described::<Way>), "Where it goes."), ("because", Optional(&Text), "Why it goes back.")],
};

static PHASE: Shape = Shape {
    name: "Phase",
    members: &[
        ("is", Word(phases), "How far it got."),
        ("revision", Optional(&Text), "The ARN of the revision, once it is registered."),
        ("deployment", Optional(&Text), "The id of the deployment, once there is one."),
        ("since", Optional(&Time), "When UpdateService was answered, or the deployment was found."),
        ("progressed_at", Optional(&Time), "When it was last seen to make progress."),
        ("rolled", Optional(&Object(&ROLLED)), "Of a task that verifies the rollout: the deployment."),
        ("run", Optional(&Object(&TASK_RUN)), "The one-off task that is under way."),
        ("monitored", Optional(&Object(&MONITORED)), "The watch over it since ECS has completed it."),
    ],
};

fn phases() -> Vec<(&'static str, &'static str)> {
    let of_state =
        |word: &str| [Step::Intended, Step::Registered, Step::Rolling].iter().any(|step| step.as_str() == word);
    let mut words: Vec<_> = described::<Step>().into_iter().filter(|(word, _)| of_state(word)).collect();
    words.push(("task", "A one-off task runs, before the service is updated or after ECS has completed the rollout."));
    words
}

fn progress() -> Vec<(&'static str, &'static str)> {
    vec![
        ("preparing", "What it needs is being found out."),
        ("starting", "RunTask may have been called."),
        ("running", "ECS has started it."),
    ]
}

static ROLLED: Shape = Shape {
    name: "Complete deployment",
    members: &[
        ("deployment", Text, "The id of the deployment."),
        ("since", Time, "When UpdateService was answered, or the deployment was found."),
        (
            "desired",
            Optional(&Integer),
            "The tasks that were wanted then, where it is watched further once it is verified.",
        ),
    ],
};

static TASK_RUN: Shape = Shape {
    name: "One-off task of the state",
    members: &[
        ("kind", Word(described::<TaskKind>), "When it runs."),
        ("number", Integer, "Which of the tasks of its kind it is, from 1."),
        ("task", Object(&PLANNED_TASK), "The task."),
        ("next", Optional(&List(&Object(&PLANNED_TASK))), "Those that follow it."),
        ("progress", Object(&TASK_PROGRESS), "How far it got."),
    ],
};

static PLANNED_TASK: Shape = Shape {
    name: "Planned task",
    members: &[
        ("repository", Text, "The repository whose image brings it, as AWS/REPOSITORY."),
        ("spec", Object(&TASK_SPEC), "The task as the configuration has it."),
    ],
};

static TASK_SPEC: Shape = Shape {
    name: "Task of the configuration",
    members: &[
        ("command", Optional(&List(&Text)), "The command, in place of the image's own."),
        ("container", Optional(&Text), "The container that runs the command."),
        ("timeout_seconds", Integer, "How long it may take."),
        ("family", Optional(&Text), "Its own family of task definitions."),
    ],
};

static TASK_PROGRESS: Shape = Shape {
    name: "Progress of a task",
    members: &[
        ("is", Word(progress), "How far it got."),
        ("request", Optional(&Object(&TASK_REQUEST)), "What is sent to RunTask."),
        ("attempt", Optional(&Integer), "How often RunTask was tried, from 1."),
        ("short_since", Optional(&Time), "Since when ECS lacks the resources for it."),
        ("running", Optional(&Object(&RUNNING_TASK)), "The task, once ECS has started it."),
    ],
};

static TASK_REQUEST: Shape = Shape {
    name: "Request for a task",
    members: &[
        ("body", Text, "The request as JSON, without its client token."),
        ("container", Text, "The container that runs the command."),
        ("log", Optional(&Object(&LOG_LOCATION)), "Where its log is."),
    ],
};

static RUNNING_TASK: Shape = Shape {
    name: "Running task",
    members: &[
        ("arn", Text, "Its ARN."),
        ("container", Text, "The container that runs the command."),
        ("log", Optional(&Object(&LOG_LOCATION)), "Where its log is."),
        ("since", Time, "When RunTask was answered."),
        ("late_since", Optional(&Time), "Since when it is to stop because it has taken too long."),
    ],
};

static LOG_LOCATION: Shape = Shape {
    name: "Log of a task",
    members: &[
        ("group", Text, "The CloudWatch log group."),
        ("prefix", Optional(&Text), "What the names of its streams begin with."),
    ],
};

static MONITORED: Shape = Shape {
    name: "Watch over a complete rollout",
    members: &[
        ("since", Time, "When ECS was seen to have completed it."),
        ("desired", Integer, "The tasks that were wanted then."),
        ("events_from", Optional(&Time), "The newest line of the service's own log then."),
        ("stopped", Optional(&Integer), "The tasks that were seen to stop since."),
    ],
};

static DIGEST_HOLD_STATE: Shape = Shape {
    name: "Digest hold of the state",
    members: &[
        ("digest", Text, "The digest."),
        ("since", Time, "Since when."),
        ("reason", Text, "Why."),
        ("pushed_at", Optional(&Time), "When it was pushed."),
        ("rejected", Optional(&Bool), "Whether an operator rejected it."),
        ("tried_until", Optional(&Time), "Up to when it was tried, by the clock that pushes go by."),
    ],
};

static REPLACED_EXTERNALLY: Shape = Shape {
    name: "Digest replaced externally",
    members: &[("digest", Text, "The digest."), ("at", Time, "When that was seen.")],
};

static OUTCOME_STATE: Shape = Shape {
    name: "Outcome of the state",
    members: &[
        ("result", Word(described::<OutcomeKind>), "How the rollout ended."),
        ("revision", Optional(&Text), "The ARN of the revision, if one was registered."),
        ("targets", Map("AWS/REPOSITORY", &Object(&TARGET)), "The digests."),
        ("decided_at", Time, "When it was decided."),
        ("ended_at", Time, "When it ended."),
        ("detail", Optional(&Text), "What to know about it."),
    ],
};

static DECISION: Shape = Shape {
    name: "Decision",
    members: &[
        ("aws", Text, "The AWS context that the repository lives in."),
        ("repository", Optional(&Text), "The repository, as far as the record names one."),
        ("tag", Optional(&Text), "The tag."),
        ("event", Text, "The event that reported it; `reconcile` or `order` where nobody pushed."),
        ("pushed_at", Time, "When it was pushed."),
        ("decided_at", Time, "When it was decided."),
        ("service", Optional(&Text), "The service; left out if the push concerns none."),
        ("skipped", Optional(&Word(described::<SkipReason>)), "Why it was not deployed; left out if it was."),
        ("detail", Optional(&Text), "The digest that is deployed, or the particulars of the reason."),
        ("seen", Optional(&Object(&FIRST_SEEN)), "When it was first seen, where CloudTrail is not the only source."),
    ],
};
