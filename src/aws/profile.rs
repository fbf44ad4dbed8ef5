//! What an AWS profile says about where credentials come from.
//!
//! The SDK resolves profiles, too, but it asks STS at the usual address whatever `endpoint_url` says, and runs a `credential_process` without
//! ever ending it. So roles, web identities and programs are resolved here; what remains of a profile is left to the SDK. The rules are the
//! SDK's own (`aws-config`, `profile/credentials/repr.rs`).

use aws_config::profile::{Profile, ProfileSet};

/// Where the credentials of a profile come from: a base, and the roles that are assumed with it one after another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) base: Base,
    /// The first one is assumed first.
    pub(super) roles: Vec<Role>,
}

/// A role that a profile names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) external_id: Option<String>,
    pub(super) session_name: Option<String>,
}

/// What the credentials of a profile begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The key `credential_process`: a command whose output has them.
    Process { profile: String, command: String },
    /// The key `web_identity_token_file`: a token that STS takes.
    WebIdentity { role: Role, token_file: String },
    /// `aws_access_key_id` and what belongs to it.
    Keys { profile: String, id: String, secret: String, token: Option<String> },
    /// The key `credential_source`: a source that is named.
    Named(Named),
}

/// The values of `credential_source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Environment,
    Ec2InstanceMetadata,
    EcsContainer,
}

/// Resolves the selected profile. `None`: the SDK's own provider is to resolve it, or to say what is wrong with it.
pub(super) fn resolve(profiles: &ProfileSet) -> Option<Chain> {
    let mut profile = profiles.get_profile(profiles.selected_profile())?;
    let mut visited = vec![profile.name()];
    let mut roles = Vec::new();
    loop {
        // After the first profile, keys come before everything else.
        if visited.len() > 1
            && let Some(base) = keys(profile)
        {
            break Some(Chain { base, roles: reversed(roles) });
        }
        let Some(role) = role(profile).filter(|_| profile.get("web_identity_token_file").is_none()) else {
            break Some(Chain { base: base(profile)?, roles: reversed(roles) });
        };
        roles.push(role);
        match (profile.get("source_profile"), profile.get("credential_source")) {
            (Some(name), None) if name == profile.name() => {
                break Some(Chain { base: base(profile)?, roles: reversed(roles) });
            }
            (Some(name), None) if !visited.contains(&name) => {
                profile = profiles.get_profile(name)?;
                visited.push(profile.name());
            }
            (None, Some(_)) => break Some(Chain { base: base(profile)?, roles: reversed(roles) }),
            _ => return None,
        }
    }
}

fn reversed(mut roles: Vec<Role>) -> Vec<Role> {
    roles.reverse();
    roles
}

fn role(profile: &Profile) -> Option<Role> {
    Some(Role {
        arn: profile.get("role_arn")?.to_owned(),
        external_id: profile.get("external_id").map(str::to_owned),
        session_name: profile.get("role_session_name").map(str::to_owned),
    })
}

fn base(profile: &Profile) -> Option<Base> {
    if let Some(source) = profile.get("credential_source") {
        return match source {
            "Environment" => Some(Base::Named(Named::Environment)),
            "Ec2InstanceMetadata" => Some(Base::Named(Named::Ec2InstanceMetadata)),
            "EcsContainer" => Some(Base::Named(Named::EcsContainer)),
            _ => None,
        };
    }
    if let Some(file) = profile.get("web_identity_token_file") {
        return Some(Base::WebIdentity { role: role(profile)?, token_file: file.to_owned() });
    }
    // IAM Identity Center and `aws login`: the SDK says that it is built without them.
    let foreign = ["sso_account_id", "sso_region", "sso_role_name", "sso_start_url", "sso_session", "login_session"];
    if foreign.iter().any(|key| profile.get(key).is_some()) {
        return None;
    }
    match profile.get("credential_process") {
        Some(command) => Some(Base::Process { profile: profile.name().to_owned(), command: command.to_owned() }),
        None => keys(profile),
    }
}

fn keys(profile: &Profile) -> Option<Base> {
    Some(Base::Keys {
        profile: profile.name().to_owned(),
        id: profile.get("aws_access_key_id")?.to_owned(),
        secret: profile.get("aws_secret_access_key")?.to_owned(),
        token: profile.get("aws_session_token").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
    use aws_types::os_shim_internal::{Env, Fs};

    use super::*;

    const FILE: &str = "
[profile program]
credential_process = /bin/helper --all
[profile keys]
aws_access_key_id = AKIA
aws_secret_access_key = secret
[profile both]
aws_access_key_id = AKIA
aws_secret_access_key = secret
credential_process = /bin/helper
[profile near]
role_arn = arn:near
external_id = id
source_profile = program
[profile far]
role_arn = arn:far
role_session_name = me
source_profile = near
[profile over-both]
role_arn = arn:over
source_profile = both
[profile itself]
role_arn = arn:itself
source_profile = itself
aws_access_key_id = AKIA
aws_secret_access_key = secret
[profile instance]
role_arn = arn:instance
credential_source = Ec2InstanceMetadata
[profile token]
role_arn = arn:token
web_identity_token_file = /token
[profile over-token]
role_arn = arn:over
source_profile = token
[profile sso]
sso_session = corporate
credential_process = /bin/helper
[profile round]
role_arn = arn:round
source_profile = about
[profile about]
role_arn = arn:about
source_profile = round
[profile lost]
role_arn = arn:lost
source_profile = nowhere
[profile unknown]
role_arn = arn:unknown
credential_source = Moon
[profile empty]
region = eu-west-1
";

    async fn resolved(profile: &'static str) -> Option<Chain> {
        let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, FILE).build();
        let env = Env::from_slice(&[]);
        resolve(&aws_config::profile::load(&Fs::real(), &env, &files, Some(profile.into())).await.unwrap())
    }

    fn role_of(arn: &str) -> Role {
        Role { arn: arn.to_owned(), external_id: None, session_name: None }
    }

    #[tokio::test]
    async fn profiles_are_followed_to_what_they_begin_with() {
        let program =
            |command: &str, profile: &str| Base::Process { profile: profile.to_owned(), command: command.to_owned() };
        let keys = |profile: &str| Base::Keys {
            profile: profile.to_owned(),
            id: "AKIA".to_owned(),
            secret: "secret".to_owned(),
            token: None,
        };
        let token = || Base::WebIdentity { role: role_of("arn:token"), token_file: "/token".to_owned() };
        let near = || Role { external_id: Some("id".to_owned()), ..role_of("arn:near") };
        let far = || Role { session_name: Some("me".to_owned()), ..role_of("arn:far") };
        let helper = || program("/bin/helper --all", "program");
        for (profile, base, roles) in [
            ("program", helper(), vec![]),
            ("keys", keys("keys"), vec![]),
            ("both", program("/bin/helper", "both"), vec![]),
            ("near", helper(), vec![near()]),
            ("far", helper(), vec![near(), far()]),
            ("over-both", keys("both"), vec![role_of("arn:over")]),
            ("itself", keys("itself"), vec![role_of("arn:itself")]),
            ("instance", Base::Named(Named::Ec2InstanceMetadata), vec![role_of("arn:instance")]),
            ("token", token(), vec![]),
            ("over-token", token(), vec![role_of("arn:over")]),
        ] {
            assert_eq!(resolved(profile).await, Some(Chain { base, roles }), "{profile}");
        }
        for profile in ["sso", "round", "lost", "unknown", "empty", "nowhere"] {
            assert_eq!(resolved(profile).await, None, "{profile}: the SDK says what is wrong with it");
        }
    }
}
