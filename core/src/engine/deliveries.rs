//! What a source delivers that waits to be told when it is durable: messages of a queue.

use super::Engine;
use super::event::{Event, Taken};
use super::now::Now;
use crate::domain::event::ParsedEvent;
use crate::domain::routing::Told;
use crate::domain::source::PushSource;
use crate::domain::types::ContextName;

/// Names a delivery, so that its receipt finds the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryId(pub u64);

/// What the queue of a context has delivered at once.
#[derive(Debug)]
pub struct Delivery {
    /// The name by which the delivery is answered.
    pub id: DeliveryId,
    /// The AWS context of the queue.
    pub context: ContextName,
    /// The events of the delivery that could be read.
    pub parsed_events: Vec<ParsedEvent>,
}

impl Engine {
    /// Takes the events of a delivery. It is acknowledged once the state that they call for is durable.
    pub(super) fn delivery(&mut self, delivery: &Delivery, now: Now) {
        let Delivery { id, context, parsed_events } = delivery;
        let opening = self.is_opening(context);
        for parsed in parsed_events {
            let told = Told { by: PushSource::Queue, at: now.time, opening };
            let Some(taken) = self.take_event(context, parsed, told, now) else { continue };
            if taken == Taken::New {
                // The message is deleted, so that nobody can read it again.
                self.out.durability.changed();
            }
            self.out.emit(Event::MessageTaken { aws: context.clone(), taken }, &self.rules);
        }
        self.out.durability.acknowledge(*id, &mut self.out.effects);
    }
}
