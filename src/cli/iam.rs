//! `iam`: the least-privilege policy for the configuration in force.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::table::show;
use super::{Exit, block_on, fail};
use crate::config::{AwsSettings, Config};
use crate::domain::permission::{Policy, of_the_daemon};
use crate::domain::types::ContextName;
use crate::logging;
use crate::usage::{self, UsageError};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The AWS context whose credentials get the policy; needed where the configuration has several
    #[arg(long, value_name = "NAME")]
    aws: Option<String>,
}

pub(super) fn execute(config: &Arc<Config>, options: &Options) -> ExitCode {
    let name = match chosen(config, options.aws.as_deref()) {
        Ok(name) => name,
        Err(message) => {
            logging::report(&message);
            return ExitCode::from(Exit::BadConfiguration);
        }
    };
    let usage = match block_on(usage::of_context(config, name)) {
        Err(code) => return code,
        Ok(Err(error @ UsageError::Connect(_))) => return fail(&error, Exit::BadConfiguration),
        Ok(Err(error)) => return fail(&error, Exit::Failure),
        Ok(Ok(usage)) => usage,
    };
    let policy = Policy::allowing(of_the_daemon(&usage), &usage);
    match policy.to_json() {
        Ok(text) => show(&text),
        Err(error) => return fail(&error, Exit::Failure),
    }
    if policy.is_too_long() {
        eprintln!(
            "ecs-deployd: this policy has more than the 6144 characters that AWS allows a managed policy: split its statements over \
             several, or put wildcards into their resources"
        );
    }
    if let Some(role) = assumed_by_nobody(config, name) {
        eprintln!(
            "ecs-deployd: this is the policy of the role {role}; the credentials that it is assumed with need sts:AssumeRole on it"
        );
    }
    ExitCode::SUCCESS
}

/// The role of a context, if no context of the configuration stands for the credentials that it is assumed with.
fn assumed_by_nobody<'a>(config: &'a Config, name: &ContextName) -> Option<&'a str> {
    let own = config.aws.get(name)?;
    let role = own.role_arn.as_deref()?;
    let assumes = |other: &AwsSettings| other.role_arn.is_none() && other.profile == own.profile;
    (!config.aws.values().any(assumes)).then_some(role)
}

/// The context that is named, or the only one.
fn chosen<'a>(config: &'a Config, named: Option<&str>) -> Result<&'a ContextName, String> {
    let known = || config.aws.keys().map(ContextName::as_str).collect::<Vec<_>>().join(", ");
    let mut names = config.aws.keys();
    match (named, names.next(), names.next()) {
        (Some(named), _, _) => config
            .aws
            .keys()
            .find(|name| name.as_str() == named)
            .ok_or_else(|| format!("there is no AWS context {named} in the configuration; known: {}", known())),
        (None, Some(only), None) => Ok(only),
        (None, None, _) => {
            Err("the configuration has no AWS context and no [[repository]]: nothing has to be allowed".to_owned())
        }
        (None, Some(_), Some(_)) => Err(format!(
            "the configuration has several AWS contexts, and each has a policy of its own: say --aws with one of {}",
            known()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_context_needs_no_name_and_several_do() {
        let one = Config::parse("test", include_str!("../../config/minimal.toml")).unwrap();
        assert_eq!(chosen(&one, None).unwrap().as_str(), "default");
        assert!(chosen(&one, Some("live")).unwrap_err().ends_with("known: default"));
        let two = Config::parse("test", include_str!("../../config/example.toml")).unwrap();
        assert!(chosen(&two, None).unwrap_err().ends_with("say --aws with one of default, production"));
        assert_eq!(chosen(&two, Some("production")).unwrap().as_str(), "production");
        assert!(chosen(&Config::parse("test", "").unwrap(), None).is_err());
    }

    #[test]
    fn a_role_that_no_context_assumes_is_named() {
        let two = Config::parse("test", include_str!("../../config/example.toml")).unwrap();
        let name = |text: &str| ContextName::parse(text).unwrap();
        assert_eq!(assumed_by_nobody(&two, &name("production")), None, "the default context assumes it");
        assert_eq!(assumed_by_nobody(&two, &name("default")), None, "it has none");
        let alone = "[aws.live]\nregion = \"eu-west-1\"\nrole_arn = \"arn:aws:iam::222222222222:role/x\"\n";
        let alone = Config::parse("test", alone).unwrap();
        assert_eq!(assumed_by_nobody(&alone, &name("live")), Some("arn:aws:iam::222222222222:role/x"));
    }
}
