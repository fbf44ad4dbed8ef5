//! What the state calls for: reads that are due, the commit, and, once that is done, the writes in the order of their line.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Engine;
use super::backoff::Backoff;
use super::durability::Permit;
use super::effect::{Effect, Place, Read, RolloutId, Write};
use super::hooks::HookCall;
use super::line::{FRESH, Rank};
use super::now::{Moment, Now};
use super::observation::ObservationRequest;
use super::prove;
use super::registrations::RegistrationKey;
use super::service::{Observing, Service};
use super::workflow::{Inspection, Recorded, Turn, Workflow};
use crate::domain::plan::Pushes;
use crate::domain::rate_limit::Group;
use crate::domain::state::ServiceState;
use crate::domain::types::{ContextName, DeploymentId, ServiceKey};

/// When no more updates than these have been looked at again and wait for their turn, the next ones of the line are looked at. At five updates a
/// second, which is what ECS takes, they last for as long as a look takes.
const FEWEST_READY: usize = 2;

/// DescribeServices takes at most 10 services of one cluster.
pub const SERVICES_A_CALL: usize = 10;

/// The deployments to look at in a cluster.
#[derive(Debug)]
struct Watched {
    /// All of them but those that failed to be looked at just now.
    services: Vec<(ServiceKey, DeploymentId)>,
    /// Those of them of which the last look failed, and may be repeated.
    retries: Vec<(ServiceKey, DeploymentId)>,
    /// The shortest interval of the services.
    interval: Duration,
}

impl Watched {
    fn every(interval: Duration) -> Self {
        Self { services: Vec::new(), retries: Vec::new(), interval }
    }

    fn add(&mut self, key: &ServiceKey, deployment: &DeploymentId, backoff: &Backoff, now: Moment) {
        if backoff.is_over(now) {
            let one = (key.clone(), deployment.clone());
            if backoff.last_error().is_some() {
                self.retries.push(one.clone());
            }
            self.services.push(one);
        }
    }
}

/// When the services of a cluster are looked at that ECS rolls.
#[derive(Debug, Clone, Copy)]
pub(super) struct WatchRound {
    begun: Moment,
    due: Moment,
    calls: usize,
}

impl WatchRound {
    /// A round that begins to wait now, and is due at another moment.
    pub(super) fn waiting(now: Moment, due: Moment) -> Self {
        Self { begun: now, due, calls: 0 }
    }

    /// Begins the round, of so many calls, if it is due and none is under way. The next one is due at `next`.
    pub(super) fn begin(&mut self, now: Moment, next: Moment, calls: usize) -> bool {
        let begins = self.calls == 0 && self.due <= now;
        if begins {
            *self = Self { begun: now, due: next, calls };
        }
        begins
    }

    /// Whether a call of it is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.calls > 0
    }

    /// A call was answered.
    pub(super) fn answered(&mut self) {
        self.calls = self.calls.saturating_sub(1);
    }

    /// When the next round is due, unless one is under way.
    pub(super) fn wake(&self) -> Option<Moment> {
        (self.calls == 0).then_some(self.due)
    }
}

impl Engine {
    /// Asks what is needed to decide pending pushes. The reads of all services are shared.
    pub(super) fn observe_pending(&mut self, now: Now) {
        let mut requests = Vec::new();
        for key in &self.pending {
            let Some(known) = self.state.services.get(key) else { continue };
            let pushes = self.askable(key, known, now.moment);
            if pushes.is_empty() {
                continue;
            }
            let Some(request) = ObservationRequest::of(self.rules.config(), key, known, pushes) else { continue };
            requests.push(request.promoting(|other| self.state.services.get(other)));
        }
        for request in &requests {
            self.services.entry(request.key.clone()).or_default().observing = Observing::UnderWay;
        }
        if !requests.is_empty() {
            self.out.effects.push(Effect::Read(Read::Observe { asked_at: now.moment, requests }));
        }
    }

    /// The pending pushes of a service about which something may be asked now.
    fn askable(&self, key: &ServiceKey, known: &ServiceState, now: Moment) -> Pushes {
        // Nothing is going on for most.
        let Some(service) = self.services.get(key) else { return known.pending.clone() };
        let calls = &service.calls;
        let is_free = match service.observing {
            Observing::Idle => true,
            Observing::UnderWay | Observing::Outdated => false,
            Observing::Again(at) => at <= now,
        };
        // What ECS rolls is superseded only when a write can be made.
        let writable = service.workflow == Workflow::Idle || calls.write.is_over(now);
        if !is_free || !writable || !service.workflow.may_decide() || !calls.observe.is_over(now) {
            return Pushes::new();
        }
        let answers = |repository| calls.resolve.get(repository).is_none_or(|backoff| backoff.is_over(now));
        let open = known.pending.iter().filter(|(repository, _)| answers(*repository));
        let open: Pushes = open.map(|(repository, pushes)| (repository.clone(), pushes.clone())).collect();
        match &service.gate {
            // Nothing has changed for what waits at a gate.
            Some(gate) if gate.covers(&open) => Pushes::new(),
            Some(_) | None => open,
        }
    }

    /// Asks how far rollouts got of which only the record is known: right before something is done, that is, not while the state cannot be
    /// written or a write has to wait.
    pub(super) fn inspect_unverified(&mut self, now: Now) {
        if self.out.durability.last_error().is_some() {
            return;
        }
        let is_due = |service: &Service| {
            let due = service.workflow.is_inspection_due(now.moment);
            let stopping = service.stop.is_some();
            due && !stopping && service.calls.inspect.is_over(now.moment) && service.calls.write.is_over(now.moment)
        };
        for key in self.keys(is_due) {
            if self.rules.region(&key.aws).is_some() {
                self.with(&key, now, |handler| handler.inspect());
            }
        }
    }

    /// Looks at the rollouts under way, ten services of a cluster a call, once in their interval. A look that failed is repeated after its
    /// pause, for the services that it was about.
    pub(super) fn watch_rollouts(&mut self, now: Now) {
        let mut places: BTreeMap<Place, Watched> = BTreeMap::new();
        for (key, service) in &self.services {
            let Workflow::Rolling { deployment, .. } = &service.workflow else { continue };
            if self.rules.region(&key.aws).is_none() {
                continue;
            }
            let interval = self.rules.observe_interval(key);
            let place = (key.aws.clone(), key.cluster.clone());
            let watched = places.entry(place).or_insert_with(|| Watched::every(interval));
            watched.add(key, deployment, &service.calls.watch, now.moment);
            watched.interval = watched.interval.min(interval);
        }
        for key in &self.unproven {
            self.add_unproven(key, now.moment, &mut places);
        }
        self.watches.retain(|place, round| round.calls > 0 || places.contains_key(place));
        for (place, Watched { services, retries, interval }) in places {
            let new = WatchRound { begun: now.moment, due: now.moment.plus(interval), calls: 0 };
            let round = self.watches.entry(place.clone()).or_insert(new);
            // A service whose interval is shorter may have joined since the round began.
            round.due = round.begun.plus(interval);
            if round.calls > 0 {
                continue;
            }
            let services = if round.due <= now.moment { services } else { retries };
            if round.due <= now.moment {
                *round = new;
            }
            round.calls = services.len().div_ceil(SERVICES_A_CALL);
            for services in services.chunks(SERVICES_A_CALL) {
                let (place, services) = (place.clone(), services.to_vec());
                self.out.effects.push(Effect::Read(Read::Watch { place, asked_at: now.moment, services }));
            }
        }
    }

    /// Adds a service whose revision no task has run yet.
    fn add_unproven(&self, key: &ServiceKey, now: Moment, places: &mut BTreeMap<Place, Watched>) {
        let nothing = Service::default();
        let service = self.services.get(key).unwrap_or(&nothing);
        if let Some((_, deployment)) = self.state.services.get(key).and_then(prove::unproven)
            && service.workflow == Workflow::Idle
            && self.rules.has(key)
            && self.rules.region(&key.aws).is_some()
        {
            let place = places.entry((key.aws.clone(), key.cluster.clone()));
            let watched = place.or_insert_with(|| Watched::every(prove::LOOK_EVERY));
            watched.add(key, deployment, &service.calls.watch, now);
        }
    }

    /// Makes the writes whose turn it is.
    pub(super) fn write(&mut self, permit: &Permit, now: Now) {
        self.line.begin();
        self.answer_hooks(permit);
        self.register_next(permit, now);
        self.update_next(permit, now);
        self.write_for_tasks(permit, now);
    }

    /// Tells ECS what operators have answered to its hooks, and which deployments to stop.
    fn answer_hooks(&mut self, permit: &Permit) {
        for (key, service) in &mut self.services {
            let decided_at = service.workflow.intent().map(|intent| intent.decided_at);
            if let (Some(answer), Some(decided_at)) = (&mut service.hook_answer, decided_at)
                && answer.call == HookCall::Due
            {
                answer.call = HookCall::UnderWay;
                let id = RolloutId { service: key.clone(), decided_at };
                let (hook, action) = (answer.hook.clone(), answer.action);
                self.out.effects.push(permit.write(Write::Continue { id, hook, action }));
            }
            if let Some((arn, call @ HookCall::Due)) = &mut service.stop {
                *call = HookCall::UnderWay;
                let write = Write::Stop { service: key.clone(), arn: arn.clone() };
                self.out.effects.push(permit.write(write));
            }
        }
    }

    /// What was not sent to ECS yet stops where an operator holds the service, or where it left the configuration. Going back goes on.
    pub(super) fn stop_unwanted(&mut self, now: Now) {
        let waits = |service: &Service| {
            let waits = matches!(
                service.workflow,
                Workflow::Registering { turn: Turn::Waiting { .. }, .. }
                    | Workflow::Updating { turn: Turn::Waiting { .. }, .. }
            );
            let waits = waits || matches!(&service.workflow, Workflow::Tasking { tasking, .. } if tasking.is_unbegun());
            waits && service.workflow.intent().is_some_and(|intent| intent.is_forward())
        };
        for key in self.keys(waits) {
            self.with(&key, now, |handler| handler.ends_as_unwanted());
        }
    }

    /// A service that waits for its registration goes on where the same revision was registered for another one, or found, meanwhile.
    pub(super) fn share_registrations(&mut self, now: Now) {
        if self.out.registrations.is_empty() {
            return;
        }
        let is_there = |key: &ServiceKey, service: &Service| match &service.workflow {
            Workflow::Registering { intent, turn: Turn::Waiting { .. }, .. } => {
                self.out.registrations.get(&key.aws, intent.as_ref()).is_some()
            }
            Workflow::Registering { .. }
            | Workflow::Idle
            | Workflow::Verifying { .. }
            | Workflow::Tasking { .. }
            | Workflow::Updating { .. }
            | Workflow::Rolling { .. } => false,
        };
        let found = self.services.iter().filter(|(key, service)| is_there(key, service));
        for key in found.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.with(&key, now, |handler| handler.share_registration());
        }
    }

    /// The services whose next step is a write that may be made, in the order of their line.
    fn waiting(&self, now: Moment, is_it: impl Fn(&Workflow) -> bool) -> Vec<ServiceKey> {
        let may = |service: &Service| service.calls.write.is_over(now) && service.calls.inspect.is_over(now);
        let mut line: Vec<(Rank, &ServiceKey)> = self
            .services
            .iter()
            .filter(|(key, service)| is_it(&service.workflow) && may(service) && self.rules.region(&key.aws).is_some())
            .filter_map(|(key, service)| Some((Rank::of(key, service.workflow.intent()?), key)))
            .collect();
        line.sort();
        line.into_iter().map(|(_, key)| key.clone()).collect()
    }

    /// Registers revisions, each once for all services that need it. Where somebody looks for the same revision, that is waited for.
    fn register_next(&mut self, permit: &Permit, now: Now) {
        for keys in self.to_register(now.moment) {
            let Some(first) = keys.first() else { continue };
            if self.line.take(&first.aws, Group::Register, now.moment) {
                self.register(permit, &keys, now.moment);
            }
        }
    }

    /// The services that wait for a revision, together those that need the same one, in the order of the line. A revision that is being
    /// registered, or looked for, is left out.
    fn to_register(&self, now: Moment) -> Vec<Vec<ServiceKey>> {
        let is_it = |workflow: &Workflow| matches!(workflow, Workflow::Registering { turn: Turn::Waiting { .. }, .. });
        let waiting = self.waiting(now, is_it);
        if waiting.is_empty() {
            return Vec::new();
        }
        let mut busy: BTreeSet<RegistrationKey<'_>> = BTreeSet::new();
        for (key, service) in &self.services {
            match &service.workflow {
                Workflow::Verifying { intent, recorded: Recorded::Intended, inspection: Inspection::UnderWay(_) }
                | Workflow::Registering { intent, turn: Turn::UnderWay { .. }, .. } => {
                    busy.insert(RegistrationKey::of(&key.aws, intent.as_ref()));
                }
                Workflow::Idle
                | Workflow::Verifying { .. }
                | Workflow::Registering { .. }
                | Workflow::Updating { .. }
                | Workflow::Tasking { .. }
                | Workflow::Rolling { .. } => {}
            }
        }
        let mut places: BTreeMap<RegistrationKey<'_>, usize> = BTreeMap::new();
        let mut groups: Vec<Vec<ServiceKey>> = Vec::new();
        for key in &waiting {
            let Some(intent) = self.services.get(key).and_then(|service| service.workflow.intent()) else { continue };
            let shared = RegistrationKey::of(&key.aws, intent);
            if busy.contains(&shared) {
                continue;
            }
            let place = *places.entry(shared).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(keys) => keys.push(key.clone()),
                None => groups.push(vec![key.clone()]),
            }
        }
        groups
    }

    fn register(&mut self, permit: &Permit, keys: &[ServiceKey], now: Moment) {
        let mut ids = Vec::new();
        let mut wanted = None;
        for key in keys {
            let Some(Workflow::Registering { intent, registration, turn: turn @ Turn::Waiting { .. } }) =
                self.services.get_mut(key).map(|service| &mut service.workflow)
            else {
                continue;
            };
            if let Turn::Waiting { verified_at } = *turn {
                *turn = Turn::UnderWay { verified_at, since: now };
            }
            ids.push(RolloutId { service: key.clone(), decided_at: intent.decided_at });
            wanted.get_or_insert_with(|| (key.aws.clone(), registration.clone()));
        }
        if let Some((aws, registration)) = wanted {
            self.out.effects.push(permit.write(Write::Register { aws, ids, registration }));
        }
    }

    /// Updates services whose turn it is. One that has waited for long is looked at once more, ten of the line in a call.
    fn update_next(&mut self, permit: &Permit, now: Now) {
        let is_it = |workflow: &Workflow| matches!(workflow, Workflow::Updating { turn: Turn::Waiting { .. }, .. });
        let mut recheck: BTreeMap<Place, Vec<ServiceKey>> = BTreeMap::new();
        let mut room = self.room_for_updates(now.moment);
        for key in self.waiting(now.moment, is_it) {
            let Some(Workflow::Updating { intent, revision, by, turn }) =
                self.services.get_mut(&key).map(|service| &mut service.workflow)
            else {
                continue;
            };
            let Turn::Waiting { verified_at } = *turn else { continue };
            if now.moment.since(verified_at) >= FRESH {
                let room = room.entry(key.aws.clone()).or_insert(SERVICES_A_CALL);
                if *room > 0 && self.line.is_open(&key.aws, Group::ServiceWrites, now.moment) {
                    *room -= 1;
                    *turn = Turn::Rechecking;
                    recheck.entry((key.aws.clone(), key.cluster.clone())).or_default().push(key);
                }
            } else if self.line.take(&key.aws, Group::ServiceWrites, now.moment) {
                *turn = Turn::UnderWay { verified_at, since: now.moment };
                let id = RolloutId { service: key.clone(), decided_at: intent.decided_at };
                let write = Write::Update { id, revision: revision.clone(), by: by.clone() };
                self.out.effects.push(permit.write(write));
            }
        }
        for (place, keys) in recheck {
            let ids = keys.into_iter().filter_map(|service| {
                let decided_at = self.services.get(&service)?.workflow.intent()?.decided_at;
                Some(RolloutId { service, decided_at })
            });
            let read = Read::Recheck { place, ids: ids.collect() };
            self.out.effects.push(Effect::Read(read));
        }
    }

    /// How many more updates of each AWS context are to be made ready for their turn. Those who are ready are used up before the next ones
    /// are looked at: a look at one service costs as much as one at ten.
    fn room_for_updates(&self, now: Moment) -> BTreeMap<ContextName, usize> {
        let mut ready: BTreeMap<ContextName, usize> = BTreeMap::new();
        for (key, service) in &self.services {
            let Workflow::Updating { turn, .. } = &service.workflow else { continue };
            match *turn {
                Turn::Waiting { verified_at } if now.since(verified_at) >= FRESH => {}
                Turn::Waiting { .. } | Turn::Rechecking => *ready.entry(key.aws.clone()).or_default() += 1,
                Turn::UnderWay { .. } => {}
            }
        }
        let room = |ready: usize| if ready <= FEWEST_READY { SERVICES_A_CALL } else { 0 };
        ready.into_iter().map(|(aws, ready)| (aws, room(ready))).collect()
    }

    /// The services of which something holds.
    pub(super) fn keys(&self, is_it: impl Fn(&Service) -> bool) -> Vec<ServiceKey> {
        self.services.iter().filter(|(_, service)| is_it(service)).map(|(key, _)| key.clone()).collect()
    }
}
