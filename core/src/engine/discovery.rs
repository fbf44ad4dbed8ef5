//! Services that were looked for by their tag: which of them are followed from here on.

use std::collections::BTreeSet;

use super::Engine;
use super::event::{DiscoveryEvent, Event};
use super::now::Now;
use super::rules::Rules;
use super::start;
use crate::domain::discovery::{self, Look, News};
use crate::domain::types::ServiceKey;

impl Engine {
    /// A complete look at the tags of a context.
    pub(super) fn looked(&mut self, look: &Look, now: Now) {
        let is_wanted = |rule: &discovery::DiscoverRule| rule.aws == look.aws && rule.tag == look.tag;
        if !self.rules.configured().discover.iter().any(is_wanted) {
            // It was begun under another configuration.
            return;
        }
        let taken = discovery::take(&mut self.state, look, now.time);
        if taken.changed {
            self.out.durability.changed();
        }
        if !taken.news.is_empty() {
            let news: BTreeSet<&ServiceKey> = taken.news.iter().map(|(key, ..)| key).collect();
            let comes_after = |rules: &Rules, key: &ServiceKey| {
                rules.of(key).values().any(|rule| !rule.deploy.gates.after.is_empty())
            };
            self.take_up(|rules, key| news.contains(key) || comes_after(rules, key), now);
        }
        self.compare_found(look, now);
        for (key, news, known) in taken.news {
            let event = match news {
                News::Found => DiscoveryEvent::Found(key, known),
                News::Changed => DiscoveryEvent::Changed(key, known),
                News::Gone => DiscoveryEvent::Gone(key, known),
            };
            self.out.emit(Event::Discovery(event), &self.rules);
        }
        self.doubt_found(look);
        let followed = self.rules.config().count_discovered(&look.aws);
        self.out.emit(Event::Discovery(DiscoveryEvent::Followed(look.aws.clone(), followed)), &self.rules);
    }

    /// After a start without a state, what the first look found is compared with ECR, where that is wanted.
    fn compare_found(&mut self, look: &Look, now: Now) {
        let Some(known) = self.state.contexts.get_mut(&look.aws) else { return };
        if known.compares_found.remove(&look.tag) {
            start::reconcile_services(&mut self.state, self.rules.config(), now.time, |rule| {
                rule.known_since.is_some() && look.tagged.contains_key(&rule.key)
            });
            self.out.touched.extend(look.tagged.keys().cloned());
            self.out.durability.changed();
        }
    }

    /// Tells once what is wrong with services that have the tag.
    fn doubt_found(&mut self, look: &Look) {
        self.doubts.retain(|(tag, key), _| key.aws != look.aws || *tag != look.tag || look.tagged.contains_key(key));
        for (key, value) in &look.tagged {
            let known = self.state.services.get(key).and_then(|known| known.discovered.as_ref());
            let doubt = self.rules.configured().doubt_of(key, value, known);
            let place = (look.tag.clone(), key.clone());
            if self.doubts.get(&place) == doubt.as_ref() {
                continue;
            }
            match doubt {
                Some(doubt) => {
                    self.doubts.insert(place, doubt.clone());
                    self.out.emit(Event::Discovery(DiscoveryEvent::Doubted(key.clone(), doubt)), &self.rules);
                }
                None => drop(self.doubts.remove(&place)),
            }
        }
    }
}
