//! Commands of the scripts.

use bytes::Bytes;
use prost::Message;
use proto::authpb;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request as Op;
use proto::membershippb as mpb;
use proto::raftpb;
use store::{ApplyError, ConfChangeContext, Identity, Member, Options, Version};

use crate::show;
use crate::support::{Machine, contents};
use crate::words::{Args, Word, words};

/// A member and who talks to it.
pub struct Session {
    machine: Machine,
    user: String,
    /// `None`: the revision auth has now.
    auth_revision: Option<u64>,
    wanted: bool,
}

impl Session {
    pub fn new() -> Self {
        let options = Options { member_id: 1, ..Options::default() };
        Self { machine: Machine::new(options), user: String::new(), auth_revision: Some(0), wanted: true }
    }

    pub fn run(&mut self, line: &str) -> Vec<String> {
        let words = words(line);
        let args = || Args::new(&words[1..]);
        match words[0].text() {
            "put" => self.send(|r| r.put = Some(put(&args()))),
            "del" => self.send(|r| r.delete_range = Some(delete(&args()))),
            "range" => self.send(|r| r.range = Some(range(&args()))),
            "txn" => self.txn(&words[1..]),
            "compact" => self.send(|r| {
                let physical = args().has("physical");
                r.compaction = Some(pb::CompactionRequest { revision: args().number(0), physical });
            }),
            "lease" => self.lease(&args()),
            "alarm" => self.send(|r| r.alarm = Some(alarm(&args()))),
            "auth" => self.send(|r| auth(&args(), r)),
            "user" => self.send(|r| user(&args(), r)),
            "role" => self.send(|r| role(&args(), r)),
            "cluster" => self.send(|r| cluster(&args(), r)),
            "v2" => self.v2(&args()),
            "conf" => self.conf(&args()),
            "raw" => {
                let hex = args().at(0).as_bytes().to_vec();
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
                self.apply(hex.chunks(2).map(byte).collect::<Vec<_>>().into())
            }
            "noop" => self.apply(Bytes::new()),
            _ => self.look(&words),
        }
    }

    /// Commands that are no entries.
    fn look(&mut self, words: &[Word]) -> Vec<String> {
        let args = Args::new(&words[1..]);
        let store = self.machine.store();
        match words[0].text() {
            "options" => self.options(&args),
            "as" => {
                self.user = args.at(0).to_owned();
                self.auth_revision = args.plain.get(1).map(|n| n.parse().unwrap());
                if self.user == "nobody" {
                    (self.user, self.auth_revision) = (String::new(), Some(0));
                }
                Vec::new()
            }
            "waiter" => {
                self.wanted = args.at(0) == "on";
                Vec::new()
            }
            "get" => self.get(&args),
            "may" => self.may(&args),
            "leases" => {
                let reader = store.reader();
                let show = |l: &store::lease::Lease| {
                    let keys = reader.lease_keys(l.id);
                    format!("{} ttl {} remaining {} keys {}", l.id, l.ttl, l.remaining_ttl, show::keys(&keys))
                };
                reader.leases().iter().map(show).collect()
            }
            "members" => show::members(store.members()),
            "dump" => {
                let prefix = format!("{}/", args.at(0));
                contents(store).into_iter().filter(|line| line.starts_with(&prefix)).collect()
            }
            "maintain" => {
                while store.maintain(2).unwrap() {}
                vec![format!("done {}", store.reader().compaction_done())]
            }
            "reopen" => {
                self.machine.reopen();
                vec![format!("index {}", self.machine.store().consistent_index())]
            }
            "commit" => {
                store.commit().unwrap();
                Vec::new()
            }
            "migrate" => {
                let wal = Version::parse(args.at(0)).unwrap_or(Version::V3_0);
                let result = store.migrate_storage(wal);
                vec![result.map_or_else(|e| e.to_string(), |v| format!("{:?}", v.map(|v| v.to_string())))]
            }
            "blob" => vec![String::from_utf8(store.snapshot_data().to_vec()).unwrap()],
            other => panic!("unknown command {other}"),
        }
    }

    /// Starts anew with other options.
    fn options(&mut self, args: &Args<'_>) -> Vec<String> {
        let mut options = Options { member_id: 1, quota_bytes: args.flag("quota"), ..Options::default() };
        if args.has("emulate") {
            options.emulated_version = Version::parse(&args.flag::<String>("emulate")).unwrap();
        }
        options.lease_checkpoint_persist = args.has("checkpoint-persist");
        if args.has("jwt") {
            options.token_kind = store::TokenKind::Jwt;
        }
        if args.has("hash") {
            let hash = |plain: &str, cost| Some(format!("hash of {plain} at {cost}"));
            options.hash_password = Some(store::HashPassword { hash, cost: 6 });
        }
        self.machine = Machine::new(options);
        Vec::new()
    }

    fn send(&mut self, fill: impl FnOnce(&mut pb::InternalRaftRequest)) -> Vec<String> {
        let auth_revision = self.revision();
        let header = pb::RequestHeader { id: 1, username: self.user.clone(), auth_revision };
        let mut r = pb::InternalRaftRequest { header: Some(header), ..Default::default() };
        fill(&mut r);
        self.apply(r.encode_to_vec().into())
    }

    fn revision(&mut self) -> u64 {
        self.auth_revision.unwrap_or_else(|| self.machine.store().reader().auth().revision)
    }

    fn apply(&mut self, data: Bytes) -> Vec<String> {
        let wanted = self.wanted;
        show::outcome(&self.machine.apply(data, wanted))
    }

    /// Through the API's checks first.
    fn txn(&mut self, words: &[Word]) -> Vec<String> {
        let (ops_max, words) = match words.first() {
            Some(Word::Text(max)) => (max.parse().unwrap(), &words[1..]),
            _ => (store::check::TXN_OPS_MAX, words),
        };
        let txn = txn(words);
        match store::check::check_txn(&txn, ops_max) {
            Ok(()) => self.send(|r| r.txn = Some(txn)),
            Err(error) => vec![format!("refused: {error}")],
        }
    }

    fn lease(&mut self, args: &Args<'_>) -> Vec<String> {
        let id = args.number(1);
        match args.at(0) {
            "grant" => self.send(|r| r.lease_grant = Some(pb::LeaseGrantRequest { id, ttl: args.number(2) })),
            "revoke" => self.send(|r| r.lease_revoke = Some(pb::LeaseRevokeRequest { id })),
            "checkpoint" => self.send(|r| {
                let checkpoints = vec![pb::LeaseCheckpoint { id, remaining_ttl: args.number(2) }];
                r.lease_checkpoint = Some(pb::LeaseCheckpointRequest { checkpoints });
            }),
            other => panic!("lease {other}"),
        }
    }

    fn get(&mut self, args: &Args<'_>) -> Vec<String> {
        let request = range(args);
        let auth_revision = self.revision();
        let reader = self.machine.store().reader();
        let who = Identity { user: &self.user, revision: auth_revision };
        let checked = store::check::check_range(&request).and_then(|()| reader.check_range(who, &request));
        if let Err(error) = checked {
            return vec![format!("refused: {error}")];
        }
        match reader.kv().range(&store::range::query(&request)) {
            Ok(result) => show::range(&store::range::response(result).unwrap()),
            Err(error) => vec![format!("error: {error}")],
        }
    }

    fn may(&mut self, args: &Args<'_>) -> Vec<String> {
        let auth_revision = self.revision();
        let reader = self.machine.store().reader();
        let who = Identity { user: &self.user, revision: auth_revision };
        let answer = match args.at(0) {
            "watch" => reader.check_watch(who, args.at(1).as_bytes(), args.at(2).as_bytes()),
            "admin" => reader.check_admin(who),
            "see-lease" => reader.check_lease_keys_read(who, args.number(1)),
            "keep-lease" => reader.check_lease_keys_write(who, args.number(1)),
            "password" => reader.auth().password_hash(args.at(1)).map(|_| ()),
            other => panic!("may {other}"),
        };
        vec![answer.map_or_else(|e: ApplyError| e.to_string(), |()| "yes".to_owned())]
    }

    fn v2(&mut self, args: &Args<'_>) -> Vec<String> {
        let r = pb::Request {
            id: Some(1),
            method: Some("PUT".to_owned()),
            path: Some(args.at(0).to_owned()),
            val: Some(args.at(1).replace('\'', "\"")),
            ..Default::default()
        };
        self.apply(r.encode_to_vec().into())
    }

    fn conf(&mut self, args: &Args<'_>) -> Vec<String> {
        use raftpb::ConfChangeType as Type;
        let id = args.number(1);
        let peer_urls: Vec<String> = args.plain.iter().skip(2).map(|&url| url.to_owned()).collect();
        let member = Member { id, peer_urls, ..Member::default() };
        let (kind, context) = match args.at(0) {
            "add" => (Type::ConfChangeAddNode, member.to_json()),
            "add-learner" => {
                (Type::ConfChangeAddLearnerNode, Member { is_learner: true, ..member }.to_json())
            }
            "promote" => (Type::ConfChangeAddNode, ConfChangeContext { member, is_promote: true }.to_json()),
            "remove" => (Type::ConfChangeRemoveNode, Vec::new()),
            "update" => (Type::ConfChangeUpdateNode, member.to_json()),
            other => panic!("conf {other}"),
        };
        let change = raftpb::ConfChange {
            id: Some(1),
            r#type: Some(kind.into()),
            node_id: Some(id),
            context: Some(context.into()),
        };
        show::conf_change(&self.machine.conf_change(&change))
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(args: &Args<'_>) -> pb::PutRequest {
    pb::PutRequest {
        key: bytes(args.at(0)),
        value: bytes(args.at(1)),
        lease: args.flag("lease"),
        prev_kv: args.has("prev"),
        ignore_value: args.has("ignore-value"),
        ignore_lease: args.has("ignore-lease"),
    }
}

fn delete(args: &Args<'_>) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(args.at(0)), range_end: bytes(args.at(1)), prev_kv: args.has("prev") }
}

fn range(args: &Args<'_>) -> pb::RangeRequest {
    pb::RangeRequest {
        key: bytes(args.at(0)),
        range_end: bytes(args.at(1)),
        revision: args.flag("rev"),
        limit: args.flag("limit"),
        sort_order: args.flag("order"),
        sort_target: args.flag("target"),
        keys_only: args.has("keys"),
        count_only: args.has("count"),
        ..Default::default()
    }
}

/// `(if (mod a > 3) …) (then (put a 1) …) (else …)`, each part optional.
fn txn(parts: &[Word]) -> pb::TxnRequest {
    let mut txn = pb::TxnRequest::default();
    for part in parts {
        let (head, rest) = part.list().split_first().unwrap();
        match head.text() {
            "if" => txn.compare = rest.iter().map(|c| compare(c.list())).collect(),
            "then" => txn.success = rest.iter().map(|o| op(o.list())).collect(),
            "else" => txn.failure = rest.iter().map(|o| op(o.list())).collect(),
            other => panic!("txn part {other}"),
        }
    }
    txn
}

fn op(words: &[Word]) -> pb::RequestOp {
    let Some((head, rest)) = words.split_first() else { return pb::RequestOp::default() };
    let request = match head.text() {
        "put" => Op::RequestPut(put(&Args::new(rest))),
        "del" => Op::RequestDeleteRange(delete(&Args::new(rest))),
        "get" => Op::RequestRange(range(&Args::new(rest))),
        "txn" => Op::RequestTxn(txn(rest)),
        other => panic!("txn op {other}"),
    };
    pb::RequestOp { request: Some(request) }
}

fn compare(words: &[Word]) -> pb::Compare {
    let args = Args::new(words);
    let n = || args.number(3);
    let (target, with) = match args.at(0) {
        "version" => (CompareTarget::Version, TargetUnion::Version(n())),
        "create" => (CompareTarget::Create, TargetUnion::CreateRevision(n())),
        "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(n())),
        "value" => (CompareTarget::Value, TargetUnion::Value(bytes(args.at(3)))),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(n())),
        other => panic!("compare {other}"),
    };
    let result = match args.at(2) {
        "=" => CompareResult::Equal.into(),
        "!=" => CompareResult::NotEqual.into(),
        ">" => CompareResult::Greater.into(),
        "<" => CompareResult::Less.into(),
        number => number.parse().unwrap(),
    };
    pb::Compare {
        result,
        target: target.into(),
        key: bytes(args.at(1)),
        range_end: bytes(&args.flag::<String>("end")),
        target_union: if args.has("no-union") { None } else { Some(with) },
    }
}

fn alarm(args: &Args<'_>) -> pb::AlarmRequest {
    let action = ["list", "raise", "clear"].iter().position(|a| *a == args.at(0)).unwrap();
    let alarm = ["none", "nospace", "corrupt"].iter().position(|a| *a == args.at(1)).unwrap_or(0);
    pb::AlarmRequest { action: action as i32, alarm: alarm as i32, member_id: args.number(2) }
}

fn auth(args: &Args<'_>, r: &mut pb::InternalRaftRequest) {
    match args.at(0) {
        "enable" => r.auth_enable = Some(pb::AuthEnableRequest {}),
        "disable" => r.auth_disable = Some(pb::AuthDisableRequest {}),
        "status" => r.auth_status = Some(pb::AuthStatusRequest {}),
        "login" => {
            let (name, simple_token) = (args.at(1).to_owned(), args.at(2).to_owned());
            let password = String::new();
            r.authenticate = Some(pb::InternalAuthenticateRequest { name, password, simple_token });
        }
        other => panic!("auth {other}"),
    }
}

fn user(args: &Args<'_>, r: &mut pb::InternalRaftRequest) {
    let (name, role) = (args.at(1).to_owned(), args.at(2).to_owned());
    let hashed_password = args.flag::<String>("hash");
    let password = args.flag::<String>("plain");
    match args.at(0) {
        "add" => {
            let options = args.has("no-password").then_some(authpb::UserAddOptions { no_password: true });
            r.auth_user_add = Some(pb::AuthUserAddRequest { name, password, options, hashed_password });
        }
        "delete" => r.auth_user_delete = Some(pb::AuthUserDeleteRequest { name }),
        "get" => r.auth_user_get = Some(pb::AuthUserGetRequest { name }),
        "passwd" => {
            r.auth_user_change_password =
                Some(pb::AuthUserChangePasswordRequest { name, password, hashed_password });
        }
        "grant" => r.auth_user_grant_role = Some(pb::AuthUserGrantRoleRequest { user: name, role }),
        "revoke" => r.auth_user_revoke_role = Some(pb::AuthUserRevokeRoleRequest { name, role }),
        "list" => r.auth_user_list = Some(pb::AuthUserListRequest {}),
        other => panic!("user {other}"),
    }
}

fn role(args: &Args<'_>, r: &mut pb::InternalRaftRequest) {
    let name = args.at(1).to_owned();
    match args.at(0) {
        "add" => r.auth_role_add = Some(pb::AuthRoleAddRequest { name }),
        "delete" => r.auth_role_delete = Some(pb::AuthRoleDeleteRequest { role: name }),
        "get" => r.auth_role_get = Some(pb::AuthRoleGetRequest { role: name }),
        "grant" => {
            let perm = ["read", "write", "readwrite"].iter().position(|p| *p == args.at(2)).map(|kind| {
                authpb::Permission {
                    perm_type: kind as i32,
                    key: bytes(args.at(3)),
                    range_end: bytes(args.at(4)),
                }
            });
            r.auth_role_grant_permission = Some(pb::AuthRoleGrantPermissionRequest { name, perm });
        }
        "revoke" => {
            r.auth_role_revoke_permission = Some(pb::AuthRoleRevokePermissionRequest {
                role: name,
                key: bytes(args.at(2)),
                range_end: bytes(args.at(3)),
            });
        }
        "list" => r.auth_role_list = Some(pb::AuthRoleListRequest {}),
        other => panic!("role {other}"),
    }
}

fn cluster(args: &Args<'_>, r: &mut pb::InternalRaftRequest) {
    match args.at(0) {
        "version" => {
            r.cluster_version_set = Some(mpb::ClusterVersionSetRequest { ver: args.at(1).to_owned() })
        }
        "downgrade" => {
            let (enabled, ver) = (args.at(1) != "off", args.at(1).to_owned());
            r.downgrade_info_set = Some(mpb::DowngradeInfoSetRequest { enabled, ver });
        }
        "publish" => {
            let attributes =
                mpb::Attributes { name: args.at(2).to_owned(), client_urls: vec![args.at(3).to_owned()] };
            r.cluster_member_attr_set = Some(mpb::ClusterMemberAttrSetRequest {
                member_id: args.number(1),
                member_attributes: Some(attributes),
            });
        }
        "version-test" => {
            r.downgrade_version_test = Some(pb::DowngradeVersionTestRequest { ver: String::new() });
        }
        other => panic!("cluster {other}"),
    }
}
