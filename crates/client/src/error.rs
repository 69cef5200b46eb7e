//! What can go wrong between a program and a cluster, with the texts etcd's client uses.
use tonic::{Code, Status};

pub(crate) const AUTH_NOT_ENABLED: &str = "etcdserver: authentication is not enabled";
pub(crate) const INVALID_TOKEN: &str = "etcdserver: invalid auth token";
/// Begins like etcd's own errors but is missing from its client's table, so it keeps the `rpc error:` prefix.
const UNLISTED: &str = "etcdserver: request timed out, leader transfer took too long";

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint list is empty.
    #[error("etcdclient: no available endpoints")]
    NoEndpoints,
    /// The limit of the call passed, on whichever side.
    #[error("context deadline exceeded")]
    Deadline,
    /// The server answered with an error.
    #[error("{}", server_text(.0))]
    Server(#[source] Box<Status>),
    /// The server refused to open the watch; its reason.
    #[error("{0}")]
    WatchRefused(String),
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        match status.code() {
            Code::DeadlineExceeded => Error::Deadline,
            _ => Error::Server(Box::new(as_go_says(status))),
        }
    }
}

/// Errors of etcd appear bare, all others as gRPC prints them.
fn server_text(status: &Status) -> String {
    let text = status.message();
    if text.starts_with("etcdserver: ") && text != UNLISTED { text.to_owned() } else { long_form(status) }
}

/// `rpc error: code = X desc = Y`.
pub(crate) fn long_form(status: &Status) -> String {
    format!("rpc error: code = {} desc = {}", code_name(status.code()), status.message())
}

/// The name of a code as Go spells it.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// tonic's texts for an oversized answer, and for a call that outlasted its limit, turned into those grpc-go users know.
pub(crate) fn as_go_says(status: Status) -> Status {
    if status.code() == tonic::Code::Cancelled && status.message() == "Timeout expired" {
        return Status::deadline_exceeded("context deadline exceeded");
    }
    let sizes =
        status.message().strip_prefix("Error, decoded message length too large: found ").and_then(|rest| {
            let (found, limit) = rest.split_once(" bytes, the limit is: ")?;
            Some((found.to_owned(), limit.strip_suffix(" bytes")?.to_owned()))
        });
    match sizes {
        Some((found, limit)) => Status::resource_exhausted(format!(
            "grpc: received message larger than max ({found} vs. {limit})"
        )),
        None => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_etcd_appear_bare_and_foreign_ones_with_their_code() {
        let known = Error::from(Status::invalid_argument("etcdserver: key is not provided"));
        assert_eq!(known.to_string(), "etcdserver: key is not provided");
        let foreign = Error::from(Status::unavailable("no such luck"));
        assert_eq!(foreign.to_string(), "rpc error: code = Unavailable desc = no such luck");
        let unlisted = Error::from(Status::unknown(UNLISTED));
        assert_eq!(unlisted.to_string(), format!("rpc error: code = Unknown desc = {UNLISTED}"));
    }

    #[test]
    fn a_limit_that_tonic_keeps_is_a_deadline_too() {
        let status = as_go_says(Status::cancelled("Timeout expired"));
        assert_eq!(Error::from(status).to_string(), "context deadline exceeded");
        assert_eq!(as_go_says(Status::cancelled("x")).code(), tonic::Code::Cancelled);
    }

    #[test]
    fn a_deadline_reads_the_same_from_both_sides() {
        let theirs = Error::from(Status::deadline_exceeded("whatever"));
        assert_eq!(theirs.to_string(), Error::Deadline.to_string());
    }

    #[test]
    fn an_oversized_answer_is_named_as_grpc_go_names_it() {
        let tonic = Status::out_of_range(
            "Error, decoded message length too large: found 27 bytes, the limit is: 5 bytes",
        );
        let text = Error::from(tonic).to_string();
        assert_eq!(
            text,
            "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (27 vs. 5)"
        );
    }
}
