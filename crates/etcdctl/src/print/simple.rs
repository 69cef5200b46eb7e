//! `-w simple`: what people read.
use std::io::{self, Write};

use proto::authpb::Permission;
use proto::authpb::permission::Type;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::*;
use proto::mvccpb::KeyValue;
use proto::mvccpb::event::EventType;

use super::{Answer, Printed, Style, alarm_name, hash_row, member_row, status_row};

pub fn write(answer: &Answer<'_>, style: Style, out: &mut dyn Write) -> Printed {
    match answer {
        Answer::Get(answer) => range(answer, style, out)?,
        Answer::Put(answer) => put(answer, style, out)?,
        Answer::Delete(answer) => delete(answer, style, out)?,
        Answer::Txn(answer) => txn(answer, style, out)?,
        Answer::Watch(answer) => watch(answer, style, out)?,
        Answer::LeaseGrant(answer) => {
            writeln!(out, "lease {:016x} granted with TTL({}s)", answer.id, answer.ttl)?;
        }
        Answer::LeaseRevoke { id, .. } => writeln!(out, "lease {id:016x} revoked")?,
        Answer::LeaseTimeToLive { keys, answer } => time_to_live(answer, *keys, out)?,
        Answer::Leases(answer) => {
            writeln!(out, "found {} leases", answer.leases.len())?;
            answer.leases.iter().try_for_each(|lease| writeln!(out, "{:016x}", lease.id))?;
        }
        Answer::LeaseKeepAlive(answer) => {
            writeln!(out, "lease {:016x} keepalived with TTL({})", answer.id, answer.ttl)?;
        }
        Answer::MemberAdd(answer) => {
            let member = answer.member.clone().unwrap_or_default();
            let role = if member.is_learner { "as learner to" } else { "to" };
            writeln!(out, "Member {:16x} added {role} cluster {:16x}", member.id, cluster(&answer.header))?;
        }
        Answer::MemberRemove { id, answer } => {
            writeln!(out, "Member {id:16x} removed from cluster {:16x}", cluster(&answer.header))?;
        }
        Answer::MemberUpdate { id, answer } => {
            writeln!(out, "Member {id:16x} updated in cluster {:16x}", cluster(&answer.header))?;
        }
        Answer::MemberPromote { id, answer } => {
            writeln!(out, "Member {id:16x} promoted in cluster {:16x}", cluster(&answer.header))?;
        }
        Answer::MemberList(answer) => rows(answer.members.iter().map(member_row), out)?,
        Answer::Health(all) => all.iter().try_for_each(|health| {
            let took = crate::golang::duration(health.took);
            if health.error.is_empty() {
                let endpoint = &health.endpoint;
                writeln!(out, "{endpoint} is healthy: successfully committed proposal: took = {took}")
            } else {
                eprintln!("{} is unhealthy: failed to commit proposal: {}", health.endpoint, health.error);
                Ok(())
            }
        })?,
        Answer::Status(all) => rows(all.iter().map(status_row), out)?,
        Answer::HashKv(all) => rows(all.iter().map(hash_row), out)?,
        Answer::Alarms(answer) => answer.alarms.iter().try_for_each(|alarm| {
            writeln!(out, "memberID:{} alarm:{}", alarm.member_id, alarm_name(alarm.alarm))
        })?,
        Answer::MoveLeader { leader, target, .. } => {
            writeln!(out, "Leadership transferred from {leader:x} to {target:x}")?;
        }
        Answer::Downgrade { action, answer } => {
            writeln!(out, "Downgrade {action} success, cluster version {}", answer.version)?;
        }
        auth => write_auth(auth, out)?,
    }
    Ok(())
}

fn cluster(header: &Option<ResponseHeader>) -> u64 {
    header.map_or(0, |header| header.cluster_id)
}

fn rows(rows: impl Iterator<Item = Vec<String>>, out: &mut dyn Write) -> io::Result<()> {
    for row in rows {
        writeln!(out, "{}", row.join(", "))?;
    }
    Ok(())
}

fn key_value(kv: &KeyValue, style: Style, out: &mut dyn Write) -> io::Result<()> {
    if !style.value_only {
        bytes(&kv.key, style.hex, out)?;
    }
    bytes(&kv.value, style.hex, out)
}

fn bytes(bytes: &[u8], hex: bool, out: &mut dyn Write) -> io::Result<()> {
    if hex {
        bytes.iter().try_for_each(|byte| write!(out, "\\x{byte:02x}"))?;
    } else {
        out.write_all(bytes)?;
    }
    out.write_all(b"\n")
}

fn range(answer: &RangeResponse, style: Style, out: &mut dyn Write) -> io::Result<()> {
    answer.kvs.iter().try_for_each(|kv| key_value(kv, style, out))
}

fn put(answer: &PutResponse, style: Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "OK")?;
    answer.prev_kv.iter().try_for_each(|kv| key_value(kv, style, out))
}

fn delete(answer: &DeleteRangeResponse, style: Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", answer.deleted)?;
    answer.prev_kvs.iter().try_for_each(|kv| key_value(kv, style, out))
}

fn txn(answer: &TxnResponse, style: Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", if answer.succeeded { "SUCCESS" } else { "FAILURE" })?;
    answer.responses.iter().try_for_each(|op| {
        writeln!(out)?;
        match &op.response {
            Some(Response::ResponseRange(answer)) => range(answer, style, out),
            Some(Response::ResponsePut(answer)) => put(answer, style, out),
            Some(Response::ResponseDeleteRange(answer)) => delete(answer, style, out),
            other => writeln!(out, "unexpected response {other:?}"),
        }
    })
}

fn watch(answer: &WatchResponse, style: Style, out: &mut dyn Write) -> io::Result<()> {
    answer.events.iter().try_for_each(|event| {
        let kind = EventType::try_from(event.r#type).unwrap_or(EventType::Put);
        writeln!(out, "{}", kind.as_str_name())?;
        event.prev_kv.iter().try_for_each(|kv| key_value(kv, style, out))?;
        event.kv.iter().try_for_each(|kv| key_value(kv, style, out))
    })
}

fn time_to_live(answer: &LeaseTimeToLiveResponse, keys: bool, out: &mut dyn Write) -> io::Result<()> {
    if answer.granted_ttl == 0 && answer.ttl == -1 {
        return writeln!(out, "lease {:016x} already expired", answer.id);
    }
    let (id, granted, left) = (answer.id, answer.granted_ttl, answer.ttl);
    write!(out, "lease {id:016x} granted with TTL({granted}s), remaining({left}s)")?;
    if keys {
        out.write_all(b", attached keys([")?;
        for (place, key) in answer.keys.iter().enumerate() {
            out.write_all(if place == 0 { b"" } else { b" " })?;
            out.write_all(key)?;
        }
        out.write_all(b"])")?;
    }
    writeln!(out)
}

fn write_auth(answer: &Answer<'_>, out: &mut dyn Write) -> io::Result<()> {
    match answer {
        Answer::AuthStatus(answer) => {
            writeln!(out, "Authentication Status: {}", answer.enabled)?;
            writeln!(out, "AuthRevision: {}", answer.auth_revision)
        }
        Answer::UserAdd { user, .. } => writeln!(out, "User {user} created"),
        Answer::UserGet { user, answer } => {
            writeln!(out, "User: {user}")?;
            let roles: String = answer.roles.iter().map(|role| format!(" {role}")).collect();
            writeln!(out, "Roles:{roles}")
        }
        Answer::UserList(answer) => answer.users.iter().try_for_each(|user| writeln!(out, "{user}")),
        Answer::UserDelete { user, .. } => writeln!(out, "User {user} deleted"),
        Answer::UserPassword(_) => writeln!(out, "Password updated"),
        Answer::UserGrantRole { user, role, .. } => writeln!(out, "Role {role} is granted to user {user}"),
        Answer::UserRevokeRole { user, role, .. } => writeln!(out, "Role {role} is revoked from user {user}"),
        Answer::RoleAdd { role, .. } => writeln!(out, "Role {role} created"),
        Answer::RoleGet { role, answer } => permissions(role, &answer.perm, out),
        Answer::RoleList(answer) => answer.roles.iter().try_for_each(|role| writeln!(out, "{role}")),
        Answer::RoleDelete { role, .. } => writeln!(out, "Role {role} deleted"),
        Answer::RoleGrant { role, .. } => writeln!(out, "Role {role} updated"),
        Answer::RoleRevoke { role, key, end, .. } => {
            let key = String::from_utf8_lossy(key);
            match *end {
                b"" => writeln!(out, "Permission of key {key} is revoked from role {role}"),
                b"\0" => {
                    writeln!(out, "Permission of range [{key}, <open ended> is revoked from role {role}")
                }
                end => {
                    let end = String::from_utf8_lossy(end);
                    writeln!(out, "Permission of range [{key}, {end}) is revoked from role {role}")
                }
            }
        }
        _ => Ok(()),
    }
}

/// `role get`: what may be read, then what may be written.
pub fn permissions(role: &str, permissions: &[Permission], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "Role {role}")?;
    for (title, wanted) in [("KV Read:", Type::Read), ("KV Write:", Type::Write)] {
        writeln!(out, "{title}")?;
        if role == "root" && permissions.is_empty() {
            writeln!(out, "\t[, <open ended>")?;
        }
        for permission in permissions {
            let kind = permission.perm_type();
            if kind == wanted || kind == Type::Readwrite {
                writeln!(out, "\t{}", interval(permission))?;
            }
        }
    }
    Ok(())
}

fn interval(permission: &Permission) -> String {
    let key = String::from_utf8_lossy(&permission.key);
    match &permission.range_end[..] {
        b"" => key.into_owned(),
        b"\0" => format!("[{key}, <open ended>"),
        end => {
            let is_prefix = client::range::prefix_end(&permission.key) == end && !permission.key.is_empty();
            let note = if is_prefix { format!(" (prefix {key})") } else { String::new() };
            format!("[{key}, {}){note}", String::from_utf8_lossy(end))
        }
    }
}
