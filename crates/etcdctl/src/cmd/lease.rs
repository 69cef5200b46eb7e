//! `etcdctl lease`
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
};

use super::lease_id;
use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::flag::{Kind, flag};
use crate::print::{Answer, Format};
use crate::{golang, help};

pub static COMMAND: Command = Command {
    usage: "lease",
    group: help::KEY_VALUE,
    about: "Leases. Use `etcdctl lease --help` to see subcommands",
    details: "Leases",
    below: &[&GRANT, &KEEP_ALIVE, &LIST, &REVOKE, &TIME_TO_LIVE],
    ..PLAIN
};

static GRANT: Command = Command {
    usage: "grant <ttl>",
    about: "Create a lease that lives <ttl> seconds",
    run: Some(|call| Box::pin(grant(call))),
    ..PLAIN
};

static REVOKE: Command = Command {
    usage: "revoke <leaseID>",
    about: "End a lease and delete its keys",
    run: Some(|call| Box::pin(revoke(call))),
    ..PLAIN
};

static TIME_TO_LIVE: Command = Command {
    usage: "timetolive <leaseID> [options]",
    about: "Show how long a lease has left",
    flags: &[flag("keys", Kind::Bool, "false", "also list the keys attached to it")],
    run: Some(|call| Box::pin(time_to_live(call))),
    ..PLAIN
};

static LIST: Command =
    Command { usage: "list", about: "List all leases", run: Some(|call| Box::pin(list(call))), ..PLAIN };

static KEEP_ALIVE: Command = Command {
    usage: "keep-alive [options] <leaseID>",
    about: "Renew a lease until interrupted",
    flags: &[flag("once", Kind::Bool, "false", "renew once and exit")],
    run: Some(|call| Box::pin(keep_alive(call))),
    ..PLAIN
};

/// The only argument, a lease id; `missing` is the complaint.
fn only_lease_id(call: &Call, missing: &str) -> Result<i64, Failure> {
    match call.args.len() {
        1 => lease_id(&call.text(0), "lease ID arg"),
        _ => Err(Failure::args(missing)),
    }
}

async fn grant(mut call: Call) -> Result<(), Failure> {
    if call.args.len() != 1 {
        return Err(Failure::args("lease grant command needs TTL argument"));
    }
    let ttl =
        golang::parse_int(&call.text(0), 10).map_err(|error| Failure::args(format!("bad TTL ({error})")))?;
    let session = call.session().await?;
    let granted = session.client.lease_grant(LeaseGrantRequest { ttl, id: 0 }).await;
    let answer =
        granted.map_err(|error| Failure::new(code::GENERAL, format!("failed to grant lease ({error})")))?;
    session.show(&Answer::LeaseGrant(&answer))
}

async fn revoke(mut call: Call) -> Result<(), Failure> {
    let id = only_lease_id(&call, "lease revoke command needs 1 argument")?;
    let session = call.session().await?;
    let revoked = session.client.lease_revoke(LeaseRevokeRequest { id }).await;
    let answer =
        revoked.map_err(|error| Failure::new(code::GENERAL, format!("failed to revoke lease ({error})")))?;
    session.show(&Answer::LeaseRevoke { id, answer: &answer })
}

async fn time_to_live(mut call: Call) -> Result<(), Failure> {
    let id = only_lease_id(&call, "lease timetolive command needs lease ID as argument")?;
    let keys = call.flags.is_on("keys");
    let session = call.session().await?;
    let asked = session.client.lease_time_to_live(LeaseTimeToLiveRequest { id, keys }).await;
    let answer = asked.map_err(|error| Failure::from(error).with_code(code::CONNECTION))?;
    session.show(&Answer::LeaseTimeToLive { keys, answer: &answer })
}

async fn list(mut call: Call) -> Result<(), Failure> {
    let session = call.session().await?;
    let listed = session.client.lease_leases(LeaseLeasesRequest {}).await;
    let answer = listed.map_err(|error| Failure::from(error).with_code(code::CONNECTION))?;
    session.show(&Answer::Leases(&answer))
}

async fn keep_alive(mut call: Call) -> Result<(), Failure> {
    let id = only_lease_id(&call, "lease keep-alive command needs lease ID as argument")?;
    let session = call.session().await?;
    let bad = |error| Failure::from(error).with_code(code::CONNECTION);
    if call.flags.is_on("once") {
        let answer = session.client.lease_keep_alive_once(id).await.map_err(bad)?;
        if answer.ttl <= 0 {
            return Err(Failure::new(code::CONNECTION, "etcdserver: requested lease not found"));
        }
        return session.show(&Answer::LeaseKeepAlive(&answer));
    }
    let mut renewals = session.client.lease_keep_alive(id);
    while let Some(answer) = renewals.next().await.map_err(bad)? {
        session.show(&Answer::LeaseKeepAlive(&answer))?;
    }
    if session.style.format == Format::Simple {
        println!("lease {id:016x} expired or revoked.");
    }
    Ok(())
}
