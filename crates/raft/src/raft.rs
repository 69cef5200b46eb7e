//! The state machine: construction, time, the rules of terms, and what can be asked of it.

use bytes::Bytes;

use crate::config::Config;
use crate::log::Log;
use crate::random::Random;
use crate::read_index::ReadQueue;
use crate::tracker::{Pace, Tracker};
use crate::{
    CAMPAIGN_TRANSFER, ConfChangeV2, ConfState, Entry, Error, HardState, Index, MemberId, Message,
    MessageKind, Note, ReadState, Restored, Role, Snapshot, SoftState, Term, confchange,
};

/// Why a proposal was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProposeError {
    /// No leader is known.
    NoLeader,
    /// Leadership is being handed over.
    Transferring,
    /// This member leads but was removed.
    NotMember,
    /// Too many bytes are proposed and not applied.
    TooMuchUncommitted,
}

/// How far a member's log is known to be, and how it is sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerProgress {
    /// The member.
    pub id: MemberId,
    /// Last entry known to be on its disk.
    pub matched: Index,
    /// Next entry to send.
    pub next: Index,
    /// `probe`, `replicate` or `snapshot`.
    pub pace: &'static str,
    /// Index of the snapshot under way.
    pub pending_snapshot: Option<Index>,
    /// Nothing is sent before an answer.
    pub paused: bool,
    /// It does not vote.
    pub is_learner: bool,
    /// It has answered since the last quorum check.
    pub recent_active: bool,
}

/// One member's part in consensus.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) id: MemberId,
    pub(crate) config: Config,
    pub(crate) term: Term,
    pub(crate) vote: MemberId,
    pub(crate) role: Role,
    pub(crate) leader: MemberId,
    pub(crate) log: Log,
    pub(crate) tracker: Tracker,

    pub(crate) reads: ReadQueue,
    pub(crate) read_states: Vec<ReadState>,
    pub(crate) transferee: MemberId,
    /// A leader takes no conf change before this entry is applied.
    pub(crate) pending_conf_index: Index,
    pub(crate) uncommitted_bytes: usize,
    /// Followers are to be told of new entries or a new commit index.
    pub(crate) append_due: bool,

    pub(crate) election_elapsed: u32,
    pub(crate) heartbeat_elapsed: u32,
    election_timeout: u32,
    random: Random,

    pub(crate) messages: Vec<Message>,
    pub(crate) after_persist: Vec<Message>,
    pub(crate) restored: Option<Snapshot>,
    pub(crate) commit_flush: bool,
    pub(crate) told_hard_state: HardState,
    pub(crate) told_soft_state: SoftState,
    pub(crate) notes: Vec<Note>,
}

impl Raft {
    /// A member as it was left on disk, as a follower.
    ///
    /// # Errors
    /// If log, applied index and start of the log do not fit together.
    pub fn new(config: Config, restored: Restored) -> Result<Raft, Error> {
        let hard_state = restored.hard_state;
        let membership = confchange::from_conf_state(&restored.conf_state);
        let log = Log::new(restored)?;
        let mut tracker = Tracker::new(config.inflight_count_max, config.inflight_bytes_max);
        tracker.set_membership(membership, log.last_index());
        let mut raft = Raft {
            id: config.id,
            term: hard_state.term,
            vote: hard_state.vote,
            role: Role::Follower,
            leader: MemberId::NONE,
            log,
            tracker,
            reads: ReadQueue::default(),
            read_states: Vec::new(),
            transferee: MemberId::NONE,
            pending_conf_index: Index(0),
            uncommitted_bytes: 0,
            append_due: false,
            election_elapsed: 0,
            heartbeat_elapsed: 0,
            election_timeout: 0,
            random: Random::new(config.seed),
            messages: Vec::new(),
            after_persist: Vec::new(),
            restored: None,
            commit_flush: false,
            told_hard_state: hard_state,
            told_soft_state: SoftState { term: hard_state.term, ..SoftState::default() },
            notes: Vec::new(),
            config,
        };
        raft.notes = vec![Note::Membership(raft.conf_state()), Note::Became(raft.role, raft.term)];
        raft.draw_election_timeout();
        Ok(raft)
    }

    /// One unit of time has passed.
    pub fn tick(&mut self) {
        self.election_elapsed += 1;
        if self.role == Role::Leader {
            self.tick_leader();
        } else if self.election_elapsed >= self.election_timeout && self.is_promotable() {
            self.election_elapsed = 0;
            self.campaign();
        }
    }

    /// Takes in a message from a peer, or a local one. What makes no sense is ignored.
    pub fn step(&mut self, message: Message) {
        if message.from != self.id && message.kind.is_local() {
            return;
        }
        if !self.accept_term(&message) {
            return;
        }
        match message.kind {
            MessageKind::Hup => self.campaign(),
            MessageKind::Vote | MessageKind::PreVote => self.answer_vote(&message),
            _ => match self.role {
                Role::Leader => self.step_leader(message),
                Role::Candidate | Role::PreCandidate => self.step_candidate(message),
                Role::Follower => self.step_follower(message),
            },
        }
    }

    /// Compares terms. Returns false if the message has been dealt with or does not count.
    fn accept_term(&mut self, message: &Message) -> bool {
        use MessageKind::*;
        if message.term.0 == 0 {
            // Local kinds, proposals and reads. Everything else of term 0 is from nobody.
            return message.kind.is_local()
                || matches!(message.kind, Prop | ReadIndex | TransferLeader | ReadIndexResp);
        }
        if message.term > self.term {
            if matches!(message.kind, Vote | PreVote) && self.keeps_to_leader(message) {
                return false;
            }
            match message.kind {
                PreVote => {}
                // Granted for the term this member asks about; a refusal is in the refuser's own term.
                PreVoteResp if !message.reject => {}
                App | Heartbeat | Snap => self.become_follower(message.term, message.from),
                _ => self.become_follower(message.term, MemberId::NONE),
            }
        } else if message.term < self.term {
            match message.kind {
                // A member that came back with a higher term would hear no one otherwise, and free a stuck leader.
                App | Heartbeat if self.config.check_quorum || self.config.pre_vote => {
                    let answer = self.message(AppResp, message.from);
                    self.send_after_persist(answer);
                }
                PreVote => {
                    let mut answer = self.message(PreVoteResp, message.from);
                    answer.reject = true;
                    self.send_after_persist(answer);
                }
                _ => {}
            }
            return false;
        }
        true
    }

    /// A leader has been heard within the election timeout: no vote for others, unless it is the leader's own wish.
    fn keeps_to_leader(&self, request: &Message) -> bool {
        self.config.check_quorum
            && !self.leader.is_none()
            && self.election_elapsed < self.config.election_ticks
            && request.context != CAMPAIGN_TRANSFER
    }

    fn answer_vote(&mut self, request: &Message) {
        let pre = request.kind == MessageKind::PreVote;
        let free = self.vote == request.from
            || (self.vote.is_none() && self.leader.is_none())
            || (pre && request.term > self.term);
        let grant = free && self.log.is_up_to_date(request.index, request.log_term);
        let kind = if pre { MessageKind::PreVoteResp } else { MessageKind::VoteResp };
        let mut answer = self.message(kind, request.from);
        answer.reject = !grant;
        if grant {
            // A granted pre-vote speaks of the future term it was asked for.
            answer.term = request.term;
            if !pre {
                self.election_elapsed = 0;
                self.vote = request.from;
            }
        }
        self.send_after_persist(answer);
    }

    /// Begins `term` (or stays in it) knowing nothing about others.
    pub(crate) fn reset(&mut self, term: Term) {
        if self.term != term {
            self.term = term;
            self.vote = MemberId::NONE;
        }
        self.leader = MemberId::NONE;
        self.election_elapsed = 0;
        self.heartbeat_elapsed = 0;
        self.draw_election_timeout();
        self.transferee = MemberId::NONE;
        self.tracker.clear_votes();
        self.pending_conf_index = Index(0);
        self.uncommitted_bytes = 0;
        self.append_due = false;
        self.reads.clear();
        let next = self.log.last_index().next();
        for progress in self.tracker.progress.values_mut() {
            progress.reset(next);
        }
    }

    fn draw_election_timeout(&mut self) {
        let ticks = u64::from(self.config.election_ticks);
        self.election_timeout = self.config.election_ticks + self.random.below(ticks) as u32;
    }

    /// May stand for election: a voter whose log is its own.
    pub(crate) fn is_promotable(&self) -> bool {
        !self.log.unstable.restoring() && self.tracker.membership.voters.contains(self.id)
    }

    /// Stands for election at once, if it may.
    pub fn campaign(&mut self) {
        self.stand_for_election(false);
    }

    /// Proposes entries in one batch; index and term are filled in by the leader. A follower passes them on.
    ///
    /// # Errors
    /// If nothing was proposed.
    pub fn propose(&mut self, entries: Vec<Entry>) -> Result<(), ProposeError> {
        match self.role {
            Role::Leader => self.append_proposals(entries),
            Role::Follower if !self.leader.is_none() => {
                let (kind, to) = (MessageKind::Prop, self.leader);
                self.send(Message { kind, to, entries, ..Message::default() });
                Ok(())
            }
            _ => Err(ProposeError::NoLeader),
        }
    }

    /// Asks for a read index; the answer comes as a [`ReadState`] with the same context, or never.
    pub fn read_index(&mut self, context: Bytes) {
        let request = Entry { data: context, ..Entry::default() };
        let kind = MessageKind::ReadIndex;
        self.step(Message { kind, from: self.id, entries: vec![request], ..Message::default() });
    }

    /// A conf change entry was applied. Returns the new membership.
    ///
    /// # Errors
    /// [`Error::BadConfChange`]; the membership stays as it was.
    pub fn apply_conf_change(&mut self, change: &ConfChangeV2) -> Result<ConfState, Error> {
        let membership = confchange::apply(&self.tracker.membership, change)?;
        self.tracker.set_membership(membership, self.log.last_index());
        self.membership_changed();
        Ok(self.conf_state())
    }

    /// Asks the leader (perhaps this member) to hand over to `to`.
    pub fn transfer_leader(&mut self, to: MemberId) {
        self.step(Message { kind: MessageKind::TransferLeader, from: to, to: self.id, ..Message::default() });
    }

    /// A message to `peer` was lost.
    pub fn report_unreachable(&mut self, peer: MemberId) {
        if self.role == Role::Leader {
            self.peer_unreachable(peer);
        }
    }

    /// The snapshot for `peer` was sent, or could not be.
    pub fn report_snapshot(&mut self, peer: MemberId, ok: bool) {
        if self.role == Role::Leader {
            self.snapshot_sent(peer, ok);
        }
    }

    /// Forgets entries up to `index`; what is not applied, or follows a snapshot under way, is kept.
    pub fn compact(&mut self, index: Index) {
        let under_way = self.tracker.progress.values().filter_map(|progress| match progress.pace {
            Pace::Snapshot(pending) => Some(pending),
            _ => None,
        });
        let keep = under_way.min().unwrap_or(index);
        self.log.compact(index.min(keep));
    }

    /// What must survive a restart.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.log.committed }
    }

    /// Leader, role and term.
    #[must_use]
    pub fn soft_state(&self) -> SoftState {
        SoftState { leader: self.leader, role: self.role, term: self.term }
    }

    /// Current membership.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        self.tracker.membership.conf_state()
    }

    /// True if this member is the only voter.
    #[must_use]
    pub fn is_single_voter(&self) -> bool {
        self.tracker.membership.voters.single() == Some(self.id)
    }

    /// True if a leader would turn a conf change into an empty entry now.
    #[must_use]
    pub fn conf_change_pending(&self) -> bool {
        self.pending_conf_index > self.log.applied
    }

    /// This member.
    #[must_use]
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// Everything up to here is committed.
    #[must_use]
    pub fn committed(&self) -> Index {
        self.log.committed
    }

    /// The store has executed up to here.
    #[must_use]
    pub fn applied_index(&self) -> Index {
        self.log.applied
    }

    /// Entries that could be applied wait until the store has executed more of those it was given.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        self.log.holds_back()
    }

    /// First entry in memory.
    #[must_use]
    pub fn first_index(&self) -> Index {
        self.log.first_index()
    }

    /// Last entry.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.log.last_index()
    }

    /// Term of the entry at `index`, if it is in memory (or is the one right before).
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term(index)
    }

    /// The entry at `index`, if it is in memory.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.log.entry(index)
    }

    /// Leader only: who is to take over, or none.
    #[must_use]
    pub fn transferee(&self) -> MemberId {
        self.transferee
    }

    /// Leader only: what is known about every member, this one included, by id.
    pub fn progress(&self) -> impl Iterator<Item = PeerProgress> {
        let leading = self.role == Role::Leader;
        self.tracker.progress.iter().filter(move |_| leading).map(|(id, progress)| {
            let (pace, pending_snapshot) = match progress.pace {
                Pace::Probe => ("probe", None),
                Pace::Replicate => ("replicate", None),
                Pace::Snapshot(index) => ("snapshot", Some(index)),
            };
            PeerProgress {
                id: *id,
                matched: progress.matched,
                next: progress.next,
                pace,
                pending_snapshot,
                paused: progress.is_paused(),
                is_learner: progress.is_learner,
                recent_active: progress.recent_active,
            }
        })
    }
}
