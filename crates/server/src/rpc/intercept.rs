//! What every call passes before its handler: capability, learner rules, metadata.

use http::HeaderMap;

use super::Call;
use super::error::{self, Status};
use crate::member::Who;

/// Refuses calls that this member cannot serve now.
pub fn admit(call: &Call, path: &str) -> Result<(), Status> {
    if path.starts_with("/grpc.health.v1.") {
        return Ok(());
    }
    let version = metadata(&call.head.fields, "client-api-version")?;
    crate::stats::client_request(path, version.unwrap_or("unknown"));
    if call.member.is_learner() && !served_by_learner(path) {
        return Err(error::NOT_FOR_LEARNER);
    }
    if wants_leader(&call.head.fields) && !call.member.leadership.has_leader() {
        return Err(error::NO_LEADER);
    }
    Ok(())
}

/// A learner serves these; of ranges only serializable ones, which the handler decides.
fn served_by_learner(path: &str) -> bool {
    matches!(
        path,
        "/etcdserverpb.KV/Range" | "/etcdserverpb.Maintenance/Status" | "/etcdserverpb.Maintenance/Snapshot"
    )
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
        let auth = self.member.store.auth();
        if !auth.enabled {
            return Ok(Who::default());
        }
        let token = ["token", "authorization"].iter().find_map(|key| self.head.fields.get(*key));
        let Some(token) = token.and_then(|t| t.to_str().ok()) else { return Ok(Who::default()) };
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        self.member
            .tokens
            .resolve(token, &self.member.applied, auth.revision)
            .await
            .ok_or(error::INVALID_AUTH_TOKEN)
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
