//! Linearizable reads: all that wait while a round runs share the next one, so one quorum check serves many.

use raft::{MemberId, Raft, Term};

use crate::{ProposalError, ReadState};

/// Ticks after which an unanswered round is asked again (a message or a leader was lost).
const RETRY_TICKS: u64 = 5;
/// Ids waiting at once.
const WAITING_MAX: usize = 10_000;

/// At most one round at a time.
#[derive(Default, Debug)]
pub(crate) struct Reads {
    /// Came in after the running round was started: its index may be too low for them.
    waiting: Vec<u64>,
    /// Those the running round will answer.
    asking: Vec<u64>,
    /// Number of the newest request, and the first request of the running round; every one in between counts.
    round: u64,
    first_round: u64,
    asked_at: u64,
    /// Whom it was asked; another leader knows nothing of it.
    asked: (MemberId, Term),
}

impl Reads {
    /// Requests are numbered from `first`, which should differ between runs: a late answer must not be mistaken.
    pub(crate) fn new(first: u64) -> Reads {
        Reads { round: first, first_round: first, ..Reads::default() }
    }

    pub(crate) fn add(&mut self, id: u64) -> Result<(), ProposalError> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(ProposalError::TooManyRequests);
        }
        self.waiting.push(id);
        Ok(())
    }

    /// Starts a round if somebody waits and none is running; repeats a running one if its answer is overdue or another
    /// leader is known.
    pub(crate) fn flush(&mut self, raft: &mut Raft, now: u64) {
        if self.asking.is_empty() {
            if self.waiting.is_empty() {
                return;
            }
            self.asking = std::mem::take(&mut self.waiting);
            self.first_round = self.round + 1;
            self.ask(raft, now);
        } else if now >= self.asked_at + RETRY_TICKS || leader(raft) != self.asked {
            self.ask(raft, now);
        }
    }

    fn ask(&mut self, raft: &mut Raft, now: u64) {
        self.asked_at = now;
        self.asked = leader(raft);
        if self.asked.0.is_none() {
            return;
        }
        self.round += 1;
        raft.read_index(self.round.to_be_bytes().to_vec().into());
    }

    /// Takes in what consensus confirmed.
    pub(crate) fn confirmed(&mut self, confirmed: Vec<raft::ReadState>) -> Vec<ReadState> {
        let mut answers = Vec::new();
        for state in confirmed {
            let Ok(round) = state.context.as_ref().try_into().map(u64::from_be_bytes) else { continue };
            if (self.first_round..=self.round).contains(&round) {
                answers.extend(self.asking.drain(..).map(|id| ReadState { id, index: state.index }));
            }
        }
        answers
    }
}

fn leader(raft: &Raft) -> (MemberId, Term) {
    let state = raft.soft_state();
    (state.leader, state.term)
}
