//! Which policy denies a call, and whose task it is to change that.
//!
//! AWS names the kind of the policy in its message (IAM User Guide, "Troubleshoot access denied error messages"): an explicit deny as "with an
//! explicit deny in a service control policy", a missing allow as "because no permissions boundary allows the ecs:UpdateService action".
//! The ARN of the policy may follow.

/// What denies a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Denial {
    policy: Policy,
    explicit: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// A policy of the role, or one that the message does not name.
    Identity,
    ServiceControl,
    ResourceControl,
    Boundary,
    Session,
    Resource,
    VpcEndpoint,
}

impl Denial {
    pub(super) fn of(message: &str) -> Self {
        let message = message.to_ascii_lowercase();
        let explicit = message.contains("explicit deny");
        let kinds = [
            ("service control policy", Policy::ServiceControl),
            ("resource control policy", Policy::ResourceControl),
            ("permissions boundary", Policy::Boundary),
            ("session policy", Policy::Session),
            ("vpc endpoint policy", Policy::VpcEndpoint),
            ("resource-based policy", Policy::Resource),
        ];
        // Only what follows these words is AWS's reason; before them stand names that others chose.
        let reason = ["with an explicit deny in a", "because no "].iter().find_map(|words| message.split_once(words));
        let reason = reason.map_or("", |(_, reason)| reason.trim_start_matches(['n', ' ']));
        let policy = kinds.iter().find(|(words, _)| reason.starts_with(words)).map(|(_, policy)| *policy);
        Self { policy: policy.unwrap_or(Policy::Identity), explicit }
    }

    pub(super) fn remedy(self, action: &str) -> String {
        match (self.policy, self.explicit) {
            (Policy::Identity, false) => format!("allow {action} in the IAM policy of the role"),
            (Policy::Identity, true) => {
                format!(
                    "a policy denies {action} explicitly, which no Allow outweighs: take the role out of that Deny statement"
                )
            }
            (Policy::ServiceControl, false) => format!(
                "allow {action} in the service control policies (SCP) of the organization for this account; the policy of the role cannot"
            ),
            (Policy::ServiceControl, true) => format!(
                "a service control policy (SCP) of the organization denies {action}: have the role taken out of that Deny; the policy of \
                 the role cannot mend it"
            ),
            (Policy::ResourceControl, _) => format!(
                "a resource control policy (RCP) of the organization keeps {action} from the role: have it changed there; the policy of the \
                 role cannot mend it"
            ),
            (Policy::Boundary, false) => {
                format!(
                    "allow {action} in the permissions boundary of the role as well; its policy alone is not enough"
                )
            }
            (Policy::Boundary, true) => {
                format!(
                    "the permissions boundary of the role denies {action} explicitly: change the boundary; the policy of the role cannot mend it"
                )
            }
            (Policy::Session, _) => format!(
                "the session policy that was given when the role was assumed keeps {action} from it: change what assumes the role"
            ),
            (Policy::VpcEndpoint, _) => format!(
                "the policy of the VPC endpoint keeps {action} from the role: allow it there; the policy of the role cannot mend it"
            ),
            (Policy::Resource, false) => {
                format!("allow {action} to the role in the policy of the resource itself, which is in another account")
            }
            (Policy::Resource, true) => {
                format!(
                    "the policy of the resource itself denies {action} explicitly: take the role out of that Deny statement"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: &str = "User: arn:aws:sts::111111111111:assumed-role/ecs-deployd/ecs-deployd is not authorized to perform: ecs:UpdateService on resource: arn:aws:ecs:eu-west-1:111111111111:service/web/hello";

    #[test]
    fn the_remedy_is_for_the_policy_that_denies() {
        for (reason, policy, explicit) in [
            (" because no identity-based policy allows the ecs:UpdateService action", Policy::Identity, false),
            (" with an explicit deny in an identity-based policy", Policy::Identity, true),
            (
                " with an explicit deny in an identity-based policy: arn:aws:iam::111111111111:policy/freeze",
                Policy::Identity,
                true,
            ),
            (" with an explicit deny", Policy::Identity, true),
            ("", Policy::Identity, false),
            (" because no service control policy allows the ecs:UpdateService action", Policy::ServiceControl, false),
            (" with an explicit deny in a service control policy", Policy::ServiceControl, true),
            (
                " with an explicit deny in a service control policy: arn:aws:organizations::222222222222:policy/o-example/service_control_policy/p-1",
                Policy::ServiceControl,
                true,
            ),
            (" with an explicit deny in a resource control policy", Policy::ResourceControl, true),
            (" because no permissions boundary allows the ecs:UpdateService action", Policy::Boundary, false),
            (" with an explicit deny in a permissions boundary", Policy::Boundary, true),
            (" because no session policy allows the ecs:UpdateService action", Policy::Session, false),
            (" because no VPC endpoint policy allows the ecs:UpdateService action", Policy::VpcEndpoint, false),
            (" with an explicit deny in a VPC endpoint policy", Policy::VpcEndpoint, true),
            (" because no resource-based policy allows the ecs:UpdateService action", Policy::Resource, false),
            (" with an explicit deny in a resource-based policy", Policy::Resource, true),
        ] {
            assert_eq!(Denial::of(&format!("{WHO}{reason}")), Denial { policy, explicit }, "{reason}");
        }
    }

    #[test]
    fn what_others_named_is_no_reason() {
        let named = "User: arn:aws:iam::1:user/session policy is not authorized to perform: ecs:UpdateService because no identity-based policy allows the ecs:UpdateService action";
        assert_eq!(Denial::of(named).policy, Policy::Identity);
    }

    #[test]
    fn only_where_it_helps_the_policy_of_the_role_is_to_be_changed() {
        for policy in [
            Policy::ServiceControl,
            Policy::ResourceControl,
            Policy::Boundary,
            Policy::Session,
            Policy::Resource,
            Policy::VpcEndpoint,
        ] {
            for explicit in [false, true] {
                let remedy = Denial { policy, explicit }.remedy("ecs:UpdateService");
                assert!(
                    !remedy.contains("in the IAM policy of the role") && remedy.contains("ecs:UpdateService"),
                    "{remedy}"
                );
            }
        }
        let remedy = Denial { policy: Policy::Identity, explicit: false }.remedy("ecs:UpdateService");
        assert_eq!(remedy, "allow ecs:UpdateService in the IAM policy of the role");
    }
}
