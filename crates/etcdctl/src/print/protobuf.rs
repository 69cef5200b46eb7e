//! `-w protobuf`: the bare message, without length or newline.
use std::io::Write;

use prost::Message;
use proto::etcdserverpb::ResponseHeader;

use super::{Answer, Printed, Trouble};

pub fn write(answer: &Answer<'_>, out: &mut dyn Write) -> Printed {
    out.write_all(&encode(answer).ok_or(Trouble::Unsupported)?)?;
    Ok(())
}

fn encode(answer: &Answer<'_>) -> Option<Vec<u8>> {
    Some(match answer {
        Answer::Get(answer) => answer.encode_to_vec(),
        Answer::Put(answer) => answer.encode_to_vec(),
        Answer::Delete(answer) => answer.encode_to_vec(),
        Answer::Txn(answer) => answer.encode_to_vec(),
        Answer::Watch(answer) => answer.encode_to_vec(),
        // Go's client wraps these four in types of its own, of which only the header is a message.
        Answer::LeaseGrant(answer) => header(&answer.header),
        Answer::LeaseTimeToLive { answer, .. } => header(&answer.header),
        Answer::Leases(answer) => header(&answer.header),
        Answer::LeaseKeepAlive(answer) => header(&answer.header),
        Answer::MemberAdd(answer) => answer.encode_to_vec(),
        Answer::MemberRemove { answer, .. } => answer.encode_to_vec(),
        Answer::MemberUpdate { answer, .. } => answer.encode_to_vec(),
        Answer::MemberPromote { answer, .. } => answer.encode_to_vec(),
        Answer::MemberList(answer) => answer.encode_to_vec(),
        Answer::Alarms(answer) => answer.encode_to_vec(),
        Answer::MoveLeader { answer, .. } => answer.encode_to_vec(),
        Answer::Downgrade { answer, .. } => answer.encode_to_vec(),
        Answer::AuthStatus(answer) => answer.encode_to_vec(),
        Answer::UserAdd { answer, .. } => answer.encode_to_vec(),
        Answer::UserGet { answer, .. } => answer.encode_to_vec(),
        Answer::UserList(answer) => answer.encode_to_vec(),
        Answer::UserDelete { answer, .. } => answer.encode_to_vec(),
        Answer::UserPassword(answer) => answer.encode_to_vec(),
        Answer::UserGrantRole { answer, .. } => answer.encode_to_vec(),
        Answer::UserRevokeRole { answer, .. } => answer.encode_to_vec(),
        Answer::RoleAdd { answer, .. } => answer.encode_to_vec(),
        Answer::RoleGet { answer, .. } => answer.encode_to_vec(),
        Answer::RoleList(answer) => answer.encode_to_vec(),
        Answer::RoleDelete { answer, .. } => answer.encode_to_vec(),
        Answer::RoleGrant { answer, .. } => answer.encode_to_vec(),
        Answer::RoleRevoke { answer, .. } => answer.encode_to_vec(),
        Answer::LeaseRevoke { .. } | Answer::Health(_) | Answer::Status(_) | Answer::HashKv(_) => {
            return None;
        }
    })
}

fn header(header: &Option<ResponseHeader>) -> Vec<u8> {
    header.unwrap_or_default().encode_to_vec()
}
