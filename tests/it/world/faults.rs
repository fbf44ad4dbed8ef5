//! What may happen to a call.

use ecs_deployd::aws::{AwsError, Fault, error_of_code};

use super::rng::Rng;
use super::{Inner, World};

/// The fate of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It fails and has no effect.
    Fails(Fault),
    /// AWS refuses it, in these words.
    Refuses { code: &'static str, message: &'static str },
    /// It takes effect, and the answer is lost.
    AnswerLost,
    /// It is never answered, and has no effect: the process dies meanwhile.
    HangsBefore,
    /// It takes effect and is never answered.
    HangsAfter,
    /// No answer comes in time; whether it takes effect is another question.
    TimesOut { effect: bool },
}

/// How long the real doors wait for an answer.
const ANSWER_WITHIN: std::time::Duration = std::time::Duration::from_secs(15);

/// Calls that fail at random.
#[derive(Debug, Clone)]
pub struct Weather {
    pub rng: Rng,
    /// How many in a hundred calls meet with something.
    pub chance: u64,
}

impl Weather {
    pub(super) fn fate(&mut self) -> Option<Fate> {
        if !self.rng.percent(self.chance) {
            return None;
        }
        let faults = [Fault::Throttled, Fault::Unavailable, Fault::Credentials, Fault::Denied];
        Some(match self.rng.below(12) {
            0..4 => Fate::AnswerLost,
            4 => Fate::TimesOut { effect: self.rng.percent(50) },
            _ => Fate::Fails(*self.rng.pick(&faults)),
        })
    }
}

impl World {
    /// Gives the call with this number (from 0, since the last `forget_calls`) a fate.
    pub fn set_fate(&self, number: usize, fate: Fate) {
        self.lock().fates.push((number, fate));
    }

    /// Every call of this operation fails from here on.
    pub fn break_operation(&self, operation: &'static str, fault: Fault) {
        self.lock().broken.insert(operation, Fate::Fails(fault));
    }

    /// Every call of this operation is refused from here on, in these words.
    pub fn refuse_operation(&self, operation: &'static str, code: &'static str, message: &'static str) {
        self.lock().broken.insert(operation, Fate::Refuses { code, message });
    }

    /// The role has no permission for a service: whatever names it is denied, and so are others that are named with it.
    pub fn forbid(&self, cluster: &str, service: &str) {
        self.lock().forbidden.insert((cluster.to_owned(), service.to_owned()));
    }

    /// It has the permission.
    pub fn allow(&self, cluster: &str, service: &str) {
        self.lock().forbidden.remove(&(cluster.to_owned(), service.to_owned()));
    }

    /// Whether a repository can be asked.
    pub fn set_silent(&self, repository: &str, silent: bool) {
        let mut inner = self.lock();
        match silent {
            true => inner.silent.insert(repository.to_owned()),
            false => inner.silent.remove(repository),
        };
    }

    /// The operation works again.
    pub fn mend_operation(&self, operation: &'static str) {
        self.lock().broken.remove(operation);
    }

    /// No call has a fate any more.
    pub fn clear_fates(&self) {
        self.lock().fates.clear();
    }
}

impl Inner {
    pub(super) fn check_permission(
        &self,
        operation: &'static str,
        cluster: &str,
        services: &[&str],
    ) -> Result<(), AwsError> {
        let forbidden = |name: &&str| self.forbidden.contains(&(cluster.to_owned(), (*name).to_owned()));
        match services.iter().any(forbidden) {
            true => Err(error("ecs", operation, Fault::Denied, "AccessDeniedException")),
            false => Ok(()),
        }
    }
}

/// Carries out a call that has a fate.
pub(super) async fn with_fate<T>(
    fate: Option<Fate>,
    api: &'static str,
    operation: &'static str,
    effect: impl FnOnce() -> Result<T, AwsError>,
) -> Result<T, AwsError> {
    match fate {
        None => effect(),
        Some(Fate::Fails(fault)) => Err(error(api, operation, fault, "")),
        Some(Fate::Refuses { code, message }) => Err(error_of_code(api, operation, Fault::Refused, code, message)),
        Some(Fate::AnswerLost) => {
            let _ = effect();
            Err(error(api, operation, Fault::Unavailable, ""))
        }
        Some(Fate::TimesOut { effect: takes_effect }) => {
            if takes_effect {
                let _ = effect();
            }
            ecs_deployd::clock::sleep(ANSWER_WITHIN).await;
            Err(error(api, operation, Fault::Unavailable, ""))
        }
        Some(Fate::HangsBefore) => std::future::pending().await,
        Some(Fate::HangsAfter) => {
            let _ = effect();
            std::future::pending().await
        }
    }
}

pub(super) fn error(api: &'static str, operation: &'static str, fault: Fault, code: &str) -> AwsError {
    error_of_code(api, operation, fault, code, "simulated")
}
