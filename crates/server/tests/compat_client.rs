//! The crate `etcd-client` gets the same answers from Balsa as from Go etcd, over the whole of KV, watch, lease, lock,
//! election and maintenance. The same calls run against both, one server after the other on the same ports.
mod harness;
use etcd_client::*;
use harness::{Member, Ports, balsa, reference};
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

/// What each call answered, in its debug form.
struct Transcript {
    answers: Vec<(String, String)>,
    /// Compared with an etcd 3.7. An older one takes watches from a negative revision and permissions of an empty range,
    /// refuses a watch under another id, and leaves `hash_revision` out.
    newest: bool,
}

impl Transcript {
    async fn note<T: Debug>(
        &mut self,
        call: &str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Option<T> {
        let Ok(answer) = tokio::time::timeout(Duration::from_secs(5), answer).await else {
            self.answers.push((call.to_string(), "no answer within 5 s".into()));
            return None;
        };
        let text = match &answer {
            Ok(answer) => format!("{answer:?}"),
            Err(Error::GRpcStatus(status)) => format!("{:?}: {}", status.code(), status.message()),
            Err(error) => format!("{error:?}"),
        };
        let text = if self.newest { text } else { without_hash_revision(&text) };
        self.answers.push((call.to_string(), text));
        answer.ok()
    }
}

const LEASE: i64 = 0x1234_5678;

async fn kv(client: &mut Client, t: &mut Transcript) {
    for (key, value) in
        [("a", "1"), ("b", "2"), ("b", "3"), ("c", ""), ("dir/1", "x"), ("dir/2", "y"), ("dir/3", "z")]
    {
        t.note("put", async { client.put(key, value, None).await }).await;
    }
    t.note("put prev", async { client.put("a", "4", Some(PutOptions::new().with_prev_key())).await }).await;
    t.note("put ignore value", async {
        client.put("a", "", Some(PutOptions::new().with_ignore_value())).await
    })
    .await;
    t.note("put ignore value given", async {
        client.put("a", "x", Some(PutOptions::new().with_ignore_value())).await
    })
    .await;
    t.note("put ignore lease given", async {
        client.put("a", "x", Some(PutOptions::new().with_ignore_lease().with_lease(7))).await
    })
    .await;
    t.note("put unknown lease", async { client.put("a", "x", Some(PutOptions::new().with_lease(7))).await })
        .await;
    t.note("put empty key", async { client.put("", "x", None).await }).await;
    t.note("put too large", async { client.put("large", vec![b'x'; 1_600_000], None).await }).await;
    t.note("put far too large", async { client.put("large", vec![b'x'; 3_000_000], None).await }).await;
    t.note("put large", async { client.put("large", vec![b'x'; 1_500_000], None).await }).await;
    t.note("get large", async { client.get("large", None).await.map(|r| r.kvs()[0].value().len()) }).await;
    t.note("delete large", async { client.delete("large", None).await }).await;
    let options = GetOptions::new;
    let all = || options().with_all_keys();
    let gets: Vec<(&str, &str, GetOptions)> = vec![
        ("get", "a", options()),
        ("get missing", "missing", options()),
        ("get range", "a", options().with_range("c")),
        ("get empty range", "c", options().with_range("a")),
        ("get from", "c", options().with_from_key()),
        ("get prefix", "dir/", options().with_prefix()),
        ("get all", "", all()),
        ("get limit", "", all().with_limit(2)),
        ("get limit exact", "dir/", options().with_prefix().with_limit(3)),
        ("get negative limit", "", all().with_limit(-1)),
        ("get revision", "b", options().with_revision(3)),
        ("get revision before", "b", options().with_revision(2)),
        ("get old all", "", all().with_revision(5)),
        ("get future", "b", options().with_revision(10_000)),
        ("get negative revision", "b", options().with_revision(-5)),
        ("get keys only", "", all().with_keys_only()),
        ("get count only", "", all().with_count_only()),
        ("get count only limit", "", all().with_count_only().with_limit(1)),
        ("get serializable", "a", options().with_serializable()),
        ("get min mod", "", all().with_min_mod_revision(5)),
        ("get max mod", "", all().with_max_mod_revision(5)),
        ("get min create", "", all().with_min_create_revision(4).with_limit(1)),
        ("get max create", "", all().with_max_create_revision(4)),
        ("get sort key desc", "", all().with_sort(SortTarget::Key, SortOrder::Descend)),
        ("get sort value desc", "", all().with_sort(SortTarget::Value, SortOrder::Descend)),
        ("get sort mod", "", all().with_sort(SortTarget::Mod, SortOrder::Ascend).with_limit(3)),
        ("get sort create", "", all().with_sort(SortTarget::Create, SortOrder::Descend).with_limit(3)),
        ("get sort mod none", "", all().with_sort(SortTarget::Mod, SortOrder::None).with_limit(3)),
        ("get empty key", "", options()),
    ];
    for (name, key, options) in gets {
        t.note(name, async { client.get(key, Some(options)).await }).await;
    }
    t.note("delete missing", async { client.delete("missing", None).await }).await;
    t.note("delete prev", async { client.delete("dir/1", Some(DeleteOptions::new().with_prev_key())).await })
        .await;
    t.note("delete prefix", async {
        client.delete("dir/", Some(DeleteOptions::new().with_prefix().with_prev_key())).await
    })
    .await;
    t.note("delete empty key", async { client.delete("", None).await }).await;
    t.note("get after delete", async { client.get("dir/", Some(options().with_prefix())).await }).await;
    t.note("get before delete", async {
        client.get("dir/", Some(options().with_prefix().with_revision(10))).await
    })
    .await;
}

async fn txn(client: &mut Client, t: &mut Transcript) {
    let put = |key: &str, value: &str| TxnOp::put(key, value, None);
    let get = |key: &str| TxnOp::get(key, None);
    let txns: Vec<(&str, Txn)> = vec![
        ("empty", Txn::new()),
        ("put twice", Txn::new().and_then([put("t", "1"), put("t", "2")])),
        ("put and delete", Txn::new().and_then([put("t", "1"), TxnOp::delete("t", None)])),
        ("put in deleted range", {
            Txn::new()
                .and_then([TxnOp::delete("s", Some(DeleteOptions::new().with_range("u"))), put("t", "1")])
        }),
        ("put in both branches", Txn::new().and_then([put("t", "1")]).or_else([put("t", "2")])),
        ("see own put", Txn::new().and_then([put("t", "3"), get("t"), put("u", "1"), get("u")])),
        ("delete then get", Txn::new().and_then([TxnOp::delete("u", None), get("u"), put("v", "1")])),
        ("version", Txn::new().when([Compare::version("t", CompareOp::Equal, 2)]).and_then([get("t")])),
        ("value less", Txn::new().when([Compare::value("t", CompareOp::Less, "9")]).and_then([get("t")])),
        (
            "value of missing",
            Txn::new().when([Compare::value("none", CompareOp::NotEqual, "9")]).or_else([get("t")]),
        ),
        ("create of missing", {
            Txn::new()
                .when([Compare::create_revision("none", CompareOp::Equal, 0)])
                .and_then([put("new", "1")])
        }),
        (
            "mod greater",
            Txn::new().when([Compare::mod_revision("t", CompareOp::Greater, 1)]).and_then([get("t")]),
        ),
        ("lease", Txn::new().when([Compare::lease("t", CompareOp::Equal, 0)]).and_then([get("t")])),
        ("range compare", {
            Txn::new().when([Compare::version("t", CompareOp::Greater, 0).with_prefix()]).and_then([get("t")])
        }),
        ("two compares", {
            let both =
                [Compare::version("t", CompareOp::Greater, 0), Compare::version("v", CompareOp::Greater, 5)];
            Txn::new().when(both).and_then([get("t")]).or_else([get("v")])
        }),
        ("nested", {
            let inner = Txn::new()
                .when([Compare::version("t", CompareOp::Equal, 0)])
                .or_else([put("w", "1"), get("w")]);
            Txn::new().and_then([put("x", "1"), TxnOp::txn(inner), get("w")])
        }),
        ("nested twice the same", {
            let inner = || TxnOp::txn(Txn::new().and_then([put("w", "1")]));
            Txn::new().and_then([inner(), inner()])
        }),
        ("unknown lease", {
            Txn::new().and_then([put("y", "1"), TxnOp::put("z", "1", Some(PutOptions::new().with_lease(99)))])
        }),
        ("future get", {
            Txn::new()
                .and_then([put("y", "1"), TxnOp::get("y", Some(GetOptions::new().with_revision(100_000)))])
        }),
        ("ignore value of missing", {
            Txn::new().and_then([TxnOp::put("no", "", Some(PutOptions::new().with_ignore_value()))])
        }),
        ("empty key", Txn::new().and_then([put("", "1")])),
        ("too many", Txn::new().and_then((0..129).map(|i| put(&format!("k{i}"), "1")).collect::<Vec<_>>())),
        ("many", Txn::new().and_then((0..128).map(|i| put(&format!("k{i:03}"), "1")).collect::<Vec<_>>())),
        ("delete many", {
            Txn::new()
                .and_then([TxnOp::delete("k", Some(DeleteOptions::new().with_prefix().with_prev_key()))])
        }),
    ];
    for (name, txn) in txns {
        t.note(&format!("txn {name}"), async { client.txn(txn).await }).await;
    }
}

async fn watch(client: &mut Client, t: &mut Transcript) -> Result<(), Error> {
    let first = WatchOptions::new().with_prefix().with_start_revision(2).with_prev_key();
    let mut stream = client.watch("b", Some(first)).await?;
    read(&mut stream, t, "history", 2).await;
    client.put("b", "10", None).await?;
    client.delete("b", None).await?;
    read(&mut stream, t, "live", 2).await;
    stream.request_progress().await?;
    read(&mut stream, t, "progress", 1).await;
    let future = WatchOptions::new().with_start_revision(100_000);
    stream.watch("future", Some(future)).await?;
    stream.watch("named", Some(WatchOptions::new().with_watch_id(77))).await?;
    read(&mut stream, t, "two more", 2).await;
    stream.watch("named again", Some(WatchOptions::new().with_watch_id(77))).await?;
    stream.watch("b", Some(WatchOptions::new().with_range("a"))).await?;
    if t.newest {
        stream.watch("b", Some(WatchOptions::new().with_start_revision(-1))).await?;
    }
    let refused = if t.newest { 3 } else { 2 };
    read(&mut stream, t, "refused", refused).await;
    stream.cancel(77).await?;
    stream.cancel(12_345).await?;
    read(&mut stream, t, "cancelled", 1).await;
    let no_puts = WatchOptions::new().with_filters([WatchFilterType::NoPut]);
    let no_deletes = WatchOptions::new().with_filters([WatchFilterType::NoDelete]);
    stream.watch("filtered", Some(no_puts)).await?;
    stream.watch("filtered", Some(no_deletes)).await?;
    read(&mut stream, t, "filters", 2).await;
    client.put("filtered", "1", None).await?;
    client.delete("filtered", None).await?;
    read(&mut stream, t, "filtered", 2).await;
    let two = Txn::new().and_then([TxnOp::put("m/1", "1", None), TxnOp::put("m/2", "2", None)]);
    stream.watch("m/", Some(WatchOptions::new().with_prefix())).await?;
    read(&mut stream, t, "before a txn", 1).await;
    client.txn(two).await?;
    read(&mut stream, t, "a txn is one response", 1).await;
    Ok(())
}

/// The next answers of a stream; an answer that does not come within 3 s is noted as such.
async fn read(stream: &mut WatchStream, t: &mut Transcript, name: &str, count: usize) {
    for _ in 0..count {
        match tokio::time::timeout(Duration::from_secs(3), stream.message()).await {
            Ok(answer) => t.note(&format!("watch {name}"), async { answer }).await.map(|_| ()),
            Err(_) => t.note(&format!("watch {name}"), async { Ok("no answer") }).await.map(|_| ()),
        };
    }
}

async fn lease(client: &mut Client, t: &mut Transcript) -> Result<(), Error> {
    let with_id = |id| Some(LeaseGrantOptions::new().with_id(id));
    t.note("grant", async { client.lease_grant(600, with_id(LEASE)).await }).await;
    t.note("grant again", async { client.lease_grant(600, with_id(LEASE)).await }).await;
    t.note("grant short", async { client.lease_grant(1, with_id(LEASE + 1)).await }).await;
    t.note("grant negative", async { client.lease_grant(-1, with_id(LEASE + 2)).await }).await;
    t.note("grant long", async { client.lease_grant(9_000_000_001, with_id(LEASE + 3)).await }).await;
    t.note("leases", async {
        client.leases().await.map(|r| r.leases().iter().filter(|l| l.id() == LEASE).count())
    })
    .await;
    client.put("leased", "1", Some(PutOptions::new().with_lease(LEASE))).await?;
    client.put("moved", "1", Some(PutOptions::new().with_lease(LEASE))).await?;
    client.put("moved", "2", None).await?;
    t.note("get leased", async { client.get("leased", None).await }).await;
    t.note("get leased keys only", async {
        client.get("leased", Some(GetOptions::new().with_keys_only())).await.map(|r| r.count())
    })
    .await;
    t.note("ignore lease", async {
        client.put("leased", "2", Some(PutOptions::new().with_ignore_lease())).await
    })
    .await;
    let keys = || Some(LeaseTimeToLiveOptions::new().with_keys());
    t.note("time to live", async {
        client.lease_time_to_live(LEASE, keys()).await.map(|r| (r.granted_ttl(), r.keys().to_vec()))
    })
    .await;
    t.note("time to live of none", async { client.lease_time_to_live(5, keys()).await }).await;
    let (mut keeper, mut answers) = client.lease_keep_alive(LEASE).await?;
    keeper.keep_alive().await?;
    t.note("keep alive", async { answers.message().await }).await;
    t.note("keep alive of none", async { client.lease_keep_alive(6).await.map(|(keeper, _)| keeper.id()) })
        .await;
    t.note("revoke", async { client.lease_revoke(LEASE).await }).await;
    t.note("revoke again", async { client.lease_revoke(LEASE).await }).await;
    t.note("get revoked", async { client.get("leased", None).await }).await;
    t.note("get moved", async { client.get("moved", None).await }).await;
    Ok(())
}

async fn recipes(client: &mut Client, t: &mut Transcript) -> Result<(), Error> {
    let with_id = |id| Some(LeaseGrantOptions::new().with_id(id));
    client.lease_grant(600, with_id(LEASE + 10)).await?;
    client.lease_grant(600, with_id(LEASE + 11)).await?;
    let hold = |id| Some(LockOptions::new().with_lease(id));
    let first = t
        .note("lock", async { client.lock("door", hold(LEASE + 10)).await })
        .await
        .expect("the lock was free");
    t.note("lock again", async { client.lock("door", hold(LEASE + 10)).await }).await;
    t.note("lock unknown lease", async { client.lock("door", hold(12)).await }).await;
    let waiting =
        tokio::time::timeout(Duration::from_millis(300), client.lock("door", hold(LEASE + 11))).await;
    t.note("a held lock waits", async { Ok(waiting.is_err()) }).await;
    // Both servers give the abandoned claim up in the background.
    tokio::time::sleep(Duration::from_millis(500)).await;
    t.note("unlock", async { client.unlock(first.key()).await }).await;
    t.note("unlock again", async { client.unlock(first.key()).await }).await;
    t.note("lock after unlock", async {
        client.lock("door", hold(LEASE + 11)).await.map(|r| r.key().to_vec())
    })
    .await;
    t.note("no leader", async { client.leader("race").await }).await;
    let won = t
        .note("campaign", async { client.campaign("race", "one", LEASE + 10).await })
        .await
        .expect("nobody else runs");
    t.note("leader", async { client.leader("race").await }).await;
    let mut observed = client.observe("race").await?; // answers only once there is a leader
    t.note("observe", async { observed.message().await }).await;
    let leader = || won.leader().cloned().expect("a leader key");
    t.note("proclaim", async {
        client.proclaim("two", Some(ProclaimOptions::new().with_leader(leader()))).await
    })
    .await;
    t.note("observe proclaimed", async { observed.message().await }).await;
    t.note("resign", async { client.resign(Some(ResignOptions::new().with_leader(leader()))).await }).await;
    t.note("proclaim after", async {
        client.proclaim("three", Some(ProclaimOptions::new().with_leader(leader()))).await
    })
    .await;
    t.note("no leader again", async { client.leader("race").await }).await;
    t.note("campaign unknown lease", async { client.campaign("race", "x", 13).await }).await;
    Ok(())
}

async fn maintenance(client: &mut Client, t: &mut Transcript) -> Result<(), Error> {
    let status = client.status().await?;
    let facts = (
        status.leader(),
        status.raft_term(),
        status.errors().to_vec(),
        status.is_learner(),
        status.db_size() > 0,
    );
    t.note("status", async { Ok(facts) }).await;
    t.note("hash kv", async { client.hash_kv(0).await }).await;
    t.note("hash kv old", async { client.hash_kv(9).await }).await;
    t.note("hash kv future", async { client.hash_kv(1_000_000).await }).await;
    t.note("compact", async { client.compact(9, None).await }).await;
    t.note("compact again", async { client.compact(9, None).await }).await;
    t.note("compact future", async { client.compact(1_000_000, None).await }).await;
    t.note("compact physical", async {
        client.compact(11, Some(CompactionOptions::new().with_physical())).await
    })
    .await;
    t.note("get compacted", async { client.get("b", Some(GetOptions::new().with_revision(10))).await }).await;
    t.note("get at compact revision", async {
        client.get("b", Some(GetOptions::new().with_revision(11))).await
    })
    .await;
    t.note("hash kv after", async { client.hash_kv(0).await }).await;
    t.note("hash kv compacted", async { client.hash_kv(4).await }).await;
    t.note("defragment", async { client.defragment().await }).await;
    t.note("hash kv after defragment", async { client.hash_kv(0).await }).await;
    let stop = WatchOptions::new().with_start_revision(3);
    let mut stream = client.watch("b", Some(stop)).await?;
    read(&mut stream, t, "compacted", 1).await;
    t.note("alarms", async { client.alarm(AlarmAction::Get, AlarmType::None, None).await }).await;
    let raise = || AlarmAction::Activate;
    t.note("raise", async {
        client.alarm(raise(), AlarmType::Nospace, Some(AlarmOptions::new())).await.map(|r| r.alarms().len())
    })
    .await;
    t.note("put without space", async { client.put("full", "1", None).await }).await;
    t.note("delete without space", async { client.delete("none", None).await }).await;
    t.note("grant without space", async { client.lease_grant(60, None).await }).await;
    t.note("get without space", async { client.get("a", None).await }).await;
    t.note("lower", async {
        client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, None).await.map(|r| r.alarms().len())
    })
    .await;
    t.note("put with space", async { client.put("full", "1", None).await }).await;
    t.note("move leader", async { client.move_leader(1).await }).await;
    let mut snapshot = client.snapshot().await?;
    let (mut bytes, mut promised) = (0, None);
    while let Some(chunk) = snapshot.message().await? {
        promised.get_or_insert(chunk.remaining_bytes() + chunk.blob().len() as u64);
        bytes += chunk.blob().len() as u64;
    }
    t.note("snapshot has its hash at the end", async { Ok(bytes - promised.unwrap_or(0)) }).await;
    t.note("members", async { client.member_list().await }).await;
    t.note("remove unknown member", async { client.member_remove(5).await }).await;
    t.note("add member without url", async { client.member_add(["no url"], None).await.map(|_| ()) }).await;
    Ok(())
}

async fn auth(client: &mut Client, endpoint: &str, t: &mut Transcript) -> Result<(), Error> {
    t.note("enable without root", async { client.auth_enable().await }).await;
    t.note("user add", async { client.user_add("root", "secret", None).await }).await;
    t.note("user add again", async { client.user_add("root", "secret", None).await }).await;
    t.note("user without name", async { client.user_add("", "secret", None).await }).await;
    t.note("enable without role", async { client.auth_enable().await }).await;
    t.note("role add", async { client.role_add("root").await }).await;
    t.note("grant", async { client.user_grant_role("root", "root").await }).await;
    t.note("grant unknown role", async { client.user_grant_role("root", "nothing").await }).await;
    t.note("grant unknown user", async { client.user_grant_role("nobody", "root").await }).await;
    t.note("role add reader", async { client.role_add("reader").await }).await;
    t.note("permission", async {
        client.role_grant_permission("reader", Permission::read("open/").with_prefix()).await
    })
    .await;
    if t.newest {
        t.note("permission bad", async {
            client.role_grant_permission("reader", Permission::read("b").with_range_end("a")).await
        })
        .await;
    }
    t.note("role get", async { client.role_get("reader").await }).await;
    t.note("user add reader", async { client.user_add("reader", "pass", None).await }).await;
    t.note("user grant", async { client.user_grant_role("reader", "reader").await }).await;
    client.put("open/1", "1", None).await?;
    t.note("enable", async { client.auth_enable().await }).await;
    t.note("put by nobody", async { client.put("a", "1", None).await }).await;
    let wrong = ConnectOptions::new().with_user("reader", "wrong");
    t.note("wrong password", async { Client::connect([endpoint], Some(wrong)).await.map(|_| ()) }).await;
    let mut reader =
        Client::connect([endpoint], Some(ConnectOptions::new().with_user("reader", "pass"))).await?;
    t.note("read allowed", async { reader.get("open/1", None).await }).await;
    t.note("read denied", async { reader.get("a", None).await }).await;
    t.note("range denied", async { reader.get("open/", Some(GetOptions::new().with_from_key())).await })
        .await;
    t.note("write denied", async { reader.put("open/1", "2", None).await }).await;
    t.note("own user", async { reader.user_get("reader").await }).await;
    t.note("other user", async { reader.user_get("root").await }).await;
    t.note("users denied", async { reader.user_list().await }).await;
    if t.newest {
        let mut denied = reader.watch("a", None).await?;
        read(&mut denied, t, "denied", 1).await;
    }
    let mut root =
        Client::connect([endpoint], Some(ConnectOptions::new().with_user("root", "secret"))).await?;
    t.note("users", async { root.user_list().await }).await;
    t.note("roles", async { root.role_list().await }).await;
    t.note("delete root", async { root.user_delete("root").await }).await;
    t.note("revoke", async { root.user_revoke_role("reader", "reader").await }).await;
    t.note("revoke again", async { root.user_revoke_role("reader", "reader").await }).await;
    t.note("password", async { root.user_change_password("reader", "new").await }).await;
    t.note("disable", async { root.auth_disable().await }).await;
    t.note("put again", async { client.put("a", "1", None).await }).await;
    t.note("user delete", async { client.user_delete("reader").await }).await;
    t.note("user delete again", async { client.user_delete("reader").await }).await;
    t.note("role delete", async { client.role_delete("reader").await }).await;
    t.note("role delete again", async { client.role_delete("reader").await }).await;
    Ok(())
}

fn transcript(server: &Path, ports: Ports, more: &[String], newest: bool) -> Vec<(String, String)> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let member = Member::start(server, &dir.path().join("data"), ports, more);
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let mut t = Transcript { answers: Vec::new(), newest };
    runtime.block_on(async {
        let endpoint = ports.endpoint();
        let mut client = Client::connect([&endpoint], None).await.expect("connect");
        let all = async {
            kv(&mut client, &mut t).await;
            txn(&mut client, &mut t).await;
            watch(&mut client, &mut t).await?;
            lease(&mut client, &mut t).await?;
            recipes(&mut client, &mut t).await?;
            maintenance(&mut client, &mut t).await?;
            auth(&mut client, &endpoint, &mut t).await
        };
        match tokio::time::timeout(Duration::from_secs(90), all).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("{error} after {:?}", t.answers.last()),
            Err(_) => panic!("stuck after {:?}", t.answers.last()),
        }
    });
    drop(member);
    t.answers
}

fn without_hash_revision(text: &str) -> String {
    match text.split_once("hash_revision: ") {
        Some((before, after)) => {
            format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => text.to_string(),
    }
}

#[test]
fn etcd_client_gets_the_same_answers_as_from_go_etcd() {
    let reference = reference();
    let ports = Ports::free();
    let newest = reference.version() == "3.7";
    let expected = transcript(&reference.etcd, ports, &[], newest);
    let answered = transcript(&balsa(), ports, &reference.emulation(), newest);
    assert_eq!(expected.len(), answered.len());
    let differences: Vec<String> = expected
        .iter()
        .zip(&answered)
        .filter(|(go, balsa)| go != balsa)
        .map(|((call, go), (_, balsa))| format!("{call}\n  etcd:  {go}\n  balsa: {balsa}"))
        .collect();
    let all = expected.len();
    assert!(
        differences.is_empty(),
        "{} of {all} answers differ\n{}",
        differences.len(),
        differences.join("\n")
    );
}
