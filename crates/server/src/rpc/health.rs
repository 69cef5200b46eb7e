//! grpc.health.v1.Health: one service name, the empty one.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pb::health_check_response::ServingStatus;
use prost::Message as _;
use proto::grpc::health::v1 as pb;

use super::body::Message;
use super::error::{self, Code, Status};
use super::{Call, Sink};

/// How often a watched status is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

fn serving(call: &Call) -> pb::HealthCheckResponse {
    let defragmenting = call.member.defragmenting.load(Ordering::Acquire);
    let pauses = call.member.config.features.stop_grpc_service_on_defrag;
    let status = if defragmenting && pauses { ServingStatus::NotServing } else { ServingStatus::Serving };
    pb::HealthCheckResponse { status: status.into() }
}

/// Health/Check.
pub async fn check(call: Call, request: pb::HealthCheckRequest) -> Result<pb::HealthCheckResponse, Status> {
    if !request.service.is_empty() {
        return Err(Status::fixed(Code::NotFound, "unknown service"));
    }
    Ok(serving(&call))
}

/// Health/Watch: the status, and again whenever it changes.
pub async fn watch(call: Call, request: pb::HealthCheckRequest, sink: Sink) -> Result<(), Status> {
    let unknown = pb::HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() };
    let mut last = None;
    loop {
        let now = if request.service.is_empty() { serving(&call) } else { unknown };
        if last != Some(now) {
            let message = Message::Whole(now.encode_to_vec().into());
            sink.send(Ok(message)).await.map_err(|_| error::CANCELED)?;
            last = Some(now);
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = call.member.stopping() => return Err(error::STOPPED),
        }
    }
}

/// Health/List.
pub async fn list(call: Call, _: pb::HealthListRequest) -> Result<pb::HealthListResponse, Status> {
    Ok(pb::HealthListResponse { statuses: HashMap::from([(String::new(), serving(&call))]) })
}
