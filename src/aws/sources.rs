//! Where credentials come from: a role that is assumed, a profile, or what the machine offers.
//!
//! Each source says that it is asked, so that whoever waits for credentials can be told what for.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_config::SdkConfig;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, SharedCredentialsProvider};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::os_shim_internal::{Env, Fs};

use super::ambient::{NAME, base_config};
use super::process::Process;
use super::profile::{self, Base, Chain, Named, Role};
use crate::config::AwsSettings;
use crate::domain::printable::one_line;
use crate::wording::chain;

/// The source that is asked now.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked(Arc<Mutex<String>>);

impl Asked {
    /// What is waited for, as it stands in messages.
    pub(super) fn now(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, what: &str) {
        what.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// One source after another, and roles that are assumed with what they give.
#[derive(Debug)]
pub(super) struct Sources {
    /// The first one that has credentials counts.
    bases: Vec<Source>,
    /// The first one is assumed first.
    roles: Vec<Role>,
    config: SdkConfig,
}

struct Source {
    what: String,
    provider: SharedCredentialsProvider,
    /// Roles that belong to this source alone.
    roles: Vec<Role>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("what", &self.what).field("roles", &self.roles).finish_non_exhaustive()
    }
}

impl Sources {
    /// The sources of a context, as its profile files and the environment are now.
    pub(super) async fn of(settings: &AwsSettings, region: &str, http: &SharedHttpClient) -> Self {
        let config = base_config(settings, region, http).await;
        let make = Make { settings, config: &config, provider: provider_config(&config, http) };
        let role = settings.role_arn.clone().map(|arn| Role {
            arn,
            external_id: settings.external_id.clone(),
            session_name: Some(NAME.to_owned()),
        });
        let bases = match &settings.profile {
            // A profile that is named comes before what the environment offers.
            Some(_) => vec![make.profile().await],
            None => vec![
                make.named(Named::Environment),
                make.profile().await,
                make.web_identity_of_environment(),
                make.named(Named::EcsContainer),
                make.named(Named::Ec2InstanceMetadata),
            ],
        };
        Self { bases, roles: role.into_iter().collect(), config }
    }

    /// One source, for tests.
    #[cfg(test)]
    pub(super) fn only(what: &str, provider: SharedCredentialsProvider) -> Self {
        let source = Source { what: what.to_owned(), provider, roles: Vec::new() };
        Self { bases: vec![source], roles: Vec::new(), config: SdkConfig::builder().build() }
    }

    /// Asks until there are credentials, or nothing is left to ask.
    pub(super) async fn credentials(&self, asked: &Asked) -> std::result::Result<Credentials, NoCredentials> {
        let mut last = None;
        for source in &self.bases {
            match self.of_source(source, asked).await {
                Ok(credentials) => {
                    return assume(credentials, &self.roles, &self.config, asked).await;
                }
                Err(NoCredentials { error: error @ CredentialsError::CredentialsNotLoaded(_), what }) => {
                    last = Some(NoCredentials { what, error });
                }
                Err(other) => return Err(other),
            }
        }
        Err(match (last, self.bases.as_slice()) {
            (Some(last), [_]) => last,
            (last, _) => {
                let last = last.map_or_else(String::new, |last| format!(" ({})", causes(&last.error)));
                NoCredentials {
                    what: "the environment, the profile, the web identity token, the container and the EC2 instance"
                        .to_owned(),
                    error: CredentialsError::not_loaded(format!("none of them has any{last}")),
                }
            }
        })
    }

    async fn of_source(&self, source: &Source, asked: &Asked) -> std::result::Result<Credentials, NoCredentials> {
        asked.set(&source.what);
        let credentials = source
            .provider
            .provide_credentials()
            .await
            .map_err(|error| NoCredentials { what: source.what.clone(), error })?;
        assume(credentials, &source.roles, &self.config, asked).await
    }
}

/// Why there are none.
#[derive(Debug)]
pub(super) struct NoCredentials {
    /// The source that has none.
    pub(super) what: String,
    pub(super) error: CredentialsError,
}

/// The causes of an error of the SDK's, without its own words, which say nothing.
pub(super) fn causes(error: &CredentialsError) -> String {
    one_line(&std::error::Error::source(error).map_or_else(|| chain(error), chain))
}

/// The credentials are given to STS as they are: a provider of the SDK around another one gives that only some seconds.
async fn assume(
    mut credentials: Credentials,
    roles: &[Role],
    config: &SdkConfig,
    asked: &Asked,
) -> std::result::Result<Credentials, NoCredentials> {
    for role in roles {
        let what = format!("AWS STS for the role {}", role.arn);
        asked.set(&what);
        let config = config.to_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build();
        let mut provider = AssumeRoleProvider::builder(&role.arn)
            .session_name(role.session_name.as_deref().unwrap_or(NAME))
            .configure(&config);
        if let Some(id) = &role.external_id {
            provider = provider.external_id(id);
        }
        credentials =
            provider.build().await.provide_credentials().await.map_err(|error| NoCredentials { what, error })?;
    }
    Ok(credentials)
}

/// What the SDK's providers work with.
pub(super) fn provider_config(config: &SdkConfig, http: &SharedHttpClient) -> ProviderConfig {
    let provider = ProviderConfig::without_region().with_region(config.region().cloned());
    let provider = provider.with_http_client(http.clone());
    match config.timeout_config() {
        Some(timeouts) => provider.with_timeout_config(timeouts.clone()),
        None => provider,
    }
}

struct Make<'a> {
    settings: &'a AwsSettings,
    config: &'a SdkConfig,
    provider: ProviderConfig,
}

impl Make<'_> {
    fn source(what: impl Into<String>, provider: impl ProvideCredentials + 'static) -> Source {
        Source { what: what.into(), provider: SharedCredentialsProvider::new(provider), roles: Vec::new() }
    }

    fn named(&self, named: Named) -> Source {
        match named {
            Named::Environment => {
                Self::source("the environment (AWS_ACCESS_KEY_ID)", EnvironmentVariableCredentialsProvider::new())
            }
            Named::EcsContainer => Self::source(
                "the credentials endpoint of the container",
                EcsCredentialsProvider::builder().configure(&self.provider).build(),
            ),
            Named::Ec2InstanceMetadata => Self::source(
                "the EC2 instance metadata",
                ImdsCredentialsProvider::builder().configure(&self.provider).build(),
            ),
        }
    }

    async fn profile(&self) -> Source {
        let selected = self.settings.profile.clone().map(Into::into);
        let found = aws_config::profile::load(&Fs::real(), &Env::real(), &EnvConfigFiles::default(), selected).await;
        // The SDK's provider reports a file that cannot be read.
        let (name, chain) = match &found {
            Ok(profiles) => (profiles.selected_profile().to_owned(), profile::resolve(profiles)),
            Err(_) => (self.settings.profile.clone().unwrap_or_else(|| "default".to_owned()), None),
        };
        match chain {
            Some(Chain { base, roles }) => Source { roles, ..self.base(base) },
            None => {
                let mut provider = ProfileFileCredentialsProvider::builder().configure(&self.provider);
                if let Some(profile) = &self.settings.profile {
                    provider = provider.profile_name(profile);
                }
                Self::source(format!("profile {name:?}"), provider.build())
            }
        }
    }

    fn base(&self, base: Base) -> Source {
        match base {
            Base::Process { profile, command } => {
                Self::source(format!("the credential_process of profile {profile:?}"), Process::new(command))
            }
            Base::Keys { profile, id, secret, token } => {
                let keys = Credentials::new(id, secret, token, None, "Profile");
                Self::source(format!("profile {profile:?}"), keys)
            }
            Base::Named(named) => self.named(named),
            Base::WebIdentity { role, token_file } => self.web_identity(role, token_file),
        }
    }

    fn web_identity(&self, role: Role, token_file: String) -> Source {
        let what = format!("AWS STS for the web identity token {token_file}");
        Self::source(what, WebIdentity { role, token_file, client: aws_sdk_sts::Client::new(self.config) })
    }

    fn web_identity_of_environment(&self) -> Source {
        let of = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (of("AWS_WEB_IDENTITY_TOKEN_FILE"), of("AWS_ROLE_ARN")) {
            (Some(file), Some(arn)) => {
                let role = Role { arn, external_id: None, session_name: of("AWS_ROLE_SESSION_NAME") };
                self.web_identity(role, file)
            }
            _ => Self::source("a web identity token", Nothing),
        }
    }
}

/// AssumeRoleWithWebIdentity, at the address of the context. The SDK's own provider knows the usual address only.
#[derive(Debug)]
struct WebIdentity {
    role: Role,
    token_file: String,
    client: aws_sdk_sts::Client,
}

impl WebIdentity {
    async fn credentials(&self) -> Result {
        let token = tokio::task::spawn_blocking({
            let file = self.token_file.clone();
            move || std::fs::read_to_string(file)
        });
        let unreadable = |error: &dyn fmt::Display| {
            CredentialsError::provider_error(format!("{} cannot be read: {error}", self.token_file))
        };
        let token = token.await.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))?;
        let answer = self
            .client
            .assume_role_with_web_identity()
            .role_arn(&self.role.arn)
            .role_session_name(self.role.session_name.as_deref().unwrap_or(NAME))
            .web_identity_token(token.trim_end())
            .send()
            .await
            .map_err(CredentialsError::provider_error)?;
        let given =
            answer.credentials.ok_or_else(|| CredentialsError::provider_error("the answer holds no credentials"))?;
        let expiry = given.expiration.try_into().ok();
        let token = Some(given.session_token);
        Ok(Credentials::new(given.access_key_id, given.secret_access_key, token, expiry, "WebIdentity"))
    }
}

impl ProvideCredentials for WebIdentity {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        aws_credential_types::provider::future::ProvideCredentials::new(self.credentials())
    }
}

/// A source that is not configured.
#[derive(Debug)]
struct Nothing;

impl ProvideCredentials for Nothing {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        aws_credential_types::provider::future::ProvideCredentials::ready(Err(CredentialsError::not_loaded(
            "it is not configured",
        )))
    }
}
