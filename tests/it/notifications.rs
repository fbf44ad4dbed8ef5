//! Notifications over a reload and at a stop: what waits is delivered, or its loss is counted.

use std::sync::Arc;
use std::time::Duration;

use ecs_deployd::aws::Fault;
use ecs_deployd::clock::Clock as _;
use ecs_deployd::domain::notification::Notification;
use ecs_deployd::metrics::Metrics;
use ecs_deployd::notify::Notifier;

use crate::harness::{parse, pass};
use crate::world::World;

const OLD: &str = "arn:aws:sns:eu-west-1:111111111111:old";
const NEW: &str = "arn:aws:sns:eu-west-1:111111111111:new";
const STOP_WITHIN: Duration = Duration::from_secs(60);

struct Scene {
    world: World,
    metrics: Arc<Metrics>,
    notifier: Notifier,
}

impl Scene {
    fn new(receivers: &[(&str, &str)]) -> Self {
        let world = World::new();
        let metrics = Arc::new(Metrics::new("test", "test", world.clock().now()).unwrap());
        let settings = parse(&tables(receivers)).notify;
        let notifier = Notifier::start(&settings, &world.contexts(), &metrics);
        Self { world, metrics, notifier }
    }

    fn reload(&mut self, receivers: &[(&str, &str)]) {
        let settings = parse(&tables(receivers)).notify;
        self.notifier = self.notifier.reload(&settings, &self.world.contexts(), &self.metrics);
    }

    /// Tells something that everybody wants to hear.
    async fn tell(&self) -> Arc<Notification> {
        pass(1).await;
        let notification = Arc::new(Notification::test(self.world.clock().now()));
        self.notifier.tell(&notification);
        notification
    }

    fn told(&self, topic: &str) -> Vec<String> {
        self.world.messages(topic).into_iter().map(|message| message.id).collect()
    }

    fn dropped(&self, receiver: &str) -> bool {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        text.contains(&format!("ecs_deployd_notifications_total{{outcome=\"dropped\",receiver=\"{receiver}\"}} 1\n"))
    }
}

fn tables(receivers: &[(&str, &str)]) -> String {
    let table = |(name, arn): &(&str, &str)| format!("[[notify]]\nname = \"{name}\"\nsns = \"{arn}\"\n");
    "[aws.default]\n".to_owned() + &receivers.iter().map(table).collect::<String>()
}

#[tokio::test(start_paused = true)]
async fn what_waits_and_what_was_told_outlives_a_reload() {
    let mut scene = Scene::new(&[("ops", OLD)]);
    let delivered = scene.tell().await;
    pass(1).await;
    scene.world.break_topic(OLD, Some(Fault::Unavailable));
    let waiting = scene.tell().await;
    pass(300).await;
    assert_eq!(scene.told(OLD), *std::slice::from_ref(&delivered.id));
    scene.reload(&[("ops", NEW)]);
    pass(2).await;
    assert_eq!(scene.told(NEW), *std::slice::from_ref(&waiting.id), "at once, and where the new configuration says");
    scene.notifier.tell(&delivered);
    scene.notifier.tell(&waiting);
    pass(2).await;
    assert_eq!(scene.told(NEW), *std::slice::from_ref(&waiting.id), "a repetition is known over a reload");
}

#[tokio::test(start_paused = true)]
async fn a_stop_after_a_reload_delivers_what_waits_or_counts_it_as_lost() {
    for mended in [true, false] {
        for stays in [true, false] {
            let mut scene = Scene::new(&[("ops", OLD)]);
            scene.world.break_topic(OLD, Some(Fault::Unavailable));
            let waiting = scene.tell().await;
            pass(10).await;
            scene.reload(if stays { &[("ops", OLD)] } else { &[] });
            scene.reload(if stays { &[("ops", OLD)] } else { &[("other", NEW)] });
            if mended {
                scene.world.break_topic(OLD, None);
            }
            pass(if mended { 0 } else { 100 }).await;
            scene.notifier.clone().finish(STOP_WITHIN).await;
            let expected = if mended { vec![waiting.id.clone()] } else { Vec::new() };
            assert_eq!(scene.told(OLD), expected, "mended {mended}, stays {stays}");
            assert_eq!(scene.dropped("ops"), !mended, "mended {mended}, stays {stays}");
        }
    }
}
