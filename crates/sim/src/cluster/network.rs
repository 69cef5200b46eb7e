//! What lies between members: links that lose, delay, overtake and double messages, and can be cut, also one way.

use std::collections::BTreeSet;

use bytes::Bytes;
use raft::{Message, MessageKind};

use crate::chance::Chance;

/// A message under way.
#[derive(Clone)]
pub(super) struct Envelope {
    due_ms: u64,
    pub message: Message,
    /// The database that travels with a snapshot.
    pub db: Option<Bytes>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    /// One message in so many is lost, or doubled; 0: none.
    lost: u64,
    doubled: u64,
    /// Most messages take up to so long, and one in ten four times that.
    delay_ms: u64,
}

/// All links.
#[derive(Default)]
pub(super) struct Network {
    under_way: Vec<Envelope>,
    cut: BTreeSet<(u64, u64)>,
    pub weather: Weather,
}

impl Network {
    /// Another weather.
    pub fn change(&mut self, chance: &mut Chance) -> String {
        let lost = *chance.pick(&[0, 0, 100, 20, 8]);
        let doubled = *chance.pick(&[0, 0, 50, 10]);
        let delay_ms = *chance.pick(&[1, 5, 20, 150]);
        self.weather = Weather { lost, doubled, delay_ms };
        format!("the network: {:?}", self.weather)
    }

    /// No faults any more.
    pub fn heal(&mut self) {
        self.weather = Weather { lost: 0, doubled: 0, delay_ms: 2 };
        self.cut.clear();
    }

    /// Cuts all links between two sides; sometimes only one way.
    pub fn part(&mut self, members: &[u64], chance: &mut Chance) -> String {
        self.cut.clear();
        let one_way = chance.once_in(3);
        let alone = *chance.pick(members);
        let (isolate, sides) = (chance.once_in(2), chance.next());
        let here = |id: u64| if isolate { id == alone } else { sides >> (id % 64) & 1 == 1 };
        for &from in members {
            for &to in members {
                if here(from) && !here(to) {
                    self.cut.insert((from, to));
                    if !one_way {
                        self.cut.insert((to, from));
                    }
                }
            }
        }
        format!("links cut: {:?}", self.cut)
    }

    /// Links are whole again.
    pub fn join(&mut self) -> String {
        self.cut.clear();
        "all links whole".into()
    }

    pub fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cut.contains(&(from, to))
    }

    /// A message leaves. False: it is lost.
    pub fn send(&mut self, message: Message, db: Option<Bytes>, now_ms: u64, chance: &mut Chance) -> bool {
        let Weather { lost, doubled, delay_ms } = self.weather;
        if lost > 0 && chance.once_in(lost) {
            return false;
        }
        let far = if chance.once_in(10) { 4 } else { 1 };
        let envelope = Envelope { due_ms: now_ms + chance.below(1 + far * delay_ms), message, db };
        // Proposals travel on a stream, which never repeats: one that did would be executed twice.
        if doubled > 0 && envelope.message.kind != MessageKind::Prop && chance.once_in(doubled) {
            let due_ms = envelope.due_ms + chance.below(1 + 10 * delay_ms);
            self.under_way.push(Envelope { due_ms, ..envelope.clone() });
        }
        self.under_way.push(envelope);
        true
    }

    /// One of the messages that are due.
    pub fn take(&mut self, now_ms: u64, chance: &mut Chance) -> Option<Envelope> {
        let due = |envelope: &Envelope| envelope.due_ms <= now_ms;
        let count = self.under_way.iter().filter(|envelope| due(envelope)).count();
        if count == 0 {
            return None;
        }
        let nth = chance.below(count as u64) as usize;
        let at = self.under_way.iter().enumerate().filter(|(_, envelope)| due(envelope)).nth(nth)?.0;
        Some(self.under_way.remove(at))
    }
}
