//! The first election of a member that has just started: it need not wait out a whole election timeout (formats 6.1).

use std::sync::Arc;
use std::time::Duration;

use node::Input;
use raft::MemberId;

use crate::log;
use crate::member::Member;
use crate::notices::hex;

/// Longest wait for connections to other members.
const WAIT: Duration = Duration::from_secs(5);
/// How often they are counted.
const LOOK: Duration = Duration::from_millis(50);
/// Ticks left for a leader that is there to make itself heard.
const TICKS_LEFT: u32 = 2;

/// Moves the election timeout forward once two other members are connected; gives up after [`WAIT`].
pub async fn run(member: Arc<Member>) {
    let election_ticks = member.config.election_ticks();
    if member.store.members().list.len() == 1 {
        return;
    }
    if !member.config.initial_election_tick_advance {
        log::info!("skipping initial election tick advance", "election-ticks" = election_ticks);
        return;
    }
    log::info!("starting initial election tick advance", "election-ticks" = election_ticks);
    let connected = async {
        while active_peers(&member) <= 1 {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(WAIT, connected).await.is_err() {
        return;
    }
    let ticks = election_ticks.saturating_sub(TICKS_LEFT);
    log::info!(
        "initialized peer connections; fast-forwarding election ticks",
        "local-member-id" = hex(member.id),
        "forward-ticks" = ticks,
        "forward-duration" = member.config.tick() * ticks,
        "election-ticks" = election_ticks,
        "election-timeout" = Duration::from_millis(member.config.election_ms),
        "active-remote-members" = active_peers(&member)
    );
    for _ in 0..ticks {
        if member.push(Input::Tick).is_err() {
            return;
        }
    }
}

fn active_peers(member: &Member) -> usize {
    let members = member.store.members();
    let others = members.list.keys().filter(|id| **id != member.id);
    others.filter(|id| member.peers.active_since(MemberId(**id)).is_some()).count()
}
