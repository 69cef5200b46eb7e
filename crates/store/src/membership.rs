//! Members in their buckets, and the changes consensus makes to them. formats 3.6, 3.7, 4.8.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use backend::schema::{cluster, meta};
use backend::{Backend, Bucket};
use bytes::Bytes;
use proto::membershippb as mpb;
use proto::raftpb;

use crate::record::{damaged, hex_id, parse_hex_id, text};
use crate::store::{Position, Store};
use crate::{
    ApplyError, ConfChangeContext, ConfChangeOutcome, Downgrade, Error, Member, MemberChange, Members,
    Outcome, Version, v2,
};

const REMOVED: &[u8] = b"removed";

/// Reads the buckets.
pub(crate) fn load(backend: &Backend) -> Result<Members, Error> {
    let mut members = Members::default();
    for record in backend.range(Bucket::Members, b"", None) {
        let (key, value) = record?;
        let id = bucket_id(Bucket::Members, &key)?;
        let member: Member = serde_json::from_slice(&value).map_err(|e| damaged(Bucket::Members, &key, e))?;
        members.list.insert(id, Member { id, ..member });
    }
    for record in backend.range(Bucket::MembersRemoved, b"", None) {
        let (key, _) = record?;
        members.removed.insert(bucket_id(Bucket::MembersRemoved, &key)?);
    }
    if let Some(value) = backend.get(Bucket::Cluster, cluster::VERSION)? {
        let version = std::str::from_utf8(&value).ok().and_then(Version::parse);
        let bad = || damaged(Bucket::Cluster, cluster::VERSION, "not a version");
        members.cluster_version = Some(version.ok_or_else(bad)?);
    }
    if let Some(value) = backend.get(Bucket::Cluster, cluster::DOWNGRADE)? {
        members.downgrade =
            serde_json::from_slice(&value).map_err(|e| damaged(Bucket::Cluster, cluster::DOWNGRADE, e))?;
    }
    Ok(members)
}

fn bucket_id(bucket: Bucket, key: &[u8]) -> Result<u64, Error> {
    let name = text(bucket, key)?;
    parse_hex_id(&name).ok_or_else(|| damaged(bucket, key, "not a member id"))
}

fn put_member(backend: &mut Backend, member: &Member) {
    backend.put(Bucket::Members, hex_id(member.id).into(), member.to_json().into());
}

impl Store {
    /// For directories of etcd 3.5, whose bucket `members` may be stale (formats 3.7): takes the membership of the
    /// newest .snap file's v2 blob. Call before replay; replayed entries then roll it forward, and conf changes among
    /// them go to raft again (start raft from [`Members::conf_state`]). Once the replay is over, the membership it led
    /// to replaces the buckets'.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the blob does not parse.
    pub fn seed_members(&mut self, blob: &[u8]) -> Result<(), Error> {
        let mut seeded = v2::decode(blob).map_err(|what| Error::Damaged { bucket: "(v2 store)", what })?;
        seeded.cluster_version = seeded.cluster_version.or(self.members.cluster_version);
        seeded.downgrade = self.members.downgrade.clone();
        self.members = Arc::new(seeded);
        self.is_seeded = true;
        self.publish_members();
        Ok(())
    }

    /// True if the entry's effects are in the file already. The first that is not ends the rolling forward.
    pub(crate) fn is_replay(&mut self, index: u64) -> bool {
        let is_replay = index <= self.position.index;
        if !is_replay && std::mem::take(&mut self.is_seeded) {
            self.write_seeded_members();
        }
        is_replay
    }

    fn write_seeded_members(&mut self) {
        let stale: Vec<Bytes> =
            self.backend.range(Bucket::Members, b"", None).filter_map(|r| Some(r.ok()?.0)).collect();
        for key in stale {
            let is_member = std::str::from_utf8(&key).ok().and_then(parse_hex_id);
            if !is_member.is_some_and(|id| self.members.list.contains_key(&id)) {
                self.backend.delete(Bucket::Members, &key);
            }
        }
        for member in self.members.list.values() {
            put_member(&mut self.backend, member);
        }
        for &id in &self.members.removed {
            self.backend.put(Bucket::MembersRemoved, hex_id(id).into(), Bytes::from_static(REMOVED));
        }
    }

    /// Executes a conf change: validates it against the membership, changes the membership. The caller tells raft
    /// (the change if [`ConfChangeOutcome::to_raft`], else "no change") and passes raft's answer to
    /// [`Store::set_conf_state`]. After a fatal error, as in [`Store::apply`], the process must stop.
    pub fn apply_conf_change(
        &mut self,
        index: u64,
        term: u64,
        change: &raftpb::ConfChange,
    ) -> ConfChangeOutcome {
        let is_replay = self.is_replay(index);
        let mut outcome = ConfChangeOutcome {
            id: change.id(),
            result: Ok(Vec::new()),
            to_raft: false,
            change: None,
            removed_self: false,
            is_replay,
        };
        if !is_replay || self.is_seeded {
            match plan(&self.members, change, self.options.learners_max) {
                Ok(planned) => {
                    self.execute(&planned, !is_replay);
                    // In the same tx as the index of this entry; raft's own words, which follow, are the same.
                    if !is_replay {
                        let state = self.members.conf_state().to_json().into();
                        self.put_meta(meta::CONF_STATE, state);
                    }
                    outcome.to_raft = true;
                    outcome.removed_self =
                        matches!(planned, MemberChange::Removed { id } if id == self.options.member_id);
                    outcome.change = Some(planned);
                }
                Err(refused) => outcome.result = Err(refused),
            }
        }
        if outcome.result.is_ok() {
            outcome.result = Ok(self.members.list.values().cloned().collect());
        }
        if !outcome.result.as_ref().is_err_and(ApplyError::is_fatal) {
            self.advance(index, term);
        }
        outcome
    }

    fn execute(&mut self, change: &MemberChange, write: bool) {
        let members = Arc::make_mut(&mut self.members);
        let changed = match change {
            MemberChange::Added(member) | MemberChange::Updated(member) => {
                members.list.insert(member.id, member.clone());
                Some(member.id)
            }
            MemberChange::Promoted { id } => {
                if let Some(member) = members.list.get_mut(id) {
                    member.is_learner = false;
                }
                Some(*id)
            }
            MemberChange::Removed { id } => {
                members.list.remove(id);
                members.removed.insert(*id);
                if write {
                    let key = hex_id(*id);
                    self.backend.delete(Bucket::Members, key.as_bytes());
                    self.backend.put(Bucket::MembersRemoved, key.into(), Bytes::from_static(REMOVED));
                }
                None
            }
        };
        if let Some(member) = changed.filter(|_| write).and_then(|id| members.list.get(&id)) {
            put_member(&mut self.backend, member);
        }
        self.publish_members();
    }

    /// The entry is executed: the consistent index moves, readers may rely on it.
    pub(crate) fn advance(&mut self, index: u64, term: u64) {
        if index > self.position.index {
            self.position = Position { index, term };
        }
        self.shared.applied_term.store(term, Ordering::Release);
        self.shared.applied_index.fetch_max(index, Ordering::AcqRel);
    }

    pub(crate) fn set_cluster_version(
        &mut self,
        r: &mpb::ClusterVersionSetRequest,
        outcome: &mut Outcome,
    ) -> Result<(), ApplyError> {
        let version = Version::parse(&r.ver)
            .ok_or_else(|| ApplyError::Fatal(format!("cluster version {:?} is not a version", r.ver)))?;
        crate::store::check_cluster_version(Some(version), self.options.emulated_version)
            .map_err(|e| ApplyError::Fatal(e.to_string()))?;
        let before = Arc::make_mut(&mut self.members).cluster_version.replace(version);
        self.publish_members();
        if outcome.is_replay {
            return Ok(());
        }
        self.backend.put(Bucket::Cluster, Bytes::from_static(cluster::VERSION), version.to_string().into());
        if before != Some(version) {
            outcome.cluster_version = Some(version);
        }
        outcome.cluster_version_lowered = before.is_some_and(|before| version < before);
        outcome.members_changed = true;
        Ok(())
    }

    pub(crate) fn set_member_attributes(
        &mut self,
        r: &mpb::ClusterMemberAttrSetRequest,
        outcome: &mut Outcome,
    ) -> Result<(), ApplyError> {
        if self.members.removed.contains(&r.member_id) {
            return Ok(());
        }
        let attributes = r.member_attributes.clone().unwrap_or_default();
        let Some(member) = Arc::make_mut(&mut self.members).list.get_mut(&r.member_id) else {
            if outcome.is_replay {
                return Ok(());
            }
            return Err(ApplyError::Fatal(format!("attributes of unknown member {:x}", r.member_id)));
        };
        member.name = attributes.name;
        member.client_urls = attributes.client_urls;
        if !outcome.is_replay {
            put_member(&mut self.backend, member);
            outcome.members_changed = true;
        }
        self.publish_members();
        Ok(())
    }

    pub(crate) fn set_downgrade(&mut self, r: &mpb::DowngradeInfoSetRequest, outcome: &mut Outcome) {
        let target_version = if r.enabled { r.ver.clone() } else { String::new() };
        let downgrade = Downgrade { target_version, enabled: r.enabled };
        if !outcome.is_replay {
            self.backend.put(
                Bucket::Cluster,
                Bytes::from_static(cluster::DOWNGRADE),
                downgrade.to_json().into(),
            );
            outcome.members_changed = true;
        }
        Arc::make_mut(&mut self.members).downgrade = downgrade;
        self.publish_members();
    }
}

/// What a conf change comes to, or why it is refused (formats 4.8).
pub(crate) fn plan(
    members: &Members,
    change: &raftpb::ConfChange,
    learners_max: usize,
) -> Result<MemberChange, ApplyError> {
    use raftpb::ConfChangeType as Type;
    let id = change.node_id();
    if members.removed.contains(&id) {
        return Err(ApplyError::IdRemoved);
    }
    match change.r#type() {
        Type::ConfChangeAddNode | Type::ConfChangeAddLearnerNode => {
            let context = context(change)?;
            if context.is_promote {
                plan_promotion(members, id)
            } else {
                plan_addition(
                    members,
                    context.member,
                    learners_max,
                    change.r#type() == Type::ConfChangeAddLearnerNode,
                )
            }
        }
        Type::ConfChangeRemoveNode => match members.list.contains_key(&id) {
            true => Ok(MemberChange::Removed { id }),
            false => Err(ApplyError::IdNotFound),
        },
        Type::ConfChangeUpdateNode => {
            let peer_urls = context(change)?.member.peer_urls;
            let member = members.list.get(&id).ok_or(ApplyError::IdNotFound)?;
            check_urls(members.list.values().filter(|m| m.id != id), &peer_urls)?;
            Ok(MemberChange::Updated(Member { peer_urls, ..member.clone() }))
        }
    }
}

fn plan_promotion(members: &Members, id: u64) -> Result<MemberChange, ApplyError> {
    match members.list.get(&id) {
        None => Err(ApplyError::IdNotFound),
        Some(member) if !member.is_learner => Err(ApplyError::MemberNotLearner),
        Some(_) => Ok(MemberChange::Promoted { id }),
    }
}

fn plan_addition(
    members: &Members,
    member: Member,
    learners_max: usize,
    counts_as_learner: bool,
) -> Result<MemberChange, ApplyError> {
    if members.list.contains_key(&member.id) {
        return Err(ApplyError::IdExists);
    }
    check_urls(members.list.values(), &member.peer_urls)?;
    if counts_as_learner && members.learners().count() >= learners_max {
        return Err(ApplyError::TooManyLearners);
    }
    Ok(MemberChange::Added(member))
}

fn check_urls<'a>(mut others: impl Iterator<Item = &'a Member>, urls: &[String]) -> Result<(), ApplyError> {
    let taken = others.any(|other| other.peer_urls.iter().any(|url| urls.contains(url)));
    if taken { Err(ApplyError::PeerUrlExists) } else { Ok(()) }
}

fn context(change: &raftpb::ConfChange) -> Result<ConfChangeContext, ApplyError> {
    let context: ConfChangeContext = serde_json::from_slice(change.context())
        .map_err(|e| ApplyError::Fatal(format!("conf change context does not parse: {e}")))?;
    if context.member.id != change.node_id() {
        let what = format!("conf change of {:x} is about {:x}", change.node_id(), context.member.id);
        return Err(ApplyError::Fatal(what));
    }
    Ok(context)
}
