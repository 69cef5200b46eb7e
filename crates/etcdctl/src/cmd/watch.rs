//! `etcdctl watch`: one watch, or with `-i` as many as are typed in; a command may be run for each event.
use std::io::BufRead;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, exit};

use bytes::Bytes;
use client::{Client, Error, Watcher};
use proto::etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchResponse};
use proto::mvccpb::Event;
use proto::mvccpb::event::EventType;
use tokio::process::Command as Process;

use crate::call::{Call, Session};
use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::flag::{Flag, Flags, Kind, flag, short};
use crate::golang::quote;
use crate::help;
use crate::print::{Answer, Style};
use crate::words::words;

pub static COMMAND: Command = Command {
    usage: "watch [options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
    group: help::KEY_VALUE,
    about: "Print changes of keys as they happen",
    details: "Print changes of keys as they happen, and run a command for each.\n\n\
              The command finds ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and ETCD_WATCH_VALUE in its\n\
              environment. Without arguments the key is taken from ETCDCTL_WATCH_KEY and ETCDCTL_WATCH_RANGE_END.",
    flags: FLAGS,
    run: Some(|call| Box::pin(watch(call))),
    ..PLAIN
};

static FLAGS: &[Flag] = &[
    short(
        'i',
        flag("interactive", Kind::Bool, "false", "read 'watch ...' and 'progress' lines from standard input"),
    ),
    flag("prefix", Kind::Bool, "false", "all keys that begin with the key"),
    flag("prev-kv", Kind::Bool, "false", "also print what each key held before"),
    flag("progress-notify", Kind::Bool, "false", "ask for regular notices while nothing changes"),
    flag("rev", Kind::Int, "0", "start at this revision"),
];

/// What to watch, and the command to run for each event; empty if none.
#[derive(Debug, PartialEq)]
struct Plan {
    key: Bytes,
    range_end: Option<Bytes>,
    command: Vec<Bytes>,
}

/// `ETCDCTL_WATCH_KEY` and `ETCDCTL_WATCH_RANGE_END`; empty when not set.
#[derive(Default)]
struct Environment {
    key: Bytes,
    range_end: Bytes,
}

async fn watch(mut call: Call) -> Result<(), Failure> {
    let environment = environment()?;
    if call.flags.is_on("interactive") {
        let session = call.session_as("etcd-client", true).await?;
        return interactive(&session, &environment).await;
    }
    let plan = plan(&call.args, &call.line, &environment)?;
    let request = request(&call.flags, &plan)?;
    let session = call.session_as("etcd-client", true).await?;
    let style = session.style;
    follow(session.client.watch(request), style, &plan.command).await?;
    Err(Failure::new(code::INTERRUPTED, "watch is canceled by the server"))
}

fn environment() -> Result<Environment, Failure> {
    let read = |name| Bytes::from(std::env::var_os(name).unwrap_or_default().into_encoded_bytes());
    let found = Environment { key: read("ETCDCTL_WATCH_KEY"), range_end: read("ETCDCTL_WATCH_RANGE_END") };
    if found.key.is_empty() && !found.range_end.is_empty() {
        let text =
            format!("ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END={}", quote(&found.range_end));
        return Err(Failure::args(text));
    }
    Ok(found)
}

/// `args` are what is left without flags, `line` all words: only there a `--` can be seen.
fn plan(args: &[Bytes], line: &[Bytes], environment: &Environment) -> Result<Plan, Failure> {
    let separator = line.iter().position(|word| word == "--");
    let command_words = separator.map_or(0, |at| line.len() - at - 1);
    if separator.is_some() && command_words == 0 {
        return Err(Failure::args("bad number of arguments (found separator --, but no commands)"));
    }
    let (keys, command) = args.split_at(args.len().saturating_sub(command_words));
    let command = command.to_vec();
    match keys {
        [] if environment.key.is_empty() => Err(Failure::args("bad number of arguments")),
        [] => {
            let range_end = Some(environment.range_end.clone()).filter(|end| !end.is_empty());
            Ok(Plan { key: environment.key.clone(), range_end, command })
        }
        _ if !environment.key.is_empty() => {
            Err(Failure::args("bad number of arguments (found conflicting environment key)"))
        }
        [key, range_end] => Ok(Plan { key: key.clone(), range_end: Some(range_end.clone()), command }),
        [key, ..] => Ok(Plan { key: key.clone(), range_end: None, command }),
    }
}

fn request(flags: &Flags, plan: &Plan) -> Result<WatchCreateRequest, Failure> {
    let (key, range_end) = match &plan.range_end {
        Some(_) if flags.is_on("prefix") => {
            return Err(Failure::args("`range_end` and `--prefix` are mutually exclusive"));
        }
        None if flags.is_on("prefix") => client::range::prefix(&plan.key),
        range_end => (plan.key.clone(), range_end.clone().unwrap_or_default()),
    };
    Ok(WatchCreateRequest {
        key,
        range_end,
        start_revision: flags.int("rev"),
        progress_notify: flags.is_on("progress-notify"),
        prev_kv: flags.is_on("prev-kv"),
        ..WatchCreateRequest::default()
    })
}

/// Prints and executes until the watch is over.
async fn follow(mut watcher: Watcher, style: Style, command: &[Bytes]) -> Result<(), Failure> {
    loop {
        let (response, reason) = match watcher.next().await {
            Ok(None) => return Ok(()),
            Ok(Some(response)) => {
                let reason = close_reason(&response);
                (response, reason)
            }
            Err(Error::WatchRefused(reason)) => {
                (WatchResponse { canceled: true, ..WatchResponse::default() }, Some(reason))
            }
            Err(error) => return Err(Failure::new(code::GENERAL, error)),
        };
        if let Some(reason) = &reason {
            eprintln!("watch was canceled ({reason})");
        }
        let header = response.header.unwrap_or_default();
        if !response.canceled && response.events.is_empty() {
            println!("progress notify: {}", header.revision);
        }
        style.show(&Answer::Watch(&response))?;
        if !command.is_empty() {
            for event in &response.events {
                execute(command, &header, event).await?;
            }
        }
        if reason.is_some() {
            return Ok(());
        }
    }
}

fn close_reason(response: &WatchResponse) -> Option<String> {
    if response.compact_revision != 0 {
        Some("etcdserver: mvcc: required revision has been compacted".to_owned())
    } else if !response.canceled {
        None
    } else if response.cancel_reason.is_empty() {
        Some("etcdserver: mvcc: required revision is a future revision".to_owned())
    } else {
        Some(response.cancel_reason.clone())
    }
}

async fn execute(command: &[Bytes], header: &ResponseHeader, event: &Event) -> Result<(), Failure> {
    let os = |word: &Bytes| std::ffi::OsStr::from_bytes(word).to_owned();
    let kind = EventType::try_from(event.r#type).unwrap_or(EventType::Put).as_str_name();
    let kv = event.kv.clone().unwrap_or_default();
    let status = Process::new(os(&command[0]))
        .args(command[1..].iter().map(os))
        .env("ETCD_WATCH_REVISION", header.revision.to_string())
        .env("ETCD_WATCH_EVENT_TYPE", quote(kind.as_bytes()))
        .env("ETCD_WATCH_KEY", quote(&kv.key))
        .env("ETCD_WATCH_VALUE", quote(&kv.value))
        .status()
        .await;
    let trouble = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => exit_text(status),
        Err(error) => spawn_text(&command[0], &error),
    };
    let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    eprintln!("command [{}] error ({trouble})", words.join(" "));
    Err(Failure::silent(code::GENERAL))
}

/// How a command ended, in Go's words.
pub fn exit_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(9)) => "signal: killed".to_owned(),
        (None, Some(15)) => "signal: terminated".to_owned(),
        (None, Some(2)) => "signal: interrupt".to_owned(),
        (None, signal) => format!("signal: {}", signal.unwrap_or(0)),
    }
}

/// Why a command could not be started, in Go's words.
pub fn spawn_text(program: &[u8], error: &std::io::Error) -> String {
    let name = String::from_utf8_lossy(program);
    match error.kind() {
        std::io::ErrorKind::NotFound if !name.contains('/') => {
            format!("exec: {}: executable file not found in $PATH", quote(program))
        }
        std::io::ErrorKind::NotFound => format!("fork/exec {name}: no such file or directory"),
        std::io::ErrorKind::PermissionDenied => format!("fork/exec {name}: permission denied"),
        _ => error.to_string(),
    }
}

/// Reads lines for ever; watches run beside it.
async fn interactive(session: &Session, environment: &Environment) -> Result<(), Failure> {
    let mut running: Vec<client::Progress> = Vec::new();
    loop {
        let line = next_line().await?;
        let args = words(&line)?.into_iter().map(Bytes::from).collect::<Vec<_>>();
        match args.first().map(|word| &word[..]) {
            Some(b"progress") => {
                for progress in &running {
                    progress.request().await;
                }
            }
            None => eprintln!("Invalid command: {line} (watch and progress supported)"),
            Some(b"watch") if args.len() == 1 && environment.key.is_empty() => {
                eprintln!("Invalid command {line} (command type or key is not provided)");
            }
            Some(b"watch") => {
                let (request, plan) = match typed(&args[1..], environment)? {
                    Ok(understood) => understood,
                    Err(failure) => {
                        eprintln!("Invalid command {line} ({})", failure.text.unwrap_or_default());
                        continue;
                    }
                };
                running.push(start(&session.client, request, session.style, plan.command));
            }
            Some(_) => eprintln!("Invalid command {line} (only support watch)"),
        }
    }
}

/// What a typed line means; the outer error ends the program, the inner one only this line.
type Typed = Result<Result<(WatchCreateRequest, Plan), Failure>, Failure>;

fn typed(args: &[Bytes], environment: &Environment) -> Typed {
    let mut flags = Flags::new(FLAGS.iter().collect());
    let rest = flags.parse(args).map_err(Failure::args)?;
    let plan = match plan(&rest, args, environment) {
        // A command without a key spoils only its line.
        Err(failure) if args.first().is_some_and(|word| word == "--") && args.len() > 1 => {
            return Ok(Err(failure));
        }
        plan => plan?,
    };
    Ok(request(&flags, &plan).map(|request| (request, plan)))
}

fn start(
    client: &Client,
    request: WatchCreateRequest,
    style: Style,
    command: Vec<Bytes>,
) -> client::Progress {
    let watcher = client.watch(request);
    let progress = watcher.progress();
    tokio::spawn(async move {
        if let Err(failure) = follow(watcher, style, &command).await {
            if let Some(text) = failure.text {
                eprintln!("Error: {text}");
            }
            // A command that fails ends everything, as it does without -i.
            exit(failure.code);
        }
    });
    progress
}

async fn next_line() -> Result<String, Failure> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = Vec::new();
        std::io::stdin().lock().read_until(b'\n', &mut line).map(|_| line)
    });
    let bad =
        |error: &str| Failure::new(code::BAD_INPUT, format!("error reading watch request line: {error}"));
    let line =
        read.await.map_err(|error| bad(&error.to_string()))?.map_err(|error| bad(&error.to_string()))?;
    match line.strip_suffix(b"\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None => Err(bad("EOF")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(line: &str, key: &'static str, range_end: &'static str) -> Result<Plan, String> {
        let line: Vec<Bytes> = line.split_whitespace().map(|word| word.to_owned().into()).collect();
        let args = Flags::new(FLAGS.iter().collect()).parse(&line).unwrap();
        let environment = Environment { key: key.into(), range_end: range_end.into() };
        plan(&args, &line, &environment).map_err(|failure| failure.text.unwrap())
    }

    fn plan_of(
        key: &'static str,
        range_end: Option<&'static str>,
        command: &[&'static str],
    ) -> Result<Plan, String> {
        let command = command.iter().map(|word| Bytes::from(*word)).collect();
        Ok(Plan { key: key.into(), range_end: range_end.map(Bytes::from), command })
    }

    #[test]
    fn arguments_are_a_key_an_end_and_behind_two_dashes_a_command() {
        assert_eq!(planned("a", "", ""), plan_of("a", None, &[]));
        assert_eq!(planned("--rev 3 a b", "", ""), plan_of("a", Some("b"), &[]));
        assert_eq!(planned("a b -- echo -n x", "", ""), plan_of("a", Some("b"), &["echo", "-n", "x"]));
        assert_eq!(planned("a b c", "", ""), plan_of("a", None, &[]));
        assert_eq!(planned("", "k", "l"), plan_of("k", Some("l"), &[]));
        assert_eq!(planned("-- echo", "k", ""), plan_of("k", None, &["echo"]));
    }

    #[test]
    fn missing_and_contradicting_keys_are_refused() {
        for (line, key, text) in [
            ("", "", "bad number of arguments"),
            ("-- echo a", "", "bad number of arguments"),
            ("a --", "", "bad number of arguments (found separator --, but no commands)"),
            ("a", "k", "bad number of arguments (found conflicting environment key)"),
        ] {
            assert_eq!(planned(line, key, "").unwrap_err(), text);
        }
    }
}
