//! Members of the cluster and the JSON in which etcd stores them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::Version;

/// A member, as the bucket `members` and conf changes describe it (formats 3.7, 4.8).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Member {
    /// Id, fixed for life.
    #[serde(default)]
    pub id: u64,
    /// Where peers reach it. JSON null when none were given.
    #[serde(rename = "peerURLs", default, with = "null_when_empty")]
    pub peer_urls: Vec<String>,
    /// Not a voter.
    #[serde(rename = "isLearner", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_learner: bool,
    /// Given when the member starts for the first time: empty means not started yet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where clients reach it.
    #[serde(rename = "clientURLs", default, skip_serializing_if = "Vec::is_empty")]
    pub client_urls: Vec<String>,
}

impl Member {
    /// JSON as Go writes it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        go_json(self)
    }

    /// True once the member has published its name.
    #[must_use]
    pub fn is_started(&self) -> bool {
        !self.name.is_empty()
    }
}

/// A JSON list of members with a line end, as peers tell them to each other.
#[must_use]
pub fn members_to_json<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<u8> {
    let mut list = go_json(&members.into_iter().collect::<Vec<_>>());
    list.push(b'\n');
    list
}

/// Context of a conf change that adds or promotes: a member and whether an existing learner is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfChangeContext {
    /// The member.
    #[serde(flatten)]
    pub member: Member,
    /// The member exists as learner and becomes a voter.
    #[serde(rename = "isPromote", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_promote: bool,
}

impl ConfChangeContext {
    /// JSON as Go writes it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        go_json(self)
    }
}

/// A downgrade that is under way (bucket `cluster`, key `downgrade`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Downgrade {
    /// "3.6.0", or empty.
    #[serde(rename = "target-version", default)]
    pub target_version: String,
    /// Under way.
    #[serde(default)]
    pub enabled: bool,
}

impl Downgrade {
    /// JSON as Go writes it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        go_json(self)
    }
}

/// What raft calls the configuration, in the JSON of meta key `confState` (formats 3.2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfState {
    /// Members that vote.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "empty_when_null")]
    pub voters: Vec<u64>,
    /// Members that only follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "empty_when_null")]
    pub learners: Vec<u64>,
    /// Joint configurations only.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "empty_when_null")]
    pub voters_outgoing: Vec<u64>,
    /// Joint configurations only.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "empty_when_null")]
    pub learners_next: Vec<u64>,
    /// Joint configurations only.
    #[serde(default)]
    pub auto_leave: bool,
}

impl ConfState {
    /// JSON as Go writes it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        go_json(self)
    }
}

/// The membership at one moment: list, removed ids and what the members agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// By id.
    pub list: BTreeMap<u64, Member>,
    /// Ids that never come back.
    pub removed: BTreeSet<u64>,
    /// Agreed version, absent until the first leader decides.
    pub cluster_version: Option<Version>,
    /// Downgrade under way.
    pub downgrade: Downgrade,
}

impl Members {
    /// Ids of voters, ascending.
    pub fn voters(&self) -> impl Iterator<Item = u64> + '_ {
        self.list.values().filter(|m| !m.is_learner).map(|m| m.id)
    }

    /// Ids of learners, ascending.
    pub fn learners(&self) -> impl Iterator<Item = u64> + '_ {
        self.list.values().filter(|m| m.is_learner).map(|m| m.id)
    }

    /// The configuration raft starts from (formats 1.10).
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        ConfState {
            voters: self.voters().collect(),
            learners: self.learners().collect(),
            ..ConfState::default()
        }
    }
}

/// Go's encoding/json: compact, and `<`, `>`, `&`, U+2028, U+2029 escaped inside strings (they occur nowhere else).
pub(crate) fn go_json<T: Serialize>(value: &T) -> Vec<u8> {
    let text = serde_json::to_string(value).expect("plain structs with string keys always encode");
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text.into_bytes();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.into_bytes()
}

fn empty_when_null<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
    Ok(Option::<Vec<u64>>::deserialize(from)?.unwrap_or_default())
}

mod null_when_empty {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(urls: &[String], to: S) -> Result<S::Ok, S::Error> {
        if urls.is_empty() { to.serialize_none() } else { urls.serialize(to) }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
        Ok(Option::<Vec<String>>::deserialize(from)?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member { id: 123, peer_urls: vec!["http://h:2380".into()], ..Member::default() }
    }

    #[test]
    fn members_are_written_as_go_writes_them() {
        assert_eq!(member().to_json(), br#"{"id":123,"peerURLs":["http://h:2380"]}"#);
        let full = Member {
            is_learner: true,
            name: "a<b>&c".into(),
            client_urls: vec!["http://c:1".into(), "http://c:2".into()],
            ..member()
        };
        assert_eq!(
            String::from_utf8(full.to_json()).unwrap(),
            r#"{"id":123,"peerURLs":["http://h:2380"],"isLearner":true,"name":"a\u003cb\u003e\u0026c","clientURLs":["http://c:1","http://c:2"]}"#
        );
        assert_eq!(serde_json::from_slice::<Member>(&full.to_json()).unwrap(), full);
    }

    #[test]
    fn a_promotion_is_written_with_null_urls_and_read_back() {
        let context =
            ConfChangeContext { member: Member { id: u64::MAX, ..Member::default() }, is_promote: true };
        let json = context.to_json();
        assert_eq!(
            String::from_utf8(json.clone()).unwrap(),
            r#"{"id":18446744073709551615,"peerURLs":null,"isPromote":true}"#
        );
        assert_eq!(serde_json::from_slice::<ConfChangeContext>(&json).unwrap(), context);
        let plain: ConfChangeContext = serde_json::from_slice(&member().to_json()).unwrap();
        assert_eq!(plain, ConfChangeContext { member: member(), is_promote: false });
    }

    #[test]
    fn conf_state_and_downgrade_are_written_as_go_writes_them() {
        let state = ConfState { voters: vec![3, 1], learners: vec![2], ..ConfState::default() };
        assert_eq!(state.to_json(), br#"{"voters":[3,1],"learners":[2],"auto_leave":false}"#);
        assert_eq!(serde_json::from_slice::<ConfState>(br#"{"voters":null}"#).unwrap(), ConfState::default());
        assert_eq!(Downgrade::default().to_json(), br#"{"target-version":"","enabled":false}"#);
    }
}
