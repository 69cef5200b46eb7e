//! `etcdctl lock`
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use client::{Place, Session};
use proto::etcdserverpb::ResponseHeader;
use tokio::process::Command as Process;
use tokio::signal::unix::{SignalKind, signal};

use super::watch::{exit_text, spawn_text};
use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::flag::{Kind, flag};
use crate::help;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "lock <lockname> [exec-command arg1 arg2 ...]",
    group: help::CONCURRENCY,
    about: "Hold a named lock, while a command runs or until interrupted",
    flags: &[flag("ttl", Kind::Int, "10", "seconds after which the lock of a dead process is free")],
    run: Some(|call| Box::pin(lock(call))),
    ..PLAIN
};

async fn lock(mut call: Call) -> Result<(), Failure> {
    if call.args.is_empty() {
        return Err(Failure::args("lock takes a lock name argument and an optional command to execute"));
    }
    let connected = call.session().await?;
    let session = Session::open(&connected.client, call.flags.int("ttl")).await?;
    let held = async {
        let place = session.join(&call.args[0], Bytes::new()).await?;
        let header = session.wait_for_turn(&place).await?;
        if call.args.len() > 1 {
            return run(&call.args[1..], &place, &header).await;
        }
        let answer = connected.client.range(client::range::key(place.key.clone())).await?;
        connected.show(&Answer::Get(&answer))?;
        std::future::pending().await
    };
    let outcome = tokio::select! {
        outcome = held => outcome,
        () = session.lost() => return Err(Failure::new(code::GENERAL, "session expired")),
        outcome = interrupted() => outcome,
    };
    // The lease would run out by itself.
    let _ = session.close().await;
    outcome
}

/// Returns on SIGINT or SIGTERM.
pub async fn interrupted() -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn run(command: &[Bytes], place: &Place, header: &ResponseHeader) -> Result<(), Failure> {
    let os = |word: &Bytes| std::ffi::OsStr::from_bytes(word).to_owned();
    let status = Process::new(os(&command[0]))
        .args(command[1..].iter().map(os))
        .env("ETCD_LOCK_KEY", os(&place.key))
        .env("ETCD_LOCK_REV", header.revision.to_string())
        .status()
        .await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(status.code().unwrap_or(code::GENERAL), exit_text(status))),
        Err(error) => Err(Failure::new(code::GENERAL, spawn_text(&command[0], &error))),
    }
}
