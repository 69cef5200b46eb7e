//! Answers as lines of a script.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::response_op::Response as Answer;
use proto::mvccpb::KeyValue;
use store::{ConfChangeOutcome, Members, Outcome, Response};

pub fn outcome(outcome: &Outcome) -> Vec<String> {
    let mut lines = match &outcome.result {
        Ok(response) => self::response(response),
        Err(error) => vec![format!("error: {error}")],
    };
    if let Some(batch) = &outcome.events {
        let events = batch.events().iter().map(|e| format!("{:?} {}", e.kind, e.key.escape_ascii()));
        lines.push(format!("events {}: {}", batch.revision, events.collect::<Vec<_>>().join(", ")));
    }
    lines.extend(outcome.leases.iter().map(|change| format!("{change:?}")));
    lines.extend(outcome.tokens.iter().map(|change| format!("{change:?}")));
    let notes = [
        (outcome.wants_nospace_alarm, "wants alarm NOSPACE"),
        (outcome.alarms_changed, "alarms changed"),
        (outcome.auth_changed, "auth changed"),
        (outcome.members_changed, "members changed"),
        (outcome.cluster_version_lowered, "wants a disk snapshot"),
        (outcome.is_leader_start, "leader start"),
    ];
    lines.extend(notes.iter().filter(|(is, _)| *is).map(|(_, note)| (*note).to_owned()));
    lines.extend(outcome.cluster_version.map(|v| format!("cluster version {v}")));
    lines
}

fn response(response: &Response) -> Vec<String> {
    match response {
        Response::Put(r) => vec![put(r)],
        Response::Range(r) => range(r),
        Response::DeleteRange(r) => vec![delete(r)],
        Response::Txn(r) => txn(r),
        Response::Alarm(r) => {
            let alarms = r.alarms.iter().map(|a| format!(" {}:{}", a.member_id, a.alarm));
            vec![format!("alarms{}", alarms.collect::<String>())]
        }
        Response::AuthStatus(r) => vec![format!("enabled {} revision {}", r.enabled, r.auth_revision)],
        Response::Authenticate(r) => vec![format!("token {:?}", r.token)],
        Response::AuthUserGet(r) => vec![format!("roles {:?}", r.roles)],
        Response::AuthUserList(r) => vec![format!("users {:?}", r.users)],
        Response::AuthRoleList(r) => vec![format!("roles {:?}", r.roles)],
        Response::AuthRoleGet(r) => {
            let show = |p: &proto::authpb::Permission| {
                format!("{:?} {} {}", p.perm_type(), p.key.escape_ascii(), p.range_end.escape_ascii())
            };
            r.perm.iter().map(show).collect()
        }
        Response::LeaseGrant(r) => vec![format!("lease {} ttl {}", r.id, r.ttl)],
        Response::Compaction { response, physical, .. } => {
            vec![format!("compacted at {}, physical {physical}", revision(&response.header))]
        }
        Response::Nothing => vec!["nothing".to_owned()],
        _ => vec!["ok".to_owned()],
    }
}

fn revision(header: &Option<pb::ResponseHeader>) -> String {
    header.as_ref().map_or_else(|| "-".to_owned(), |h| h.revision.to_string())
}

fn put(r: &pb::PutResponse) -> String {
    let prev = r.prev_kv.as_ref().map(|kv| format!(" prev {}", record(kv))).unwrap_or_default();
    format!("put at {}{prev}", revision(&r.header))
}

fn delete(r: &pb::DeleteRangeResponse) -> String {
    let prev: String = r.prev_kvs.iter().map(|kv| format!(" prev {}", record(kv))).collect();
    format!("deleted {} at {}{prev}", r.deleted, revision(&r.header))
}

pub fn range(r: &pb::RangeResponse) -> Vec<String> {
    let more = if r.more { " and more" } else { "" };
    let mut lines = vec![format!("count {}{more} at {}", r.count, revision(&r.header))];
    lines.extend(r.kvs.iter().map(|kv| format!("  {}", record(kv))));
    lines
}

fn txn(r: &pb::TxnResponse) -> Vec<String> {
    let mut lines = vec![format!("{} at {}", if r.succeeded { "then" } else { "else" }, revision(&r.header))];
    for op in &r.responses {
        match &op.response {
            Some(Answer::ResponseRange(r)) => lines.extend(range(r)),
            Some(Answer::ResponsePut(r)) => lines.push(put(r)),
            Some(Answer::ResponseDeleteRange(r)) => lines.push(delete(r)),
            Some(Answer::ResponseTxn(r)) => lines.extend(txn(r)),
            None => lines.push("nothing".to_owned()),
        }
    }
    let indented = |(i, line): (usize, String)| if i == 0 { line } else { format!("  {line}") };
    lines.into_iter().enumerate().map(indented).collect()
}

fn record(kv: &KeyValue) -> String {
    let lease = if kv.lease == 0 { String::new() } else { format!(" lease {}", kv.lease) };
    let (key, value) = (kv.key.escape_ascii(), kv.value.escape_ascii());
    format!("{key}={value} [{} {} v{}]{lease}", kv.create_revision, kv.mod_revision, kv.version)
}

pub fn keys(keys: &[Bytes]) -> String {
    keys.iter().map(|key| key.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}

pub fn members(members: &Members) -> Vec<String> {
    let mut lines: Vec<String> =
        members.list.values().map(|m| String::from_utf8(m.to_json()).unwrap()).collect();
    lines.push(format!(
        "removed {:?} version {:?} downgrade {:?}",
        members.removed,
        members.cluster_version.map(|v| v.to_string()),
        members.downgrade.target_version,
    ));
    lines
}

pub fn conf_change(outcome: &ConfChangeOutcome) -> Vec<String> {
    let mut lines = match &outcome.result {
        Ok(members) => vec![format!("{} members", members.len())],
        Err(error) => vec![format!("error: {error}")],
    };
    lines.extend(outcome.change.iter().map(|change| format!("{change:?}")));
    if !outcome.to_raft {
        lines.push("no change for raft".to_owned());
    }
    if outcome.removed_self {
        lines.push("removed self".to_owned());
    }
    lines
}
