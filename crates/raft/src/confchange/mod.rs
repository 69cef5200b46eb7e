//! Changes of membership: one member at a time, or several through a joint configuration.

pub(crate) mod wire;

use std::collections::BTreeSet;

use crate::tracker::Membership;
use crate::{ConfChangeKind, ConfChangeV2, ConfState, Error, MemberId, Transition};

impl ConfChangeV2 {
    /// True if it asks to leave a joint configuration.
    #[must_use]
    pub fn leaves_joint(&self) -> bool {
        self.changes.is_empty() && self.transition == Transition::Auto
    }

    fn needs_joint(&self) -> bool {
        self.transition != Transition::Auto || self.changes.len() > 1
    }
}

/// The membership after `change`.
///
/// # Errors
/// [`Error::BadConfChange`] if it cannot be reached from `old` in one safe step.
pub(crate) fn apply(old: &Membership, change: &ConfChangeV2) -> Result<Membership, Error> {
    let mut new = old.clone();
    if change.leaves_joint() {
        leave_joint(&mut new)?;
    } else if change.needs_joint() {
        if old.voters.is_joint() {
            return Err(Error::BadConfChange("the configuration is joint already"));
        }
        if old.voters.incoming.is_empty() {
            return Err(Error::BadConfChange("there are no voters to move away from"));
        }
        new.voters.outgoing = new.voters.incoming.clone();
        apply_each(&mut new, change);
        new.auto_leave = change.transition != Transition::JointExplicit;
    } else {
        if old.voters.is_joint() {
            return Err(Error::BadConfChange("a joint configuration must be left first"));
        }
        apply_each(&mut new, change);
        if differing_voters(old, &new) > 1 {
            return Err(Error::BadConfChange(
                "more than one voter would change without a joint configuration",
            ));
        }
    }
    if new.voters.incoming.is_empty() {
        return Err(Error::BadConfChange("no voter would be left"));
    }
    Ok(new)
}

/// The membership that `state` describes.
pub(crate) fn from_conf_state(state: &ConfState) -> Membership {
    let mut membership = Membership {
        learners: state.learners.iter().copied().collect(),
        learners_next: state.learners_next.iter().copied().collect(),
        auto_leave: state.auto_leave,
        ..Membership::default()
    };
    membership.voters.incoming = state.voters.iter().copied().collect();
    membership.voters.outgoing = state.voters_outgoing.iter().copied().collect();
    // Nobody votes and learns at once.
    membership.learners.retain(|id| !membership.voters.contains(*id));
    membership
}

fn apply_each(membership: &mut Membership, change: &ConfChangeV2) {
    for &(kind, id) in &change.changes {
        if id.is_none() {
            continue;
        }
        match kind {
            ConfChangeKind::AddNode => make_voter(membership, id),
            ConfChangeKind::AddLearnerNode => make_learner(membership, id),
            ConfChangeKind::RemoveNode => remove(membership, id),
            ConfChangeKind::UpdateNode => {}
        }
    }
}

fn make_voter(membership: &mut Membership, id: MemberId) {
    membership.learners.remove(&id);
    membership.learners_next.remove(&id);
    membership.voters.incoming.insert(id);
}

fn make_learner(membership: &mut Membership, id: MemberId) {
    membership.voters.incoming.remove(id);
    if membership.voters.outgoing.contains(id) {
        membership.learners_next.insert(id);
    } else {
        membership.learners.insert(id);
    }
}

fn remove(membership: &mut Membership, id: MemberId) {
    membership.voters.incoming.remove(id);
    membership.learners.remove(&id);
    membership.learners_next.remove(&id);
}

fn leave_joint(membership: &mut Membership) -> Result<(), Error> {
    if !membership.voters.is_joint() {
        return Err(Error::BadConfChange("there is no joint configuration to leave"));
    }
    membership.voters.outgoing = Default::default();
    let next: BTreeSet<MemberId> = std::mem::take(&mut membership.learners_next);
    membership.learners.extend(next);
    membership.auto_leave = false;
    Ok(())
}

fn differing_voters(old: &Membership, new: &Membership) -> usize {
    let (old, new) = (&old.voters.incoming, &new.voters.incoming);
    let gone = old.voters().iter().filter(|id| !new.contains(**id)).count();
    let come = new.voters().iter().filter(|id| !old.contains(**id)).count();
    gone + come
}
