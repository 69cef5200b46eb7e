//! Standing for election, first by asking (pre-vote), then in earnest.

use bytes::Bytes;

use crate::quorum::VoteResult;
use crate::raft::Raft;
use crate::ready::Note;
use crate::{CAMPAIGN_TRANSFER, MemberId, Message, MessageKind, Role, Term};

impl Raft {
    /// Starts an election, unless this member leads, may not, or does not know yet who votes. A transfer of leadership
    /// needs no pre-vote: the leader itself wants it.
    pub(crate) fn stand_for_election(&mut self, transfer: bool) {
        if self.role == Role::Leader || !self.is_promotable() || self.log.membership_unsettled() {
            return;
        }
        self.notes.push(Note::Campaign(self.term));
        if self.config.pre_vote && !transfer {
            self.ask_before_election();
        } else {
            self.elect(transfer);
        }
    }

    fn ask_before_election(&mut self) {
        self.role = Role::PreCandidate;
        self.leader = MemberId::NONE;
        self.notes.push(Note::Became(self.role, self.term));
        self.tracker.clear_votes();
        let next_term = Term(self.term.0 + 1);
        for message in self.vote_requests(MessageKind::PreVote, next_term, Bytes::new()) {
            self.send(message);
        }
        // Asking promises nothing, so the own answer needs no disk.
        self.count_vote(self.id, true);
    }

    fn elect(&mut self, transfer: bool) {
        self.reset(Term(self.term.0 + 1));
        self.role = Role::Candidate;
        self.notes.push(Note::Became(self.role, self.term));
        self.vote = self.id;
        let context = if transfer { Bytes::from_static(CAMPAIGN_TRANSFER) } else { Bytes::new() };
        // The requests tell of the new term and of the end of the log: both have to be on disk first (invariant 11).
        for message in self.vote_requests(MessageKind::Vote, self.term, context) {
            self.send_after_persist(message);
        }
        let own = self.message(MessageKind::VoteResp, self.id);
        self.send_after_persist(own);
    }

    fn vote_requests(&self, kind: MessageKind, term: Term, context: Bytes) -> Vec<Message> {
        let others = self.tracker.membership.voters.voters().into_iter().filter(|id| *id != self.id);
        let (index, log_term) = (self.log.last_index(), self.log.last_term());
        let context = &context;
        others
            .map(|to| Message { term, index, log_term, context: context.clone(), ..self.message(kind, to) })
            .collect()
    }

    pub(crate) fn step_candidate(&mut self, message: Message) {
        match (message.kind, self.role) {
            (MessageKind::App | MessageKind::Heartbeat | MessageKind::Snap, _) => {
                // Somebody has won this term.
                self.become_follower(message.term, message.from);
                self.step_follower(message);
            }
            (MessageKind::VoteResp, Role::Candidate) | (MessageKind::PreVoteResp, Role::PreCandidate) => {
                self.count_vote(message.from, !message.reject);
            }
            _ => {}
        }
    }

    fn count_vote(&mut self, from: MemberId, granted: bool) {
        match self.tracker.record_vote(from, granted) {
            VoteResult::Won if self.role == Role::PreCandidate => self.elect(false),
            VoteResult::Won => self.become_leader(),
            // The term stays: a pre-candidate never left it.
            VoteResult::Lost => self.become_follower(self.term, MemberId::NONE),
            VoteResult::Pending => {}
        }
    }
}
