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
        let code = 405_u16;
        match kind {
            "health" => log::warning!("/health error", "status-code" = code),
            _ => log::warning!("Health request error", "path" = path, "status-code" = code),
        }
        return Some(method_not_allowed("GET"));
    }
    let mut parameters = Parameters::parse(query);
    if rest.is_some() {
        // A check asked for by name is run.
        parameters.exclude.clear();
    }
    Some(match kind {
        "health" => health(member, &parameters).await,
        _ => run(member, kind, path, chosen, &parameters).await,
    })
}

/// The query's parameters that count here.
#[derive(Debug, PartialEq)]
struct Parameters {
    exclude: Vec<String>,
    serializable: bool,
    verbose: bool,
}

impl Parameters {
    /// Pairs that Go's parser refuses are passed over, as it does.
    fn parse(query: &str) -> Parameters {
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.contains(';'))
            .filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((unescape(key)?, unescape(value)?))
            })
            .collect();
        let all = |key: &'static str| pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| v);
        Parameters {
            exclude: all("exclude").filter(|name| !name.is_empty()).cloned().collect(),
            serializable: all("serializable").next().is_some_and(|v| v == "true"),
            verbose: all("verbose").next().is_some(),
        }
    }

    fn excludes(&self, name: &str) -> bool {
        self.exclude.iter().any(|excluded| excluded == name)
    }

    /// Excluded names that no check has, in quotes.
    fn unknown(&self, checks: &[&str]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.exclude.iter().filter(|name| !checks.contains(&name.as_str())) {
            let quoted = log::quote(name);
            if !names.contains(&quoted) {
                names.push(quoted);
            }
        }
        names
    }
}

/// The text meant by a part of a query; `None` if an escape is cut short or no number.
fn unescape(part: &str) -> Option<String> {
    let mut out = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        out.push(match first {
            b'%' => {
                let (digits, more) = more.split_at_checked(2)?;
                rest = more;
                let digit = |at: usize| char::from(digits[at]).to_digit(16);
                u8::try_from(digit(0)? << 4 | digit(1)?).ok()?
            }
            b'+' => b' ',
            other => *other,
        });
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

async fn health(member: &Arc<Member>, parameters: &Parameters) -> Response<Body> {
    let reason = unhealthy(member, parameters).await;
    crate::stats::health(reason.is_none());
    match reason {
        None => typed(StatusCode::OK, TEXT, r#"{"health":"true","reason":""}"#),
        Some(reason) => {
            let body = serde_json::json!({"health": "false", "reason": reason}).to_string();
            log::warning!("/health error", "output" = body.clone(), "status-code" = 503_u16);
            text_answer(StatusCode::SERVICE_UNAVAILABLE, format!("{body}\n"))
        }
    }
}

async fn unhealthy(member: &Arc<Member>, parameters: &Parameters) -> Option<String> {
    for alarm in member.store.alarms().list(AlarmType::None.into()) {
        let (name, text) = match alarm.alarm() {
            AlarmType::Nospace => ("NOSPACE", "ALARM NOSPACE"),
            AlarmType::Corrupt => ("CORRUPT", "ALARM CORRUPT"),
            AlarmType::None => ("", "ALARM UNKNOWN"),
        };
        if !parameters.excludes(name) {
            let shown = format!("memberID:{} alarm:{name}", alarm.member_id);
            log::warning!("serving /health false due to an alarm", "alarm" = shown);
            return Some(text.into());
        }
    }
    if !parameters.serializable && !member.leadership.has_leader() {
        log::warning!("serving /health false; no leader");
        return Some("RAFT NO LEADER".into());
    }
    let text = read(member, !parameters.serializable).await.err()?;
    log::warning!("serving /health false; Range fails", "error" = text.clone());
    Some(format!("RANGE ERROR:{text}"))
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
    path: &str,
    checks: Vec<&'static str>,
    parameters: &Parameters,
) -> Response<Body> {
    let unknown = parameters.unknown(&checks);
    if !unknown.is_empty() {
        log::warning!("some health checks cannot be excluded", "missing-health-checks" = unknown.join(","));
    }
    let (mut lines, mut failed) = (String::new(), false);
    for name in checks.into_iter().filter(|name| !parameters.excludes(name)) {
        let result = check(member, name).await;
        crate::stats::health_check(kind, name, result.is_ok());
        match result {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => {
                lines.push_str(&format!("[-]{name} failed: {reason}\n"));
                failed = true;
            }
        }
    }
    if failed {
        log::error!("Health check error", "path" = path, "reason" = lines.clone(), "status-code" = 503_u16);
        return text_answer(StatusCode::SERVICE_UNAVAILABLE, format!("{lines}\n"));
    }
    let detail = if parameters.verbose { lines } else { String::new() };
    // Go sets "nosniff" on success, too.
    text_answer(StatusCode::OK, format!("{detail}ok\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_unescaped_as_go_does_and_what_go_refuses_is_passed_over() {
        let exclude = |query| Parameters::parse(query).exclude;
        assert_eq!(exclude("exclude=%4eOSPACE&exclude=a+b&e%78clude=%C3%A9"), ["NOSPACE", "a b", "é"]);
        assert!(exclude("exclude=a%zz&exclude=b%4&exclude=c;d&exclude=&exclude&exclude=%+1").is_empty());
        let parameters = Parameters::parse("verbose&serializable=%74rue&&=");
        assert_eq!(parameters, Parameters { exclude: vec![], serializable: true, verbose: true });
    }

    #[test]
    fn names_that_no_check_has_are_told_once_each() {
        let parameters = Parameters::parse("exclude=x&exclude=non_learner&exclude=y&exclude=x");
        assert_eq!(parameters.unknown(&READY), ["\"x\"", "\"y\""]);
    }
}
