//! Scripts: `testdata/*.txt` hold commands and, after `----`, what they say. `BALSA_REWRITE=1` writes the answers
//! anew; read the difference before committing it.
//!
//! Commands (members are numbers):
//!   cluster N [prevote] [quorum] [learner ID]   N founders, election timeout 10 ticks; starts over
//!   campaign A · tick A [N] · propose A TEXT · read A TEXT · transfer A TO
//!   change A voter|learner|remove ID            one change; several pairs make a joint change
//!   hold A · release A                          the disk of A stops writing · writes what waits
//!   deliver                                     what is under way now, one by one
//!   settle                                      until silence, without telling
//!   cut A B · isolate A · heal                  links
//!   lose                                        what is under way is lost
//!   sent A B ok|failed                          snapshot report
//!   compact A INDEX · crash A
//!   state [A] · log A · progress A

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use raft::{
    ConfChange, ConfChangeKind, ConfChangeV2, ConfState, Config, Entry, EntryKind, HardState, Index,
    MemberId, Message, MessageKind, Persist, Raft, Restored, Term,
};

struct Member {
    raft: Raft,
    config: Config,
    hard_state: HardState,
    start: (Index, Term),
    log: Vec<Entry>,
    applied: Index,
    conf_state: ConfState,
    held: bool,
    waiting: VecDeque<Persist>,
}

impl Member {
    fn new(config: Config, conf_state: ConfState) -> Member {
        let restored = Restored { conf_state: conf_state.clone(), ..Restored::default() };
        Member {
            raft: Raft::new(config.clone(), restored).expect("an empty log fits"),
            config,
            hard_state: HardState::default(),
            start: (Index(0), Term(0)),
            log: Vec::new(),
            applied: Index(0),
            conf_state,
            held: false,
            waiting: VecDeque::new(),
        }
    }

    fn crash(&mut self) {
        self.waiting.clear();
        let restored = Restored {
            hard_state: self.hard_state,
            conf_state: self.conf_state.clone(),
            snapshot_index: self.start.0,
            snapshot_term: self.start.1,
            entries: self.log.clone(),
            applied: self.applied,
        };
        self.raft = Raft::new(self.config.clone(), restored).expect("what was written fits");
    }

    fn write(&mut self, persist: Persist) -> Vec<Message> {
        self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
        if let Some(snapshot) = persist.snapshot {
            self.start = (snapshot.index, snapshot.term);
            self.log.clear();
            (self.applied, self.conf_state) = (snapshot.index, snapshot.conf_state);
        }
        if let Some(first) = persist.entries.first() {
            self.log.truncate((first.index.0 - self.start.0.0 - 1) as usize);
            self.log.extend(persist.entries);
        }
        self.raft.persisted(persist.seq);
        persist.send
    }

    fn apply(&mut self, entry: &Entry) {
        let change = match entry.kind {
            EntryKind::Normal => None,
            EntryKind::ConfChange => {
                ConfChange::decode(&entry.data).map(|change| ConfChangeV2::from(&change))
            }
            EntryKind::ConfChangeV2 => ConfChangeV2::decode(&entry.data),
        };
        if let Some(Ok(state)) = change.map(|change| self.raft.apply_conf_change(&change)) {
            self.conf_state = state;
        }
        self.applied = entry.index;
    }
}

#[derive(Default)]
struct World {
    members: BTreeMap<u64, Member>,
    network: VecDeque<Message>,
    cut: BTreeSet<(u64, u64)>,
    out: String,
}

impl World {
    fn run(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(0);
        let a = number(1);
        match words[0] {
            "cluster" => self.cluster(a, &words[2..]),
            "campaign" => self.member(a).raft.campaign(),
            "tick" => (0..number(2).max(1)).for_each(|_| self.member(a).raft.tick()),
            "propose" => self.propose(a, EntryKind::Normal, Bytes::from(words[2..].join(" "))),
            "read" => self.member(a).raft.read_index(Bytes::copy_from_slice(words[2].as_bytes())),
            "transfer" => self.member(a).raft.transfer_leader(MemberId(number(2))),
            "change" => self.change(a, &words[2..]),
            "hold" => self.member(a).held = true,
            "release" => {
                let member = self.member(a);
                member.held = false;
                let waiting = std::mem::take(&mut member.waiting);
                let sent: Vec<Message> =
                    waiting.into_iter().flat_map(|persist| member.write(persist)).collect();
                self.network.extend(sent);
            }
            "deliver" => (0..self.network.len()).for_each(|_| self.deliver(true)),
            "settle" => {
                while !self.network.is_empty() {
                    self.deliver(false);
                }
            }
            "cut" => self.cut.extend([(a, number(2)), (number(2), a)]),
            "isolate" => {
                let others: Vec<u64> = self.members.keys().copied().filter(|id| *id != a).collect();
                self.cut.extend(others.iter().flat_map(|b| [(a, *b), (*b, a)]));
            }
            "heal" => self.cut.clear(),
            "lose" => self.network.clear(),
            "sent" => self.member(a).raft.report_snapshot(MemberId(number(2)), words[3] == "ok"),
            "compact" => {
                let (index, member) = (Index(number(2)), self.member(a));
                let term = member.raft.term_at(index).expect("in the log");
                member.raft.compact(index);
                member.log.drain(..(index.0 - member.start.0.0) as usize);
                member.start = (index, term);
            }
            "crash" => self.member(a).crash(),
            "state" => self.state(a),
            "log" => self.log(a),
            "progress" => self.progress(a),
            other => panic!("no such command: {other}"),
        }
        let ids: Vec<u64> = self.members.keys().copied().collect();
        ids.into_iter().for_each(|id| self.drain(id));
    }

    fn member(&mut self, id: u64) -> &mut Member {
        self.members.get_mut(&id).expect("a member of the cluster")
    }

    fn cluster(&mut self, count: u64, options: &[&str]) {
        *self = World::default();
        let learners: Vec<MemberId> =
            options.iter().filter_map(|word| word.parse().ok()).map(MemberId).collect();
        let conf_state =
            ConfState { voters: (1..=count).map(MemberId).collect(), learners, ..ConfState::default() };
        for id in 1..=count + 2 {
            let config = Config {
                pre_vote: options.contains(&"prevote"),
                check_quorum: options.contains(&"quorum"),
                message_bytes_max: 100,
                inflight_count_max: 3,
                ..Config::new(MemberId(id), id)
            };
            self.members.insert(id, Member::new(config, conf_state.clone()));
        }
    }

    fn propose(&mut self, id: u64, kind: EntryKind, data: Bytes) {
        if let Err(why) = self.member(id).raft.propose(vec![Entry { kind, data, ..Entry::default() }]) {
            let _ = writeln!(self.out, "refused: {why:?}");
        }
    }

    fn change(&mut self, id: u64, words: &[&str]) {
        let one = |pair: &[&str]| {
            let kind = match pair[0] {
                "voter" => ConfChangeKind::AddNode,
                "learner" => ConfChangeKind::AddLearnerNode,
                _ => ConfChangeKind::RemoveNode,
            };
            (kind, MemberId(pair[1].parse().expect("an id")))
        };
        let changes: Vec<_> = words.chunks(2).map(one).collect();
        if let [(kind, node_id)] = changes[..] {
            let change = ConfChange { id: 0, kind, node_id, context: Bytes::new() };
            return self.propose(id, EntryKind::ConfChange, change.encode());
        }
        let change = ConfChangeV2 { changes, ..ConfChangeV2::default() };
        self.propose(id, EntryKind::ConfChangeV2, change.encode());
    }

    fn deliver(&mut self, tell: bool) {
        let Some(message) = self.network.pop_front() else { return };
        let (from, to) = (message.from.0, message.to.0);
        let lost = self.cut.contains(&(from, to)) || !self.members.contains_key(&to);
        if tell {
            let _ = writeln!(self.out, "{}{}", describe(&message), if lost { " (lost)" } else { "" });
        }
        if !lost {
            self.member(to).raft.step(message);
            self.drain(to);
        }
    }

    fn drain(&mut self, id: u64) {
        loop {
            let member = self.members.get_mut(&id).expect("a member");
            let ready = member.raft.ready();
            if ready == Default::default() {
                return;
            }
            self.network.extend(ready.messages);
            for read in ready.reads {
                let context = String::from_utf8_lossy(&read.context).into_owned();
                let _ = writeln!(self.out, "{id} may serve read {context} at {}", read.index);
            }
            if let Some(persist) = ready.persist {
                if member.held {
                    member.waiting.push_back(persist);
                } else {
                    self.network.extend(member.write(persist));
                }
            }
            ready.apply.iter().for_each(|entry| member.apply(entry));
            member.raft.applied(member.applied);
        }
    }

    fn state(&mut self, only: u64) {
        let shown = |id: u64, member: &Member| {
            let involved = member.raft.last_index().0 > 0 || member.raft.conf_state().contains(MemberId(id));
            id == only || (only == 0 && involved)
        };
        for (id, member) in self.members.iter().filter(|(id, member)| shown(**id, member)) {
            let (soft, hard) = (member.raft.soft_state(), member.raft.hard_state());
            let conf = member.raft.conf_state();
            let _ = write!(
                self.out,
                "{id}: {:?} term {} vote {} leader {} commit {} last {}/{}",
                soft.role,
                soft.term,
                hard.vote,
                soft.leader,
                hard.commit,
                member.raft.last_index(),
                member.raft.term_at(member.raft.last_index()).unwrap_or_default(),
            );
            let list = |ids: &[MemberId]| ids.iter().map(|id| format!(" {id}")).collect::<String>();
            let _ = write!(self.out, " voters{}", list(&conf.voters));
            for (name, ids) in [
                ("outgoing", &conf.voters_outgoing),
                ("learners", &conf.learners),
                ("next", &conf.learners_next),
            ] {
                if !ids.is_empty() {
                    let _ = write!(self.out, " {name}{}", list(ids));
                }
            }
            self.out.push('\n');
        }
    }

    fn log(&mut self, id: u64) {
        let raft = &self.members[&id].raft;
        for index in (raft.first_index().0..=raft.last_index().0).map(Index) {
            let _ = writeln!(self.out, "{}", show(raft.entry(index).expect("an entry within the log")));
        }
    }

    fn progress(&mut self, id: u64) {
        for peer in self.members[&id].raft.progress() {
            let flags =
                [(peer.paused, " paused"), (peer.is_learner, " learner"), (!peer.recent_active, " silent")];
            let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
            let pending = peer.pending_snapshot.map(|index| format!(" of {index}")).unwrap_or_default();
            let _ = writeln!(
                self.out,
                "{}: {}{pending} match {} next {}{flags}",
                peer.id, peer.pace, peer.matched, peer.next
            );
        }
    }
}

fn show(entry: &Entry) -> String {
    match entry.kind {
        EntryKind::Normal if entry.data.is_empty() => format!("{}/{} empty", entry.index, entry.term),
        EntryKind::Normal => {
            format!("{}/{} {}", entry.index, entry.term, String::from_utf8_lossy(&entry.data))
        }
        kind => format!("{}/{} {kind:?}", entry.index, entry.term),
    }
}

fn describe(m: &Message) -> String {
    let mut text = format!("{}->{} {:?} term {}", m.from, m.to, m.kind, m.term);
    let _ = match m.kind {
        MessageKind::App => {
            let entries: Vec<String> = m.entries.iter().map(show).collect();
            write!(text, " after {}/{} commit {} [{}]", m.index, m.log_term, m.commit, entries.join(", "))
        }
        MessageKind::AppResp if m.reject => {
            write!(text, " rejects {} hint {}/{}", m.index, m.reject_hint, m.log_term)
        }
        MessageKind::AppResp => write!(text, " has {}", m.index),
        MessageKind::Vote | MessageKind::PreVote => {
            write!(text, " last {}/{} {}", m.index, m.log_term, String::from_utf8_lossy(&m.context))
        }
        MessageKind::VoteResp | MessageKind::PreVoteResp => {
            write!(text, " {}", if m.reject { "no" } else { "yes" })
        }
        MessageKind::Heartbeat | MessageKind::HeartbeatResp => {
            write!(text, " commit {} context {:?}", m.commit, &m.context[..])
        }
        MessageKind::Snap => {
            let snapshot = m.snapshot.as_deref().cloned().unwrap_or_default();
            write!(text, " of {}/{}", snapshot.index, snapshot.term)
        }
        MessageKind::ReadIndexResp => write!(text, " index {}", m.index),
        _ => Ok(()),
    };
    text.trim_end().to_owned()
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    let text = std::fs::read_to_string(&path).expect("the script is there");
    let (mut world, mut fresh) = (World::default(), String::new());
    for block in text.split_inclusive("\n\n") {
        let commands = block.split("----").next().unwrap_or_default().trim_end();
        for line in commands.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            world.run(line);
        }
        let said = std::mem::take(&mut world.out);
        let answer = if said.is_empty() { String::new() } else { format!("\n----\n{}", said.trim_end()) };
        let _ = write!(fresh, "{commands}{answer}\n\n");
    }
    let fresh = format!("{}\n", fresh.trim_end());
    if std::env::var("BALSA_REWRITE").is_ok() {
        std::fs::write(&path, fresh).expect("the script can be written");
    } else {
        assert!(fresh == text, "{name} says something else now:\n{fresh}");
    }
}

macro_rules! scripts {
    ($($name:ident: $file:literal),* $(,)?) => { $(#[test] fn $name() { check($file); })* };
}

scripts! {
    elections_are_won_by_a_majority_with_the_newest_log: "elections.txt",
    a_pre_vote_disturbs_nobody: "pre_vote.txt",
    a_leader_streams_to_those_it_knows_and_probes_the_others: "replication.txt",
    a_rejection_hints_where_the_logs_may_agree: "rejection.txt",
    only_entries_of_the_own_term_are_committed_by_count: "old_terms.txt",
    a_promise_waits_for_the_disk: "persistence.txt",
    members_come_and_go_one_at_a_time: "conf_change.txt",
    several_members_change_through_a_joint_configuration: "joint.txt",
    a_read_waits_for_a_quorum_to_confirm_the_leader: "read_index.txt",
    a_follower_too_far_behind_gets_a_snapshot: "snapshot.txt",
    leadership_can_be_handed_over: "transfer.txt",
    a_leader_without_quorum_steps_down: "check_quorum.txt",
}
