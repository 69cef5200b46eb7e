//! Between the API's Range messages and the key-value store's queries.

use bytes::Bytes;
use mvcc::{RangeQuery, RangeResult, SortOrder, SortTarget};
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::range_request as rr;
use proto::mvccpb::KeyValue;

use crate::apply::header;

/// The query of a request. Unknown sort options count as none: the API refuses them before.
#[must_use]
pub fn query(r: &pb::RangeRequest) -> RangeQuery {
    RangeQuery {
        key: r.key.clone(),
        end: r.range_end.clone(),
        revision: r.revision,
        limit: r.limit,
        sort_order: match rr::SortOrder::try_from(r.sort_order) {
            Ok(rr::SortOrder::Ascend) => SortOrder::Ascend,
            Ok(rr::SortOrder::Descend) => SortOrder::Descend,
            _ => SortOrder::None,
        },
        sort_target: match rr::SortTarget::try_from(r.sort_target) {
            Ok(rr::SortTarget::Version) => SortTarget::Version,
            Ok(rr::SortTarget::Create) => SortTarget::Create,
            Ok(rr::SortTarget::Mod) => SortTarget::Mod,
            Ok(rr::SortTarget::Value) => SortTarget::Value,
            _ => SortTarget::Key,
        },
        keys_only: r.keys_only,
        count_only: r.count_only,
        min_mod_revision: r.min_mod_revision,
        max_mod_revision: r.max_mod_revision,
        min_create_revision: r.min_create_revision,
        max_create_revision: r.max_create_revision,
        skip_count: false,
    }
}

/// The decoded answer, for the inside of txns; a plain Range splices the stored records instead.
///
/// # Errors
/// When a stored record does not decode.
pub fn response(result: RangeResult) -> Result<pb::RangeResponse, prost::DecodeError> {
    let RangeResult { kvs, count, more, revision } = result;
    let kvs = kvs.into_iter().map(|record: Bytes| KeyValue::decode(record)).collect::<Result<_, _>>()?;
    Ok(pb::RangeResponse { header: header(revision), kvs, more, count })
}
