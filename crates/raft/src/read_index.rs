//! Linearizable reads: requests wait in a queue until a quorum has confirmed that this member still leads.
//!
//! Each request gets a position. Every heartbeat carries the newest position (8 bytes, little endian, as raft 3.7
//! does); a follower's echo confirms all requests up to there.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::quorum::Joint;
use crate::{Index, MemberId, Message};

/// A request that a quorum has to confirm.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// As it came in; from this member itself or from a follower.
    pub(crate) request: Message,
    /// Commit index when it came in.
    pub(crate) index: Index,
}

/// The leader's queue. Positions begin at 1 in every term.
#[derive(Clone, Default, Debug)]
pub(crate) struct ReadQueue {
    pending: VecDeque<Pending>,
    /// Requests confirmed so far in this term; the front of `pending` has the position after it.
    confirmed: u64,
    echoed: BTreeMap<MemberId, u64>,
    /// Came before the leader has committed an entry of its term: its commit index may be too low.
    early: Vec<Message>,
}

impl ReadQueue {
    pub(crate) fn clear(&mut self) {
        *self = ReadQueue::default();
    }

    fn newest(&self) -> u64 {
        self.confirmed + self.pending.len() as u64
    }

    pub(crate) fn postpone(&mut self, request: Message) {
        self.early.push(request);
    }

    pub(crate) fn take_postponed(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.early)
    }

    pub(crate) fn push(&mut self, request: Message, index: Index) {
        self.pending.push_back(Pending { request, index });
    }

    /// What a heartbeat has to carry now; empty if nobody waits.
    pub(crate) fn heartbeat_context(&self) -> Bytes {
        if self.pending.is_empty() {
            return Bytes::new();
        }
        Bytes::copy_from_slice(&self.newest().to_le_bytes())
    }

    /// Takes in an echo and returns the requests that a quorum has now confirmed.
    pub(crate) fn echo(
        &mut self,
        from: MemberId,
        context: &[u8],
        own: MemberId,
        voters: &Joint,
    ) -> Vec<Pending> {
        let Ok(position) = context.try_into().map(u64::from_le_bytes) else { return Vec::new() };
        let newest = self.newest();
        if position > newest {
            return Vec::new();
        }
        let echoed = self.echoed.entry(from).or_default();
        *echoed = position.max(*echoed);
        let reached = |id| if id == own { newest } else { self.echoed.get(&id).copied().unwrap_or(0) };
        let reached = voters.reached(reached).min(newest);
        let count = reached.saturating_sub(self.confirmed);
        self.confirmed += count;
        self.pending.drain(..usize::try_from(count).unwrap_or(0)).collect()
    }
}
