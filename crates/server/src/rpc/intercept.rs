//! What every call passes before its handler: capability, learner rules, metadata.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::Call;
use super::error::{self, Status};
use crate::member::{Member, Who};
use crate::metrics::Counter;
use crate::stats::Method;

/// An open stream that wants a leader survives this many election timeouts without one.
const LEADERLESS_ELECTIONS: u32 = 3;

/// On which terms a call is taken.
pub enum Terms {
    /// Always.
    None,
    /// As its metadata say.
    Of {
        /// Counts what its client's version calls.
        client: Arc<Counter>,
        /// A learner serves it.
        served_by_learner: bool,
        /// Not without a leader.
        wants_leader: bool,
    },
}

impl Terms {
    /// The terms of a path with these metadata.
    pub fn of(path: &str, fields: &HeaderMap, method: Method) -> Result<Terms, Status> {
        if path.starts_with("/grpc.health.v1.") {
            return Ok(Terms::None);
        }
        let version = metadata(fields, "client-api-version")?;
        Ok(Terms::Of {
            client: crate::stats::client_requests(method, version.unwrap_or("unknown")),
            served_by_learner: served_by_learner(path),
            wants_leader: wants_leader(fields),
        })
    }

    /// Refuses calls that this member cannot serve now.
    pub fn admit(&self, member: &Member) -> Result<(), Status> {
        let Terms::Of { client, served_by_learner, wants_leader } = self else { return Ok(()) };
        client.inc();
        if !served_by_learner && member.is_learner() {
            return Err(error::NOT_FOR_LEARNER);
        }
        if *wants_leader && !member.leadership.has_leader() {
            return Err(error::NO_LEADER);
        }
        Ok(())
    }
}

/// A learner serves these; of ranges only serializable ones, which the handler decides.
fn served_by_learner(path: &str) -> bool {
    matches!(
        path,
        "/etcdserverpb.KV/Range" | "/etcdserverpb.Maintenance/Status" | "/etcdserverpb.Maintenance/Snapshot"
    )
}

/// Resolves when the client of an open stream wants a leader and there has been none for too long.
pub async fn leader_lost(call: &Call) {
    if !wants_leader(&call.head.fields) {
        return std::future::pending().await;
    }
    let patience = Duration::from_millis(call.member.config.election_ms) * LEADERLESS_ELECTIONS;
    let mut changes = call.member.leadership.changes();
    loop {
        // The sender lives in the member: the waits cannot fail.
        let _ = changes.wait_for(|soft| soft.leader.is_none()).await;
        let found = changes.wait_for(|soft| !soft.leader.is_none());
        if tokio::time::timeout(patience, found).await.is_err() {
            return;
        }
    }
}

/// The client wants to fail rather than wait while there is no leader.
pub fn wants_leader(headers: &HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|v| v.as_bytes() == b"true")
}

fn metadata<'a>(headers: &'a HeaderMap, key: &str) -> Result<Option<&'a str>, Status> {
    match headers.get(key) {
        None => Ok(None),
        Some(value) => {
            std::str::from_utf8(value.as_bytes()).map(Some).map_err(|_| error::INVALID_CLIENT_API_VERSION)
        }
    }
}

impl Call {
    /// Who asks, from the token in the metadata; nobody while auth is off or no token came.
    pub async fn who(&self) -> Result<Who, Status> {
        self.member.who(self.token()).await
    }

    /// The token in the metadata.
    pub fn token(&self) -> Option<&str> {
        let token = ["token", "authorization"].iter().find_map(|key| self.head.fields.get(*key));
        token.and_then(|token| token.to_str().ok())
    }

    /// Who asks; while auth is on, that must be somebody.
    pub async fn user(&self) -> Result<Who, Status> {
        let who = self.who().await?;
        if who.revision == 0 && self.member.store.auth().enabled {
            return Err(error::USER_EMPTY);
        }
        Ok(who)
    }

    /// Who asks, if that is an administrator (or auth is off).
    pub async fn admin(&self) -> Result<Who, Status> {
        let who = self.who().await?;
        self.member.store.check_admin(who.identity())?;
        Ok(who)
    }
}
