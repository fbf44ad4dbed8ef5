//! The pages `skip-reasons.md` and `exit-codes.md` of the reference.

use super::{code, table, title};
use crate::cli::Exit;
use crate::domain::skip::SkipReason;
use crate::domain::state::OutcomeKind;

pub(super) fn skip_reasons() -> String {
    let mut text = title("Skip reasons and outcomes");
    text.push_str(
        "\nA push that is not deployed has one of these reasons: in the log, in `ecs-deployd status` and `plan`, on the status page, and in \
         the label `outcome` of `ecs_deployd_pushes_total`. A push that is skipped is not looked at again: after the cause is removed, push \
         again, or ask for a deployment with `ecs-deployd deploy CLUSTER/SERVICE`.\n\n## Skip reasons\n",
    );
    text.push_str(&table(
        ["reason", "meaning", "what to do, if a deployment was expected", "log level"],
        SkipReason::ALL.map(|reason| {
            [
                code(reason.as_str()),
                reason.meaning().to_owned(),
                reason.remedy().to_owned(),
                code(reason.level().as_str()),
            ]
        }),
    ));
    text.push_str(
        "\nThe log level is that of a push which is skipped as soon as it is read. What is skipped when a service is looked at is logged as \
         `info`.\n\n## Outcomes\n\nA rollout ends with one of these outcomes: in the log, in `ecs-deployd history`, in notifications, and in the \
         label `outcome` of `ecs_deployd_deployments_total`.\n",
    );
    text.push_str(&table(
        ["outcome", "meaning", "what to do", "log level"],
        OutcomeKind::ALL.map(|outcome| {
            let level = code(outcome.level().as_str());
            [code(outcome.as_str()), outcome.meaning().to_owned(), outcome.remedy().to_owned(), level]
        }),
    ));
    text
}

pub(super) fn exit_codes() -> String {
    let mut text = title("Exit codes");
    let rows = Exit::ALL.map(|exit| [exit.code().to_string(), exit.meaning().to_owned()]);
    text.push_str(&table(["exit code", "meaning"], rows));
    text.push_str("\nWhat each command exits with stands in its description: [command line](command-line.md).\n");
    text
}
