//! What commands have to say, and the five ways to say it. One file per way.
mod fields;
pub mod json;
mod protobuf;
mod simple;
mod table;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::time::Duration;

use proto::etcdserverpb::*;

use crate::failure::{Failure, code};

/// `-w`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Simple,
    Json,
    Fields,
    Table,
    Protobuf,
}

/// How to print: the format and what bends it.
#[derive(Clone, Copy)]
pub struct Style {
    pub format: Format,
    /// `--hex`.
    pub hex: bool,
    /// `get --print-value-only`.
    pub value_only: bool,
}

/// Result of `endpoint health` for one endpoint.
pub struct Health {
    pub endpoint: String,
    pub took: Duration,
    /// Empty when healthy.
    pub error: String,
}

/// A member's answer together with the endpoint asked.
pub struct At<R> {
    pub endpoint: String,
    pub answer: R,
}

/// Everything a command can print.
pub enum Answer<'a> {
    Get(&'a RangeResponse),
    Put(&'a PutResponse),
    Delete(&'a DeleteRangeResponse),
    Txn(&'a TxnResponse),
    Watch(&'a WatchResponse),
    LeaseGrant(&'a LeaseGrantResponse),
    LeaseRevoke { id: i64, answer: &'a LeaseRevokeResponse },
    LeaseTimeToLive { keys: bool, answer: &'a LeaseTimeToLiveResponse },
    Leases(&'a LeaseLeasesResponse),
    LeaseKeepAlive(&'a LeaseKeepAliveResponse),
    MemberAdd(&'a MemberAddResponse),
    MemberRemove { id: u64, answer: &'a MemberRemoveResponse },
    MemberUpdate { id: u64, answer: &'a MemberUpdateResponse },
    MemberPromote { id: u64, answer: &'a MemberPromoteResponse },
    MemberList(&'a MemberListResponse),
    Health(&'a [Health]),
    Status(&'a [At<StatusResponse>]),
    HashKv(&'a [At<HashKvResponse>]),
    Alarms(&'a AlarmResponse),
    MoveLeader { leader: u64, target: u64, answer: &'a MoveLeaderResponse },
    Downgrade { action: &'a str, answer: &'a DowngradeResponse },
    AuthStatus(&'a AuthStatusResponse),
    UserAdd { user: &'a str, answer: &'a AuthUserAddResponse },
    UserGet { user: &'a str, answer: &'a AuthUserGetResponse },
    UserList(&'a AuthUserListResponse),
    UserDelete { user: &'a str, answer: &'a AuthUserDeleteResponse },
    UserPassword(&'a AuthUserChangePasswordResponse),
    UserGrantRole { user: &'a str, role: &'a str, answer: &'a AuthUserGrantRoleResponse },
    UserRevokeRole { user: &'a str, role: &'a str, answer: &'a AuthUserRevokeRoleResponse },
    RoleAdd { role: &'a str, answer: &'a AuthRoleAddResponse },
    RoleGet { role: &'a str, answer: &'a AuthRoleGetResponse },
    RoleList(&'a AuthRoleListResponse),
    RoleDelete { role: &'a str, answer: &'a AuthRoleDeleteResponse },
    RoleGrant { role: &'a str, answer: &'a AuthRoleGrantPermissionResponse },
    RoleRevoke { role: &'a str, key: &'a [u8], end: &'a [u8], answer: &'a AuthRoleRevokePermissionResponse },
}

/// Why nothing was printed.
pub enum Trouble {
    /// This answer has no such form.
    Unsupported,
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

type Printed = Result<(), Trouble>;

impl Format {
    pub fn parse(text: &str) -> Option<Format> {
        [Format::Simple, Format::Json, Format::Fields, Format::Table, Format::Protobuf]
            .into_iter()
            .find(|format| format.name() == text)
    }

    pub fn name(self) -> &'static str {
        match self {
            Format::Simple => "simple",
            Format::Json => "json",
            Format::Fields => "fields",
            Format::Table => "table",
            Format::Protobuf => "protobuf",
        }
    }
}

impl Style {
    /// Writes `answer` to stdout and flushes.
    pub fn show(self, answer: &Answer<'_>) -> Result<(), Failure> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let printed = self.write(answer, &mut out).and_then(|()| Ok(out.flush()?));
        match printed {
            Ok(()) => Ok(()),
            Err(Trouble::Io(error)) => Err(error.into()),
            Err(Trouble::Unsupported) => {
                let text = format!("{} not supported as output format", self.format.name());
                Err(Failure::new(code::BAD_FEATURE, text))
            }
        }
    }

    /// Writes `answer` to `out`.
    pub fn write(self, answer: &Answer<'_>, out: &mut dyn Write) -> Printed {
        match self.format {
            Format::Simple => simple::write(answer, self, out),
            Format::Json => json::write(answer, self, out),
            Format::Fields => fields::write(answer, self, out),
            Format::Table => table::write(answer, out),
            Format::Protobuf => protobuf::write(answer, out),
        }
    }
}

/// Columns of `member list`.
fn member_row(member: &Member) -> Vec<String> {
    let status = if member.name.is_empty() { "unstarted" } else { "started" };
    vec![
        format!("{:x}", member.id),
        status.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}

/// Columns of `endpoint status`.
fn status_row(status: &At<StatusResponse>) -> Vec<String> {
    let answer = &status.answer;
    let header = answer.header.unwrap_or_default();
    let downgrade = answer.downgrade_info.clone().unwrap_or_default();
    let size = |bytes: i64| crate::golang::size(u64::try_from(bytes).unwrap_or(0));
    let unused = (answer.db_size - answer.db_size_in_use).max(0);
    let percent = unused.saturating_mul(100).checked_div(answer.db_size).unwrap_or(0);
    vec![
        status.endpoint.clone(),
        format!("{:x}", header.member_id),
        answer.version.clone(),
        answer.storage_version.clone(),
        size(answer.db_size),
        size(answer.db_size_in_use),
        format!("{percent}%"),
        size(answer.db_size_quota),
        (answer.leader == header.member_id).to_string(),
        answer.is_learner.to_string(),
        answer.raft_term.to_string(),
        answer.raft_index.to_string(),
        answer.raft_applied_index.to_string(),
        answer.errors.join(", "),
        downgrade.target_version,
        downgrade.enabled.to_string(),
    ]
}

/// Columns of `endpoint hashkv`.
fn hash_row(hash: &At<HashKvResponse>) -> Vec<String> {
    vec![hash.endpoint.clone(), hash.answer.hash.to_string(), hash.answer.hash_revision.to_string()]
}

/// Name of an alarm; its number if it is not known.
pub fn alarm_name(alarm: i32) -> String {
    AlarmType::try_from(alarm).map_or_else(|_| alarm.to_string(), |alarm| alarm.as_str_name().to_owned())
}
