//! Auth tokens: what Authenticate hands out and what a call shows to say who asks.

mod jwt;
mod simple;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use store::TokenChange;

use crate::applied::Applied;
use crate::config::Config;
use crate::log;
use crate::member::Who;
use crate::rpc::error::{self, Status};

/// The text etcd ends with when it cannot make sense of `--auth-token`.
const INVALID_OPTIONS: &str = "auth: invalid auth options";
/// Letters of a token's hash in log lines.
const FINGERPRINT_LETTERS: usize = 12;

/// The kind of tokens that `--auth-token` names.
pub enum Tokens {
    /// None is handed out and none is good.
    None,
    /// Random texts that every member remembers.
    Simple(simple::Simple),
    /// Signed claims that nobody needs to remember.
    Jwt(Box<jwt::Jwt>),
}

impl Tokens {
    /// Reads `--auth-token` and the key files it names.
    ///
    /// # Errors
    /// The text for the operator.
    pub fn new(config: &Config) -> Result<Tokens, String> {
        Tokens::read(config)
            .inspect_err(|why| log::warning!("failed to create token provider", "error" = why))
    }

    fn read(config: &Config) -> Result<Tokens, String> {
        let (kind, options) = split(&config.auth_token)?;
        match kind {
            "" => Ok(Tokens::None),
            "simple" => Ok(Tokens::Simple(simple::Simple::new(Duration::from_secs(config.auth_token_ttl_s)))),
            _ => Ok(Tokens::Jwt(Box::new(jwt::Jwt::new(&options)?))),
        }
    }

    /// The part of a new token that travels in the log.
    pub fn prefix(&self) -> String {
        if matches!(self, Tokens::Simple(_)) { simple::prefix() } else { String::new() }
    }

    /// Whether tokens are signed, which is work like that of a hash.
    pub fn signs(&self) -> bool {
        matches!(self, Tokens::Jwt(_))
    }

    /// The token for a user whose password was right at this auth revision; `applied` is what apply made of the prefix.
    /// Signing takes its time (see [`Tokens::signs`]).
    pub fn issue(&self, user: &str, revision: u64, applied: String) -> Result<String, Status> {
        match self {
            Tokens::None => Err(error::AUTH_FAILED),
            Tokens::Simple(_) => Ok(applied),
            Tokens::Jwt(jwt) => jwt.sign(user, revision, SystemTime::now()),
        }
    }

    /// Takes in what an entry did to tokens.
    pub fn observe(&self, change: &TokenChange) {
        let Tokens::Simple(simple) = self else { return };
        match change {
            TokenChange::Granted { user, token } => simple.grant(user, token),
            TokenChange::UserInvalidated { user } => simple.forget_user(user),
            TokenChange::AllInvalidated => simple.forget_all(),
        }
    }

    /// Whose token this is. `revision` is that of auth now, which a simple token is always good for; a signed one says
    /// its own, and what is older than auth is refused where permission is asked.
    pub async fn resolve(&self, token: &str, applied: &Applied, revision: u64) -> Option<Who> {
        let found = match self {
            Tokens::None => None,
            Tokens::Simple(simple) => simple.resolve(token, applied, revision).await,
            Tokens::Jwt(jwt) => jwt.verify(token, SystemTime::now()).inspect_err(jwt::Refusal::tell).ok(),
        };
        if found.is_none() {
            log::warning!("invalid auth token", "token-fingerprint" = fingerprint(token));
        }
        found
    }
}

/// Options of a kind of tokens, by name.
type Options<'a> = BTreeMap<&'a str, &'a str>;

/// Whether `--auth-token` names a kind there is, and has options that can be read.
///
/// # Errors
/// The text for the operator.
pub fn check(auth_token: &str) -> Result<(), String> {
    split(auth_token).map(|_| ())
}

/// `kind,name=value,…` in its parts; the kind is a known one.
fn split(text: &str) -> Result<(&str, Options<'_>), String> {
    let mut parts = text.split(',');
    let kind = parts.next().unwrap_or_default();
    let mut options = Options::new();
    for part in parts {
        let Some((name, value)) = part.split_once('=').filter(|(_, value)| !value.contains('=')) else {
            log::error!("invalid token option", "option" = text);
            return Err(INVALID_OPTIONS.into());
        };
        if options.insert(name, value).is_some() {
            log::error!("invalid token option", "option" = text, "duplicate-parameter" = name);
            return Err(INVALID_OPTIONS.into());
        }
    }
    if !matches!(kind, "" | "simple" | "jwt") {
        log::warning!("unknown token type", "type" = kind, "error" = INVALID_OPTIONS);
        return Err(INVALID_OPTIONS.into());
    }
    Ok((kind, options))
}

/// Enough to recognise a token by, and too little to use it.
fn fingerprint(token: &str) -> String {
    let mut text = String::with_capacity(FINGERPRINT_LETTERS);
    for byte in &Sha256::digest(token)[..FINGERPRINT_LETTERS / 2] {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_pairs_and_none_comes_twice() {
        let (kind, options) = split("jwt,pub-key=a,ttl=5m").expect("good");
        assert_eq!((kind, options), ("jwt", Options::from([("pub-key", "a"), ("ttl", "5m")])));
        assert_eq!(split("simple").expect("no options"), ("simple", Options::new()));
        for text in ["jwt,", "jwt,pub-key", "jwt,ttl=5m=6m", "jwt,ttl=5m,ttl=6m", "simple,x"] {
            assert_eq!(split(text).expect_err(text), INVALID_OPTIONS);
        }
    }

    #[test]
    fn a_kind_nobody_knows_is_refused() {
        let with =
            |auth_token: &str| Tokens::new(&Config { auth_token: auth_token.into(), ..Config::default() });
        assert!(matches!(with("simple"), Ok(Tokens::Simple(_))));
        assert!(matches!(with(""), Ok(Tokens::None)));
        assert_eq!(with("paseto").err().as_deref(), Some(INVALID_OPTIONS));
    }

    #[test]
    fn a_fingerprint_is_the_beginning_of_the_hash() {
        assert_eq!(fingerprint("abc"), "ba7816bf8f01");
    }
}
