//! What waits at a gate: it is kept, shown, judged again when something may have changed, and judged once more right before a write.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Engine;
use super::effect::{Effect, Read};
use super::event::ServiceEvent;
use super::now::{Moment, Now};
use super::observation::{AtGates, names_of};
use super::service::{Call, Handler, Service};
use super::workflow::{Turn, Workflow};
use crate::domain::aws_error::AwsError;
use crate::domain::gate::{
    self, Evidence, GatedPlan, Gates, ImageReport, ImageRequest, Other, Passage, Subject, Verdict, Wait,
};
use crate::domain::plan::{Pushes, ServiceSnapshot};
use crate::domain::settings::{RepositoryKey, ServiceRule};
use crate::domain::state::{Intent, ServiceState};
use crate::domain::types::{Digest, EventId, ServiceKey};
use crate::domain::waiting::{Gate, Waiting};

/// What ECR said of an image is asked again after this time, before a rollout to it is decided.
const FOUND_FRESH: Duration = Duration::from_mins(5);
/// The same before a write of a rollout that was decided and then had to wait.
const FOUND_FRESH_FOR_WRITES: Duration = Duration::from_mins(15);
/// The shortest and the longest pause before AWS is asked again about something that waits.
const ASK_AGAIN: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(15), SignedDuration::from_mins(5));
/// What waits for longer is reported to people.
const REPORTED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// What this process knows of pushes that wait at a gate.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GateWait {
    /// The pushes that wait. Any other one has the service looked at again.
    pushes: BTreeSet<(RepositoryKey, EventId)>,
    /// When a gate opens by itself.
    until: Option<Timestamp>,
    /// When AWS is asked again.
    again: Option<Moment>,
    /// What is asked then, beside the service itself.
    requests: Vec<ImageRequest>,
    /// Whether that is being asked.
    asking: bool,
    /// What the services that come first say of it.
    before: Before,
}

/// What the services that come first say of each digest that they run, and of what waits: why it is not proven.
type Before = BTreeMap<Digest, Option<Wait>>;

impl GateWait {
    /// Whether exactly these pushes wait.
    pub(super) fn covers(&self, pending: &Pushes) -> bool {
        let events =
            pending.iter().flat_map(|(repository, pushes)| pushes.iter().map(move |push| (repository, &push.event)));
        let mut count = 0;
        let known = events
            .inspect(|_| count += 1)
            .all(|(repository, event)| self.pushes.iter().any(|(of, known)| of == repository && known == event));
        known && count == self.pushes.len()
    }

    /// When time alone makes a difference: in so long by the wall clock, or at this moment.
    pub(super) fn wake(&self, handled: Now) -> Option<Moment> {
        let until = self.until.map(|until| {
            let left = Duration::try_from(until.duration_since(handled.time)).unwrap_or_default();
            handled.moment.plus(left)
        });
        let again = self.again.filter(|_| !self.asking);
        until.into_iter().chain(again).min()
    }

    /// Whether nothing is being found out that may open a gate at once.
    pub(super) fn rests(&self, now: Moment) -> bool {
        !self.asking && self.again.is_none_or(|again| again > now)
    }
}

/// What was found out about an image, and when.
pub(super) type FoundAt = (Moment, ImageReport);

impl Engine {
    /// Judges again what waits where a gate may have opened by now, and reports what waits for long.
    pub(super) fn wake_gates(&mut self, now: Now) {
        let is_due = |service: &Service| {
            service.gate.as_ref().is_some_and(|gate| {
                let opens = gate.until.is_some_and(|until| until <= now.time);
                let again = !gate.asking && gate.again.is_some_and(|again| again <= now.moment);
                opens || again
            })
        };
        for key in self.keys(is_due) {
            self.with(&key, now, |handler| handler.judge_again());
        }
        let is_long = |(_, known): &(&ServiceKey, &ServiceState)| {
            let waiting = known.gated.as_ref().filter(|waiting| !waiting.reported);
            waiting.is_some_and(|waiting| now.time.duration_since(waiting.since) >= REPORTED_AFTER)
        };
        let waits = self.services.iter().filter(|(_, service)| service.gate.is_some()).map(|(key, _)| key);
        let waits = waits.chain(&self.uncopied);
        let known = waits.filter_map(|key| Some((key, self.state.services.get(key)?)));
        for key in known.filter(is_long).map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.with(&key, now, |handler| handler.report_long_wait());
        }
    }

    /// Something changed of a service: those that come after it are judged again, if that makes a difference to them.
    pub(super) fn wake_followers(&mut self, of: &ServiceKey, now: Timestamp) {
        for key in self.rules.followers(of) {
            let Some(gate) = self.services.get(key).and_then(|service| service.gate.as_ref()) else { continue };
            let waiting = self.state.services.get(key).and_then(|known| known.gated.as_ref());
            let names = names_of(self.rules.config(), key);
            let others = others(&names, |other| self.state.services.get(other));
            if before(&others, &self.rules.settings(key).gates, waiting, now) != gate.before
                && let Some(service) = self.services.get_mut(key)
            {
                service.gate = None;
            }
        }
    }

    /// Judges the gates again of what is about to be written: the first write may have had to wait since it was decided.
    pub(super) fn judge_before_writes(&mut self, now: Now) {
        let waits = |service: &Service| {
            let waits = matches!(
                service.workflow,
                Workflow::Registering { turn: Turn::Waiting { .. }, .. }
                    | Workflow::Updating { turn: Turn::Waiting { .. }, .. }
            );
            waits && service.workflow.intent().is_some_and(Intent::is_forward)
        };
        for key in self.keys(waits) {
            // A rollout whose tasks have run has begun.
            if !self.rules.settings(&key).gates.are_open() && !self.with(&key, now, |handler| handler.is_prepared()) {
                self.with(&key, now, |handler| handler.judge_before_write());
            }
        }
    }
}

/// The services that come first, by their names and records.
pub(super) fn others<'a>(
    names: &'a [(ServiceKey, String)],
    known: impl Fn(&ServiceKey) -> Option<&'a ServiceState>,
) -> Vec<Other<'a>> {
    names.iter().map(|(key, name)| Other { name, known: known(key), seen: None }).collect()
}

/// What the services that come first say of what waits, as far as that is on record.
fn before(others: &[Other<'_>], gates: &Gates, waiting: Option<&Waiting>, now: Timestamp) -> Before {
    if others.is_empty() {
        return Before::new();
    }
    let waits = waiting.map(|waiting| waiting.digest.clone());
    let digests = gate::after::candidates(others).into_iter().chain(waits);
    let judged = digests.map(|digest| match gate::after::judge(others, gates.bake, &digest, now) {
        Verdict::Wait(wait) => (digest, Some(wait)),
        Verdict::Open | Verdict::Refuse(_) | Verdict::Ask(_) => (digest, None),
    });
    judged.collect()
}

impl Handler<'_> {
    /// Plans, and judges the gates. Only what was asked about is decided: another push may have come in meanwhile.
    pub(super) fn plan(&self, pushes: &Pushes, snapshot: &ServiceSnapshot, seen: &AtGates) -> GatedPlan {
        let known = self.record().cloned().unwrap_or_default();
        let asked = ServiceState { pending: pushes.clone(), ..known };
        let rules = self.rules.of(self.key);
        let names = names_of(self.rules.config(), self.key);
        let mut others = others(&names, |other| self.state.services.get(other));
        for (other, (key, _)) in others.iter_mut().zip(&names) {
            other.seen = seen.services.get(key).map(Option::as_ref);
        }
        let evidence = Evidence { others, ..self.evidence(&asked, FOUND_FRESH) };
        let service = self.rules.named(self.key).name;
        let (evidence, promoted) = (&evidence, &seen.promoted);
        let passage = Passage { service: &service, rules: &rules, promoted, evidence, now: self.now.time };
        gate::plan(&passage, &asked, snapshot)
    }

    /// What the gates go by, except for the services that come first.
    fn evidence<'a>(&self, known: &'a ServiceState, fresh: Duration) -> Evidence<'a> {
        let is_fresh = |(_, (at, _)): &(_, &FoundAt)| self.now.moment.since(*at) < fresh;
        let found = self.service.found.iter().filter(is_fresh);
        Evidence {
            others: Vec::new(),
            approved: Some(&known.approved),
            passes_windows: known.passes_windows.as_ref(),
            waiting: known.gated.as_ref(),
            found: found.map(|(of, (_, found))| (of.clone(), found.clone())).collect(),
        }
    }

    /// What waits is kept, shown and told; what does not wait any more is no longer shown.
    pub(super) fn wait_at_gates(&mut self, gated: &GatedPlan, asked: &Pushes) {
        let known = self.record().and_then(|record| record.gated.clone());
        match (gated.waiting().cloned(), known) {
            (Some(waiting), Some(known)) if known.is_same(&waiting) => {
                let waiting = Waiting { since: known.since, reported: known.reported, ..waiting };
                if waiting != known {
                    self.record_mut().gated = Some(waiting);
                }
            }
            (Some(waiting), _) => self.waits_at(waiting),
            (None, Some(known)) => {
                let was_asked = asked.keys().any(|repository| repository.name == known.repository);
                if was_asked && gated.requests.is_empty() {
                    self.waits_no_longer();
                }
            }
            (None, None) => {}
        }
        let is_decided = gated.plan.roll.is_none() && gated.waits.is_empty() && gated.requests.is_empty();
        if is_decided && self.record().is_some_and(|record| record.passes_windows.is_some()) {
            self.record_mut().passes_windows = None;
        }
        self.service.gate = self.gate_wait(gated);
        if is_decided {
            self.service.found.clear();
            self.service.asked.clear();
        }
    }

    /// Something waits that did not before.
    pub(super) fn waits_at(&mut self, waiting: Waiting) {
        let waiting = Waiting { reported: waiting.gate == Gate::Approval, ..waiting };
        self.record_mut().gated = Some(waiting.clone());
        self.emit(ServiceEvent::Waits(waiting));
    }

    /// Nothing waits at a gate any more.
    pub(super) fn waits_no_longer(&mut self) {
        if let Some(known) = self.record().and_then(|record| record.gated.clone()) {
            self.record_mut().gated = None;
            self.emit(ServiceEvent::WaitsNoLonger(known.gate));
        }
    }

    fn gate_wait(&self, gated: &GatedPlan) -> Option<GateWait> {
        if gated.kept.is_empty() {
            return None;
        }
        let kept = gated.kept.iter();
        let pushes = kept
            .flat_map(|(repository, pushes)| pushes.iter().map(move |push| (repository.clone(), push.event.clone())));
        let names = names_of(self.rules.config(), self.key);
        let others = others(&names, |other| self.state.services.get(other));
        let settings = self.rules.settings(self.key);
        let again = match gated.requests.is_empty() {
            true => (gated.ask_again || gated.waits.is_empty()).then(|| self.ask_again_at()),
            false => Some(self.now.moment),
        };
        let before = before(&others, &settings.gates, gated.waiting(), self.now.time);
        let bakes = before.values().flatten().filter_map(|wait| wait.until);
        Some(GateWait {
            pushes: pushes.collect(),
            until: gated.waits.iter().filter_map(|waiting| waiting.until).chain(bakes).min(),
            again,
            requests: self.requests(gated),
            asking: false,
            before,
        })
    }

    /// What is asked of ECR again, where a scan or a signature is waited for.
    fn requests(&self, gated: &GatedPlan) -> Vec<ImageRequest> {
        let at_ecr = |waiting: &&Waiting| matches!(waiting.gate, Gate::Scan | Gate::Signature);
        let of_waits = gated.waits.iter().filter(at_ecr).filter_map(|waiting| {
            let asked = self.service.gate.iter().flat_map(|gate| &gate.requests);
            asked.chain(&self.service.asked).find(|request| request.digest == waiting.digest).cloned()
        });
        gated.requests.iter().cloned().chain(of_waits).collect()
    }

    /// When AWS is asked again about what waits: less and less often.
    fn ask_again_at(&self) -> Moment {
        let waiting = self.record().and_then(|record| record.gated.as_ref());
        let waited = waiting.map_or(SignedDuration::ZERO, |waiting| self.now.time.duration_since(waiting.since));
        let (shortest, longest) = ASK_AGAIN;
        self.now.moment.plus(Duration::try_from(waited.clamp(shortest, longest)).unwrap_or_default())
    }

    /// Something may have changed: ECR is asked about the image, or the service is looked at again.
    fn judge_again(&mut self) {
        let Some(gate) = &mut self.service.gate else { return };
        let is_open = gate.until.is_some_and(|until| until <= self.now.time);
        if gate.requests.is_empty() || is_open {
            self.service.gate = None;
            return;
        }
        if !self.service.calls.gates.is_over(self.now.moment) {
            gate.again = self.service.calls.gates.until();
            return;
        }
        gate.asking = true;
        let requests = gate.requests.clone();
        self.service.asked.clone_from(&requests);
        let service = self.key.clone();
        self.out.effects.push(Effect::Read(Read::Gates { service, requests }));
    }

    /// What ECR said of images whose scans or signatures are waited for.
    pub(super) fn found_at_gates(&mut self, answers: Vec<(ImageRequest, Result<ImageReport, AwsError>)>) {
        let mut failed = None;
        for (request, answer) in answers {
            match answer {
                Ok(found) => {
                    let of = (request.repository, request.digest);
                    self.service.found.insert(of, (self.now.moment, found));
                }
                Err(error) => failed = Some((request, error)),
            }
        }
        if let Some(gate) = &mut self.service.gate {
            gate.asking = false;
        }
        match failed {
            Some((request, error)) => self.not_found_out(&request, &error),
            None => {
                self.succeeded(Call::Gates);
                match self.waits_still() {
                    true => {
                        let again = self.ask_again_at();
                        if let Some(gate) = &mut self.service.gate {
                            gate.again = Some(again);
                        }
                    }
                    false => self.service.gate = None,
                }
            }
        }
    }

    /// Whether what ECR said changes nothing.
    fn waits_still(&self) -> bool {
        let Some(known) = self.record() else { return false };
        let Some(waiting) = &known.gated else { return false };
        // What was asked about another image tells nothing of the one that is shown to wait.
        let asked = self.service.gate.iter().flat_map(|gate| &gate.requests);
        if asked.into_iter().any(|request| request.digest != waiting.digest) {
            return false;
        }
        let found = self
            .service
            .found
            .iter()
            .find(|((repository, digest), _)| repository.name == waiting.repository && digest == &waiting.digest);
        let rules = self.rules.of(self.key);
        let Some(((repository, _), (_, found))) = found else { return false };
        let Some(rule) = rules.get(repository) else { return false };
        let Gates { scan, scan_timeout, signed_by, .. } = &rule.deploy.gates;
        let (since, now) = (waiting.since.min(self.now.time), self.now.time);
        let verdict = match waiting.gate {
            Gate::Scan => gate::scan::judge(*scan, *scan_timeout, since, &found.scans, now),
            Gate::Signature => gate::signature::judge(signed_by, *scan_timeout, since, &found.signatures, now),
            Gate::After | Gate::Window | Gate::Approval | Gate::Pause => return false,
        };
        matches!(verdict, Verdict::Wait(wait) if wait.why == waiting.reason)
    }

    /// ECR could not be asked: that is waited for, and shown.
    fn not_found_out(&mut self, request: &ImageRequest, error: &AwsError) {
        self.failed(Call::Gates, error);
        let until = self.service.calls.gates.until();
        if let Some(gate) = &mut self.service.gate {
            gate.again = until;
        }
        let gate = if request.scan { Gate::Scan } else { Gate::Signature };
        let pending = self.record().and_then(|known| known.pending.get(&request.repository));
        let tag = pending.and_then(|pushes| pushes.first()?.tag.clone());
        let waiting = Waiting {
            gate,
            since: self.now.time,
            repository: request.repository.name.clone(),
            tag,
            digest: request.digest.clone(),
            reason: format!("ECR cannot be asked about the image: {error}"),
            until: None,
            stage: None,
            hook: None,
            reported: false,
        };
        let known = self.record().and_then(|record| record.gated.as_ref());
        if !known.is_some_and(|known| known.is_same(&waiting)) {
            self.waits_at(waiting);
        }
    }

    /// What waits has waited for long.
    fn report_long_wait(&mut self) {
        if let Some(waiting) = &mut self.record_mut().gated {
            waiting.reported = true;
            let waiting = waiting.clone();
            self.emit(ServiceEvent::WaitsLong(waiting));
        }
    }

    /// Judges the gates again of a rollout that is about to be written. One that is closed has its pushes decided anew.
    fn judge_before_write(&mut self) {
        let Some(intent) = self.service.workflow.intent().cloned() else { return };
        let rules = self.rules.of(self.key);
        let closed = intent.targets.iter().find_map(|(repository, target)| {
            let carried = intent.supersedes.as_ref().is_some_and(|old| old.targets.get(repository) == Some(target));
            let rule = rules.get(repository).filter(|_| !carried)?;
            self.why_closed(rule, repository, target)
        });
        if let Some(why) = closed {
            self.replan(format!("a gate closed before it began: {why}"));
        }
    }

    fn why_closed(
        &self,
        rule: &ServiceRule,
        repository: &RepositoryKey,
        target: &crate::domain::state::Target,
    ) -> Option<String> {
        let known = self.record()?;
        let names = names_of(self.rules.config(), self.key);
        let others = others(&names, |other| self.state.services.get(other));
        let evidence = Evidence { others, ..self.evidence(known, FOUND_FRESH_FOR_WRITES) };
        let service = self.rules.named(self.key).name;
        let subject =
            Subject { service: &service, repository, digest: &target.digest, push: &target.push, image: None };
        match gate::judge(&rule.deploy.gates, &subject, &evidence, self.now.time) {
            Verdict::Open => None,
            Verdict::Wait(Wait { why, .. }) => Some(why),
            Verdict::Refuse(refusal) => Some(refusal.why),
            Verdict::Ask(_) => Some("what ECR says of the image has to be asked again".to_owned()),
        }
    }
}
