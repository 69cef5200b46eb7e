//! `-w json`: one line in Go's field order; zero values left out, ids as bare numbers, bytes as base64.
use std::fmt::Display;
use std::io::Write;

use bytes::Bytes;
use proto::authpb::Permission;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::*;
use proto::mvccpb::{Event, KeyValue};

use super::{Answer, At, Health, Printed, Style};

/// A JSON object under construction. Plain methods leave out zero values.
#[derive(Default)]
struct Object(String);

impl Object {
    fn raw(mut self, name: &str, value: &str) -> Object {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0 += &quote(name);
        self.0.push(':');
        self.0 += value;
        self
    }

    fn always(self, name: &str, value: impl Display) -> Object {
        self.raw(name, &value.to_string())
    }

    fn number<N: Display + Default + PartialEq>(self, name: &str, value: N) -> Object {
        if value == N::default() { self } else { self.always(name, value) }
    }

    fn flag(self, name: &str, value: bool) -> Object {
        if value { self.always(name, true) } else { self }
    }

    fn text(self, name: &str, value: &str) -> Object {
        if value.is_empty() { self } else { self.raw(name, &quote(value)) }
    }

    fn bytes(self, name: &str, value: &[u8]) -> Object {
        if value.is_empty() { self } else { self.raw(name, &base64(value)) }
    }

    fn object(self, name: &str, value: Option<Object>) -> Object {
        match value {
            Some(value) => self.raw(name, &value.done()),
            None => self,
        }
    }

    fn list(self, name: &str, values: Vec<String>) -> Object {
        if values.is_empty() { self } else { self.raw(name, &array(&values)) }
    }

    fn texts(self, name: &str, values: &[String]) -> Object {
        self.list(name, values.iter().map(|text| quote(text)).collect())
    }

    fn done(self) -> String {
        format!("{{{}}}", self.0)
    }
}

fn array(values: &[String]) -> String {
    format!("[{}]", values.join(","))
}

/// Go's JSON string: also `<`, `>`, `&` and the line separators are escaped.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            '\t' => quoted += "\\t",
            '\u{8}' => quoted += "\\b",
            '\u{c}' => quoted += "\\f",
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                quoted += &format!("\\u{:04x}", u32::from(c));
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Standard padded base64 in quotes.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4 + 2);
    text.push('"');
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text.push('"');
    text
}

pub fn write(answer: &Answer<'_>, style: Style, out: &mut dyn Write) -> Printed {
    writeln!(out, "{}", render(answer, style.hex))?;
    Ok(())
}

fn render(answer: &Answer<'_>, hex: bool) -> String {
    match answer {
        Answer::Get(answer) => range(answer).done(),
        Answer::Put(answer) => put(answer).done(),
        Answer::Delete(answer) => delete(answer).done(),
        Answer::Txn(answer) => txn(answer).done(),
        Answer::Watch(answer) => watch(answer),
        Answer::LeaseGrant(answer) => flat_header(&answer.header)
            .always("ID", answer.id)
            .always("TTL", answer.ttl)
            .raw("Error", &quote(&answer.error))
            .done(),
        Answer::LeaseRevoke { answer, .. } => with_header(&answer.header).done(),
        Answer::LeaseTimeToLive { answer, .. } => time_to_live(answer),
        Answer::Leases(answer) => {
            let leases: Vec<_> =
                answer.leases.iter().map(|l| Object::default().always("id", l.id).done()).collect();
            flat_header(&answer.header).raw("leases", &array(&leases)).done()
        }
        Answer::LeaseKeepAlive(answer) => {
            flat_header(&answer.header).always("ID", answer.id).always("TTL", answer.ttl).done()
        }
        Answer::MemberAdd(answer) => members(&answer.header, answer.member.as_ref(), &answer.members, hex),
        Answer::MemberRemove { answer, .. } => members(&answer.header, None, &answer.members, hex),
        Answer::MemberUpdate { answer, .. } => members(&answer.header, None, &answer.members, hex),
        Answer::MemberPromote { answer, .. } => members(&answer.header, None, &answer.members, hex),
        Answer::MemberList(answer) => members(&answer.header, None, &answer.members, hex),
        Answer::Health(all) => list_or_null(all, health),
        Answer::Status(all) => list_or_null(all, status),
        Answer::HashKv(all) => list_or_null(all, hash_kv),
        Answer::Alarms(answer) => {
            let alarm = |alarm: &AlarmMember| {
                Object::default().number("memberID", alarm.member_id).number("alarm", alarm.alarm).done()
            };
            with_header(&answer.header).list("alarms", answer.alarms.iter().map(alarm).collect()).done()
        }
        Answer::MoveLeader { answer, .. } => with_header(&answer.header).done(),
        Answer::Downgrade { answer, .. } => {
            with_header(&answer.header).text("version", &answer.version).done()
        }
        auth => render_auth(auth),
    }
}

fn render_auth(answer: &Answer<'_>) -> String {
    let header = match answer {
        Answer::AuthStatus(answer) => {
            return with_header(&answer.header)
                .flag("enabled", answer.enabled)
                .number("authRevision", answer.auth_revision)
                .done();
        }
        Answer::UserGet { answer, .. } => {
            return with_header(&answer.header).texts("roles", &answer.roles).done();
        }
        Answer::UserList(answer) => return with_header(&answer.header).texts("users", &answer.users).done(),
        Answer::RoleList(answer) => return with_header(&answer.header).texts("roles", &answer.roles).done(),
        Answer::RoleGet { answer, .. } => {
            let permissions = answer.perm.iter().map(permission).collect();
            return with_header(&answer.header).list("perm", permissions).done();
        }
        Answer::UserAdd { answer, .. } => &answer.header,
        Answer::UserDelete { answer, .. } => &answer.header,
        Answer::UserPassword(answer) => &answer.header,
        Answer::UserGrantRole { answer, .. } => &answer.header,
        Answer::UserRevokeRole { answer, .. } => &answer.header,
        Answer::RoleAdd { answer, .. } => &answer.header,
        Answer::RoleDelete { answer, .. } => &answer.header,
        Answer::RoleGrant { answer, .. } => &answer.header,
        Answer::RoleRevoke { answer, .. } => &answer.header,
        _ => &None,
    };
    with_header(header).done()
}

fn header(header: &ResponseHeader) -> Object {
    Object::default()
        .number("cluster_id", header.cluster_id)
        .number("member_id", header.member_id)
        .number("revision", header.revision)
        .number("raft_term", header.raft_term)
}

fn with_header(of: &Option<ResponseHeader>) -> Object {
    Object::default().object("header", of.as_ref().map(header))
}

/// The header's fields among those of the answer, as lease answers have them.
fn flat_header(of: &Option<ResponseHeader>) -> Object {
    header(&of.unwrap_or_default())
}

fn key_value(kv: &KeyValue) -> Object {
    Object::default()
        .bytes("key", &kv.key)
        .number("create_revision", kv.create_revision)
        .number("mod_revision", kv.mod_revision)
        .number("version", kv.version)
        .bytes("value", &kv.value)
        .number("lease", kv.lease)
}

fn key_values(kvs: &[KeyValue]) -> Vec<String> {
    kvs.iter().map(|kv| key_value(kv).done()).collect()
}

fn range(answer: &RangeResponse) -> Object {
    with_header(&answer.header)
        .list("kvs", key_values(&answer.kvs))
        .flag("more", answer.more)
        .number("count", answer.count)
}

fn put(answer: &PutResponse) -> Object {
    with_header(&answer.header).object("prev_kv", answer.prev_kv.as_ref().map(key_value))
}

fn delete(answer: &DeleteRangeResponse) -> Object {
    with_header(&answer.header)
        .number("deleted", answer.deleted)
        .list("prev_kvs", key_values(&answer.prev_kvs))
}

fn txn(answer: &TxnResponse) -> Object {
    let response = |op: &ResponseOp| {
        let (name, inner) = match &op.response {
            Some(Response::ResponseRange(answer)) => ("response_range", range(answer)),
            Some(Response::ResponsePut(answer)) => ("response_put", put(answer)),
            Some(Response::ResponseDeleteRange(answer)) => ("response_delete_range", delete(answer)),
            Some(Response::ResponseTxn(answer)) => ("response_txn", txn(answer)),
            None => return Object::default().raw("Response", "null").done(),
        };
        Object::default().object("Response", Some(Object::default().object(name, Some(inner)))).done()
    };
    with_header(&answer.header)
        .flag("succeeded", answer.succeeded)
        .list("responses", answer.responses.iter().map(response).collect())
}

fn watch(answer: &WatchResponse) -> String {
    let event = |event: &Event| {
        Object::default()
            .number("type", event.r#type)
            .object("kv", event.kv.as_ref().map(key_value))
            .object("prev_kv", event.prev_kv.as_ref().map(key_value))
            .done()
    };
    Object::default()
        .object("Header", Some(flat_header(&answer.header)))
        .raw("Events", &list_or_null(&answer.events, event))
        .always("CompactRevision", answer.compact_revision)
        .always("Canceled", answer.canceled)
        .always("Created", answer.created)
        .raw("CancelReason", &quote(&answer.cancel_reason))
        .done()
}

fn time_to_live(answer: &LeaseTimeToLiveResponse) -> String {
    let keys = list_or_null(&answer.keys, |key: &Bytes| base64(key));
    flat_header(&answer.header)
        .always("id", answer.id)
        .always("ttl", answer.ttl)
        .always("granted-ttl", answer.granted_ttl)
        .raw("keys", &keys)
        .done()
}

/// Member answers alone obey `--hex`; then `header` and `members` are always there.
fn members(of: &Option<ResponseHeader>, added: Option<&Member>, members: &[Member], hex: bool) -> String {
    let all: Vec<_> = members.iter().map(|each| member(each, hex).done()).collect();
    let added = added.map(|added| member(added, hex));
    if !hex {
        return with_header(of).object("member", added).list("members", all).done();
    }
    let of = of.unwrap_or_default();
    let header = Object::default()
        .raw("cluster_id", &id(of.cluster_id))
        .raw("member_id", &id(of.member_id))
        .number("revision", of.revision)
        .number("raft_term", of.raft_term);
    Object::default()
        .object("header", Some(header))
        .object("member", added)
        .raw("members", &array(&all))
        .done()
}

fn member(member: &Member, hex: bool) -> Object {
    let object = if hex {
        Object::default().raw("ID", &id(member.id))
    } else {
        Object::default().number("ID", member.id)
    };
    object
        .text("name", &member.name)
        .texts("peerURLs", &member.peer_ur_ls)
        .texts("clientURLs", &member.client_ur_ls)
        .flag("isLearner", member.is_learner)
}

fn id(id: u64) -> String {
    format!("\"{id:x}\"")
}

fn list_or_null<T>(all: &[T], each: impl FnMut(&T) -> String) -> String {
    if all.is_empty() { "null".to_owned() } else { array(&all.iter().map(each).collect::<Vec<_>>()) }
}

fn health(health: &Health) -> String {
    Object::default()
        .raw("endpoint", &quote(&health.endpoint))
        .always("health", health.error.is_empty())
        .raw("took", &quote(&crate::golang::duration(health.took)))
        .text("error", &health.error)
        .done()
}

fn status(status: &At<StatusResponse>) -> String {
    let answer = &status.answer;
    let downgrade = answer.downgrade_info.as_ref().map(|info| {
        Object::default().flag("enabled", info.enabled).text("targetVersion", &info.target_version)
    });
    let inner = with_header(&answer.header)
        .text("version", &answer.version)
        .number("dbSize", answer.db_size)
        .number("leader", answer.leader)
        .number("raftIndex", answer.raft_index)
        .number("raftTerm", answer.raft_term)
        .number("raftAppliedIndex", answer.raft_applied_index)
        .texts("errors", &answer.errors)
        .number("dbSizeInUse", answer.db_size_in_use)
        .flag("isLearner", answer.is_learner)
        .text("storageVersion", &answer.storage_version)
        .number("dbSizeQuota", answer.db_size_quota)
        .object("downgradeInfo", downgrade);
    Object::default().raw("Endpoint", &quote(&status.endpoint)).object("Status", Some(inner)).done()
}

fn hash_kv(hash: &At<HashKvResponse>) -> String {
    let answer = &hash.answer;
    let inner = with_header(&answer.header)
        .number("hash", answer.hash)
        .number("compact_revision", answer.compact_revision)
        .number("hash_revision", answer.hash_revision);
    Object::default().raw("Endpoint", &quote(&hash.endpoint)).object("HashKV", Some(inner)).done()
}

fn permission(permission: &Permission) -> String {
    Object::default()
        .number("permType", permission.perm_type)
        .bytes("key", &permission.key)
        .bytes("range_end", &permission.range_end)
        .done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        for (bytes, text) in [
            ("", "\"\""),
            ("a", "\"YQ==\""),
            ("ab", "\"YWI=\""),
            ("abc", "\"YWJj\""),
            ("\u{3ff}?", "\"z78/\""),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        assert_eq!(
            quote("a<b>&\"\\\n\u{1}\u{2028}é"),
            "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\u0001\\u2028é\""
        );
    }
}
