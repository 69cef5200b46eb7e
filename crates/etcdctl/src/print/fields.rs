//! `-w fields`: one `"Name" : value` per line; byte strings as Go quotes them.
use std::io::Write;

use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::*;
use proto::mvccpb::KeyValue;
use proto::mvccpb::event::EventType;

use super::{Answer, At, Printed, Style, Trouble, alarm_name};
use crate::golang::quote;

/// The output with what `--hex` makes of ids.
struct Page<'a> {
    out: &'a mut dyn Write,
    hex: bool,
}

pub fn write(answer: &Answer<'_>, style: Style, out: &mut dyn Write) -> Printed {
    let mut page = Page { out, hex: style.hex };
    match answer {
        Answer::Get(answer) => page.range(answer),
        Answer::Put(answer) => page.put(answer),
        Answer::Delete(answer) => page.delete(answer),
        Answer::Txn(answer) => page.txn(answer),
        Answer::Watch(answer) => page.watch(answer),
        Answer::LeaseGrant(answer) => {
            page.header(&answer.header)?;
            page.lease_id(answer.id)?;
            page.line("TTL", answer.ttl)
        }
        Answer::LeaseRevoke { answer, .. } => page.header(&answer.header),
        Answer::LeaseTimeToLive { answer, .. } => page.time_to_live(answer),
        Answer::Leases(answer) => {
            page.header(&answer.header)?;
            answer.leases.iter().try_for_each(|lease| page.lease_id(lease.id))
        }
        Answer::LeaseKeepAlive(answer) => {
            page.header(&answer.header)?;
            page.lease_id(answer.id)?;
            page.line("TTL", answer.ttl)
        }
        Answer::MemberList(answer) => page.members(answer),
        Answer::Health(all) => all.iter().try_for_each(|health| {
            page.line("Endpoint", quote(health.endpoint.as_bytes()))?;
            page.line("Health", health.error.is_empty())?;
            page.line("Took", crate::golang::duration(health.took))?;
            page.line("Error", &health.error)?;
            page.blank()
        }),
        Answer::Status(all) => all.iter().try_for_each(|status| page.status(status)),
        Answer::HashKv(all) => all.iter().try_for_each(|hash| {
            page.header(&hash.answer.header)?;
            page.line("Endpoint", quote(hash.endpoint.as_bytes()))?;
            page.line("Hash", hash.answer.hash)?;
            page.line("HashRevision", hash.answer.hash_revision)?;
            page.blank()
        }),
        Answer::Alarms(answer) => {
            page.header(&answer.header)?;
            answer.alarms.iter().try_for_each(|alarm| {
                page.id("MemberID", alarm.member_id)?;
                page.line("AlarmType", alarm_name(alarm.alarm))?;
                page.blank()
            })
        }
        auth => page.auth(auth),
    }
}

impl Page<'_> {
    fn line(&mut self, name: &str, value: impl std::fmt::Display) -> Printed {
        Ok(writeln!(self.out, "\"{name}\" : {value}")?)
    }

    fn blank(&mut self) -> Printed {
        Ok(writeln!(self.out)?)
    }

    fn id(&mut self, name: &str, id: u64) -> Printed {
        if self.hex { self.line(name, format_args!("{id:x}")) } else { self.line(name, id) }
    }

    fn lease_id(&mut self, id: i64) -> Printed {
        if self.hex { self.line("ID", format_args!("{id:016x}")) } else { self.line("ID", id) }
    }

    fn header(&mut self, header: &Option<ResponseHeader>) -> Printed {
        let header = header.unwrap_or_default();
        self.id("ClusterID", header.cluster_id)?;
        self.id("MemberID", header.member_id)?;
        if header.revision > 0 {
            self.line("Revision", header.revision)?;
        }
        self.line("RaftTerm", header.raft_term)
    }

    fn key_value(&mut self, prefix: &str, kv: &KeyValue) -> Printed {
        self.line(&format!("{prefix}Key"), quote(&kv.key))?;
        self.line(&format!("{prefix}CreateRevision"), kv.create_revision)?;
        self.line(&format!("{prefix}ModRevision"), kv.mod_revision)?;
        self.line(&format!("{prefix}Version"), kv.version)?;
        self.line(&format!("{prefix}Value"), quote(&kv.value))?;
        if self.hex {
            self.line(&format!("{prefix}Lease"), format_args!("{:016x}", kv.lease))
        } else {
            self.line(&format!("{prefix}Lease"), kv.lease)
        }
    }

    fn range(&mut self, answer: &RangeResponse) -> Printed {
        self.header(&answer.header)?;
        answer.kvs.iter().try_for_each(|kv| self.key_value("", kv))?;
        self.line("More", answer.more)?;
        self.line("Count", answer.count)
    }

    fn put(&mut self, answer: &PutResponse) -> Printed {
        self.header(&answer.header)?;
        answer.prev_kv.iter().try_for_each(|kv| self.key_value("Prev", kv))
    }

    fn delete(&mut self, answer: &DeleteRangeResponse) -> Printed {
        self.header(&answer.header)?;
        self.line("Deleted", answer.deleted)?;
        answer.prev_kvs.iter().try_for_each(|kv| self.key_value("Prev", kv))
    }

    fn txn(&mut self, answer: &TxnResponse) -> Printed {
        self.header(&answer.header)?;
        self.line("Succeeded", answer.succeeded)?;
        answer.responses.iter().try_for_each(|op| match &op.response {
            Some(Response::ResponseRange(answer)) => self.range(answer),
            Some(Response::ResponsePut(answer)) => self.put(answer),
            Some(Response::ResponseDeleteRange(answer)) => self.delete(answer),
            Some(Response::ResponseTxn(_)) | None => {
                Ok(writeln!(self.out, "\"Unknown\" : {:?}", "nested txn")?)
            }
        })
    }

    fn watch(&mut self, answer: &WatchResponse) -> Printed {
        self.header(&answer.header)?;
        answer.events.iter().try_for_each(|event| {
            let kind = EventType::try_from(event.r#type).unwrap_or(EventType::Put);
            self.line("Type", kind.as_str_name())?;
            event.prev_kv.iter().try_for_each(|kv| self.key_value("Prev", kv))?;
            event.kv.iter().try_for_each(|kv| self.key_value("", kv))
        })
    }

    fn time_to_live(&mut self, answer: &LeaseTimeToLiveResponse) -> Printed {
        self.header(&answer.header)?;
        self.lease_id(answer.id)?;
        self.line("TTL", answer.ttl)?;
        self.line("GrantedTTL", answer.granted_ttl)?;
        answer.keys.iter().try_for_each(|key| self.line("Key", quote(key)))
    }

    fn members(&mut self, answer: &MemberListResponse) -> Printed {
        self.header(&answer.header)?;
        answer.members.iter().try_for_each(|member| {
            self.id("ID", member.id)?;
            self.line("Name", quote(member.name.as_bytes()))?;
            member.peer_ur_ls.iter().try_for_each(|url| self.line("PeerURL", quote(url.as_bytes())))?;
            member.client_ur_ls.iter().try_for_each(|url| self.line("ClientURL", quote(url.as_bytes())))?;
            self.line("IsLearner", member.is_learner)?;
            self.blank()
        })
    }

    fn status(&mut self, status: &At<StatusResponse>) -> Printed {
        let answer = &status.answer;
        let downgrade = answer.downgrade_info.clone().unwrap_or_default();
        self.header(&answer.header)?;
        self.line("Version", quote(answer.version.as_bytes()))?;
        self.line("StorageVersion", quote(answer.storage_version.as_bytes()))?;
        self.line("DBSize", answer.db_size)?;
        self.line("DBSizeInUse", answer.db_size_in_use)?;
        self.line("DBSizeQuota", answer.db_size_quota)?;
        self.line("Leader", answer.leader)?;
        self.line("IsLearner", answer.is_learner)?;
        self.line("RaftIndex", answer.raft_index)?;
        self.line("RaftTerm", answer.raft_term)?;
        self.line("RaftAppliedIndex", answer.raft_applied_index)?;
        let errors: Vec<String> = answer.errors.iter().map(|error| quote(error.as_bytes())).collect();
        self.line("Errors", format_args!("[{}]", errors.join(" ")))?;
        self.line("Endpoint", quote(status.endpoint.as_bytes()))?;
        self.line("DowngradeTargetVersion", quote(downgrade.target_version.as_bytes()))?;
        self.line("DowngradeEnabled", downgrade.enabled)?;
        self.blank()
    }

    fn auth(&mut self, answer: &Answer<'_>) -> Printed {
        match answer {
            Answer::UserAdd { answer, .. } => self.header(&answer.header),
            Answer::UserDelete { answer, .. } => self.header(&answer.header),
            Answer::UserPassword(answer) => self.header(&answer.header),
            Answer::UserGrantRole { answer, .. } => self.header(&answer.header),
            Answer::UserRevokeRole { answer, .. } => self.header(&answer.header),
            Answer::RoleAdd { answer, .. } => self.header(&answer.header),
            Answer::RoleDelete { answer, .. } => self.header(&answer.header),
            Answer::RoleGrant { answer, .. } => self.header(&answer.header),
            Answer::RoleRevoke { answer, .. } => self.header(&answer.header),
            Answer::RoleGet { answer, .. } => {
                self.header(&answer.header)?;
                answer.perm.iter().try_for_each(|permission| {
                    self.line("PermType", format_args!(" {}", permission.perm_type().as_str_name()))?;
                    self.line("Key", quote(&permission.key))?;
                    self.line("RangeEnd", quote(&permission.range_end))
                })
            }
            Answer::RoleList(answer) => {
                self.header(&answer.header)?;
                let roles: String =
                    answer.roles.iter().map(|role| format!(" {}", quote(role.as_bytes()))).collect();
                Ok(writeln!(self.out, "\"Roles\" :{roles}")?)
            }
            _ => Err(Trouble::Unsupported),
        }
    }
}
