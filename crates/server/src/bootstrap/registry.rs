//! The discovery service of v3: another etcd cluster keeps a list in which the members of a new one find each other.
//!
//! Somebody puts the size of the cluster under `/_etcd/registry/TOKEN/_config/size`. Each member puts itself under
//! `…/members/ID` and waits until as many are there; the first so many by create revision are the cluster. Who finds the
//! list full without itself is refused. A member that ended meanwhile finds itself by its id, which comes from its URLs.

use std::time::Duration;

use bytes::Bytes;
use client::{Client, Options, range};
use proto::etcdserverpb::{PutRequest, RangeRequest, WatchCreateRequest};
use proto::mvccpb::KeyValue;
use thiserror::Error;

use crate::config::{Discovery, Url};
use crate::log;

/// Why the registry makes no member of this one. Etcd's texts.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("discovery: invalid peer URL")]
    InvalidUrl,
    #[error("discovery: size key is bad")]
    BadSize,
    #[error("discovery: size key not found")]
    NoSize,
    #[error("discovery: cluster is full")]
    Full,
    /// Comes out only when the registry refuses the user's name and password: everything else is tried again.
    #[error(transparent)]
    Registry(#[from] client::Error),
}

/// The pause doubles with each failure, so many times.
const DOUBLINGS_MAX: u32 = 8;
/// For a limit or an interval that is switched off by giving 0.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A list is a few lines; nobody's registry shall fill this member's memory.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// No cluster has so many members.
const MEMBERS_MAX: usize = 1000;
/// Name and URLs of a member.
const INFO_BYTES_MAX: usize = 64 << 10;

/// A line for the log that says which registry it is about.
macro_rules! tell {
    ($level:ident, $keys:expr, $message:literal $($rest:tt)*) => {
        log::$level!(
            $message,
            "discovery-token" = &$keys.token,
            "discovery-endpoints" = &$keys.endpoints
            $($rest)*
        )
    };
}

/// What the registry says.
pub(super) struct Joined {
    /// All members, in the form of `--initial-cluster`.
    pub cluster: String,
    /// This member was on the list before: it was started at least once.
    pub was_listed: bool,
}

/// Puts this member (`name=url[,name=url]`) on the list and waits for the others, as long as it takes; also for the registry.
///
/// # Errors
/// The list is full or none, or holds what is no URL; the registry refuses the user's name and password.
pub(super) async fn join(registry: &Discovery, member_id: u64, own: &str) -> Result<Joined, Error> {
    let keys = Keys::new(registry, member_id);
    let joined = match Registry::open(registry, keys.clone()).await {
        Ok(mut registry) => registry.join(own).await,
        Err(error) => Err(error),
    };
    match &joined {
        Ok(joined) => {
            tell!(info, keys, "discovery joined cluster successfully", "cluster" = &joined.cluster);
        }
        Err(error) => tell!(
            error,
            keys,
            "discovery failed to join cluster",
            "cluster" = "",
            "error" = error.to_string()
        ),
    }
    joined
}

/// Where things are in the registry.
#[derive(Clone)]
struct Keys {
    token: String,
    endpoints: String,
    size: String,
    /// Prefix of all members.
    members: String,
    own: String,
}

impl Keys {
    fn new(registry: &Discovery, member_id: u64) -> Keys {
        let cluster = path(&format!("/_etcd/registry/{}", registry.token));
        let members = format!("{cluster}/members");
        Keys {
            token: registry.token.clone(),
            endpoints: registry.endpoints.join(","),
            size: format!("{cluster}/_config/size"),
            own: format!("{members}/{member_id:x}"),
            members,
        }
    }
}

/// A path without empty parts and dots, as etcd makes keys of a token.
fn path(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

struct Registry {
    client: Client,
    keys: Keys,
    failures: u32,
}

impl Registry {
    async fn open(registry: &Discovery, keys: Keys) -> Result<Registry, Error> {
        let mut failures = 0;
        let client = loop {
            match Client::connect(options(registry)).await {
                Ok(client) => break client,
                // With a user's name, this asks for a token.
                Err(error) if is_final(&error) => return Err(error.into()),
                Err(_) => back_off(&keys, &mut failures, "authentication").await,
            }
        };
        let client = client.with_timeout(Some(registry.request_timeout));
        Ok(Registry { client, keys, failures: 0 })
    }

    async fn join(&mut self, own: &str) -> Result<Joined, Error> {
        // Before anything is written: a list that is full shall not grow.
        let was_listed = self.look().await?.contains(&self.keys.own);
        self.register(own).await;
        let mut listed = self.look().await?;
        while !self.wait(&mut listed).await {
            back_off(&self.keys, &mut self.failures, "waiting for peers").await;
            listed = self.look().await?;
        }
        Ok(Joined { cluster: listed.initial_cluster()?, was_listed })
    }

    /// The list, on which there is or was room for this member.
    async fn look(&mut self) -> Result<List, Error> {
        loop {
            match self.read().await {
                Ok(list) if list.has_room_for(&self.keys.own) => {
                    self.failures = 0;
                    return Ok(list);
                }
                Ok(_) => return Err(Error::Full),
                Err(Error::Registry(_)) => {
                    back_off(&self.keys, &mut self.failures, "cluster status check").await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn read(&self) -> Result<List, Error> {
        let keys = &self.keys;
        let answer = self.client.range(range::key(keys.size.clone())).await.inspect_err(|error| {
            tell!(
                warning,
                keys,
                "failed to get cluster size from discovery service",
                "clusterSizeKey" = &keys.size,
                "error" = error.to_string()
            );
        })?;
        let mut list = List::of_size(size(answer.kvs.first())?);
        let (key, range_end) = range::prefix(keys.members.as_bytes());
        let request = RangeRequest { key, range_end, ..RangeRequest::default() };
        let answer = self.client.range(request).await.inspect_err(|error| {
            tell!(
                warning,
                keys,
                "failed to get cluster members from discovery service",
                "membersKeyPrefix" = &keys.members,
                "error" = error.to_string()
            );
        })?;
        list.revision = answer.header.map_or(0, |header| header.revision);
        answer.kvs.iter().for_each(|record| self.add(&mut list, record));
        Ok(list)
    }

    async fn register(&mut self, own: &str) {
        let (key, value) = (Bytes::from(self.keys.own.clone()), Bytes::from(own.to_owned()));
        let put = PutRequest { key, value, ..PutRequest::default() };
        while let Err(error) = self.client.put(put.clone()).await {
            tell!(
                warning,
                self.keys,
                "failed to register members itself to the discovery service",
                "memberKey" = &self.keys.own,
                "error" = error.to_string()
            );
            // Once more does no harm: the create revision stays.
            back_off(&self.keys, &mut self.failures, "register member itself").await;
        }
        self.failures = 0;
        tell!(
            info,
            self.keys,
            "register member itself successfully",
            "memberKey" = &self.keys.own,
            "memberInfo" = own
        );
    }

    /// Until everybody is there. False if the watch ended before, and the list must be read again.
    async fn wait(&self, list: &mut List) -> bool {
        if list.is_complete() {
            return true;
        }
        let (key, range_end) = range::prefix(self.keys.members.as_bytes());
        let start_revision = list.revision + 1;
        let mut watcher = self.client.watch(WatchCreateRequest {
            key,
            range_end,
            start_revision,
            ..WatchCreateRequest::default()
        });
        let counted = |list: &List| (list.size, list.members.len());
        let (size, found) = counted(list);
        tell!(
            info,
            self.keys,
            "waiting for peers from discovery service",
            "clusterSize" = size,
            "found-peers" = found
        );
        while !list.is_complete() {
            let Ok(Some(response)) = watcher.next().await else { return false };
            for record in response.events.iter().filter_map(|event| event.kv.as_ref()) {
                // Who comes later than the last is none of them.
                if !list.is_complete() {
                    self.add(list, record);
                }
            }
        }
        let (size, found) = counted(list);
        tell!(
            info,
            self.keys,
            "found all needed peers from discovery service",
            "clusterSize" = size,
            "found-peers" = found
        );
        true
    }

    fn add(&self, list: &mut List, record: &KeyValue) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let (key, info) = (text(&record.key), text(&record.value));
        match list.add(&key, &info, record.create_revision) {
            Ok(()) => tell!(
                info,
                self.keys,
                "found peer from discovery service",
                "memberKey" = key,
                "memberInfo" = info
            ),
            Err(why) => log::warning!(
                why,
                "discovery-token" = &self.keys.token,
                "discovery-endpoints" = &self.keys.endpoints,
                "memberKey" = key,
                "memberInfo" = info
            ),
        }
    }
}

fn options(registry: &Discovery) -> Options {
    let given = |time: Duration| if time.is_zero() { NEVER } else { time };
    let user = match registry.user.split_once(':') {
        Some((name, password)) if registry.password.is_empty() => (name, password),
        _ => (registry.user.as_str(), registry.password.as_str()),
    };
    Options {
        endpoints: registry.endpoints.clone(),
        dial_timeout: given(registry.dial_timeout),
        keepalive_time: given(registry.keepalive_time),
        keepalive_timeout: given(registry.keepalive_timeout),
        max_recv_bytes: ANSWER_BYTES_MAX,
        // As etcd: a name without a password is nobody.
        user: Some(user)
            .filter(|(name, password)| !name.is_empty() && !password.is_empty())
            .map(|(name, password)| (name.to_owned(), password.to_owned())),
        ..Options::default()
    }
}

/// Trying again to connect would end the same way.
fn is_final(error: &client::Error) -> bool {
    match error {
        client::Error::NoEndpoints => true,
        client::Error::Server(status) => matches!(
            client::code_name(status.code()),
            "InvalidArgument" | "FailedPrecondition" | "PermissionDenied" | "Unauthenticated"
        ),
        client::Error::Deadline | client::Error::WatchRefused(_) => false,
    }
}

async fn back_off(keys: &Keys, failures: &mut u32, step: &'static str) {
    *failures += 1;
    let pause = pause(*failures);
    tell!(warning, keys, "retry connecting to discovery service", "reason" = step, "backoff" = pause);
    tokio::time::sleep(pause).await;
}

/// Before the next attempt, after so many in a row have failed.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(DOUBLINGS_MAX))
}

fn size(record: Option<&KeyValue>) -> Result<usize, Error> {
    let record = record.ok_or(Error::NoSize)?;
    let size = std::str::from_utf8(&record.value).ok().and_then(|text| text.parse().ok());
    size.filter(|size| (1..=MEMBERS_MAX).contains(size)).ok_or(Error::BadSize)
}

/// Who has registered, the oldest first.
#[derive(Debug, Default)]
struct List {
    size: usize,
    members: Vec<Registered>,
    /// The registry's when the list was read.
    revision: i64,
}

#[derive(Debug)]
struct Registered {
    key: String,
    /// `name=url[,name=url]`.
    info: String,
    create_revision: i64,
}

impl List {
    fn of_size(size: usize) -> List {
        List { size, ..List::default() }
    }

    fn add(&mut self, key: &str, info: &str, create_revision: i64) -> Result<(), &'static str> {
        if !info.contains('=') || info.len() > INFO_BYTES_MAX {
            return Err("invalid peer info returned from discovery service");
        }
        if self.members.iter().any(|member| member.key == key) {
            return Err("found duplicate peer from discovery service");
        }
        self.members.push(Registered { key: key.to_owned(), info: info.to_owned(), create_revision });
        self.members.sort_by_key(|member| member.create_revision);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.members.len() >= self.size
    }

    /// Among the first so many.
    fn contains(&self, key: &str) -> bool {
        self.members.iter().take(self.size).any(|member| member.key == key)
    }

    fn has_room_for(&self, key: &str) -> bool {
        !self.is_complete() || self.contains(key)
    }

    /// The first so many; who registered too late is none of them.
    fn initial_cluster(&self) -> Result<String, Error> {
        let infos: Vec<&str> =
            self.members.iter().take(self.size).map(|member| member.info.as_str()).collect();
        let cluster = infos.join(",");
        let is_url = |pair: &str| pair.split_once('=').is_some_and(|(_, url)| Url::parse(url).is_ok());
        let all = cluster.split(',').filter(|pair| !pair.is_empty()).all(is_url);
        if all { Ok(cluster) } else { Err(Error::InvalidUrl) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(size: usize, members: &[(&str, &str, i64)]) -> List {
        let mut list = List::of_size(size);
        for (key, info, revision) in members {
            list.add(key, info, *revision).unwrap();
        }
        list
    }

    #[test]
    fn who_registered_first_is_in_and_who_came_too_late_is_not() {
        let list =
            list(2, &[("k3", "c=http://c:1", 30), ("k1", "a=http://a:1", 10), ("k2", "b=http://b:1", 20)]);
        assert_eq!(list.initial_cluster().unwrap(), "a=http://a:1,b=http://b:1");
        assert!(list.has_room_for("k1") && list.has_room_for("k2"));
        assert!(!list.has_room_for("k3"), "it registered in the same moment, and too late");
        assert!(!list.has_room_for("k4"));
    }

    #[test]
    fn there_is_room_until_the_list_is_complete() {
        let mut list = list(2, &[("k1", "a=http://a:1", 10)]);
        assert!(list.has_room_for("k2") && !list.is_complete());
        list.add("k2", "b=http://b:1", 20).unwrap();
        assert!(list.is_complete() && list.has_room_for("k2") && !list.has_room_for("k3"));
    }

    #[test]
    fn a_record_that_is_no_member_or_one_known_already_is_passed_over() {
        let mut list = list(2, &[("k1", "a=http://a:1", 10)]);
        assert_eq!(list.add("k2", "", 20).unwrap_err(), "invalid peer info returned from discovery service");
        let long = format!("a=http://{}:1", "a".repeat(INFO_BYTES_MAX));
        assert!(list.add("k3", &long, 20).is_err(), "nobody is called that");
        let again = list.add("k1", "z=http://z:1", 30);
        assert_eq!(again.unwrap_err(), "found duplicate peer from discovery service");
        assert_eq!(list.initial_cluster().unwrap(), "a=http://a:1");
    }

    #[test]
    fn members_with_several_urls_stay_whole_and_what_is_no_url_is_refused() {
        let good = list(1, &[("k1", "a=http://a:1,a=http://a:2", 10)]);
        assert_eq!(good.initial_cluster().unwrap(), "a=http://a:1,a=http://a:2");
        for info in ["a=", "a=http://a", "a=ftp://a:1", "a=http://a:1,b"] {
            let text = list(1, &[("k1", info, 10)]).initial_cluster().unwrap_err().to_string();
            assert_eq!(text, "discovery: invalid peer URL", "{info}");
        }
    }

    #[test]
    fn the_size_must_be_a_number_above_zero_that_a_cluster_may_have() {
        let record = |value: &'static str| KeyValue { value: value.into(), ..KeyValue::default() };
        assert_eq!(size(Some(&record("3"))).unwrap(), 3);
        assert_eq!(size(Some(&record("1000"))).unwrap(), MEMBERS_MAX);
        assert_eq!(size(None).unwrap_err().to_string(), "discovery: size key not found");
        for bad in ["", "0", "-1", "three", "3 ", "1001", "99999999999999999999"] {
            let text = size(Some(&record(bad))).unwrap_err().to_string();
            assert_eq!(text, "discovery: size key is bad", "{bad:?}");
        }
    }

    #[test]
    fn keys_are_those_etcd_uses() {
        let registry = Discovery { token: "/a//b/../c".into(), ..Discovery::default() };
        let keys = Keys::new(&registry, 0xab);
        assert_eq!(keys.size, "/_etcd/registry/a/c/_config/size");
        assert_eq!(keys.own, "/_etcd/registry/a/c/members/ab");
    }

    #[test]
    fn pauses_double_until_four_minutes() {
        let pauses: Vec<u64> = [1, 2, 3, 7, 8, 9, 1000].map(|failures| pause(failures).as_secs()).into();
        assert_eq!(pauses, [2, 4, 8, 128, 256, 256, 256]);
    }

    #[test]
    fn a_password_may_come_with_the_name() {
        let user = |user: &str, password: &str| {
            let registry = Discovery { user: user.into(), password: password.into(), ..Discovery::default() };
            options(&registry).user
        };
        assert_eq!(user("root:pw", ""), Some(("root".into(), "pw".into())));
        assert_eq!(user("ro:ot", "pw"), Some(("ro:ot".into(), "pw".into())));
        assert_eq!(user("root", ""), None);
        assert_eq!(user("", "pw"), None);
    }
}
