//! Pages of events: which services a push concerns, and what others changed.

use jiff::{SignedDuration, Timestamp};

use super::Engine;
use super::event::{Event, PushSkipped, ServiceEvent, Taken};
use super::history;
use super::input::Page;
use super::now::Now;
use super::start;
use crate::domain::audit;
use crate::domain::audit::Change;
use crate::domain::event::{EventRef, ParsedEvent};
use crate::domain::notification::HeldPush;
use crate::domain::routing::{self, Fate, HeldImage, Told, Verdict, release_command};
use crate::domain::settings::RepositoryKey;
use crate::domain::skip::SkipReason;
use crate::domain::source::PushSource;
use crate::domain::state::{AuditProgress, PushRef, Sighting};
use crate::domain::types::{ContextName, ServiceKey, Tag};

impl Engine {
    /// A page of events.
    pub(super) fn page(&mut self, page: Page, now: Now) {
        let Page { context, parsed_events, progress, changes, audited } = page;
        self.changes(&context, changes, audited, now);
        // Until a first scan has ended, what it finds was there before the start (decision 3).
        let told = Told { by: PushSource::CloudTrail, at: now.time, opening: self.is_opening(&context) };
        for parsed in &parsed_events {
            self.take_event(&context, parsed, told, now);
        }
        let read_to = progress.as_ref().and_then(|progress| progress.cursor);
        if let Some(since) = read_to.and_then(|to| self.gap(&context, to)) {
            self.out.emit(Event::HistoryGap { aws: context.clone(), since }, &self.rules);
            start::reconcile(&mut self.state, self.rules.config(), now.time, |repository| repository.aws == context);
            self.out.durability.changed();
            self.out.touched.extend(self.rules.config().services().map(|(_, rule)| rule.key.clone()));
        }
        if let (Some(known), Some(progress)) = (self.state.contexts.get_mut(&context), progress)
            && known.advance(progress)
        {
            self.out.durability.changed();
        }
        self.out.durability.progressed(now.moment);
    }

    /// Whether the very first scan of a context is not complete yet.
    pub(super) fn is_opening(&self, context: &ContextName) -> bool {
        self.state.contexts.get(context).is_some_and(|known| known.cursor.is_none())
    }

    /// One push event; nothing, if it is no push.
    pub(super) fn take_event(
        &mut self,
        context: &ContextName,
        parsed: &ParsedEvent,
        told: Told,
        now: Now,
    ) -> Option<Taken> {
        let rules = &self.rules.config().repositories;
        let verdict = routing::take(&mut self.state, rules, context, parsed, told)?;
        self.note_told_again(context, &verdict, told);
        let taken = match &verdict.fate {
            Fate::Skip { reason: SkipReason::Duplicate, .. } => Taken::Duplicate,
            _ if verdict.configured.is_none() => Taken::Foreign,
            Fate::Skip { .. } | Fate::Pending(_) => Taken::New,
        };
        let resurfaced = verdict.configured.clone().zip(Some(verdict.resurfaced.clone()));
        self.follow_verdict(context, verdict, told, now);
        if let Some((repository, resurfaced)) = resurfaced {
            self.resurface(context, &repository, &resurfaced, told, now);
        }
        Some(taken)
    }

    /// Pushes that were taken for what another source had reported, and are none of these.
    fn resurface(
        &mut self,
        context: &ContextName,
        repository: &RepositoryKey,
        resurfaced: &[Sighting],
        told: Told,
        now: Now,
    ) {
        for sighting in resurfaced {
            let told = Told { by: sighting.source, ..told };
            let rules = &self.rules.config().repositories;
            let verdict = routing::take_resurfaced(&mut self.state, rules, repository, sighting, told);
            if let Some(verdict) = verdict {
                self.follow_verdict(context, verdict, told, now);
            }
        }
    }

    /// How long a source takes to tell of pushes shows also where another one is faster.
    fn note_told_again(&mut self, context: &ContextName, verdict: &Verdict, told: Told) {
        if let Some(repository) = verdict.configured.as_ref().filter(|_| verdict.told_by_other) {
            let (aws, repository) = (context.clone(), repository.name.clone());
            let after = told.at.duration_since(verdict.event.time);
            self.out.emit(Event::PushToldAgain { aws, repository, source: told.by, after }, &self.rules);
        }
    }

    /// What follows from one push event.
    fn follow_verdict(&mut self, context: &ContextName, verdict: Verdict, told: Told, now: Now) {
        let explained = match &verdict.fate {
            Fate::Skip { detail, .. } => verdict.explained(detail, |key| self.rules.named(key).name),
            Fate::Pending(_) => String::new(),
        };
        let Verdict { event, repository, configured, tag, fate, displaced, held, .. } = verdict;
        if let Some(repository) = &configured {
            self.held_again(repository, tag.as_ref(), &event, held, now);
        }
        match (fate, repository) {
            (Fate::Skip { reason, .. }, repository) => {
                let detail = explained;
                let (event, pushed_at) = (event.id.clone(), event.time);
                let aws = context.clone();
                let skipped = PushSkipped {
                    aws,
                    repository,
                    configured: configured.clone(),
                    tag,
                    event,
                    pushed_at,
                    reason,
                    detail,
                };
                history::record_skipped(&mut self.state, &skipped, now.time);
                self.out.emit(Event::PushSkipped(skipped), &self.rules);
            }
            (Fate::Pending(services), repository) => {
                self.out.durability.changed();
                if let (Some(key), Some(repository)) = (&configured, repository) {
                    self.out.unsettled.add(event.id.clone(), key.clone(), services.len());
                    let (aws, pushed_at) = (context.clone(), event.time);
                    let (seen_after, event) = (now.time.duration_since(pushed_at), event.id);
                    let services = services.len();
                    let source = told.by;
                    let seen = Event::PushSeen { aws, repository, tag, event, pushed_at, seen_after, services, source };
                    self.out.emit(seen, &self.rules);
                }
                self.out.touched.extend(services);
            }
        }
        if let Some(repository) = configured {
            self.displaced(&repository, displaced, now);
        }
    }

    /// An image that is held was to be pushed again, which changed nothing, as ECR has it already.
    fn held_again(
        &mut self,
        repository: &RepositoryKey,
        tag: Option<&Tag>,
        event: &EventRef,
        held: Vec<HeldImage>,
        now: Now,
    ) {
        for HeldImage { service, digest, reason } in held {
            let push = HeldPush {
                repository: repository.name.clone(),
                tag: tag.cloned(),
                digest,
                event: event.id.clone(),
                pushed_at: event.time,
                reason,
                release: release_command(&self.rules.named(&service).name),
            };
            self.with(&service, now, |handler| handler.emit(ServiceEvent::HeldPushedAgain(push)));
        }
    }

    /// Pushes for which there is no room, as many newer ones are pending.
    fn displaced(&mut self, repository: &RepositoryKey, displaced: Vec<(ServiceKey, PushRef)>, now: Now) {
        for (key, push) in displaced {
            self.with(&key, now, |handler| {
                let (reason, detail) = (SkipReason::Superseded, "many newer ones wait".to_owned());
                let (repository, skipped) = (repository.clone(), push.clone());
                handler.emit(ServiceEvent::PushSkipped { repository, push: skipped, reason, detail });
            });
            if let Some(event) = self.out.unsettled.decided(&push, repository, Some(SkipReason::Superseded)) {
                self.out.emit(event, &self.rules);
            }
        }
    }

    /// What others did to ECS: told once, and remembered as read.
    fn changes(&mut self, context: &ContextName, changes: Vec<Change>, audited: Option<AuditProgress>, now: Now) {
        for change in changes {
            if !audit::take(&mut self.state, context, &change) {
                continue;
            }
            let watched = self.watched_service(context, &change);
            let concern = audit::concern(&change, watched.as_ref(), &self.state);
            let watched = watched.map(|key| self.rules.named(&key));
            let change = Box::new(change);
            // It must be durable, or it would be told again after a restart.
            self.out.durability.changed();
            self.out.emit(Event::Changed { aws: context.clone(), change, watched, concern }, &self.rules);
        }
        if let (Some(known), Some(audited)) = (self.state.audits.get_mut(context), audited) {
            known.advance(audited);
            self.out.durability.progressed(now.moment);
        }
    }

    /// The service of the configuration that a change is about.
    fn watched_service(&self, context: &ContextName, change: &Change) -> Option<ServiceKey> {
        let (cluster, service) = change.service.as_ref()?;
        let key = ServiceKey::try_from(format!("{context}/{cluster}/{service}")).ok()?;
        self.rules.has(&key).then_some(key)
    }

    /// Since when pushes were missed, if reading could go on only now from before what CloudTrail remembers. At a start that was seen to.
    fn gap(&self, context: &ContextName, read_to: Timestamp) -> Option<Timestamp> {
        let known = self.state.contexts.get(context)?;
        known.unreadable_since(read_to).filter(|_| known.unreadable_since(self.started_at).is_none())
    }

    /// Forgets the events and changes that are not read again.
    pub(super) fn forget(&mut self) {
        let overlap = SignedDuration::try_from(self.rules.config().poll.overlap).unwrap_or(SignedDuration::MAX);
        self.state.bound_history();
        for known in self.state.audits.values_mut() {
            known.forget(overlap);
        }
        for context in self.state.contexts.values_mut() {
            context.forget(overlap);
        }
    }
}
