//! `etcdctl endpoint`: health, status and hash of each endpoint.
use std::time::Instant;

use client::{Client, Error};
use proto::etcdserverpb::{AlarmRequest, HashKvRequest, MemberListRequest, StatusRequest};

use crate::call::{Call, Session};
use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::flag::{Kind, flag};
use crate::help;
use crate::print::{Answer, At, Health, alarm_name};

pub static COMMAND: Command = Command {
    usage: "endpoint",
    group: help::MAINTENANCE,
    about: "Questions to each endpoint. Use `etcdctl endpoint --help` to see subcommands",
    details: "Questions to each endpoint",
    shared: &[flag("cluster", Kind::Bool, "false", "ask all members of the cluster instead of --endpoints")],
    below: &[&HASHKV, &HEALTH, &STATUS],
    ..PLAIN
};

static HEALTH: Command = Command {
    usage: "health",
    about: "Whether each endpoint can commit a proposal and has no alarm",
    run: Some(|call| Box::pin(health(call))),
    ..PLAIN
};

static STATUS: Command = Command {
    usage: "status",
    about: "State of each endpoint",
    details: "State of each endpoint. The simple format has: endpoint, ID, version, storage version, db size, in use,\n\
              percentage not in use, quota, is leader, is learner, raft term, raft index, raft applied index, errors,\n\
              downgrade target version, downgrade enabled.",
    run: Some(|call| Box::pin(status(call))),
    ..PLAIN
};

static HASHKV: Command = Command {
    usage: "hashkv",
    about: "Hash of the history each endpoint holds",
    flags: &[flag("rev", Kind::Int, "0", "last revision to hash (0: the latest)")],
    run: Some(|call| Box::pin(hashkv(call))),
    ..PLAIN
};

/// `--endpoints`, or with `--cluster` the client URLs of all members.
pub async fn endpoints(call: &Call, session: &Session) -> Result<Vec<String>, Failure> {
    if !call.flags.is_on("cluster") {
        return Ok(session.client.endpoints().to_vec());
    }
    let members =
        session.client.member_list(MemberListRequest { linearizable: true }).await.map_err(|error| {
            let text = format!("failed to fetch endpoints from etcd cluster member list: {error}");
            Failure::new(code::GENERAL, text)
        })?;
    Ok(members.members.into_iter().flat_map(|member| member.client_ur_ls).collect())
}

async fn health(mut call: Call) -> Result<(), Failure> {
    let session = match call.session_as("client", false).await {
        Ok(session) => session,
        // Whoever is not let in finds every endpoint unhealthy.
        Err(failure) if failure.code == code::CONNECTION && !call.flags.is_on("cluster") => {
            let error = failure.text.unwrap_or_default();
            for endpoint in call.flags.list("endpoints") {
                eprintln!("{endpoint} is unhealthy: failed to commit proposal: {error}");
            }
            return Err(Failure::new(code::GENERAL, "unhealthy cluster"));
        }
        Err(failure) => return Err(failure),
    };
    let endpoints = endpoints(&call, &session).await?;
    let mut probes = tokio::task::JoinSet::new();
    for endpoint in endpoints {
        let client = session.client.at(&endpoint);
        probes.spawn(async move { probe(&client, endpoint).await });
    }
    let mut all: Vec<Health> = Vec::new();
    while let Some(probed) = probes.join_next().await {
        all.push(probed.map_err(|panic| Failure::new(code::GENERAL, panic))?);
    }
    session.show(&Answer::Health(&all))?;
    if all.iter().all(|health| health.error.is_empty()) {
        Ok(())
    } else {
        Err(Failure::new(code::GENERAL, "unhealthy cluster"))
    }
}

async fn probe(client: &Client, endpoint: String) -> Health {
    let start = Instant::now();
    let error = match client.range(client::range::key("health")).await {
        Ok(_) => alarms(client).await,
        // A user who may not read the key has still had an answer by quorum.
        Err(Error::Server(status)) if client::code_name(status.code()) == "PermissionDenied" => {
            alarms(client).await
        }
        Err(error) => error.to_string(),
    };
    Health { endpoint, took: start.elapsed(), error }
}

async fn alarms(client: &Client) -> String {
    let Ok(answer) = client.alarm(AlarmRequest::default()).await else {
        return "Unable to fetch the alarm list".to_owned();
    };
    if answer.alarms.is_empty() {
        return String::new();
    }
    let names: String = answer.alarms.iter().map(|alarm| format!("{} ", alarm_name(alarm.alarm))).collect();
    format!("Active Alarm(s): {names}")
}

async fn status(mut call: Call) -> Result<(), Failure> {
    let session = call.session().await?;
    let mut all = Vec::new();
    let mut failed = false;
    for endpoint in endpoints(&call, &session).await? {
        match session.client.at(&endpoint).status(StatusRequest {}).await {
            Ok(answer) => all.push(At { endpoint, answer }),
            Err(error) => {
                failed = true;
                eprintln!("Failed to get the status of endpoint {endpoint} ({error})");
            }
        }
    }
    session.show(&Answer::Status(&all))?;
    if failed { Err(Failure::silent(code::GENERAL)) } else { Ok(()) }
}

async fn hashkv(mut call: Call) -> Result<(), Failure> {
    let session = call.session().await?;
    let revision = call.flags.int("rev");
    let mut all = Vec::new();
    let mut last_error = None;
    for endpoint in endpoints(&call, &session).await? {
        match session.client.at(&endpoint).hash_kv(HashKvRequest { revision }).await {
            Ok(answer) => all.push(At { endpoint, answer }),
            Err(error) => {
                eprintln!("Failed to get the hash of endpoint {endpoint} ({error})");
                last_error = Some(error);
            }
        }
    }
    session.show(&Answer::HashKv(&all))?;
    last_error.map_or(Ok(()), |error| Err(error.into()))
}
