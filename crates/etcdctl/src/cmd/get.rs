//! `etcdctl get`
use bytes::Bytes;
use proto::etcdserverpb::RangeRequest;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};

use super::is_linearizable;
use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::flag::{Flag, Flags, Kind, flag};
use crate::help;
use crate::print::{Answer, Format};

pub static COMMAND: Command = Command {
    usage: "get [options] <key> [range_end]",
    group: help::KEY_VALUE,
    about: "Read a key or a range of keys",
    flags: FLAGS,
    run: Some(|call| Box::pin(get(call))),
    ..PLAIN
};

pub static FLAGS: &[Flag] = &[
    flag("consistency", Kind::Text, "l", "l: linearizable, s: serializable (may be stale)"),
    flag("count-only", Kind::Bool, "false", "only the number of keys"),
    flag("from-key", Kind::Bool, "false", "all keys at or after <key>"),
    flag("keys-only", Kind::Bool, "false", "no values"),
    flag("limit", Kind::Int, "0", "at most this many results (0: no limit)"),
    flag("max-create-rev", Kind::Int, "0", "only keys created at or before this revision"),
    flag("max-mod-rev", Kind::Int, "0", "only keys changed at or before this revision"),
    flag("min-create-rev", Kind::Int, "0", "only keys created at or after this revision"),
    flag("min-mod-rev", Kind::Int, "0", "only keys changed at or after this revision"),
    flag("order", Kind::Text, "", "ASCEND or DESCEND"),
    flag("prefix", Kind::Bool, "false", "all keys that begin with <key>"),
    flag("print-value-only", Kind::Bool, "false", "only values; for the simple format"),
    flag("rev", Kind::Int, "0", "read as of this revision"),
    flag("sort-by", Kind::Text, "", "CREATE, KEY, MODIFY, VALUE or VERSION"),
    flag("stream", Kind::Bool, "false", "use the streaming call"),
];

async fn get(mut call: Call) -> Result<(), Failure> {
    let request = request(&call.flags, &call.args)?;
    let mut session = call.session().await?;
    let answer = if call.flags.is_on("stream") {
        session.client.range_stream(request).await?
    } else {
        session.client.range(request).await?
    };
    if call.flags.is_on("count-only") && session.style.format != Format::Fields {
        return Err(Failure::args("--count-only is only for `--write-out=fields`"));
    }
    if call.flags.is_on("print-value-only") {
        if session.style.format != Format::Simple {
            return Err(Failure::args("print-value-only is only for `--write-out=simple`"));
        }
        session.style.value_only = true;
    }
    session.show(&Answer::Get(&answer))
}

/// The request these flags and arguments mean; also for `txn`.
pub fn request(flags: &Flags, args: &[Bytes]) -> Result<RangeRequest, Failure> {
    let Some(key) = args.first() else {
        return Err(Failure::args(
            "get command needs one argument as key and an optional argument as range_end",
        ));
    };
    if flags.is_on("prefix") && flags.is_on("from-key") {
        return Err(Failure::args("`--prefix` and `--from-key` cannot be set at the same time, choose one"));
    }
    let serializable = !is_linearizable(flags.text("consistency"), flags.text("consistency"))?;
    if args.len() > 1 && (flags.is_on("prefix") || flags.is_on("from-key")) {
        let text = "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";
        return Err(Failure::args(text));
    }
    let (key, range_end) = match args.get(1) {
        _ if flags.is_on("prefix") => client::range::prefix(key),
        _ if flags.is_on("from-key") => client::range::from_key(key),
        end => (key.clone(), end.cloned().unwrap_or_default()),
    };
    let (sort_order, sort_target) = sorting(flags)?;
    let (min_create, max_create) = bounds(flags, "create", "Create")?;
    let (min_mod, max_mod) = bounds(flags, "mod", "Mod")?;
    Ok(RangeRequest {
        key,
        range_end,
        limit: flags.int("limit"),
        revision: flags.int("rev"),
        sort_order: sort_order.into(),
        sort_target: sort_target.into(),
        serializable,
        keys_only: flags.is_on("keys-only"),
        count_only: flags.is_on("count-only"),
        min_mod_revision: min_mod,
        max_mod_revision: max_mod,
        min_create_revision: min_create,
        max_create_revision: max_create,
    })
}

fn sorting(flags: &Flags) -> Result<(SortOrder, SortTarget), Failure> {
    let (order, target) = (flags.text("order"), flags.text("sort-by"));
    let bad = |what: &str, text: &str| Failure::new(code::BAD_FEATURE, format!("bad sort {what} {text}"));
    let sort_order = match order.to_uppercase().as_str() {
        "" => SortOrder::None,
        "ASCEND" => SortOrder::Ascend,
        "DESCEND" => SortOrder::Descend,
        _ => return Err(bad("order", order)),
    };
    let sort_target = match target.to_uppercase().as_str() {
        "" | "KEY" => SortTarget::Key,
        "CREATE" => SortTarget::Create,
        "MODIFY" => SortTarget::Mod,
        "VALUE" => SortTarget::Value,
        "VERSION" => SortTarget::Version,
        _ => return Err(bad("target", target)),
    };
    // Keys come in ascending order anyway, and the default order is cheaper for the server.
    let is_default = sort_order == SortOrder::Ascend && sort_target == SortTarget::Key;
    Ok((if is_default { SortOrder::None } else { sort_order }, sort_target))
}

fn bounds(flags: &Flags, flag: &str, name: &str) -> Result<(i64, i64), Failure> {
    let (min, max) = (flags.int(&format!("min-{flag}-rev")), flags.int(&format!("max-{flag}-rev")));
    if max != 0 && min > max {
        let text = format!("getMin{name}Rev(={min}) > getMax{name}Rev(={max})");
        return Err(Failure::new(code::BAD_FEATURE, text));
    }
    Ok((min, max))
}
