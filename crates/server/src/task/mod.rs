//! What a member does by itself, beside answering: each file one task.

pub mod advance;
pub mod compact;
pub mod corruption;
pub mod lease;
pub mod publish;
pub mod slow_disk;
pub mod version;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use crate::member::Member;
use crate::thread::mailbox::Sender;
use crate::thread::snap;

/// How often files beyond the numbers to keep are looked for.
const PURGE_INTERVAL: Duration = Duration::from_secs(30);

/// How often the allocator is given the occasion to return memory, which is also its delay.
const RETURN_INTERVAL: Duration = Duration::from_secs(1);
/// More than the allocator cuts out of a larger piece.
const RETURN_BYTES: usize = 2 << 20;

/// Has memory that a burst has left behind returned to the system. mimalloc only looks for what has long been free when a
/// large piece comes or goes, and after a burst none may for hours: so one does.
pub async fn return_memory() {
    loop {
        tokio::time::sleep(RETURN_INTERVAL).await;
        drop(std::hint::black_box(Vec::<u8>::with_capacity(RETURN_BYTES)));
    }
}

/// Has old segments and snapshots removed now and then.
pub async fn purge(member: Arc<Member>, snap: Sender<snap::Job>) {
    crate::notices::purging(&member.config, PURGE_INTERVAL);
    loop {
        tokio::select! {
            () = tokio::time::sleep(PURGE_INTERVAL) => {}
            () = member.stopping() => return,
        }
        if snap.push(snap::Job::Purge).is_err() {
            return;
        }
    }
}
