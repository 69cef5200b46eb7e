//! The v2 store blob inside .snap files: membership in the form etcd up to 3.6 restores it from. formats 1.11.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::member::go_json;
use crate::record::{hex_id, parse_hex_id};
use crate::{Member, Members, Version};

#[derive(Serialize, Deserialize)]
struct Blob {
    #[serde(rename = "Root")]
    root: Node,
    #[serde(rename = "CurrentVersion", default)]
    current_version: u64,
}

/// A directory has children, a value has none.
#[derive(Serialize, Deserialize, Default)]
struct Node {
    #[serde(rename = "Path", default)]
    path: String,
    #[serde(rename = "Value", default)]
    value: String,
    #[serde(rename = "Children", default)]
    children: Option<BTreeMap<String, Node>>,
}

#[derive(Serialize, Deserialize)]
struct RaftAttributes {
    #[serde(rename = "peerURLs", default)]
    peer_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner", default, skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
}

#[derive(Serialize, Deserialize)]
struct Attributes {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(rename = "clientURLs", default)]
    client_urls: Option<Vec<String>>,
}

impl Node {
    fn dir(path: &str) -> Self {
        Self { path: path.to_owned(), children: Some(BTreeMap::new()), ..Self::default() }
    }

    fn value(path: String, value: String) -> Self {
        Self { path, value, children: None }
    }

    fn child(&mut self, name: &str, node: Node) {
        self.children.get_or_insert_default().insert(name.to_owned(), node);
    }

    fn get(&self, name: &str) -> Option<&Node> {
        self.children.as_ref()?.get(name)
    }

    fn entries(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.children.iter().flatten()
    }
}

/// The blob of a membership.
#[must_use]
pub fn encode(members: &Members) -> Bytes {
    let mut list = Node::dir("/0/members");
    for member in members.list.values() {
        list.child(&hex_id(member.id), member_node(member));
    }
    let mut removed = Node::dir("/0/removed_members");
    for &id in &members.removed {
        let name = hex_id(id);
        removed.child(&name, Node::value(format!("/0/removed_members/{name}"), String::new()));
    }
    let mut cluster = Node::dir("/0");
    cluster.child("members", list);
    if !members.removed.is_empty() {
        cluster.child("removed_members", removed);
    }
    if let Some(version) = members.cluster_version {
        cluster.child("version", Node::value("/0/version".to_owned(), version.to_string()));
    }
    let mut root = Node::dir("/");
    root.child("0", cluster);
    root.child("1", Node::dir("/1"));
    go_json(&Blob { root, current_version: 2 }).into()
}

fn member_node(member: &Member) -> Node {
    let path = format!("/0/members/{}", hex_id(member.id));
    let mut dir = Node::dir(&path);
    let raft = RaftAttributes { peer_urls: Some(member.peer_urls.clone()), is_learner: member.is_learner };
    dir.child("raftAttributes", json_value(format!("{path}/raftAttributes"), &raft));
    if !member.client_urls.is_empty() {
        let own = Attributes { name: member.name.clone(), client_urls: Some(member.client_urls.clone()) };
        dir.child("attributes", json_value(format!("{path}/attributes"), &own));
    }
    dir
}

fn json_value<T: Serialize>(path: String, value: &T) -> Node {
    // Escapes of the inner JSON survive: the outer one escapes their backslashes.
    Node::value(path, String::from_utf8(go_json(value)).expect("JSON is UTF-8"))
}

/// The membership of a blob (without a downgrade, which v2 does not know).
///
/// # Errors
/// Says what is malformed.
pub fn decode(blob: &[u8]) -> Result<Members, String> {
    let blob: Blob =
        serde_json::from_slice(blob).map_err(|e| format!("v2 store blob does not parse: {e}"))?;
    let mut members = Members::default();
    let Some(cluster) = blob.root.get("0") else { return Ok(members) };
    for (name, dir) in cluster.get("members").into_iter().flat_map(Node::entries) {
        let member = decode_member(name, dir)?;
        members.list.insert(member.id, member);
    }
    for (name, _) in cluster.get("removed_members").into_iter().flat_map(Node::entries) {
        members.removed.insert(id_of(name)?);
    }
    if let Some(version) = cluster.get("version") {
        let parsed = Version::parse(&version.value);
        members.cluster_version =
            Some(parsed.ok_or_else(|| format!("v2 cluster version {:?}", version.value))?);
    }
    Ok(members)
}

fn decode_member(name: &str, dir: &Node) -> Result<Member, String> {
    let id = id_of(name)?;
    let raft = dir.get("raftAttributes").ok_or_else(|| format!("v2 member {name} has no raftAttributes"))?;
    let raft: RaftAttributes =
        serde_json::from_str(&raft.value).map_err(|e| format!("v2 member {name}: {e}"))?;
    let mut member = Member {
        id,
        peer_urls: raft.peer_urls.unwrap_or_default(),
        is_learner: raft.is_learner,
        ..Member::default()
    };
    if let Some(node) = dir.get("attributes") {
        let own: Attributes =
            serde_json::from_str(&node.value).map_err(|e| format!("v2 member {name}: {e}"))?;
        member.name = own.name;
        member.client_urls = own.client_urls.unwrap_or_default();
    }
    Ok(member)
}

fn id_of(name: &str) -> Result<u64, String> {
    parse_hex_id(name).ok_or_else(|| format!("v2 member name {name:?} is not an id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Members {
        let member = Member {
            id: 0x8e9e_05c5_2164_694d,
            peer_urls: vec!["http://a:1?x=1&y=2".into()],
            name: "n".into(),
            client_urls: vec!["http://c:2".into()],
            is_learner: false,
        };
        let learner =
            Member { id: 5, is_learner: true, peer_urls: vec!["http://b:1".into()], ..Member::default() };
        Members {
            list: [(member.id, member), (5, learner)].into(),
            removed: [7].into(),
            cluster_version: Some(Version::V3_7),
            ..Members::default()
        }
    }

    #[test]
    fn a_membership_survives_the_blob() {
        assert_eq!(decode(&encode(&members())).unwrap(), members());
        assert_eq!(decode(&encode(&Members::default())).unwrap(), Members::default());
    }

    #[test]
    fn the_blob_has_the_shape_etcd_restores() {
        let mut one = members();
        one.list.retain(|id, _| *id == 5);
        assert_eq!(
            String::from_utf8(encode(&one).to_vec()).unwrap(),
            concat!(
                r#"{"Root":{"Path":"/","Value":"","Children":{"0":{"Path":"/0","Value":"","Children":{"#,
                r#""members":{"Path":"/0/members","Value":"","Children":{"5":{"Path":"/0/members/5","Value":"","#,
                r#""Children":{"raftAttributes":{"Path":"/0/members/5/raftAttributes","#,
                r#""Value":"{\"peerURLs\":[\"http://b:1\"],\"isLearner\":true}","Children":null}}}}},"#,
                r#""removed_members":{"Path":"/0/removed_members","Value":"","Children":{"7":{"#,
                r#""Path":"/0/removed_members/7","Value":"","Children":null}}},"#,
                r#""version":{"Path":"/0/version","Value":"3.7.0","Children":null}}},"#,
                r#""1":{"Path":"/1","Value":"","Children":{}}}},"CurrentVersion":2}"#
            )
        );
    }

    #[test]
    fn malformed_blobs_are_refused() {
        let bad = [
            "",
            "{}",
            r#"{"Root":{"Children":{"0":{"Children":{"members":{"Children":{"x":{}}}}}}}}"#,
            r#"{"Root":{"Children":{"0":{"Children":{"members":{"Children":{"5":{"Children":{}}}}}}}}}"#,
            r#"{"Root":{"Children":{"0":{"Children":{"version":{"Value":"?"}}}}}}"#,
        ];
        for blob in bad {
            assert!(decode(blob.as_bytes()).is_err(), "{blob}");
        }
    }
}
