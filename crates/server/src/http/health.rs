//! `/health`, `/livez`, `/readyz` and one path per check.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response, StatusCode};
use mvcc::RangeQuery;
use proto::etcdserverpb::AlarmType;

use super::{method_not_allowed, text_answer, typed};
use crate::log;
use crate::member::Member;
use crate::rpc::body::Body;

const TEXT: &str = "text/plain; charset=utf-8";
const LIVE: [&str; 1] = ["serializable_read"];
const READY: [&str; 4] = ["data_corruption", "serializable_read", "linearizable_read", "non_learner"];

/// The answer, if the path is one of these.
pub async fn answer(
    member: &Arc<Member>,
    method: &Method,
    path: &str,
    query: &str,
) -> Option<Response<Body>> {
    let (kind, rest) = match path.strip_prefix('/')?.split_once('/') {
        None => (path.strip_prefix('/')?, None),
        Some((kind, rest)) => (kind, Some(rest)),
    };
    let checks: &[&'static str] = match kind {
        "health" if rest.is_none() => &[],
        "livez" => &LIVE,
        "readyz" => &READY,
        _ => return None,
    };
    let chosen: Vec<&'static str> = match rest {
        None => checks.to_vec(),
        Some(name) => vec![*checks.iter().find(|check| **check == name)?],
    };
    if method != Method::GET {
        return Some(method_not_allowed("GET"));
    }
    let mut parameters = Parameters::parse(query);
    if rest.is_some() {
        // A check asked for by name is run.
        parameters.exclude.clear();
    }
    Some(match kind {
        "health" => health(member, &parameters).await,
        _ => run(member, kind, chosen, &parameters).await,
    })
}

/// The query's parameters that count here.
struct Parameters<'a> {
    exclude: Vec<&'a str>,
    serializable: bool,
    verbose: bool,
}

impl<'a> Parameters<'a> {
    fn parse(query: &'a str) -> Parameters<'a> {
        let pairs: Vec<(&str, &str)> =
            query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        let all = |key: &'static str| pairs.iter().filter(move |(k, _)| *k == key).map(|(_, v)| *v);
        Parameters {
            exclude: all("exclude").collect(),
            serializable: all("serializable").next() == Some("true"),
            verbose: all("verbose").next().is_some(),
        }
    }
}

async fn health(member: &Arc<Member>, parameters: &Parameters<'_>) -> Response<Body> {
    let reason = unhealthy(member, parameters).await;
    crate::stats::health(reason.is_none());
    match reason {
        None => typed(StatusCode::OK, TEXT, r#"{"health":"true","reason":""}"#),
        Some(reason) => {
            log::warning!("serving /health false", "reason" = reason.clone());
            let body = serde_json::json!({"health": "false", "reason": reason});
            log::warning!("/health error", "status-code" = 503u16);
            text_answer(StatusCode::SERVICE_UNAVAILABLE, format!("{body}\n"))
        }
    }
}

async fn unhealthy(member: &Arc<Member>, parameters: &Parameters<'_>) -> Option<String> {
    let excluded = |name: &str| parameters.exclude.contains(&name);
    for alarm in member.store.alarms().list(AlarmType::None.into()) {
        match alarm.alarm() {
            AlarmType::Nospace if !excluded("NOSPACE") => return Some("ALARM NOSPACE".into()),
            AlarmType::Corrupt if !excluded("CORRUPT") => return Some("ALARM CORRUPT".into()),
            AlarmType::Nospace | AlarmType::Corrupt => {}
            AlarmType::None => return Some("ALARM UNKNOWN".into()),
        }
    }
    if !parameters.serializable && !member.leadership.has_leader() {
        return Some("RAFT NO LEADER".into());
    }
    read(member, !parameters.serializable).await.err().map(|text| format!("RANGE ERROR:{text}"))
}

/// A range of one key. Auth does not stand in the way: a denied read is a healthy server.
async fn read(member: &Arc<Member>, linearizable: bool) -> Result<(), String> {
    if linearizable {
        let limit = member.request_timeout.min(Duration::from_secs(7));
        match tokio::time::timeout(limit, member.linearize()).await {
            Ok(Ok(())) => {}
            Ok(Err(status)) => return Err(status.message.into_owned()),
            Err(_) => return Err("context deadline exceeded".into()),
        }
    }
    let query = RangeQuery { limit: 1, ..RangeQuery::key("health") };
    member.store.kv().range(&query).map(|_| ()).map_err(|error| error.to_string())
}

async fn check(member: &Arc<Member>, name: &str) -> Result<(), String> {
    match name {
        "data_corruption" if member.store.alarms().is_active(AlarmType::Corrupt) => {
            Err("alarm activated: CORRUPT".into())
        }
        "serializable_read" => read(member, false).await.map_err(|e| format!("range error: {e}")),
        "linearizable_read" => read(member, true).await.map_err(|e| format!("range error: {e}")),
        "non_learner" if member.is_learner() => Err("not supported for learner".into()),
        _ => Ok(()),
    }
}

async fn run(
    member: &Arc<Member>,
    kind: &str,
    checks: Vec<&'static str>,
    parameters: &Parameters<'_>,
) -> Response<Body> {
    let (mut lines, mut failed) = (String::new(), Vec::new());
    for name in checks.into_iter().filter(|name| !parameters.exclude.contains(name)) {
        let result = check(member, name).await;
        crate::stats::health_check(kind, name, result.is_ok());
        match result {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => {
                lines.push_str(&format!("[-]{name} failed: {reason}\n"));
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        log::warning!("Health check error", "path" = format!("/{kind}"), "reason" = lines.clone());
        return text_answer(StatusCode::SERVICE_UNAVAILABLE, format!("{lines}\n"));
    }
    let detail = if parameters.verbose { lines } else { String::new() };
    // Go sets "nosniff" on success, too.
    text_answer(StatusCode::OK, format!("{detail}ok\n"))
}
