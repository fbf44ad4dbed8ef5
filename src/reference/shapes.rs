//! The members of the program's JSON, with their meanings. A test compares them with what is really written: a member that is missing
//! here, or is never written, is named.

use crate::domain::finding::Severity;
use crate::domain::words::described;

mod plan;
mod state;
mod status;

pub(super) use plan::PLAN;
pub(super) use state::STATE;
pub(super) use status::{HISTORY, STATUS};

/// The words of a member, with their meanings.
pub(super) type Words = fn() -> Vec<(&'static str, &'static str)>;

/// The type of a value.
pub(super) enum Type {
    Text,
    Time,
    Integer,
    Number,
    Bool,
    Word(Words),
    Object(&'static Shape),
    List(&'static Type),
    /// An object whose members are named by something: by what.
    Map(&'static str, &'static Type),
    OrNull(&'static Type),
    /// The member may be left out.
    Optional(&'static Type),
}

/// An object, with its members.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) members: &'static [(&'static str, Type, &'static str)],
}

/// A JSON document that a command writes.
pub(super) struct Document {
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) shape: &'static Shape,
}

use Type::{Integer, List, Object, OrNull, Text, Word};

pub(super) static DOCUMENTS: [&Document; 5] = [&STATUS, &HISTORY, &PLAN, &CHECK, &STATE];

pub(super) static CHECK: Document = Document {
    title: "`check --json`",
    about: "Whether the configuration fits what is there.",
    shape: &Shape {
        name: "Check",
        members: &[
            ("version", Integer, "The version of this shape: 1."),
            ("file", Text, "The configuration file."),
            ("findings", List(&Object(&FINDING)), "The findings, the worst first."),
            ("summary", Object(&SUMMARY), "How many there are."),
        ],
    },
};

static FINDING: Shape = Shape {
    name: "Finding",
    members: &[
        ("line", OrNull(&Integer), "The line of the file, from 1."),
        ("severity", Word(described::<Severity>), "How bad it is."),
        ("code", Text, "A name for programs."),
        ("subject", Text, "What it is about: a service, a repository, an AWS context."),
        ("message", Text, "What is the case."),
        ("remedy", Text, "What to do."),
    ],
};

static SUMMARY: Shape = Shape {
    name: "Summary",
    members: &[
        ("errors", Integer, "Findings of the severity `error`."),
        ("warnings", Integer, "Findings of the severity `warning`."),
        ("notes", Integer, "Findings of the severity `note`."),
    ],
};
