//! `etcdctl elect`
use bytes::Bytes;
use client::Session;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::{RangeRequest, RangeResponse, WatchCreateRequest};

use super::lock::interrupted;
use crate::call::{self, Call};
use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::flag::{Kind, flag, short};
use crate::help;
use crate::print::Answer;

/// Seconds after which a dead leader is replaced.
const TTL: i64 = 60;

pub static COMMAND: Command = Command {
    usage: "elect <election-name> [proposal]",
    group: help::CONCURRENCY,
    about: "Become leader of an election, or watch who is",
    flags: &[short('l', flag("listen", Kind::Bool, "false", "only watch"))],
    run: Some(|call| Box::pin(elect(call))),
    ..PLAIN
};

async fn elect(mut call: Call) -> Result<(), Failure> {
    if call.args.is_empty() || call.args.len() > 2 {
        let text = "elect takes one election name argument and an optional proposal argument";
        return Err(Failure::args(text));
    }
    let listen = call.flags.is_on("listen");
    match call.args.len() {
        1 if !listen => return Err(Failure::args("no proposal argument but -l not set")),
        2 if listen => return Err(Failure::args("proposal given but -l is set")),
        _ => {}
    }
    let connected = call.session().await?;
    if listen {
        return tokio::select! {
            outcome = observe(&connected, &call.args[0]) => outcome,
            outcome = interrupted() => outcome,
        };
    }
    campaign(&connected, &call.args[0], call.args[1].clone()).await
}

async fn campaign(connected: &call::Session, name: &[u8], proposal: Bytes) -> Result<(), Failure> {
    let session = Session::open(&connected.client, TTL).await?;
    let elected = async {
        let place = session.join(name, proposal).await?;
        session.wait_for_turn(&place).await?;
        let answer = connected.client.range(client::range::key(place.key.clone())).await?;
        connected.show(&Answer::Get(&answer))?;
        std::future::pending().await
    };
    let outcome = tokio::select! {
        outcome = elected => outcome,
        () = session.lost() => return Err(Failure::new(code::GENERAL, "elect: session expired")),
        outcome = interrupted() => outcome,
    };
    // The lease would run out by itself.
    let _ = session.close().await;
    outcome
}

/// Prints the leader, and every other one that follows.
async fn observe(connected: &call::Session, name: &[u8]) -> Result<(), Failure> {
    let client = connected.client.clone().with_timeout(None);
    let (key, range_end) = client::range::prefix(&[name, b"/"].concat());
    let mut shown = None;
    loop {
        let oldest = RangeRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            limit: 1,
            sort_order: SortOrder::Ascend.into(),
            sort_target: SortTarget::Create.into(),
            ..RangeRequest::default()
        };
        let answer = client.range(oldest).await?;
        let revision = answer.header.unwrap_or_default().revision;
        let leader = answer.kvs.first().map(|kv| (kv.key.clone(), kv.mod_revision));
        if leader.is_some() && leader != shown {
            connected.show(&Answer::Get(&RangeResponse { more: false, ..answer }))?;
        }
        shown = leader;
        let request = WatchCreateRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            start_revision: revision + 1,
            ..WatchCreateRequest::default()
        };
        // Any change may mean another leader; a lost watch is replaced by the next one.
        client.watch(request).next().await?;
    }
}
