use std::sync::atomic::AtomicUsize;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::future::ProvideCredentials as Provided;

use super::*;
use crate::aws::process::Process;
use crate::clock::CorrectedClock;
use crate::config::AwsSettings;
use crate::health::Health;
use crate::metrics::Metrics;

/// A source whose answers take their time.
#[derive(Debug)]
struct Slow {
    takes: Duration,
    valid_for: Option<SignedDuration>,
    fails: bool,
    asked: Arc<AtomicUsize>,
}

impl ProvideCredentials for Slow {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(async {
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            clock::sleep(self.takes).await;
            if self.fails {
                return Err(CredentialsError::provider_error("refused\nfor now"));
            }
            let expiry = self.valid_for.map(|span| (CorrectedClock::default().now() + span).into());
            Ok(Credentials::new(format!("AKIA{number}"), "secret", None, expiry, "test"))
        })
    }
}

struct Scene {
    credentials: Arc<Renewing>,
    health: Arc<Health>,
    asked: Arc<AtomicUsize>,
}

impl Scene {
    fn new(takes: u64, valid_for: Option<i64>, fails: bool) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let valid_for = valid_for.map(SignedDuration::from_secs);
        let slow = Slow { takes: Duration::from_secs(takes), valid_for, fails, asked: Arc::clone(&asked) };
        Self { asked, ..Self::of(slow) }
    }

    fn of(source: impl ProvideCredentials + 'static) -> Self {
        let metrics = Arc::new(Metrics::new("1", "c", Timestamp::UNIX_EPOCH).unwrap());
        let health = Arc::new(Health::new());
        let name = ContextName::parse("default").unwrap();
        health.expect(&[&name], Duration::from_secs(30));
        let common = Common::new(metrics, Arc::clone(&health), Arc::default());
        let http = aws_smithy_runtime_api::client::http::SharedHttpClient::new(
            aws_smithy_http_client::Builder::new().build_http(),
        );
        let credentials = Renewing::new(name, AwsSettings::default(), "eu-west-1".to_owned(), http, common);
        let sources = Sources::only("the test", SharedCredentialsProvider::new(source));
        credentials.0.held().sources = Some((Arc::new(sources), clock::instant()));
        Self { credentials, health, asked: Arc::default() }
    }

    async fn id(&self) -> Result<String, String> {
        let found = self.credentials.get().await;
        found.map(|one| one.access_key_id().to_owned()).map_err(|error| error.to_string())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_of_17_seconds_works_and_is_asked_once_for_all() {
    let scene = Scene::new(17, None, false);
    let all = futures_util::future::join_all((0..50).map(|_| scene.id())).await;
    assert!(all.iter().all(|one| one.as_deref() == Ok("AKIA0")), "{all:?}");
    assert_eq!(scene.asked(), 1);
    assert_eq!(scene.id().await.as_deref(), Ok("AKIA0"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_gives_up_does_not_end_the_fetch() {
    let scene = Scene::new(17, None, false);
    assert!(clock::within(Duration::from_secs(15), scene.id()).await.is_none());
    assert!(clock::within(Duration::from_secs(3), scene.id()).await.is_some());
    assert_eq!(scene.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_awaited_is_said_and_given_up_after_a_minute() {
    let scene = Scene::new(1_000_000, None, false);
    let begun = clock::instant();
    let found = tokio::join!(scene.id(), async {
        clock::sleep(Duration::from_secs(8)).await;
        scene.health.ready().unwrap_err()
    });
    assert_eq!(begun.elapsed(), Duration::from_secs(60));
    assert_eq!(found.0.unwrap_err(), "no credentials: the test gave no answer within 60s and was given up");
    let said = "aws context default: not polled successfully yet: waiting for credentials from the test, for 8 seconds";
    assert_eq!(found.1, [said]);
    assert_eq!(scene.health.ready().unwrap_err(), ["aws context default: not polled successfully yet"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_holds_for_some_seconds_and_is_one_line() {
    let scene = Scene::new(0, None, true);
    for _ in 0..10 {
        assert_eq!(scene.id().await.unwrap_err(), "no credentials: the test: refused for now");
    }
    assert_eq!(scene.asked(), 1, "a source may be a program that is started");
}

#[tokio::test(start_paused = true)]
async fn before_they_expire_new_ones_are_fetched_while_the_old_ones_serve() {
    let scene = Scene::new(17, Some(600), false);
    assert_eq!(scene.id().await.as_deref(), Ok("AKIA0"));
    clock::sleep(Duration::from_secs(470)).await;
    assert_eq!((scene.id().await.as_deref(), scene.asked()), (Ok("AKIA0"), 1));
    clock::sleep(Duration::from_secs(20)).await;
    assert_eq!(scene.id().await.as_deref(), Ok("AKIA0"), "nobody waits");
    clock::sleep(Duration::from_secs(18)).await;
    assert_eq!((scene.id().await.as_deref(), scene.asked()), (Ok("AKIA1"), 2));
}

#[tokio::test(start_paused = true)]
async fn expired_ones_are_not_given() {
    let scene = Scene::new(1, Some(60), false);
    assert_eq!(scene.id().await.as_deref(), Ok("AKIA0"));
    clock::sleep(Duration::from_secs(100)).await;
    assert_eq!(scene.id().await.as_deref(), Ok("AKIA1"));
}

#[tokio::test(start_paused = true)]
async fn a_context_that_is_gone_ends_its_fetch() {
    let scene = Scene::new(1_000_000, None, false);
    let dropped = Arc::downgrade(&scene.credentials.0);
    assert!(clock::within(Duration::from_secs(1), scene.id()).await.is_none());
    drop(scene);
    clock::sleep(Duration::from_secs(1)).await;
    assert_eq!(dropped.strong_count(), 0, "the task holds what it works with");
}

/// Time is paused: nothing else goes on, so the minute passes at once.
#[tokio::test(start_paused = true)]
async fn a_program_that_hangs_is_killed_after_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("id");
    let scene = Scene::of(Process::new(format!("echo $$ > {}; exec sleep 300", file.display())));
    assert!(scene.id().await.unwrap_err().ends_with("gave no answer within 60s and was given up"));
    // It may have been killed before it wrote anything.
    let id = std::fs::read_to_string(&file).unwrap_or_default();
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
    let ended = || state().rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.trim_start().starts_with('Z'));
    let all_ended = async {
        while !id.is_empty() && !ended() {
            clock::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(clock::within(Duration::from_secs(3600), all_ended).await.is_some());
}
