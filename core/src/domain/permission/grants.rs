//! The table of permissions, and which of them who needs.

use std::collections::BTreeSet;

use super::{Condition, Scope, Usage, Use};

/// One action, and what it is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The statement that it stands in, by its `Sid`. Grants of one statement stand together, and agree in all but the action.
    pub statement: &'static str,
    /// The action as IAM writes it: `ecs:UpdateService`.
    pub action: &'static str,
    /// The use that needs it.
    pub needed_for: Use,
    /// What it is allowed on.
    pub scope: Scope,
    /// What narrows it further.
    pub condition: Condition,
    /// How `check` finds out whether it is allowed.
    pub trial: Trial,
}

/// How `check` finds out whether an action is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// It makes the call, if there is anything to make it about.
    Call,
    /// By calls of another name, which AWS denies to whoever lacks the action.
    OtherCalls,
    /// Not at all. The call would change something, and AWS has no dry run for it.
    Never,
}

impl Grant {
    const fn tried(self, trial: Trial) -> Self {
        Self { trial, ..self }
    }
}

const fn grant(
    statement: &'static str,
    action: &'static str,
    needed_for: Use,
    scope: Scope,
    condition: Condition,
) -> Grant {
    Grant { statement, action, needed_for, scope, condition, trial: Trial::Call }
}

/// Every permission that the program may need.
pub const GRANTS: &[Grant] = &[
    grant("ReadPushEvents", "cloudtrail:LookupEvents", Use::Events, Scope::Anything, Condition::Region),
    grant("ReadTheQueue", "sqs:ReceiveMessage", Use::Queue, Scope::Queue, Condition::None),
    grant("ReadTheQueue", "sqs:DeleteMessage", Use::Queue, Scope::Queue, Condition::None),
    grant("ReadTheQueue", "sqs:ChangeMessageVisibility", Use::Queue, Scope::Queue, Condition::None),
    grant("ResolveTags", "ecr:DescribeImages", Use::Images, Scope::Repositories, Condition::None),
    grant("FindServicesByTag", "tag:GetResources", Use::Discovery, Scope::Anything, Condition::Region),
    grant("ReadScans", "ecr:DescribeImageScanFindings", Use::Scans, Scope::ScannedRepositories, Condition::None),
    grant(
        "ReadScans",
        "ecr:BatchGetRepositoryScanningConfiguration",
        Use::Scans,
        Scope::ScannedRepositories,
        Condition::None,
    ),
    grant("ReadScans", "ecr:BatchGetImage", Use::Scans, Scope::ScannedRepositories, Condition::None),
    grant("ReadFindingsOfInspector", "inspector2:ListFindings", Use::Scans, Scope::Anything, Condition::Region)
        .tried(Trial::OtherCalls),
    grant("ReadFindingsOfInspector", "inspector2:ListCoverage", Use::Scans, Scope::Anything, Condition::Region)
        .tried(Trial::OtherCalls),
    grant(
        "ReadSignatures",
        "ecr:DescribeImageSigningStatus",
        Use::Signatures,
        Scope::SignedRepositories,
        Condition::None,
    ),
    grant("ReadAndRollServices", "ecs:DescribeServices", Use::Services, Scope::Services, Condition::None),
    grant("ReadAndRollServices", "ecs:UpdateService", Use::Services, Scope::Services, Condition::None)
        .tried(Trial::Never),
    grant("ReadAndRollServices", "ecs:ListServiceDeployments", Use::Services, Scope::Services, Condition::None),
    grant("ReadWhatWasTried", "ecs:DescribeServiceRevisions", Use::Services, Scope::ServiceRevisions, Condition::None),
    grant(
        "SeeAndStopDeployments",
        "ecs:DescribeServiceDeployments",
        Use::Services,
        Scope::ServiceDeployments,
        Condition::None,
    ),
    grant(
        "SeeAndStopDeployments",
        "ecs:StopServiceDeployment",
        Use::Services,
        Scope::ServiceDeployments,
        Condition::None,
    )
    .tried(Trial::Never),
    grant(
        "AnswerPauseHooks",
        "ecs:ContinueServiceDeployment",
        Use::PauseHooks,
        Scope::PausedDeployments,
        Condition::None,
    )
    .tried(Trial::Never),
    grant(
        "RollExpressModeServices",
        "ecs:UpdateExpressGatewayService",
        Use::ExpressMode,
        Scope::ExpressServices,
        Condition::None,
    )
    .tried(Trial::Never),
    grant("FindRunningTasks", "ecs:ListTasks", Use::Services, Scope::Anything, Condition::Clusters),
    grant("ReadRunningDigests", "ecs:DescribeTasks", Use::Services, Scope::Tasks, Condition::None),
    grant("ReadRevisions", "ecs:DescribeTaskDefinition", Use::Revisions, Scope::Anything, Condition::Region),
    grant("RegisterRevisions", "ecs:RegisterTaskDefinition", Use::Revisions, Scope::Families, Condition::None)
        .tried(Trial::Never),
    grant(
        "CopyTagsOfRevisions",
        "ecs:TagResource",
        Use::RevisionTags,
        Scope::TaggedFamilies,
        Condition::WhileRegistering,
    )
    .tried(Trial::Never),
    grant("RunOneOffTasks", "ecs:RunTask", Use::OneOffTasks, Scope::TaskFamilies, Condition::TaskClusters)
        .tried(Trial::Never),
    grant("StopOneOffTasks", "ecs:StopTask", Use::OneOffTasks, Scope::OneOffTasks, Condition::None).tried(Trial::Never),
    grant("TagOneOffTasks", "ecs:TagResource", Use::OneOffTasks, Scope::OneOffTasks, Condition::WhileStarting)
        .tried(Trial::Never),
    grant("PassRolesOfTasks", "iam:PassRole", Use::TaskRoles, Scope::TaskRoles, Condition::PassedToTasks)
        .tried(Trial::Never),
    grant("ReadAndWriteSchedules", "scheduler:GetSchedule", Use::Schedules, Scope::Schedules, Condition::None),
    grant("ReadAndWriteSchedules", "scheduler:UpdateSchedule", Use::Schedules, Scope::Schedules, Condition::None)
        .tried(Trial::Never),
    grant("ReadAndWriteRules", "events:ListTargetsByRule", Use::Rules, Scope::Rules, Condition::None),
    grant("ReadAndWriteRules", "events:PutTargets", Use::Rules, Scope::Rules, Condition::None).tried(Trial::Never),
    grant(
        "PassRolesOfSchedules",
        "iam:PassRole",
        Use::ScheduleRoles,
        Scope::ScheduleRoles,
        Condition::PassedToScheduler,
    )
    .tried(Trial::Never),
    grant("PassRolesOfRules", "iam:PassRole", Use::RuleRoles, Scope::RuleRoles, Condition::PassedToEvents)
        .tried(Trial::Never),
    grant("Notify", "sns:Publish", Use::Topics, Scope::Topics, Condition::None).tried(Trial::Never),
    grant("KeepTheState", "dynamodb:DescribeTable", Use::Tables, Scope::Tables, Condition::None),
    grant("KeepTheState", "dynamodb:GetItem", Use::Tables, Scope::Tables, Condition::None),
    grant("KeepTheState", "dynamodb:Query", Use::Tables, Scope::Tables, Condition::None),
    grant("KeepTheState", "dynamodb:PutItem", Use::Tables, Scope::Tables, Condition::None).tried(Trial::Never),
    grant("KeepTheState", "dynamodb:DeleteItem", Use::Tables, Scope::Tables, Condition::None).tried(Trial::Never),
    grant("KeepTheState", "dynamodb:ConditionCheckItem", Use::Tables, Scope::Tables, Condition::None)
        .tried(Trial::Never),
    grant("AssumeTheRolesOfOtherAccounts", "sts:AssumeRole", Use::OtherRoles, Scope::OtherRoles, Condition::None)
        .tried(Trial::OtherCalls),
    grant("TellTheNameThatMayBeMeant", "ecs:ListClusters", Use::Names, Scope::Anything, Condition::Region),
    grant("TellTheNameThatMayBeMeant", "ecs:ListServices", Use::Names, Scope::Anything, Condition::Region),
    grant("TellTheNameThatMayBeMeant", "ecr:DescribeRepositories", Use::Names, Scope::Anything, Condition::Region),
    grant("SeeWhatExpiresImages", "ecr:GetLifecyclePolicy", Use::Names, Scope::Anything, Condition::Region),
];

/// What the daemon's role has to be allowed in a context.
pub fn of_the_daemon(usage: &Usage) -> impl Iterator<Item = Grant> {
    GRANTS.iter().copied().filter(|grant| grant.needed_for.is_made(usage))
}

/// What of that `check` cannot try, each action once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Untried {
    /// The calls would change something, and AWS has no dry run for them.
    pub writes: Vec<&'static str>,
    /// There was nothing to make the calls about.
    pub idle: Vec<&'static str>,
}

/// What of the daemon's policy is not tried by those who made these calls, such as `ecs:DescribeServices`.
#[must_use]
pub fn untried(usage: &Usage, called: &BTreeSet<String>) -> Untried {
    let mut untried = Untried::default();
    for grant in of_the_daemon(usage) {
        let list = match grant.trial {
            Trial::Never => &mut untried.writes,
            Trial::Call if !called.contains(grant.action) => &mut untried.idle,
            Trial::Call | Trial::OtherCalls => continue,
        };
        if !list.contains(&grant.action) {
            list.push(grant.action);
        }
    }
    untried
}

/// What `check` asks beside that, to tell the name that may be meant.
pub fn of_check() -> impl Iterator<Item = Grant> {
    GRANTS.iter().copied().filter(|grant| grant.needed_for == Use::Names)
}
