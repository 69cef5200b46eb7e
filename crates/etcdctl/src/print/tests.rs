//! Golden outputs, checked against etcdctl 3.7.1.
use bytes::Bytes;
use proto::authpb::Permission;
use proto::etcdserverpb::response_op::Response;
use proto::mvccpb::{Event, KeyValue};

use super::*;

fn header(revision: i64) -> Option<ResponseHeader> {
    let (cluster_id, member_id) = (15875391935852295136, 7383792418829112008);
    Some(ResponseHeader { cluster_id, member_id, revision, raft_term: 2 })
}

fn kv(key: &'static str, value: &'static str, create: i64, modified: i64, version: i64) -> KeyValue {
    KeyValue {
        key: Bytes::from(key),
        value: Bytes::from(value),
        create_revision: create,
        mod_revision: modified,
        version,
        lease: 0,
    }
}

/// `format`, or `format hex`.
fn printed(how: &str, answer: &Answer<'_>) -> String {
    let (format, hex) = match how.split_once(' ') {
        Some((format, _)) => (format, true),
        None => (how, false),
    };
    let style = Style { format: Format::parse(format).unwrap(), hex, value_only: false };
    let mut out = Vec::new();
    match style.write(answer, &mut out) {
        Ok(()) => String::from_utf8(out).unwrap(),
        Err(Trouble::Unsupported) => "unsupported".to_owned(),
        Err(Trouble::Io(error)) => error.to_string(),
    }
}

fn check(how: &str, answer: &Answer<'_>, expected: &str) {
    assert_eq!(printed(how, answer), expected, "{how}");
}

const HEADER_FIELDS: &str = "\"ClusterID\" : 15875391935852295136\n\"MemberID\" : 7383792418829112008\n";

#[test]
fn a_range_prints_in_every_format_that_has_one() {
    let response =
        RangeResponse { header: header(14), kvs: vec![kv("a", "5", 2, 14, 12)], more: false, count: 1 };
    let answer = Answer::Get(&response);
    check("simple", &answer, "a\n5\n");
    check("simple hex", &answer, "\\x61\n\\x35\n");
    check(
        "json",
        &answer,
        "{\"header\":{\"cluster_id\":15875391935852295136,\"member_id\":7383792418829112008,\"revision\":14,\
         \"raft_term\":2},\"kvs\":[{\"key\":\"YQ==\",\"create_revision\":2,\"mod_revision\":14,\"version\":12,\
         \"value\":\"NQ==\"}],\"count\":1}\n",
    );
    let body = "\"Revision\" : 14\n\"RaftTerm\" : 2\n\"Key\" : \"a\"\n\"CreateRevision\" : 2\n\"ModRevision\" : 14\n\
                \"Version\" : 12\n\"Value\" : \"5\"\n\"Lease\" : 0\n\"More\" : false\n\"Count\" : 1\n";
    check("fields", &answer, &format!("{HEADER_FIELDS}{body}"));
    check("table", &answer, "unsupported");
}

#[test]
fn a_put_and_a_delete_show_what_was_there_before() {
    let response = PutResponse { header: header(5), prev_kv: Some(kv("a", "2", 2, 4, 3)) };
    check("simple", &Answer::Put(&response), "OK\na\n2\n");
    let fields = "\"Revision\" : 5\n\"RaftTerm\" : 2\n\"PrevKey\" : \"a\"\n\"PrevCreateRevision\" : 2\n\
                  \"PrevModRevision\" : 4\n\"PrevVersion\" : 3\n\"PrevValue\" : \"2\"\n\"PrevLease\" : 0\n";
    check("fields", &Answer::Put(&response), &format!("{HEADER_FIELDS}{fields}"));
    let response =
        DeleteRangeResponse { header: header(17), deleted: 1, prev_kvs: vec![kv("a", "1", 16, 16, 1)] };
    check("simple", &Answer::Delete(&response), "1\na\n1\n");
}

#[test]
fn a_txn_wraps_each_answer() {
    let put = PutResponse {
        header: Some(ResponseHeader { revision: 6, ..ResponseHeader::default() }),
        prev_kv: None,
    };
    let response = TxnResponse {
        header: header(6),
        succeeded: true,
        responses: vec![ResponseOp { response: Some(Response::ResponsePut(put)) }],
    };
    check("simple", &Answer::Txn(&response), "SUCCESS\n\nOK\n");
    assert!(printed("json", &Answer::Txn(&response)).ends_with(
        "\"succeeded\":true,\"responses\":[{\"Response\":{\"response_put\":{\"header\":{\"revision\":6}}}}]}\n"
    ));
}

#[test]
fn a_watch_response_keeps_go_s_names_and_leaves_nothing_out() {
    let event = Event {
        r#type: 1,
        kv: Some(KeyValue { key: Bytes::from("wa"), mod_revision: 28, ..KeyValue::default() }),
        prev_kv: None,
    };
    let response = WatchResponse { header: header(28), events: vec![event], ..WatchResponse::default() };
    check("simple", &Answer::Watch(&response), "DELETE\nwa\n\n");
    check(
        "json",
        &Answer::Watch(&response),
        "{\"Header\":{\"cluster_id\":15875391935852295136,\"member_id\":7383792418829112008,\"revision\":28,\
         \"raft_term\":2},\"Events\":[{\"type\":1,\"kv\":{\"key\":\"d2E=\",\"mod_revision\":28}}],\
         \"CompactRevision\":0,\"Canceled\":false,\"Created\":false,\"CancelReason\":\"\"}\n",
    );
    let refused = WatchResponse { canceled: true, ..WatchResponse::default() };
    check(
        "json",
        &Answer::Watch(&refused),
        "{\"Header\":{},\"Events\":null,\"CompactRevision\":0,\"Canceled\":true,\"Created\":false,\
         \"CancelReason\":\"\"}\n",
    );
}

#[test]
fn members_print_with_ids_as_asked_for() {
    let member = Member {
        id: 7383792418829112008,
        name: "n1".into(),
        peer_ur_ls: vec!["http://a:2380".into()],
        client_ur_ls: vec!["http://a:2379".into()],
        is_learner: false,
    };
    let response = MemberListResponse { header: header(0), members: vec![member] };
    let answer = Answer::MemberList(&response);
    check("simple", &answer, "667880157b8812c8, started, n1, http://a:2380, http://a:2379, false\n");
    check(
        "json hex",
        &answer,
        "{\"header\":{\"cluster_id\":\"dc50b8daae93b3e0\",\"member_id\":\"667880157b8812c8\",\"raft_term\":2},\
         \"members\":[{\"ID\":\"667880157b8812c8\",\"name\":\"n1\",\"peerURLs\":[\"http://a:2380\"],\
         \"clientURLs\":[\"http://a:2379\"]}]}\n",
    );
    check(
        "table",
        &answer,
        "┌──────────────────┬─────────┬──────┬───────────────┬───────────────┬────────────┐\n\
         │        ID        │ STATUS  │ NAME │  PEER ADDRS   │ CLIENT ADDRS  │ IS LEARNER │\n\
         ├──────────────────┼─────────┼──────┼───────────────┼───────────────┼────────────┤\n\
         │ 667880157b8812c8 │ started │   n1 │ http://a:2380 │ http://a:2379 │      false │\n\
         └──────────────────┴─────────┴──────┴───────────────┴───────────────┴────────────┘\n",
    );
}

#[test]
fn endpoint_answers_name_the_endpoint() {
    let status = StatusResponse {
        header: header(24),
        version: "3.7.1".into(),
        storage_version: "3.7.0".into(),
        db_size: 20480,
        db_size_in_use: 16384,
        db_size_quota: 1 << 31,
        leader: 7383792418829112008,
        raft_index: 32,
        raft_term: 2,
        raft_applied_index: 32,
        downgrade_info: Some(DowngradeInfo::default()),
        ..StatusResponse::default()
    };
    let all = [At { endpoint: "e:1".to_owned(), answer: status }];
    let line =
        "e:1, 667880157b8812c8, 3.7.1, 3.7.0, 20 kB, 16 kB, 20%, 2.1 GB, true, false, 2, 32, 32, , , false\n";
    check("simple", &Answer::Status(&all), line);
    assert!(
        printed("json", &Answer::Status(&all))
            .ends_with("\"dbSizeQuota\":2147483648,\"downgradeInfo\":{}}}]\n")
    );
    check("json", &Answer::Status(&[]), "null\n");
    let took = Duration::from_nanos(3_423_236);
    let health = [Health { endpoint: "e:1".to_owned(), took, error: String::new() }];
    check(
        "json",
        &Answer::Health(&health),
        "[{\"endpoint\":\"e:1\",\"health\":true,\"took\":\"3.423236ms\"}]\n",
    );
    let text = "\"Endpoint\" : \"e:1\"\n\"Health\" : true\n\"Took\" : 3.423236ms\n\"Error\" : \n\n";
    check("fields", &Answer::Health(&health), text);
}

#[test]
fn a_role_shows_prefixes_and_open_ends() {
    let permission = |perm_type, key: &'static str, range_end: &'static str| Permission {
        perm_type,
        key: Bytes::from(key),
        range_end: Bytes::from(range_end),
    };
    let response = AuthRoleGetResponse {
        header: header(1),
        perm: vec![permission(0, "k", ""), permission(2, "a", "b"), permission(1, "z", "\0")],
    };
    let answer = Answer::RoleGet { role: "r", answer: &response };
    let text =
        "Role r\nKV Read:\n\tk\n\t[a, b) (prefix a)\nKV Write:\n\t[a, b) (prefix a)\n\t[z, <open ended>\n";
    check("simple", &answer, text);
}
