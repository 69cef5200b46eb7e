//! `etcdctl move-leader`
use proto::etcdserverpb::{MoveLeaderRequest, StatusRequest};

use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::Failure;
use crate::print::Answer;
use crate::{golang, help};

pub static COMMAND: Command = Command {
    usage: "move-leader <transferee-member-id>",
    group: help::MAINTENANCE,
    about: "Hand leadership to another member",
    run: Some(|call| Box::pin(move_leader(call))),
    ..PLAIN
};

async fn move_leader(mut call: Call) -> Result<(), Failure> {
    if call.args.len() != 1 {
        return Err(Failure::args("move-leader command needs 1 argument"));
    }
    let target = golang::parse_uint(&call.text(0), 16).map_err(Failure::args)?;
    let session = call.session().await?;
    let endpoints = session.client.endpoints().to_vec();
    for endpoint in &endpoints {
        let client = session.client.at(endpoint);
        let status = client.status(StatusRequest {}).await?;
        let leader = status.leader;
        if status.header.unwrap_or_default().member_id == leader {
            let answer = client.move_leader(MoveLeaderRequest { target_id: target }).await?;
            return session.show(&Answer::MoveLeader { leader, target, answer: &answer });
        }
    }
    Err(Failure::args(format!("no leader endpoint given at [{}]", endpoints.join(" "))))
}
