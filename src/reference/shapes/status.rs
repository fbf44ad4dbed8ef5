//! The members of the status and of the history.

use super::Type::{Bool, Integer, List, Map, Number, Object, Optional, OrNull, Text, Time, Word};
use super::{Document, Shape};
use crate::domain::audit::Concern;
use crate::domain::deployment::HookTarget;
use crate::domain::source::PushSource;
use crate::domain::state::OutcomeKind;
use crate::domain::task::TaskKind;
use crate::domain::waiting::Gate;
use crate::domain::words::described;
use crate::status::{Origin, PushDecision, Step, Way};

pub(in crate::reference) static STATUS: Document = Document {
    title: "`status --json`",
    about: "What runs, what rolls and what is held. `/api/v1/status` is the same, with the members `history` and `orders` filled.",
    shape: &Shape {
        name: "Status",
        members: &[
            ("version", Integer, "The version of this shape: 1."),
            ("at", Time, "When this was so."),
            ("source", Word(described::<Origin>), "Where it comes from."),
            ("daemon", OrNull(&Object(&DAEMON)), "The running daemon; null for a state file or a table."),
            (
                "table",
                Optional(&Object(&TABLE)),
                "The table that this was read from. Only where the source is `table`.",
            ),
            ("contexts", List(&Object(&CONTEXT)), "How far CloudTrail was read, by AWS context."),
            (
                "services",
                List(&Object(&SERVICE)),
                "The services of the configuration, and those that left it in the middle of a rollout.",
            ),
            ("pushes", List(&Object(&PUSH)), "The last 100 decisions about pushes, newest first."),
            (
                "changes",
                List(&Object(&CHANGE)),
                "The last 100 changes to ECS, newest first, where there is an `[audit]`.",
            ),
        ],
    },
};

static DAEMON: Shape = Shape {
    name: "Daemon",
    members: &[
        ("program_version", Text, "The version of the program."),
        ("commit", Text, "The commit that it was built from."),
        ("started_at", Time, "When it was started."),
        ("state_trouble", OrNull(&Text), "Why the state cannot be written. Nothing is deployed until it can."),
        ("audit_trouble", Map("AWS context", &Text), "Why changes to ECS cannot be read."),
    ],
};

static TABLE: Shape = Shape {
    name: "Table",
    members: &[
        ("active", OrNull(&Text), "The replica that holds the lease: the active one, unless it has just died."),
        ("written_at", OrNull(&Time), "When the state was written last, by the clock of the replica that wrote it."),
    ],
};

static CONTEXT: Shape = Shape {
    name: "AWS context",
    members: &[
        ("aws", Text, "Its name."),
        ("since", Time, "The first start: pushes before it are not deployed."),
        ("read_to", OrNull(&Time), "Up to when events were read."),
        ("polled_at", OrNull(&Time), "When this process polled it last with success."),
        ("trouble", OrNull(&Text), "Why it cannot be polled now."),
        ("delivery", OrNull(&Object(&DELIVERY)), "How late events arrive."),
        ("queue", Optional(&Object(&QUEUE)), "Its queue, if it has one."),
    ],
};

static QUEUE: Shape = Shape {
    name: "Queue",
    members: &[
        ("url", Text, "Its URL."),
        ("received_at", OrNull(&Time), "When it last answered this process."),
        ("trouble", OrNull(&Text), "Why it cannot be read now."),
        ("delivery", OrNull(&Object(&DELIVERY)), "How late its messages arrive."),
    ],
};

pub(super) static FIRST_SEEN: Shape = Shape {
    name: "First sight of a push",
    members: &[
        ("at", Time, "When the push was first seen."),
        ("by", Word(described::<PushSource>), "Which source reported it."),
    ],
};

static DELIVERY: Shape = Shape {
    name: "Delivery",
    members: &[
        ("pushes", Integer, "How many pushes it is about: the last ones, at most 50."),
        ("last_seconds", Number, "From the last push to when it was seen."),
        ("median_seconds", Number, "The median."),
        ("longest_seconds", Number, "The longest."),
    ],
};

static SERVICE: Shape = Shape {
    name: "Service",
    members: &[
        ("aws", Text, "The AWS context."),
        ("cluster", Text, "The cluster."),
        ("service", Text, "The service."),
        (
            "name",
            Text,
            "What commands call it: CLUSTER/SERVICE, with the AWS context before it where two have the same.",
        ),
        (
            "discovered",
            Optional(&Object(&DISCOVERED)),
            "How it came to be followed, where it is not listed in the configuration.",
        ),
        ("deployed", OrNull(&Object(&RUNNING)), "What this program deployed last and saw complete."),
        ("runs", OrNull(&Object(&RUNS)), "What ECS says that it is set to; null where no daemon was asked."),
        ("rollout", OrNull(&Object(&ROLLOUT)), "What is under way."),
        ("frozen", OrNull(&Object(&SERVICE_HOLD)), "The hold of an operator on the whole service."),
        ("held", List(&Object(&DIGEST_HOLD)), "The digests that are held."),
        ("undecided", Integer, "Pushes that are not decided yet."),
        ("waiting", Optional(&Object(&WAITING)), "What waits for the service, and where."),
        ("trouble", OrNull(&Text), "The call to AWS that keeps failing."),
        ("history", List(&Object(&OUTCOME)), "The last outcomes, newest first. Empty in `status --json`."),
        (
            "orders",
            List(&Object(&COMMAND_RECORD)),
            "The last commands of operators, newest first. Empty in `status --json`.",
        ),
    ],
};

static DISCOVERED: Shape = Shape {
    name: "Discovery",
    members: &[
        ("tag", Text, "The key of its tag."),
        ("policy", Text, "The tag's value: the name of a `[policy.NAME]`."),
        ("since", Time, "When it was found: what was pushed before is not deployed to it."),
        ("repositories", List(&Text), "The repositories that it follows."),
    ],
};

static RUNNING: Shape = Shape {
    name: "Deployed revision",
    members: &[
        ("revision", Text, "The ARN of the revision."),
        ("since", Time, "When it was complete."),
        ("images", List(&Object(&IMAGE)), "The images that it brought."),
        ("unproven", Optional(&Bool), "Whether no task has run it yet, as the desired count was 0."),
        (
            "containers",
            Optional(&List(&Object(&CONTAINER))),
            "What its containers run, after going back to what no push brought here.",
        ),
    ],
};

pub(super) static WAITING: Shape = Shape {
    name: "What waits",
    members: &[
        ("gate", Word(described::<Gate>), "Where."),
        ("since", Time, "Since when."),
        ("repository", Text, "The repository."),
        ("tag", Optional(&Text), "The tag."),
        ("digest", Text, "The digest."),
        ("reason", Text, "What is waited for."),
        ("until", Optional(&Time), "When the waiting ends by itself."),
        ("stage", Optional(&Text), "ECS's lifecycle stage, such as `POST_SCALE_UP`."),
        ("hook", Optional(&Object(&HOOK)), "The lifecycle hook that ECS waits at."),
        ("reported", Optional(&Bool), "Whether a notification of it was sent already."),
    ],
};

static HOOK: Shape = Shape {
    name: "Lifecycle hook",
    members: &[
        ("id", Text, "Its id."),
        ("target", Word(described::<HookTarget>), "What acts at it."),
        ("service_deployment", Text, "The ARN of the service deployment that waits."),
    ],
};

static IMAGE: Shape = Shape {
    name: "Image",
    members: &[
        ("repository", Text, "The repository."),
        ("tag", OrNull(&Text), "The tag that was pushed."),
        ("digest", Text, "The digest."),
        ("pushed_at", Time, "When it was pushed."),
        ("event", Text, "The event that reported it; `reconcile` or `order` where nobody pushed."),
        ("seen", Optional(&Object(&FIRST_SEEN)), "When it was first seen, where CloudTrail is not the only source."),
    ],
};

static RUNS: Shape = Shape {
    name: "Service in ECS",
    members: &[
        ("seen_at", Time, "When ECS was asked."),
        ("revision", OrNull(&Text), "The ARN of the revision."),
        ("since", OrNull(&Time), "When its deployment began."),
        ("desired", Integer, "Tasks that it shall run."),
        ("running", Integer, "Tasks that run."),
        ("containers", List(&Object(&CONTAINER)), "The containers of the revision."),
        ("trouble", OrNull(&Text), "Why nothing is known."),
    ],
};

static CONTAINER: Shape =
    Shape { name: "Container", members: &[("name", Text, "Its name."), ("image", Text, "The image that it names.")] };

static ROLLOUT: Shape = Shape {
    name: "Rollout",
    members: &[
        ("direction", Word(described::<Way>), "Where it goes."),
        ("because", OrNull(&Text), "Why it goes back."),
        ("phase", Word(described::<Step>), "How far it got."),
        ("revision", OrNull(&Text), "The ARN of the revision, once it is registered."),
        ("deployment", OrNull(&Text), "The id of the deployment, once there is one."),
        ("decided_at", Time, "When it was decided."),
        ("images", List(&Object(&IMAGE)), "The images that it brings, or takes away."),
        ("tasks", OrNull(&Object(&TASKS)), "Its tasks, as they were seen last."),
        ("stage", Optional(&Text), "ECS's lifecycle stage, such as `POST_SCALE_UP`, where ECS tells one."),
        (
            "traffic",
            Optional(&Number),
            "The share of the production traffic that the new tasks get, in percent, where ECS moves traffic.",
        ),
        ("task", Optional(&Object(&TASK)), "The one-off task that is under way."),
    ],
};

static TASK: Shape = Shape {
    name: "One-off task",
    members: &[
        ("kind", Word(described::<TaskKind>), "When it runs."),
        ("number", Integer, "Which of the tasks of its kind it is, from 1."),
        ("following", Integer, "How many tasks follow it."),
        ("command", Text, "Its command."),
        ("container", Optional(&Text), "The container that runs the command, once that is known."),
        ("arn", Optional(&Text), "The ARN, once ECS has started it."),
        ("since", Optional(&Time), "When ECS started it."),
        ("log", Optional(&Text), "Where its log is, as far as that is known."),
    ],
};

static TASKS: Shape = Shape {
    name: "Tasks",
    members: &[
        ("desired", Integer, "Tasks that the deployment shall run."),
        ("running", Integer, "Tasks that run."),
        ("pending", Integer, "Tasks that start."),
        ("failed", Integer, "Tasks that failed."),
    ],
};

pub(super) static SERVICE_HOLD: Shape = Shape {
    name: "Service hold",
    members: &[
        ("since", Time, "Since when."),
        ("by", Text, "The operator."),
        ("reason", Optional(&Text), "Why, if the operator said so."),
    ],
};

static DIGEST_HOLD: Shape = Shape {
    name: "Digest hold",
    members: &[
        ("repository", Text, "The repository."),
        ("digest", Text, "The digest."),
        ("since", Time, "Since when."),
        ("reason", Text, "Why."),
    ],
};

static PUSH: Shape = Shape {
    name: "Push",
    members: &[
        ("aws", Text, "The AWS context that the repository lives in."),
        ("repository", OrNull(&Text), "The repository, as far as the record names one."),
        ("tag", OrNull(&Text), "The tag."),
        ("event", Text, "The event that reported it; `reconcile` or `order` where nobody pushed."),
        ("pushed_at", Time, "When it was pushed."),
        ("decided_at", Time, "When it was decided."),
        ("service", OrNull(&Text), "The name of the service; null if it concerns none."),
        ("decision", Word(PushDecision::described), "What was decided."),
        ("detail", Text, "The digest that is deployed, or the particulars of the reason."),
        ("seen", Optional(&Object(&FIRST_SEEN)), "When it was first seen, where CloudTrail is not the only source."),
    ],
};

static CHANGE: Shape = Shape {
    name: "Change to ECS",
    members: &[
        ("aws", Text, "The AWS context."),
        ("event", Text, "The CloudTrail event."),
        ("at", Time, "When."),
        ("call", Text, "The call, such as `UpdateService`."),
        ("target", Text, "What it was about."),
        ("who", Text, "Who made it."),
        ("from", Text, "The address, or the AWS service, that it came from."),
        ("agent", Text, "The program that made it."),
        ("concern", Word(described::<Concern>), "Whom it concerns."),
        ("error", OrNull(&Text), "The error code, where AWS refused it."),
    ],
};

static OUTCOME: Shape = Shape {
    name: "Outcome",
    members: &[
        ("result", Word(described::<OutcomeKind>), "How the rollout ended."),
        ("decided_at", Time, "When it was decided."),
        ("ended_at", Time, "When it ended."),
        ("revision", OrNull(&Text), "The ARN of the revision."),
        ("images", List(&Object(&IMAGE)), "The images."),
        ("detail", Text, "What to know about it."),
    ],
};

pub(super) static COMMAND_RECORD: Shape = Shape {
    name: "Operator command",
    members: &[
        ("at", Time, "When."),
        ("by", Text, "The operator."),
        ("order", Object(&OPERATOR_COMMAND), "The command that was given."),
        ("answer", Text, "What came of it at once."),
    ],
};

static OPERATOR_COMMAND: Shape = Shape {
    name: "Command",
    members: &[
        ("is", Word(commands), "The command."),
        ("reason", Optional(&Text), "The reason that was given with `hold` or `reject`."),
        ("to", Optional(&Text), "The revision that was given with `rollback`."),
        ("image", Optional(&Text), "The tag or digest that was given with `approve`."),
    ],
};

fn commands() -> Vec<(&'static str, &'static str)> {
    vec![
        ("deploy", "Roll to what the policies select."),
        ("deploy_now", "The same outside of windows and in freezes."),
        ("hold", "Deploy nothing until a release."),
        ("release", "End every hold, and roll to what the policies select."),
        ("rollback", "Go back to what ran before, or to a revision."),
        ("approve", "Let go what waits for an approval."),
        ("reject", "Hold what waits for an approval."),
    ]
}

pub(in crate::reference) static HISTORY: Document = Document {
    title: "`history --json`",
    about: "What happened, and which commands operators gave.",
    shape: &Shape {
        name: "History",
        members: &[
            ("version", Integer, "The version of this shape: 1."),
            ("at", Time, "When this was so."),
            ("source", Word(described::<Origin>), "Where it comes from."),
            ("services", List(&Object(&HISTORY_OF_SERVICE)), "The services."),
        ],
    },
};

static HISTORY_OF_SERVICE: Shape = Shape {
    name: "History of a service",
    members: &[
        ("aws", Text, "The AWS context."),
        ("cluster", Text, "The cluster."),
        ("service", Text, "The service."),
        ("name", Text, "What commands call it."),
        ("history", List(&Object(&OUTCOME)), "The last outcomes, newest first."),
        ("orders", List(&Object(&COMMAND_RECORD)), "The last commands of operators, newest first."),
    ],
};
