//! The hub's promises: what each watcher receives, compared with the list of all changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mvcc::watch::{CatchUp, Kind, OutboxMax, Refusal, StreamId, WatchHub, WatchOutput, WatchSpec, split};
use mvcc::{Event, EventBatch, EventKind};

use crate::fixture::{Dice, Store, for_seeds, kv_of};
use crate::model::{Model, random_txn, within};

const S: StreamId = StreamId(7);

/// A store with a hub that is told of every write.
struct Watched {
    store: Store,
    hub: WatchHub,
}

impl Watched {
    fn new() -> Watched {
        let store = Store::new();
        // Small, so that it fills up.
        let outbox_max = OutboxMax { responses: 128, ..OutboxMax::default() };
        let hub = WatchHub::bounded(store.kv.current_revision(), outbox_max);
        Watched { store, hub }
    }

    fn add(&mut self, spec: WatchSpec) -> Result<i64, Refusal> {
        self.hub.add(S, spec, self.store.kv.current_revision())
    }

    fn tell(&mut self, batch: &Arc<EventBatch>) {
        self.hub.notify(batch, &self.store.reader()).unwrap();
    }

    fn put(&mut self, key: &str, value: &str) {
        let batch = self.store.put(key, value);
        self.tell(&batch);
    }

    fn delete(&mut self, key: &str) {
        let batch = self.store.delete(key).unwrap();
        self.tell(&batch);
    }

    fn catch_up(&mut self) {
        while self.hub.catch_up_step(&self.store.reader(), 1000).unwrap() == CatchUp::More {}
    }

    fn poll(&mut self) -> Vec<WatchOutput> {
        self.hub.poll(S, usize::MAX).into_iter().flat_map(apart).collect()
    }

    /// What waits, in short: "id@header:what".
    fn sent(&mut self) -> Vec<String> {
        self.poll().iter().map(brief).collect()
    }
}

/// An output for each watcher.
fn apart(output: WatchOutput) -> impl Iterator<Item = WatchOutput> {
    let ids = std::iter::once(output.watch_id).chain(output.others);
    ids.map(move |watch_id| WatchOutput { watch_id, others: Vec::new(), kind: output.kind.clone(), ..output })
}

fn all() -> WatchSpec {
    WatchSpec { end: "\0".into(), ..WatchSpec::default() }
}

fn from(start_revision: i64) -> WatchSpec {
    WatchSpec { start_revision, ..all() }
}

fn brief(output: &WatchOutput) -> String {
    let what = match &output.kind {
        Kind::Created => "created".to_owned(),
        Kind::Refused(refusal) => format!("refused: {}", refusal.reason()),
        Kind::Events { events, .. } => events.iter().map(brief_event).collect::<Vec<_>>().join(" "),
        Kind::Progress => "progress".to_owned(),
        Kind::Canceled => "canceled".to_owned(),
        Kind::Compacted { compact_revision } => format!("compacted {compact_revision}"),
    };
    format!("{}@{}:{what}", output.watch_id, output.revision)
}

fn brief_event(event: &Event) -> String {
    let sign = if event.kind == EventKind::Put { '+' } else { '-' };
    let prev = event
        .prev_kv
        .as_ref()
        .map_or(String::new(), |prev| format!("<{}", String::from_utf8(kv_of(prev).value.to_vec()).unwrap()));
    format!("{sign}{}{}{prev}", String::from_utf8(event.key.to_vec()).unwrap(), event.mod_revision)
}

#[test]
fn a_watcher_without_start_gets_what_comes_next() {
    let mut w = Watched::new();
    w.put("a", "1");
    w.add(all()).unwrap();
    w.put("b", "1");
    w.delete("b");
    assert_eq!(w.sent(), ["0@2:created", "0@3:+b3", "0@4:-b4"]);
    assert!(!w.hub.has_lagging());
}

#[test]
fn a_watcher_from_the_past_reads_history_first() {
    let mut w = Watched::new();
    for key in ["a", "b", "c"] {
        w.put(key, "1");
    }
    w.add(from(3)).unwrap();
    w.put("d", "1");
    assert_eq!(w.sent(), ["0@4:created"]);
    w.catch_up();
    assert_eq!(w.sent(), ["0@5:+b3 +c4 +d5"], "the header names the revision of the reading");
    w.put("e", "1");
    assert_eq!(w.sent(), ["0@6:+e6"]);
}

#[test]
fn a_watcher_of_the_future_is_silent_until_then() {
    let mut w = Watched::new();
    w.add(from(4)).unwrap();
    for key in ["a", "b", "c", "d"] {
        w.put(key, "1");
    }
    assert_eq!(w.sent(), ["0@1:created", "0@4:+c4", "0@5:+d5"]);
}

#[test]
fn ids_count_up_past_those_in_use() {
    let mut w = Watched::new();
    let mut add = |id| w.add(WatchSpec { id, ..all() });
    assert_eq!(add(1), Ok(1));
    assert_eq!(add(0), Ok(0));
    assert_eq!(add(0), Ok(2), "1 is in use");
    assert_eq!(add(1), Err(Refusal::DuplicateId));
    w.hub.cancel(S, 0);
    assert_eq!(w.add(all()), Ok(3), "the counter only grows");
    assert_eq!(w.hub.add(StreamId(8), all(), 1), Ok(0), "each stream counts for itself");
}

#[test]
fn refusals_name_watcher_minus_one_and_their_reason() {
    let mut w = Watched::new();
    let empty = WatchSpec { key: "b".into(), end: "a".into(), ..WatchSpec::default() };
    w.add(empty.clone()).unwrap_err();
    w.add(WatchSpec { end: "b".into(), ..empty }).unwrap_err();
    w.add(from(-1)).unwrap_err();
    w.add(WatchSpec { id: 5, ..all() }).unwrap();
    w.add(WatchSpec { id: 5, ..all() }).unwrap_err();
    w.hub.refuse(S, Refusal::Other("denied".into()), 1);
    let expected = [
        "-1@1:refused: mvcc: watcher range is empty",
        "-1@1:refused: mvcc: watcher range is empty",
        "-1@1:refused: etcdserver: mvcc: required revision has been compacted",
        "5@1:created",
        "-1@1:refused: mvcc: duplicate watch ID provided on the WatchStream",
        "-1@1:refused: denied",
    ];
    assert_eq!(w.sent(), expected);
}

#[test]
fn a_cancel_is_answered_once_and_ends_the_watcher() {
    let mut w = Watched::new();
    w.add(all()).unwrap();
    w.put("a", "1");
    w.hub.cancel(S, 0);
    w.hub.cancel(S, 0);
    w.hub.cancel(S, 9);
    w.put("b", "1");
    assert_eq!(w.sent(), ["0@1:created", "0@2:+a2", "0@2:canceled"]);
    assert_eq!(w.hub.stats().watchers, 0);
}

#[test]
fn filters_leave_out_puts_or_deletes_and_responses_that_become_empty() {
    let mut w = Watched::new();
    w.add(WatchSpec { no_put: true, ..from(1) }).unwrap();
    w.add(WatchSpec { no_delete: true, ..from(1) }).unwrap();
    w.catch_up();
    w.put("a", "1");
    w.delete("a");
    assert_eq!(w.sent(), ["0@1:created", "1@1:created", "1@2:+a2", "0@3:-a3"]);
    w.add(WatchSpec { no_put: true, ..from(2) }).unwrap();
    w.catch_up();
    assert_eq!(w.sent(), ["2@3:created", "2@3:-a3"]);
}

#[test]
fn previous_records_come_along_unless_the_key_was_created_or_they_are_compacted() {
    let mut w = Watched::new();
    w.add(WatchSpec { prev_kv: true, ..all() }).unwrap();
    for value in ["1", "2"] {
        w.put("a", value);
    }
    w.delete("a");
    w.put("a", "3");
    assert_eq!(w.sent(), ["0@1:created", "0@2:+a2", "0@3:+a3<1", "0@4:-a4<2", "0@5:+a5"]);
    w.add(WatchSpec { prev_kv: true, ..from(2) }).unwrap();
    w.catch_up();
    assert_eq!(w.sent(), ["1@5:created", "1@5:+a2 +a3<1 -a4<2 +a5"]);
    w.store.compact(4);
    w.add(WatchSpec { prev_kv: true, ..from(4) }).unwrap();
    w.catch_up();
    assert_eq!(w.sent(), ["2@5:created", "2@5:-a4 +a5"]);
}

#[test]
fn what_is_compacted_cannot_be_watched_but_the_compact_revision_can() {
    let mut w = Watched::new();
    for key in ["a", "b", "c", "d"] {
        w.put(key, "1");
    }
    w.store.compact(4);
    w.add(from(3)).unwrap();
    w.add(from(4)).unwrap();
    w.catch_up();
    assert_eq!(w.sent(), ["0@5:created", "1@5:created", "0@0:compacted 4", "1@5:+c4 +d5"]);
    assert_eq!(w.hub.stats().watchers, 1);
}

#[test]
fn a_full_outbox_makes_its_watchers_lag_and_nothing_is_lost() {
    let mut w = Watched::new();
    w.add(all()).unwrap();
    for n in 0..300 {
        w.put("a", &n.to_string());
    }
    assert_eq!(w.hub.waiting(S), 128);
    assert_eq!(w.hub.stats().lagging, 1);
    assert!(!w.hub.has_lagging(), "nothing can be done before the stream is drained");
    assert_eq!(w.hub.catch_up_step(&w.store.reader(), 1000).unwrap(), CatchUp::Idle);
    let first = w.poll();
    assert!(w.hub.has_lagging());
    w.catch_up();
    let second = w.poll();
    assert_eq!(second.len(), 1, "history comes in big responses");
    let revisions: Vec<i64> = first.iter().chain(&second).flat_map(revisions).collect();
    assert_eq!(revisions, (2..302).collect::<Vec<_>>());
    w.put("a", "last");
    assert_eq!(w.sent(), ["0@302:+a302"]);
}

#[test]
fn an_outbox_is_full_by_bytes_too_whether_events_are_new_or_history() {
    let big = "x".repeat(300 << 10);
    let mut w = Watched::new();
    w.add(all()).unwrap();
    for _ in 0..50 {
        w.put("a", &big);
    }
    assert_eq!(w.hub.waiting(S), 5, "created, and four events make more than a MiB");
    assert_eq!(w.hub.poll(S, 1).len(), 1);
    assert_eq!(w.hub.poll(S, 1).len(), 1);
    let (mut got, mut longest) = (1, 0);
    while w.hub.has_lagging() || w.hub.waiting(S) > 0 {
        w.hub.catch_up_step(&w.store.reader(), 1000).unwrap();
        longest = longest.max(w.hub.waiting(S));
        got += w.hub.poll(S, 1).iter().map(|output| revisions(output).len()).sum::<usize>();
    }
    assert_eq!(got, 50);
    assert!(longest <= 5, "{longest} responses at once");
}

fn revisions(output: &WatchOutput) -> Vec<i64> {
    match &output.kind {
        Kind::Events { events, .. } => events.iter().map(|event| event.mod_revision).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn watchers_of_a_stream_share_an_output_only_while_all_but_the_watcher_is_the_same() {
    let mut w = Watched::new();
    let with_prev = || WatchSpec { prev_kv: true, ..all() };
    let split = || WatchSpec { fragment: true, ..all() };
    let no_put = || WatchSpec { no_put: true, ..all() };
    for spec in [all(), all(), with_prev(), all(), split(), split(), no_put(), split()] {
        w.add(spec).unwrap();
    }
    w.poll();
    w.put("a", "1");
    w.put("a", "2");
    assert_eq!(w.hub.waiting(S), 14, "responses, not outputs");
    let outputs = w.hub.poll(S, usize::MAX);
    assert_eq!(w.hub.waiting(S), 0);
    let who: Vec<Vec<i64>> =
        outputs.iter().map(|output| [&[output.watch_id], &output.others[..]].concat()).collect();
    let of_a_put: [&[i64]; 4] = [&[0, 1], &[2], &[3], &[4, 5, 7]];
    assert_eq!(who, [of_a_put, of_a_put].concat());
    let second: Vec<String> = outputs.into_iter().flat_map(apart).skip(7).map(|o| brief(&o)).collect();
    let prev = |id| if id == 2 { "<1" } else { "" };
    assert_eq!(second, [0, 1, 2, 3, 4, 5, 7].map(|id| format!("{id}@3:+a3{}", prev(id))));
}

#[test]
fn what_is_taken_of_an_outbox_is_bounded_however_many_watchers_share() {
    let mut w = Watched::new();
    for _ in 0..100 {
        w.add(all()).unwrap();
    }
    w.poll();
    w.put("a", &"x".repeat(1000));
    let takes = std::iter::from_fn(|| Some(w.hub.poll(S, 1)).filter(|taken| !taken.is_empty()));
    let takes: Vec<usize> =
        takes.map(|taken| taken.iter().map(WatchOutput::responses).sum::<usize>()).collect();
    assert_eq!(takes.iter().sum::<usize>(), 100);
    assert!(takes.len() > 5 && takes.iter().all(|taken| *taken < 20), "{takes:?}");
}

#[test]
fn a_response_holds_at_most_a_thousand_revisions_of_history() {
    let mut w = Watched::new();
    for n in 0..2500 {
        w.put("a", &n.to_string());
    }
    w.add(from(1)).unwrap();
    while w.hub.catch_up_step(&w.store.reader(), usize::MAX).unwrap() == CatchUp::More {}
    let lengths: Vec<usize> = w.poll().iter().map(|output| revisions(output).len()).collect();
    assert_eq!(lengths, [0, 999, 1000, 501]);
}

#[test]
fn a_revision_is_never_split_however_small_the_budget() {
    let mut w = Watched::new();
    for _ in 0..3 {
        let mut txn = w.store.kv.begin(&mut w.store.backend);
        for n in 0..50 {
            txn.put(format!("{n}").into(), "v".into(), 0).unwrap();
        }
        let batch = txn.finish().unwrap();
        w.tell(&batch);
    }
    w.add(from(2)).unwrap();
    while w.hub.catch_up_step(&w.store.reader(), 1).unwrap() == CatchUp::More {}
    let lengths: Vec<usize> = w.poll().iter().map(|output| revisions(output).len()).collect();
    assert_eq!(lengths, [0, 50, 50, 50]);
}

#[test]
fn missed_batches_are_read_back() {
    let mut w = Watched::new();
    w.add(all()).unwrap();
    w.add(from(5)).unwrap();
    w.put("a", "1");
    w.store.put("b", "1");
    w.store.put("c", "1");
    let last = w.store.put("d", "1");
    w.tell(&last);
    assert_eq!(w.sent(), ["0@1:created", "1@1:created", "0@2:+a2"], "a gap tells that something was missed");
    w.catch_up();
    assert_eq!(w.sent(), ["0@5:+b3 +c4 +d5", "1@5:+d5"]);
    w.store.put("e", "1");
    w.hub.missed(6);
    w.catch_up();
    assert_eq!(w.sent(), ["0@6:+e6", "1@6:+e6"]);
}

#[test]
fn a_batch_that_history_has_already_shown_is_not_sent_again() {
    let mut w = Watched::new();
    w.put("a", "1");
    w.add(from(2)).unwrap();
    let late = w.store.put("b", "1");
    w.catch_up();
    w.tell(&late);
    w.tell(&late);
    assert_eq!(w.sent(), ["0@2:created", "0@3:+a2 +b3"]);
}

#[test]
fn progress_is_told_when_all_watchers_of_the_stream_are_synced() {
    let mut w = Watched::new();
    w.hub.progress(S, 1);
    w.put("a", "1");
    w.add(all()).unwrap();
    w.hub.progress(S, 2);
    assert_eq!(w.sent(), ["0@2:created", "-1@2:progress"]);
    w.add(from(2)).unwrap();
    w.hub.progress(S, 2);
    assert_eq!(w.sent(), ["1@2:created"], "passed over while one lags");
    w.catch_up();
    assert_eq!(w.sent(), ["1@2:+a2"]);
    // Written, but not yet distributed: the answer waits for it.
    let batch = w.store.put("b", "1");
    w.hub.progress(S, 3);
    assert_eq!(w.sent(), [""; 0]);
    w.tell(&batch);
    assert_eq!(w.sent(), ["0@3:+b3", "1@3:+b3", "-1@3:progress"]);
    w.add(from(9)).unwrap();
    w.hub.progress(S, 3);
    assert_eq!(w.sent(), ["2@3:created"], "passed over while one begins in the future");
}

#[test]
fn periodic_progress_goes_to_quiet_synced_watchers_that_asked() {
    let mut w = Watched::new();
    w.put("a", "1");
    w.add(WatchSpec { progress_notify: true, ..all() }).unwrap();
    w.add(all()).unwrap();
    w.add(WatchSpec { progress_notify: true, ..from(2) }).unwrap();
    w.add(WatchSpec { progress_notify: true, ..from(99) }).unwrap();
    w.poll();
    w.hub.periodic_progress(S);
    assert_eq!(w.sent(), ["0@2:progress"]);
    w.catch_up();
    w.put("a", "2");
    w.poll();
    w.hub.periodic_progress(S);
    assert_eq!(w.sent(), [""; 0], "both have just sent events");
    w.hub.periodic_progress(S);
    assert_eq!(w.sent(), ["0@3:progress", "2@3:progress"]);
}

#[test]
fn a_dropped_stream_leaves_nothing_behind() {
    let mut w = Watched::new();
    w.put("a", "1");
    w.add(all()).unwrap();
    w.add(from(1)).unwrap();
    w.hub.drop_stream(S);
    w.put("a", "2");
    w.catch_up();
    assert_eq!(w.hub.stats(), mvcc::watch::HubStats::default());
    assert_eq!(w.hub.take_ready(), []);
}

#[test]
fn streams_with_something_to_send_are_named_once() {
    let mut w = Watched::new();
    w.add(all()).unwrap();
    w.hub.add(StreamId(3), WatchSpec { key: "b".into(), ..WatchSpec::default() }, 1).unwrap();
    assert_eq!(w.hub.take_ready(), [S, StreamId(3)]);
    w.put("a", "1");
    assert_eq!(w.hub.take_ready(), [S]);
    assert_eq!(w.hub.take_ready(), []);
}

#[test]
fn every_lagging_watcher_gets_its_turn() {
    let mut w = Watched::new();
    for n in 0..40 {
        w.put("a", &n.to_string());
    }
    // One has far to go, the others little, and many more than fit into one step.
    w.add(from(2)).unwrap();
    for _ in 0..1500 {
        w.hub.add(StreamId(8), from(41), w.store.kv.current_revision()).unwrap();
    }
    let mut steps = 0;
    while w.hub.has_lagging() {
        w.hub.catch_up_step(&w.store.reader(), 10).unwrap();
        w.hub.poll(StreamId(8), usize::MAX);
        steps += 1;
        assert!(steps < 50, "{:?}", w.hub.stats());
    }
    assert_eq!(w.hub.stats().lagging, 0);
}

#[test]
fn a_stretch_without_records_is_crossed_in_one_step() {
    let mut store = Store::new();
    let bump = mvcc::Revision::new(1_000_000_000, 0).to_bytes();
    store.put("a", "1");
    store.backend.put(backend::Bucket::Key, Bytes::copy_from_slice(&bump), Bytes::new());
    store.reopen();
    let mut w = Watched { hub: WatchHub::new(store.kv.current_revision()), store };
    w.put("b", "1");
    w.add(from(2)).unwrap();
    for _ in 0..3 {
        w.hub.catch_up_step(&w.store.reader(), 1000).unwrap();
    }
    assert!(!w.hub.has_lagging());
    assert_eq!(w.sent(), ["0@1000000001:created", "0@1000000001:+a2", "0@1000000001:+b1000000001"]);
}

#[test]
fn a_response_is_split_below_the_limit_with_at_least_one_event_each() {
    let event = |length: usize| Event {
        kind: EventKind::Put,
        key: "k".into(),
        record: vec![0; length].into(),
        create_revision: 1,
        mod_revision: 1,
        prev_kv: None,
    };
    // An event of 90 bytes takes 94 in the response.
    let events: Vec<Event> = [90, 90, 90, 500, 90].into_iter().map(event).collect();
    assert_eq!(split(&events, 12, 10_000).len(), 1);
    assert_eq!(split(&events, 12, 201), [0..2, 2..3, 3..4, 4..5]);
    assert_eq!(split(&events, 12, 200), [0..1, 1..2, 2..3, 3..4, 4..5]);
    assert_eq!(split(&events[..1], 12, 10).len(), 1);
}

/// A watcher as the test follows it.
struct Follower {
    spec: WatchSpec,
    first: i64,
    /// Events received so far, and the end, if the hub ended it.
    events: Vec<Event>,
    compacted: Option<i64>,
    /// The newest header revision received.
    header: i64,
}

impl Follower {
    fn expected(&self, model: &Model) -> Vec<(i64, String, bool)> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let (key, end) = (text(&self.spec.key), text(&self.spec.end));
        let wanted = |put: bool| if put { !self.spec.no_put } else { !self.spec.no_delete };
        let changes = model.changes.iter().map(|(revision, key, kv)| (*revision, key.clone(), kv.is_some()));
        changes.filter(|c| c.0 >= self.first && within(&c.1, &key, &end) && wanted(c.2)).collect()
    }

    fn received(&self) -> Vec<(i64, String, bool)> {
        let event = |e: &Event| {
            (e.mod_revision, String::from_utf8(e.key.to_vec()).unwrap(), e.kind == EventKind::Put)
        };
        self.events.iter().map(event).collect()
    }

    /// Checks what must hold of every single response.
    fn receive(&mut self, output: WatchOutput, model: &Model) {
        assert!(self.compacted.is_none(), "a response behind the last one");
        match output.kind {
            Kind::Events { events, .. } => {
                let last = self.events.last().map_or(0, |event| event.mod_revision);
                assert!(events[0].mod_revision > last, "a revision came in two responses");
                assert!(events.last().unwrap().mod_revision <= output.revision);
                events.iter().for_each(|event| self.check_prev(event, model));
                self.events.extend(events.iter().cloned());
            }
            Kind::Compacted { compact_revision } => return self.compacted = Some(compact_revision),
            Kind::Progress => self.check_progress(output.revision, model),
            _ => {}
        }
        assert!(output.revision >= self.header, "header went back from {}", self.header);
        self.header = output.revision;
    }

    fn check_progress(&self, revision: i64, model: &Model) {
        assert!(revision >= self.header);
        if self.compacted.is_none() {
            let told = self.expected(model).into_iter().filter(|change| change.0 <= revision);
            assert_eq!(self.received(), told.collect::<Vec<_>>(), "progress told too early");
        }
    }

    fn check_prev(&self, event: &Event, model: &Model) {
        let mut before = model.at(event.mod_revision - 1);
        let before = before.remove(std::str::from_utf8(&event.key).unwrap());
        match &event.prev_kv {
            Some(prev) => assert_eq!((self.spec.prev_kv, Some(kv_of(prev))), (true, before)),
            None if self.spec.prev_kv && event.mod_revision > model.compacted => {
                assert!(
                    before.is_none() || event.create_revision == event.mod_revision,
                    "no previous record"
                );
            }
            None => {}
        }
    }
}

type Followers = BTreeMap<(StreamId, i64), Follower>;

fn receive(w: &mut Watched, stream: StreamId, max: usize, followers: &mut Followers, model: &Model) {
    for output in w.hub.poll(stream, max).into_iter().flat_map(apart) {
        if output.watch_id == -1 && output.kind == Kind::Progress {
            let of_stream =
                followers.iter().filter(|((of, _), follower)| *of == stream && follower.header > 0);
            of_stream.for_each(|(_, follower)| follower.check_progress(output.revision, model));
        } else if let Some(follower) = followers.get_mut(&(stream, output.watch_id)) {
            follower.receive(output, model);
        }
    }
}

fn random_spec(dice: &mut Dice, model: &Model) -> WatchSpec {
    WatchSpec {
        id: 0,
        key: dice.key().into(),
        end: dice.end().into(),
        start_revision: if dice.one_in(2) { 0 } else { dice.below(model.current as u64 + 4) as i64 },
        no_put: dice.one_in(6),
        no_delete: dice.one_in(6),
        prev_kv: dice.one_in(2),
        fragment: false,
        progress_notify: dice.one_in(2),
    }
}

#[test]
fn every_watcher_gets_every_change_it_wants_once_and_in_order() {
    for_seeds(10, |seed| {
        let mut dice = Dice::new(seed);
        let (mut w, mut model) = (Watched::new(), Model::new());
        let streams = [StreamId(1), StreamId(2), StreamId(3)];
        let mut followers = Followers::new();
        // Batches on their way from the writer to the hub.
        let mut queue: Vec<Arc<EventBatch>> = Vec::new();
        for _ in 0..600 {
            let stream = streams[dice.below(3) as usize];
            let reader = w.store.reader();
            match dice.below(40) {
                0..=2 => {
                    let spec = random_spec(&mut dice, &model);
                    let current = model.current;
                    if let Ok(id) = w.hub.add(stream, spec.clone(), current) {
                        let first = if spec.start_revision == 0 { current + 1 } else { spec.start_revision };
                        followers.insert(
                            (stream, id),
                            Follower { spec, first, events: Vec::new(), compacted: None, header: 0 },
                        );
                    }
                }
                3 if model.current > 60 && dice.one_in(3) => {
                    let at = model.current - dice.below(60) as i64;
                    if w.store.kv.compact(&mut w.store.backend, at).is_ok() {
                        model.compacted = at;
                    }
                }
                4 => w.store.backend.commit().unwrap(),
                5 => drop(w.store.kv.compact_step(&mut w.store.backend, 5).unwrap()),
                6..=9 => drop(w.hub.catch_up_step(&reader, 1 + dice.below(20) as usize).unwrap()),
                10 => w.hub.progress(stream, model.current),
                11 => w.hub.periodic_progress(stream),
                12 => {
                    // Stream 3 is read so seldom that it fills up.
                    let max = if stream == streams[2] { dice.below(3) as usize } else { usize::MAX };
                    receive(&mut w, stream, max, &mut followers, &model);
                }
                13 if dice.one_in(20) => {
                    // A full queue drops what waits.
                    queue.clear();
                    w.hub.missed(model.current);
                }
                14 if dice.one_in(8) => {
                    w.hub.drop_stream(stream);
                    followers.retain(|(of, _), _| *of != stream);
                }
                15..=30 => queue.extend(random_txn(&mut dice, &mut w.store, &mut model)),
                _ if !queue.is_empty() => w.tell(&queue.remove(0)),
                _ => {}
            }
        }
        for batch in queue {
            w.tell(&batch);
        }
        loop {
            for stream in streams {
                receive(&mut w, stream, usize::MAX, &mut followers, &model);
            }
            if !w.hub.has_lagging() {
                break;
            }
            w.catch_up();
        }
        assert_eq!(w.hub.stats().lagging, 0);
        for ((stream, id), follower) in &followers {
            let received = follower.received();
            let mut expected = follower.expected(&model);
            if follower.compacted.is_some() {
                expected.truncate(received.len());
            }
            assert_eq!(received, expected, "watcher {id} of {stream:?}: {:?}", follower.spec);
        }
    });
}
