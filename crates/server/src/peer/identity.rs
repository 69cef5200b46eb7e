//! Who this member says it is in every request to another, and what it demands of those who ask (formats 5.2, 5.3).

use http::{HeaderMap, HeaderValue};
use raft::MemberId;
use store::Version;

use super::{Peers, parse_id};
use crate::log;

/// The oldest cluster version that this member can join.
const MIN_CLUSTER_VERSION: &str = "3.0.0";
/// What a member is that does not say its version.
const UNSAID_VERSION: &str = "2.0.0";

/// Names of headers.
pub const SERVER_FROM: &str = "x-server-from";
/// Version of the sender.
pub const SERVER_VERSION: &str = "x-server-version";
/// Oldest cluster version of the sender.
pub const MIN_VERSION: &str = "x-min-cluster-version";
/// Cluster of the sender.
pub const CLUSTER_ID: &str = "x-etcd-cluster-id";
/// Where the sender can be reached.
pub const PEER_URLS: &str = "x-peerurls";
/// Whom a stream is meant for.
pub const RAFT_TO: &str = "x-raft-to";

/// A member as it introduces itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its id.
    pub id: MemberId,
    /// Its cluster.
    pub cluster_id: u64,
    /// Its version.
    pub version: &'static str,
    /// Its advertised peer URLs.
    pub urls: Vec<String>,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Incompatible {
    #[error("incompatible version")]
    Version,
    #[error("cluster ID mismatch")]
    Cluster,
}

impl Identity {
    /// The headers of every request to a peer.
    pub fn introduce(&self, headers: &mut HeaderMap) {
        let said = [
            (SERVER_FROM, self.id.to_string()),
            (SERVER_VERSION, self.version.to_owned()),
            (MIN_VERSION, MIN_CLUSTER_VERSION.to_owned()),
            (CLUSTER_ID, format!("{:x}", self.cluster_id)),
            (PEER_URLS, self.urls.join(",")),
        ];
        for (name, value) in said {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }

    /// Whether whoever asks may be of this cluster.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Incompatible> {
        let theirs = said(headers, SERVER_VERSION);
        let theirs_min = said(headers, MIN_VERSION);
        let version = |text: &str, unsaid| Version::parse(if text.is_empty() { unsaid } else { text });
        let (own, own_min) = (Version::parse(self.version), Version::parse(MIN_CLUSTER_VERSION));
        let fits = version(theirs, UNSAID_VERSION) >= own_min
            && version(theirs_min, UNSAID_VERSION).is_some_and(|min| Some(min) <= own);
        let shown = |text: &'static str| {
            log::warning!(
                text,
                "local-member-id" = self.id.to_string(),
                "local-member-cluster-id" = format!("{:x}", self.cluster_id),
                "local-member-server-version" = self.version,
                "local-member-server-minimum-cluster-version" = MIN_CLUSTER_VERSION,
                "remote-peer-server-name" = said(headers, SERVER_FROM).to_owned(),
                "remote-peer-server-version" = theirs.to_owned(),
                "remote-peer-server-minimum-cluster-version" = theirs_min.to_owned(),
                "remote-peer-cluster-id" = said(headers, CLUSTER_ID).to_owned()
            );
        };
        if !fits {
            shown("failed version compatibility check");
            return Err(Incompatible::Version);
        }
        if said(headers, CLUSTER_ID) != format!("{:x}", self.cluster_id) {
            shown("request cluster ID mismatch");
            return Err(Incompatible::Cluster);
        }
        Ok(())
    }
}

/// A header's value, empty if it is not there.
pub fn said<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

impl Peers {
    /// Whoever asks can be answered from now on.
    pub fn remember(&self, headers: &HeaderMap) {
        let Some(from) = parse_id(said(headers, SERVER_FROM)) else { return };
        let urls: Vec<String> = said(headers, PEER_URLS).split(',').map(str::to_owned).collect();
        if urls.iter().all(|url| crate::config::Url::parse(url).is_ok()) {
            self.add_remote(from, &urls);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(version: &'static str) -> Identity {
        Identity {
            id: MemberId(0xa),
            cluster_id: 0xc,
            version,
            urls: vec!["http://a:1".into(), "http://b:2".into()],
        }
    }

    fn introduced(by: &Identity) -> HeaderMap {
        let mut headers = HeaderMap::new();
        by.introduce(&mut headers);
        headers
    }

    #[test]
    fn members_of_one_cluster_get_along_whatever_their_versions_since_3_0() {
        for (own, other) in [("3.7.1", "3.5.1"), ("3.5.33", "3.7.1"), ("3.7.1", "3.0.0")] {
            assert_eq!(identity(own).check(&introduced(&identity(other))), Ok(()));
        }
    }

    #[test]
    fn strangers_and_the_far_too_old_or_new_are_refused() {
        let own = identity("3.7.1");
        let of_another = introduced(&Identity { cluster_id: 0xd, ..own.clone() });
        assert_eq!(own.check(&of_another), Err(Incompatible::Cluster));
        assert_eq!(own.check(&HeaderMap::new()), Err(Incompatible::Version));
        for (name, value) in [(SERVER_VERSION, "2.3.0"), (MIN_VERSION, "4.0.0"), (MIN_VERSION, "x")] {
            let mut headers = introduced(&own);
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(own.check(&headers), Err(Incompatible::Version), "{name}: {value}");
        }
    }

    #[test]
    fn the_headers_are_those_etcd_sends() {
        let headers = introduced(&identity("3.7.1"));
        let shown = |name| said(&headers, name);
        assert_eq!([shown("X-Server-From"), shown("X-Server-Version")], ["a", "3.7.1"]);
        assert_eq!([shown("X-Min-Cluster-Version"), shown("X-Etcd-Cluster-ID")], ["3.0.0", "c"]);
        assert_eq!(shown("X-PeerURLs"), "http://a:1,http://b:2");
    }
}
