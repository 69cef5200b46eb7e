//! `etcdctl txn`: compares and two lists of requests, one per line of standard input, an empty line after each list.
use std::io::BufRead;

use bytes::Bytes;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{Compare, RequestOp, TxnRequest};

use super::{del, get, put};
use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::flag::{Flags, HELP, Kind, flag, short};
use crate::print::Answer;
use crate::words::words;
use crate::{golang, help};

pub static COMMAND: Command = Command {
    usage: "txn [options]",
    group: help::KEY_VALUE,
    about: "Compare, then run one of two lists of requests, all at once",
    details: "Compare, then run one of two lists of requests, all at once.\n\n\
              Standard input has three parts with an empty line after each: compares such as mod(\"key1\") > \"0\",\n\
              requests (put, get, del) for when all of them hold, and requests for when one does not.\n\
              Targets are ver, create, mod, value and lease; operators are =, !=, < and >.",
    flags: &[short('i', flag("interactive", Kind::Bool, "false", "print a heading for each part"))],
    run: Some(|call| Box::pin(txn(call))),
    ..PLAIN
};

async fn txn(mut call: Call) -> Result<(), Failure> {
    if !call.args.is_empty() {
        return Err(Failure::args("txn command does not accept argument"));
    }
    let headings = call.flags.is_on("interactive");
    let request = TxnRequest {
        compare: part(headings, "compares:", compare)?,
        success: part(headings, "success requests (get, put, del):", operation)?,
        failure: part(headings, "failure requests (get, put, del):", operation)?,
    };
    let session = call.session().await?;
    let answer = session.client.txn(request).await?;
    session.show(&Answer::Txn(&answer))
}

fn bad(text: impl std::fmt::Display) -> Failure {
    Failure::new(code::BAD_INPUT, text)
}

/// Lines up to the next empty one.
fn part<T>(
    with_heading: bool,
    heading: &str,
    read: fn(&str) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    if with_heading {
        println!("{heading}");
    }
    let mut items = Vec::new();
    loop {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(bad)?;
        match line.strip_suffix('\n') {
            None => return Err(bad("EOF")),
            Some("") => return Ok(items),
            Some(line) => items.push(read(line.trim())?),
        }
    }
}

fn operation(line: &str) -> Result<RequestOp, Failure> {
    let words: Vec<Bytes> = words(line)?.into_iter().map(Bytes::from).collect();
    if words.len() < 2 {
        return Err(bad(format!("invalid txn compare request: {line}")));
    }
    let invalid = || bad(format!("invalid txn request: {line}"));
    let known = match &words[0][..] {
        b"get" => get::FLAGS,
        b"put" => put::FLAGS,
        b"del" => del::FLAGS,
        _ => return Err(invalid()),
    };
    let mut flags = Flags::new(known.iter().chain([&HELP]).collect());
    let args = flags.parse(&words[1..]).map_err(|_| invalid())?;
    let request = match &words[0][..] {
        b"get" => Request::RequestRange(get::request(&flags, &args)?),
        b"put" => Request::RequestPut(put::request(&flags, &args)?),
        _ => Request::RequestDeleteRange(del::request(&flags, &args)?),
    };
    Ok(RequestOp { request: Some(request) })
}

/// `target("key") OP "value"`.
fn compare(line: &str) -> Result<Compare, Failure> {
    let malformed = |note: String| bad(format!("malformed comparison: {line}{note}"));
    let (target, rest) = line.split_once('(').ok_or_else(|| malformed(String::new()))?;
    let (target, rest) = (target.trim(), rest.trim_start());
    let Some((key, rest)) = quoted(rest) else {
        return Err(malformed(format!("; got {target}(\"\")  \"\"")));
    };
    let rest = rest.trim_start().strip_prefix(')').ok_or_else(|| malformed(String::new()))?.trim_start();
    let (operator, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let Some((value, _)) = quoted(rest.trim_start()) else {
        return Err(malformed(format!("; got {target}({}) {operator} \"\"", golang::quote(&key))));
    };
    let result = match operator {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        "<" => CompareResult::Less,
        ">" => CompareResult::Greater,
        _ => return Err(malformed(format!(" (unknown operator {operator})"))),
    };
    let text = String::from_utf8_lossy(&value).into_owned();
    let number = |base| {
        golang::parse_int(&text, base).map_err(|_| bad(format!("invalid txn compare request: {line}")))
    };
    let (target, union) = match target {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number(10)?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number(10)?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number(10)?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(value.into())),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number(16)?)),
        _ => return Err(malformed(format!(" (unknown target {target})"))),
    };
    Ok(Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        target_union: Some(union),
        ..Compare::default()
    })
}

/// A Go string at the start of `text`, and what follows it.
fn quoted(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find_map(|(at, c)| match c {
        _ if escaped => {
            escaped = false;
            None
        }
        '\\' => {
            escaped = true;
            None
        }
        '"' => Some(at + 1),
        _ => None,
    })?;
    Some((golang::unquote(&text[..end])?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_are_read_and_mistakes_named() {
        let read = compare(r#"mod("a\"b") > "7""#).unwrap();
        assert_eq!(
            (&read.key[..], read.result(), read.target()),
            (&b"a\"b"[..], CompareResult::Greater, CompareTarget::Mod)
        );
        assert_eq!(read.target_union, Some(TargetUnion::ModRevision(7)));
        for (line, text) in [
            ("garbage", "malformed comparison: garbage"),
            (r#"foo("a") = "0""#, r#"malformed comparison: foo("a") = "0" (unknown target foo)"#),
            (r#"mod("a") = "x""#, r#"invalid txn compare request: mod("a") = "x""#),
            (r#"mod("a") = x"#, r#"malformed comparison: mod("a") = x; got mod("a") = """#),
            (r#"mod(a) = "0""#, r#"malformed comparison: mod(a) = "0"; got mod("")  """#),
        ] {
            assert_eq!(compare(line).unwrap_err(), bad(text));
        }
    }

    #[test]
    fn requests_are_read_as_on_the_command_line() {
        let read = operation(r#"put a "b c\n" --prev-kv"#).unwrap();
        let Some(Request::RequestPut(put)) = read.request else { panic!("a put") };
        assert_eq!((&put.value[..], put.prev_kv), (&b"b c\n"[..], true));
        assert_eq!(operation("foo a").unwrap_err(), bad("invalid txn request: foo a"));
        assert_eq!(operation("put").unwrap_err(), bad("invalid txn compare request: put"));
        assert_eq!(operation("get a --order zz").unwrap_err().code, code::BAD_FEATURE);
    }
}
