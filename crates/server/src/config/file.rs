//! The configuration file: YAML keys put into the draft with Go's strictness about types.
use super::assign::{emulated, origins, set};
use super::flags::{Draft, Field, Flag, Group, Status, TLS, flag};
use super::flags_list::FLAGS;
use super::flags_old::OLD;
use super::golang;
use super::source::Said;
use super::yaml::{self, Node};

/// Keys that have no flag.
static FILE_ONLY: [Flag; 2] = [
    flag("", Group::Security, Field::List(|d| &mut d.config.client_tls.allowed_cn), TLS, "")
        .at("client-transport-security.allowed-cn"),
    flag(
        "",
        Group::Security,
        Field::Bool(|d| &mut d.config.client_tls.skip_client_san_verification),
        TLS,
        "",
    )
    .at("client-transport-security.skip-client-san-verification"),
];

/// Why a file was refused.
pub(super) enum Refused {
    /// Reported as every other error of the configuration.
    Errors(Vec<String>),
    /// Printed as it is.
    Plain(String),
}

/// Reads the text of a file into the draft.
pub(super) fn read(said: &mut Said, text: &str) -> Result<(), Refused> {
    let one = |error: String| Refused::Errors(vec![error]);
    let root = yaml::parse(text).map_err(|e| one(format!("error converting YAML to JSON: {e}")))?;
    let decoding = |e: String| format!("error unmarshaling JSON: while decoding JSON: json: {e}");
    match &root {
        Node::Null => return Ok(()),
        Node::Map(_) => {}
        other => {
            return Err(one(decoding(format!(
                "cannot unmarshal {} into Go value of type embed.configYAML",
                kind(other)
            ))));
        }
    }
    let mut errors = Vec::new();
    let mut plain = None;
    // Older names first, so that the newer one wins where both are given.
    for flag in OLD
        .iter()
        .chain(FLAGS)
        .chain(&FILE_ONLY)
        .filter(|f| !f.key.is_empty() && !matches!(f.status, Status::Gone(_)))
    {
        match find(&root, flag.key) {
            Ok(None | Some(Node::Null)) => {}
            Ok(Some(node)) => match put(&mut said.draft, flag, node) {
                Ok(()) => {
                    said.given.insert(flag.name);
                }
                Err(Wrong::Type(what, target)) => {
                    let target = target.unwrap_or_else(|| go_type(flag));
                    errors.push((flag.key, decoding(mismatch(&what, flag.key, target))));
                }
                Err(Wrong::Value(error)) => errors.push((flag.key, error)),
                Err(Wrong::Url(error)) => plain = plain.or(Some(format!("{error}\n"))),
            },
            Err((what, at)) => errors.push((at, decoding(mismatch(what, at, map_type(at))))),
        }
    }
    if !errors.is_empty() {
        errors.sort();
        errors.dedup();
        return Err(Refused::Errors(errors.into_iter().map(|(_, e)| e).collect()));
    }
    plain.map_or(Ok(()), |text| Err(Refused::Plain(text)))
}

enum Wrong {
    /// What was found, and the Go type wanted where it is not the flag's.
    Type(String, Option<&'static str>),
    Value(String),
    Url(String),
}

/// Walks to a key; `Err` is a value on the way that is no map, and where.
fn find<'a>(root: &'a Node, key: &'static str) -> Result<Option<&'a Node>, (&'static str, &'static str)> {
    let mut node = root;
    let mut at = 0;
    for part in key.split('.') {
        let Node::Map(map) = node else {
            return if *node == Node::Null { Ok(None) } else { Err((kind(node), &key[..at - 1])) };
        };
        let exact = map.get(part);
        let folded = || map.iter().find(|(k, _)| k.eq_ignore_ascii_case(part)).map(|(_, v)| v);
        match exact.or_else(folded) {
            Some(value) => node = value,
            None => return Ok(None),
        }
        at += part.len() + 1;
    }
    Ok(Some(node))
}

fn put(draft: &mut Draft, flag: &Flag, node: &Node) -> Result<(), Wrong> {
    let wrong = || Wrong::Type(kind(node).into(), None);
    let text = || match node {
        Node::Text(text) => Ok(text),
        _ => Err(wrong()),
    };
    let url = |e: String| {
        // etcd names another key here.
        let key = if flag.key == "advertise-client-urls" { "advertise-peer-urls" } else { flag.key };
        Wrong::Url(format!("unexpected error setting up {key}: {e}"))
    };
    match &flag.field {
        Field::Bool(at) => match node {
            Node::Bool(value) => *at(draft) = *value,
            _ => return Err(wrong()),
        },
        Field::Uint(at) | Field::Uint64(at) => *at(draft) = number(node)?,
        Field::Uint32(at) => *at(draft) = number(node)?,
        Field::Int(at) | Field::Int64(at) => *at(draft) = number(node)?,
        Field::Duration(at) => *at(draft) = std::time::Duration::from_nanos(number(node)?),
        Field::Text(at) | Field::Choice(at, _) => at(draft).clone_from(text()?),
        Field::List(at) => *at(draft) = list(node)?,
        Field::Gates => draft.config.features.set(text()?).map_err(Wrong::Value)?,
        Field::Emulated => draft.emulated_version = Some(emulated(text()?).map_err(Wrong::Value)?),
        Field::Set(_) | Field::Origins(_) | Field::Urls(_) if text()?.is_empty() => {}
        Field::Set(at) => *at(draft) = set(text()?),
        Field::Origins(at) => *at(draft) = origins(text()?).map_err(url)?,
        Field::Urls(at) => *at(draft) = golang::urls(text()?.split(',')).map_err(url)?,
        Field::Ignored => {}
    }
    Ok(())
}

fn list(node: &Node) -> Result<Vec<String>, Wrong> {
    let Node::List(items) = node else { return Err(Wrong::Type(kind(node).into(), None)) };
    items
        .iter()
        .map(|item| match item {
            Node::Text(text) => Ok(text.clone()),
            Node::Null => Ok(String::new()),
            other => Err(Wrong::Type(kind(other).into(), Some("string"))),
        })
        .collect()
}

/// An integer that fits the target; `1e3` is one.
fn number<T: TryFrom<i128>>(node: &Node) -> Result<T, Wrong> {
    let (value, shown) = match node {
        Node::Int(n) => (Some(*n), n.to_string()),
        #[allow(clippy::cast_possible_truncation)] // checked to be whole and within 2^53
        Node::Float(n) if n.fract() == 0.0 && n.abs() < 9e15 => (Some(*n as i128), n.to_string()),
        Node::Float(n) => (None, n.to_string()),
        other => return Err(Wrong::Type(kind(other).into(), None)),
    };
    value.and_then(|n| T::try_from(n).ok()).ok_or_else(|| Wrong::Type(format!("number {shown}"), None))
}

/// What JSON calls the value.
fn kind(node: &Node) -> &'static str {
    match node {
        Node::Null => "null",
        Node::Bool(_) => "bool",
        Node::Int(_) | Node::Float(_) => "number",
        Node::Text(_) => "string",
        Node::List(_) => "array",
        Node::Map(_) => "object",
    }
}

/// The type of etcd's struct field that holds the key.
fn go_type(flag: &Flag) -> &'static str {
    match flag.field {
        Field::Bool(_) | Field::Ignored => "bool",
        Field::Uint(_) => "uint",
        Field::Uint64(_) => "uint64",
        Field::Uint32(_) => "uint32",
        Field::Int(_) => "int",
        Field::Int64(_) => "int64",
        Field::Duration(_) => "time.Duration",
        Field::List(_) => "[]string",
        Field::Choice(..) if flag.name == "v2-deprecation" => "config.V2DeprecationEnum",
        _ => "string",
    }
}

fn map_type(key: &str) -> &'static str {
    match key {
        "client-transport-security" | "peer-transport-security" => "embed.securityConfig",
        "socket-options" => "transport.SocketOpts",
        "discovery-config" => "v3discovery.DiscoveryConfig",
        "discovery-config.client" => "clientv3.ConfigSpec",
        "discovery-config.client.secure" => "clientv3.SecureConfig",
        _ => "clientv3.AuthConfig",
    }
}

/// The sentence of Go's JSON package; it names the structs that etcd decodes into.
fn mismatch(what: &str, key: &str, target: &str) -> String {
    const OUTER: [&str; 10] = [
        "listen-peer-urls",
        "listen-client-urls",
        "listen-client-http-urls",
        "initial-advertise-peer-urls",
        "advertise-client-urls",
        "cors",
        "host-whitelist",
        "feature-gates",
        "client-transport-security",
        "peer-transport-security",
    ];
    let path: Vec<&str> = key.split('.').collect();
    let inner = match (path.as_slice(), path.len()) {
        ([_], _) => "configYAML",
        (["socket-options", ..], _) => "SocketOpts",
        ([_, "client", "secure", ..], 4) => "SecureConfig",
        ([_, "client", "auth", ..], 4) => "AuthConfig",
        (["discovery-config", ..], 3) => "ConfigSpec",
        (["discovery-config", ..], _) => "DiscoveryConfig",
        _ => "securityConfig",
    };
    let outer = if OUTER.contains(&path[0]) { "configJSON" } else { "Config" };
    format!("cannot unmarshal {what} into Go struct field {inner}.{outer}.{key} of type {target}")
}
