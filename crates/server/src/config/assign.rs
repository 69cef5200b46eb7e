//! Puts one text, from a flag or a variable, into the draft.
use super::flags::{Draft, Field, Flag};
use super::golang;
use super::settings::Emulated;
use crate::log::quote;

/// Sets the flag; the error is what Go says behind `invalid value … for …: `.
pub(super) fn assign(draft: &mut Draft, flag: &Flag, text: &str) -> Result<(), String> {
    let number = |e: golang::NumberError| e.flag_text().to_string();
    match &flag.field {
        Field::Bool(at) => *at(draft) = golang::bool(text).ok_or("parse error")?,
        Field::Uint(at) | Field::Uint64(at) => *at(draft) = golang::uint(text).map_err(number)?,
        Field::Uint32(at) => *at(draft) = uint32(text)?,
        Field::Int(at) | Field::Int64(at) => *at(draft) = golang::int(text).map_err(number)?,
        Field::Duration(at) => *at(draft) = golang::duration(text).map_err(|_| "parse error")?,
        Field::Text(at) => *at(draft) = text.into(),
        Field::Choice(at, words) => *at(draft) = choice(flag.name, words, text)?,
        Field::List(at) => *at(draft) = text.split(',').map(Into::into).collect(),
        Field::Set(at) => *at(draft) = set(text),
        Field::Origins(at) => *at(draft) = origins(text)?,
        // Nothing said leaves the default, as in etcd.
        Field::Urls(_) if text.is_empty() => {}
        Field::Urls(at) => *at(draft) = golang::urls(text.split(','))?,
        Field::Gates => draft.config.features.set(text)?,
        Field::Emulated => draft.emulated_version = Some(emulated(text)?),
        Field::Ignored => {}
    }
    Ok(())
}

fn uint32(text: &str) -> Result<u32, String> {
    golang::uint(text)
        .and_then(|n| u32::try_from(n).map_err(|_| golang::NumberError::Range))
        .map_err(|e| format!("strconv.ParseUint: parsing {}: {}", quote(text), e.strconv_text()))
}

fn choice(name: &str, words: &[&str], text: &str) -> Result<String, String> {
    if words.contains(&text) {
        return Ok(text.into());
    }
    // etcd repeats the value for this flag alone.
    Err(if name == "v2-deprecation" {
        format!("invalid value {}", quote(text))
    } else {
        "invalid value".into()
    })
}

/// Texts between commas, sorted, each once.
pub(super) fn set(text: &str) -> Vec<String> {
    let mut all: Vec<String> = text.split(',').map(Into::into).collect();
    all.sort();
    all.dedup();
    all
}

/// `*`, or URLs between commas.
pub(super) fn origins(text: &str) -> Result<Vec<String>, String> {
    if text == "*" {
        return Ok(vec!["*".into()]);
    }
    let mut all: Vec<String> = golang::urls(text.split(','))?.iter().map(ToString::to_string).collect();
    all.dedup();
    Ok(all)
}

pub(super) fn emulated(text: &str) -> Result<Emulated, String> {
    match text.strip_suffix(".0").unwrap_or(text) {
        "3.5" => Ok(Emulated::V3_5),
        "3.6" => Ok(Emulated::V3_6),
        "3.7" => Ok(Emulated::V3_7),
        _ => Err("must be 3.5, 3.6 or 3.7".into()),
    }
}
