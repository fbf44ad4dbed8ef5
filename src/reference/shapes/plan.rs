//! The members of the plan.

use super::Type::{Integer, List, Object, Optional, OrNull, Text, Time, Word};
use super::status::WAITING;
use super::{Document, Shape};
use crate::status::{Comparison, PushForecast};

pub(in crate::reference) static PLAN: Document = Document {
    title: "`plan --json`",
    about: "What one poll would do, and how the services differ from ECR.",
    shape: &Shape {
        name: "Plan",
        members: &[
            ("version", Integer, "The version of this shape: 1."),
            ("at", Time, "When it was looked at."),
            ("pushes", List(&Object(&PLANNED_PUSH)), "Each push that the poll showed, newest first."),
            (
                "services",
                List(&Object(&COMPARED_SERVICE)),
                "Each service, compared with what its policies select in ECR.",
            ),
            ("errors", List(&Text), "What could not be asked."),
        ],
    },
};

static PLANNED_PUSH: Shape = Shape {
    name: "Planned push",
    members: &[
        ("aws", Text, "The AWS context that the repository lives in."),
        ("repository", OrNull(&Text), "The repository, as far as the record names one."),
        ("tag", OrNull(&Text), "The tag."),
        ("event", Text, "The event that reported it; `reconcile` or `order` where nobody pushed."),
        ("pushed_at", Time, "When it was pushed."),
        ("service", OrNull(&Text), "The name of the service; null if it concerns none."),
        ("decision", Word(PushForecast::described), "What would be decided."),
        ("detail", Text, "The digest that would be deployed, or the particulars of the reason."),
    ],
};

static COMPARED_SERVICE: Shape = Shape {
    name: "Compared service",
    members: &[
        ("aws", Text, "The AWS context."),
        ("cluster", Text, "The cluster."),
        ("service", Text, "The service."),
        ("name", Text, "What commands call it."),
        ("revision", OrNull(&Text), "The ARN of the revision that it is set to."),
        ("state", Word(Comparison::described), "How it compares."),
        ("detail", Text, "The particulars."),
        ("waiting", Optional(&Object(&WAITING)), "What waits for the service, and where."),
        ("images", List(&Object(&IMAGE_CHANGE)), "What a deployment would change."),
    ],
};

static IMAGE_CHANGE: Shape = Shape {
    name: "Image change",
    members: &[
        ("container", Text, "The container."),
        ("from", Text, "What the revision names now."),
        ("to", Text, "What the new one would name."),
    ],
};
