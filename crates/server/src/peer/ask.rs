//! What a member asks others for outside of consensus: who is in the cluster, versions, leases, hashes, a promotion.
//! Formats 5.1, 5.7, 5.8.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use prost::Message as _;
use proto::{etcdserverpb as pb, leasepb};
use serde::Deserialize;

use super::client::Dialer;
use crate::log;

/// Longest answer read: a member list, a hash, one lease with its keys.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why another member did not give what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// It was not reached, or its answer makes no sense.
    Failed(String),
    /// It answered with this status and text.
    Refused(StatusCode, String),
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AskError::Failed(why) => f.write_str(why),
            AskError::Refused(status, text) => write!(f, "{status}: {}", text.trim_end()),
        }
    }
}

/// A running cluster, as one of its members tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its id.
    pub id: u64,
    /// Its members, by id.
    pub members: Vec<store::Member>,
}

/// Answer of `/version`. Versions as texts: "3.7.1", "not_decided", "unknown".
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Versions {
    /// Of the program.
    #[serde(rename = "etcdserver", default)]
    pub server: String,
    /// Of the cluster.
    #[serde(rename = "etcdcluster", default)]
    pub cluster: String,
}

/// Answer of `/members/hashkv`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Hash {
    /// The header's revision: where that member is now.
    #[serde(default, deserialize_with = "revision")]
    header: i64,
    /// The hash.
    #[serde(default)]
    pub hash: u32,
    /// What that member had compacted.
    #[serde(default)]
    pub compact_revision: i64,
}

impl Hash {
    /// The revision at which that member is.
    pub fn revision(&self) -> i64 {
        self.header
    }
}

fn revision<'de, D: serde::Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    struct Header {
        #[serde(default)]
        revision: i64,
    }
    Header::deserialize(from).map(|header| header.revision)
}

struct Ask<'a> {
    dialer: &'a Dialer,
    method: Method,
    path: &'a str,
    headers: Vec<(header::HeaderName, String)>,
    body: Bytes,
}

impl<'a> Ask<'a> {
    fn get(dialer: &'a Dialer, path: &'a str) -> Ask<'a> {
        Ask { dialer, method: Method::GET, path, headers: Vec::new(), body: Bytes::new() }
    }

    fn post(dialer: &'a Dialer, path: &'a str, body: Vec<u8>) -> Ask<'a> {
        let kind = (header::CONTENT_TYPE, "application/protobuf".to_owned());
        Ask { dialer, method: Method::POST, path, headers: vec![kind], body: body.into() }
    }

    /// Asks at one URL; anything but 200 is an error.
    async fn at(&self, url: &str, within: Duration) -> Result<http::Response<Bytes>, AskError> {
        let mut request = Request::builder().method(self.method.clone()).uri(self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let failed = |error: &dyn std::fmt::Display| AskError::Failed(error.to_string());
        let request = request.body(self.body.clone()).map_err(|error| failed(&error))?;
        let asked = self.dialer.request(url, request, ANSWER_BYTES_MAX, within);
        let answer = asked.await.map_err(|error| failed(&error))?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Err(AskError::Refused(answer.status(), text))
    }

    /// Asks at one URL after the other until one answers with sense.
    async fn any<T>(
        &self,
        urls: &[String],
        within: Duration,
        read: impl Fn(&http::Response<Bytes>) -> Option<T>,
    ) -> Result<T, AskError> {
        let mut failed = AskError::Failed("no URL to ask at".into());
        for url in urls {
            match self.at(url, within).await {
                Ok(answer) => match read(&answer) {
                    Some(read) => return Ok(read),
                    None => failed = AskError::Failed(format!("{url}{} gave no sensible answer", self.path)),
                },
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

/// The cluster behind `urls`, asked in order: the first answer that `fits`, else the first. A member that has just been
/// added is known to whoever acknowledged it, while another may not have executed that yet. A member that knows of no
/// members ends the search, as in etcd.
pub async fn cluster(
    dialer: &Dialer,
    urls: &[String],
    within: Duration,
    tell: bool,
    fits: impl Fn(&Cluster) -> bool,
) -> Result<Cluster, AskError> {
    let mut first = None;
    for url in urls {
        match cluster_at(dialer, url, within, tell).await {
            None => {}
            Some(cluster) if cluster.members.is_empty() => {
                let failed = "failed to get raft cluster member(s) from the given URLs";
                return first.ok_or_else(|| AskError::Failed(failed.into()));
            }
            Some(cluster) if fits(&cluster) => return Ok(cluster),
            Some(cluster) => {
                first.get_or_insert(cluster);
            }
        }
    }
    first.ok_or_else(|| AskError::Failed("could not retrieve cluster information from the given URLs".into()))
}

/// What one member tells; `None` if it is not there or makes no sense, which is logged.
async fn cluster_at(dialer: &Dialer, url: &str, within: Duration, tell: bool) -> Option<Cluster> {
    let address = format!("{url}/members");
    let answer = match Ask::get(dialer, "/members").at(url, within).await {
        Ok(answer) => answer,
        Err(error) => {
            if tell {
                log::warning!(
                    "failed to get cluster response",
                    "address" = address,
                    "error" = error.to_string()
                );
            }
            return None;
        }
    };
    let id = answer.headers().get("x-etcd-cluster-id").and_then(|id| id.to_str().ok());
    let Some(id) = id.and_then(|id| u64::from_str_radix(id, 16).ok()) else {
        log::warning!("failed to parse cluster ID", "address" = address);
        return None;
    };
    match serde_json::from_slice::<Option<Vec<store::Member>>>(answer.body()) {
        Ok(members) => {
            let mut members = members.unwrap_or_default();
            members.sort_by_key(|member| member.id);
            Some(Cluster { id, members })
        }
        Err(error) => {
            log::warning!(
                "failed to unmarshal cluster response",
                "address" = address,
                "error" = error.to_string()
            );
            None
        }
    }
}

/// Which versions a member runs and knows.
pub async fn versions(dialer: &Dialer, urls: &[String], within: Duration) -> Result<Versions, AskError> {
    Ask::get(dialer, "/version").any(urls, within, |answer| serde_json::from_slice(answer.body()).ok()).await
}

/// Whether the cluster is being downgraded, as a member knows it.
pub async fn downgrade_enabled(dialer: &Dialer, urls: &[String], within: Duration) -> Result<bool, AskError> {
    let read = |answer: &http::Response<Bytes>| match answer.body().trim_ascii() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    };
    Ask::get(dialer, "/downgrade/enabled").any(urls, within, read).await
}

/// Renews a lease at the leader: the TTL in seconds, `None` if it knows no such lease.
pub async fn renew(
    dialer: &Dialer,
    urls: &[String],
    id: i64,
    within: Duration,
) -> Result<Option<i64>, AskError> {
    let ask = Ask::post(dialer, "/leases", pb::LeaseKeepAliveRequest { id }.encode_to_vec());
    let read =
        |answer: &http::Response<Bytes>| pb::LeaseKeepAliveResponse::decode(answer.body().clone()).ok();
    known(ask.any(urls, within, read).await.map(|response| response.ttl))
}

/// What the leader knows of a lease, `None` if nothing.
pub async fn time_to_live(
    dialer: &Dialer,
    urls: &[String],
    request: pb::LeaseTimeToLiveRequest,
    within: Duration,
) -> Result<Option<pb::LeaseTimeToLiveResponse>, AskError> {
    let request = leasepb::LeaseInternalRequest { lease_time_to_live_request: Some(request) };
    let ask = Ask::post(dialer, "/leases/internal", request.encode_to_vec());
    let read = |answer: &http::Response<Bytes>| {
        leasepb::LeaseInternalResponse::decode(answer.body().clone()).ok()?.lease_time_to_live_response
    };
    known(ask.any(urls, within, read).await)
}

/// An unknown lease is an answer, too.
fn known<T>(answer: Result<T, AskError>) -> Result<Option<T>, AskError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(AskError::Refused(StatusCode::NOT_FOUND, _)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has the leader promote a learner, with the caller's token: the members afterwards.
pub async fn promote(
    dialer: &Dialer,
    urls: &[String],
    id: u64,
    token: Option<&str>,
    within: Duration,
) -> Result<Vec<store::Member>, AskError> {
    let path = format!("/members/promote/{id}");
    let headers = token.map(|token| (header::AUTHORIZATION, token.to_owned())).into_iter().collect();
    let ask = Ask { dialer, method: Method::POST, path: &path, headers, body: Bytes::new() };
    let mut failed = AskError::Failed("no URL to ask at".into());
    for url in urls {
        match ask.at(url, within).await {
            Ok(answer) => match serde_json::from_slice(answer.body()) {
                Ok(members) => return Ok(members),
                Err(error) => failed = AskError::Failed(error.to_string()),
            },
            // A verdict is one whoever is asked.
            Err(refused @ AskError::Refused(StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED, _)) => {
                return Err(refused);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// A member's hash of the key space at a revision.
pub async fn hash_kv(
    dialer: &Dialer,
    urls: &[String],
    cluster_id: u64,
    revision: i64,
    within: Duration,
) -> Result<Hash, AskError> {
    let headers = vec![
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::HeaderName::from_static("x-etcd-cluster-id"), format!("{cluster_id:x}")),
    ];
    let body = format!("{{\"revision\":{revision}}}");
    let ask = Ask { dialer, method: Method::GET, path: "/members/hashkv", headers, body: body.into() };
    ask.any(urls, within, |answer| serde_json::from_slice(answer.body()).ok()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::peer::client::tests::answering;

    #[tokio::test]
    async fn the_first_list_of_members_that_fits_is_taken_else_the_first() {
        let of = |ids: &'static [u8]| async move { answering(ids).await.0 };
        let stale = b"HTTP/1.1 200 OK\r\nX-Etcd-Cluster-Id: 7\r\nContent-Length: 10\r\n\r\n[{\"id\":1}]";
        let fresh =
            b"HTTP/1.1 200 OK\r\nX-Etcd-Cluster-Id: 7\r\nContent-Length: 19\r\n\r\n[{\"id\":2},{\"id\":1}]";
        let dialer = Dialer::new(&Config::default());
        let none = b"HTTP/1.1 200 OK\r\nX-Etcd-Cluster-Id: 7\r\nContent-Length: 2\r\n\r\n[]";
        for (fitting, then, expected) in
            [(2, &fresh[..], &[1, 2][..]), (3, &fresh[..], &[1]), (2, &none[..], &[1])]
        {
            let urls = [of(stale).await, of(then).await];
            let fits = |cluster: &Cluster| cluster.members.len() == fitting;
            let told = cluster(&dialer, &urls, Duration::from_secs(5), true, fits).await.unwrap();
            assert_eq!(told.members.iter().map(|member| member.id).collect::<Vec<_>>(), expected);
        }
        let urls = [of(none).await, of(fresh).await];
        cluster(&dialer, &urls, Duration::from_secs(5), true, |_| true)
            .await
            .expect_err("it ends the search");
    }

    #[test]
    fn a_hash_is_read_as_go_writes_it() {
        let text =
            r#"{"header":{"cluster_id":1,"revision":7},"hash":123,"compact_revision":4,"hash_revision":5}"#;
        let hash: Hash = serde_json::from_str(text).unwrap();
        assert_eq!((hash.revision(), hash.hash, hash.compact_revision), (7, 123, 4));
        // Zero fields are left out.
        let hash: Hash = serde_json::from_str(r#"{"header":{}}"#).unwrap();
        assert_eq!(hash, Hash::default());
    }

    #[test]
    fn versions_of_every_release_are_read() {
        let old: Versions = serde_json::from_str(r#"{"etcdserver":"3.5.1","etcdcluster":"3.5.0"}"#).unwrap();
        let new: Versions =
            serde_json::from_str(r#"{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}"#)
                .unwrap();
        assert_eq!((old.server.as_str(), new.cluster.as_str()), ("3.5.1", "3.7.0"));
    }
}
