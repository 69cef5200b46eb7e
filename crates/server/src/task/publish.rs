//! Tells the cluster this member's name and client URLs, until the cluster has taken note.

use std::sync::Arc;
use std::time::Duration;

use proto::membershippb as pb;

use crate::log;
use crate::member::{Field, Member};

/// Pause after a failed try.
const RETRY: Duration = Duration::from_millis(100);

/// Returns once published, or when the member stops.
pub async fn run(member: Arc<Member>) {
    let urls: Vec<String> = member.config.advertise_client_urls.iter().map(ToString::to_string).collect();
    let request = pb::ClusterMemberAttrSetRequest {
        member_id: member.id,
        member_attributes: Some(pb::Attributes {
            name: member.config.name.clone(),
            client_urls: urls.clone(),
        }),
    };
    let shown = format!("{{Name:{} ClientURLs:[{}]}}", member.config.name, urls.join(" "));
    loop {
        match member.propose(&Default::default(), Field::ClusterMemberAttrSet, &request).await {
            Ok(_) => {
                log::info!(
                    "published local member to cluster through raft",
                    "local-member-id" = format!("{:x}", member.id),
                    "local-member-attributes" = shown,
                    "cluster-id" = format!("{:x}", member.cluster_id),
                    "publish-timeout" = member.request_timeout
                );
                return;
            }
            Err(_) if member.is_stopping() => return,
            Err(status) => log::warning!(
                "failed to publish local member to cluster through raft",
                "local-member-id" = format!("{:x}", member.id),
                "local-member-attributes" = shown.clone(),
                "publish-timeout" = member.request_timeout,
                "error" = status.message.as_ref()
            ),
        }
        tokio::time::sleep(RETRY).await;
    }
}
