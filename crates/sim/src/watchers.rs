//! Clients that watch, and resume after every restart where they had got to.

use bytes::Bytes;
use mvcc::EventKind;
use mvcc::watch::{Kind, StreamId, WatchHub, WatchOutput, WatchSpec};
use prost::Message;
use proto::mvccpb::KeyValue;

use crate::ledger::Ledger;
use crate::model::Change;

/// One client's watcher, which has a stream for itself.
struct Watcher {
    key: Bytes,
    end: Bytes,
    /// The revision it resumes from.
    next: i64,
    /// The member it is connected to.
    home: Option<u64>,
}

/// All of them; they outlive the member.
pub(crate) struct Watchers {
    all: Vec<Watcher>,
    /// Events received.
    pub events: u64,
    /// Times a watcher was told that what it wants is compacted.
    pub compacted: u64,
}

impl Watchers {
    pub fn new() -> Watchers {
        let watcher = |key: &'static [u8], end: &'static [u8]| Watcher {
            key: Bytes::from_static(key),
            end: Bytes::from_static(end),
            next: 1,
            home: None,
        };
        let all = vec![watcher(&[0], &[0]), watcher(b"b", b"e"), watcher(b"c", b"")];
        Watchers { all, events: 0, compacted: 0 }
    }

    /// The streams, one for each watcher.
    pub fn streams(&self) -> impl Iterator<Item = StreamId> + use<> {
        (1..=self.all.len() as u64).map(StreamId)
    }

    /// Connects the watchers that are connected to nobody.
    pub fn resume(&mut self, member: u64, hub: &mut WatchHub, revision: i64) -> Result<(), String> {
        let lost: Vec<usize> = (0..self.all.len()).filter(|at| self.all[*at].home.is_none()).collect();
        lost.into_iter().try_for_each(|at| self.add(at, member, hub, revision))
    }

    /// A member has gone.
    pub fn lost(&mut self, member: u64) {
        self.all.iter_mut().filter(|watcher| watcher.home == Some(member)).for_each(|w| w.home = None);
    }

    /// A watcher turns away from its member; whatever is on its way is lost.
    pub fn leave(&mut self, stream: StreamId, member: u64, hub: &mut WatchHub) {
        let watcher = &mut self.all[stream.0 as usize - 1];
        if watcher.home == Some(member) {
            watcher.home = None;
            hub.drop_stream(stream);
        }
    }

    fn add(&mut self, at: usize, member: u64, hub: &mut WatchHub, revision: i64) -> Result<(), String> {
        let watcher = &mut self.all[at];
        watcher.home = Some(member);
        let spec = WatchSpec {
            id: at as i64 + 1,
            key: watcher.key.clone(),
            end: watcher.end.clone(),
            start_revision: watcher.next,
            ..WatchSpec::default()
        };
        hub.add(StreamId(at as u64 + 1), spec, revision)
            .map(drop)
            .map_err(|refusal| format!("no watcher: {refusal:?}"))
    }

    /// Takes a response in and compares it with what the ledger says.
    pub fn receive(
        &mut self,
        output: WatchOutput,
        member: u64,
        hub: &mut WatchHub,
        revision: i64,
        ledger: &Ledger,
    ) -> Result<(), String> {
        if !output.others.is_empty() {
            return Err("a stream of one watcher gets an output for several".into());
        }
        let at = output.watch_id as usize - 1;
        let watcher = &mut self.all[at];
        if watcher.home != Some(member) {
            return Err(format!("watcher {at} hears from member {member}, to which it is not connected"));
        }
        match output.kind {
            Kind::Created => Ok(()),
            Kind::Events { events, .. } => {
                let mut got = Vec::with_capacity(events.len());
                for event in events.iter() {
                    let kv = KeyValue::decode(event.record.clone()).map_err(|error| error.to_string())?;
                    let now = (event.kind == EventKind::Put).then_some(kv);
                    got.push(Change { revision: event.mod_revision, key: event.key.clone(), now });
                }
                let last = got.last().map_or(0, |change| change.revision);
                let due: Vec<&Change> = watcher.due(ledger).take_while(|c| c.revision <= last).collect();
                if !got.iter().eq(due.iter().copied()) {
                    let next = watcher.next;
                    return Err(format!("watcher {at} wants {next} and gets\n  {got:?}\nnot\n  {due:?}"));
                }
                self.events += got.len() as u64;
                watcher.next = last + 1;
                Ok(())
            }
            Kind::Compacted { compact_revision } => {
                if watcher.next >= compact_revision || compact_revision > ledger.newest().compacted {
                    let next = watcher.next;
                    return Err(format!("watcher {at} wants {next} and hears compacted {compact_revision}"));
                }
                watcher.next = compact_revision;
                self.compacted += 1;
                hub.drop_stream(StreamId(at as u64 + 1));
                self.add(at, member, hub, revision)
            }
            other => Err(format!("watcher {at} got {other:?}")),
        }
    }

    /// Nothing is under way: everybody has everything.
    pub fn check_complete(&self, ledger: &Ledger) -> Result<(), String> {
        for (at, watcher) in self.all.iter().enumerate() {
            if let Some(missing) = watcher.due(ledger).next() {
                return Err(format!("watcher {at} never got {missing:?}"));
            }
        }
        Ok(())
    }
}

impl Watcher {
    fn due<'a>(&'a self, ledger: &'a Ledger) -> impl Iterator<Item = &'a Change> {
        let wanted = |key: &Bytes| match &self.end[..] {
            [] => *key == self.key,
            [0] => *key >= self.key,
            end => *key >= self.key && key[..] < *end,
        };
        ledger.changes.iter().filter(move |change| change.revision >= self.next && wanted(&change.key))
    }
}
