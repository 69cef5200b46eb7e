//! `etcdctl defrag`
use std::time::Instant;

use proto::etcdserverpb::DefragmentRequest;

use super::endpoint::endpoints;
use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::flag::{Kind, flag};
use crate::{golang, help};

pub static COMMAND: Command = Command {
    usage: "defrag",
    group: help::MAINTENANCE,
    about: "Give unused space of the members' files back",
    flags: &[flag("cluster", Kind::Bool, "false", "all members of the cluster instead of --endpoints")],
    run: Some(|call| Box::pin(defrag(call))),
    ..PLAIN
};

async fn defrag(mut call: Call) -> Result<(), Failure> {
    let session = call.session().await?;
    let mut failed = false;
    for endpoint in endpoints(&call, &session).await? {
        let start = Instant::now();
        let done = session.client.at(&endpoint).defragment(DefragmentRequest {}).await;
        let took = golang::duration(start.elapsed());
        match done {
            Ok(_) => println!("Finished defragmenting etcd member[{endpoint}]. took {took}"),
            Err(error) => {
                failed = true;
                eprintln!("Failed to defragment etcd member[{endpoint}]. took {took}. ({error})");
            }
        }
    }
    if failed { Err(Failure::silent(code::GENERAL)) } else { Ok(()) }
}
