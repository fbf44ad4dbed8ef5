//! Those who only look: `plan` and `check`, after a life and in the middle of it.

use ecs_deployd::check;
use ecs_deployd::clock::Clock as _;
use ecs_deployd::config::Places;
use ecs_deployd::domain::finding::Severity;
use ecs_deployd::plan::PlanReport;

use super::life::{Life, SERVICES};
use crate::harness;

impl Life {
    /// Somebody asks what would happen, whatever the weather. It has to be answered, and to change nothing.
    pub(super) async fn look_on(&mut self) {
        self.say("plan");
        let _ = self.plan().await;
    }

    /// Once all is at rest, whoever looks sees the same as the daemon: nothing to do, and nothing wrong.
    pub(super) async fn look_back(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop().await;
        }
        let before = self.disk.state();
        let changes = self.changes();
        let report = self.plan().await;
        let text = self.config();
        let config = std::sync::Arc::new(harness::parse(&text));
        let (places, contexts) = (Places::of(&text), self.world.for_others().contexts());
        let now = self.world.clock().now();
        let findings = check::look(&config, &places, &contexts, &check::Calls::new(), now).await;
        assert_eq!(self.changes(), changes, "who looks changes nothing");
        assert_eq!(self.disk.state(), before, "who looks writes nothing");
        let errors: Vec<_> = findings.iter().filter(|placed| placed.finding.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        assert_eq!(report.errors, Vec::<String>::new());
        let deploy: Vec<_> = report.pushes.iter().filter(|push| push.decision.as_str() == "deploy").collect();
        assert!(deploy.is_empty(), "the daemon left a push undone: {deploy:#?}");
        self.judge_differences(&report);
    }

    /// A service on which the newest push runs does not differ from ECR.
    fn judge_differences(&self, report: &PlanReport) {
        let state = self.disk.state().unwrap();
        for (cluster, name, containers) in SERVICES {
            let key = format!("default/{cluster}/{name}").try_into().unwrap();
            let held = state.services.get(&key).is_some_and(|known| known.is_held());
            let seen = report.services.iter().find(|service| service.service == name).unwrap();
            // What is bad is not deployed, what is held differs, and so does what somebody else changed. Where no task runs, nobody knows what
            // a tag means.
            let differs = |repository: &str| {
                let best = self.best(repository);
                !best.good || self.is_refused_by_migration(name, &best.digest) || self.vanished.contains(repository)
            };
            let may_differ = held
                || containers.iter().any(|(_, repository)| differs(repository))
                || self.spoiled.contains(name)
                || self.meddled.keys().any(|(service, _)| *service == name)
                || self.ordered.contains(name)
                || (self.kind.idle && name == "b");
            if !may_differ {
                assert_eq!(seen.state.as_str(), "same", "{name}: {seen:#?}");
            }
        }
    }

    async fn plan(&self) -> PlanReport {
        harness::plan(&self.world, &self.disk, &self.config()).await
    }

    fn changes(&self) -> usize {
        let changes = ["RegisterTaskDefinition", "UpdateService", "UpdateSchedule", "PutTargets"];
        self.world.calls().iter().filter(|call| changes.contains(&call.operation)).count()
    }
}
