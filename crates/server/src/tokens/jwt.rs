//! Signed tokens (JWT): nothing is kept; whoever has the key believes what its owner signed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{INVALID_OPTIONS, Options};
use crate::config::{go_duration, go_io_error};
use crate::log;
use crate::member::Who;
use crate::rpc::error::{self, Status};

/// Life of a token when `ttl` does not say.
const TTL: Duration = Duration::from_secs(300);

/// Signs tokens and believes what was signed with its key.
pub struct Jwt {
    /// Without it, a member only verifies.
    signs: Option<EncodingKey>,
    verifies: DecodingKey,
    header: Header,
    validation: Validation,
    ttl: Duration,
}

/// What a token of ours says.
#[derive(Serialize)]
struct Claims<'a> {
    username: &'a str,
    revision: u64,
    exp: u64,
}

/// What a token of anybody's may say; the types are looked at afterwards.
#[derive(Deserialize)]
struct Claimed {
    #[serde(default)]
    username: Value,
    #[serde(default)]
    revision: Value,
    #[serde(default = "no_time")]
    exp: Value,
    #[serde(default = "no_time")]
    nbf: Value,
}

/// Why a token is not believed.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It is none, or none that is good now.
    #[error("failed to parse a JWT token")]
    Unfit(&'static str),
    /// It names no user.
    #[error("failed to obtain user claims from jwt token")]
    NoUser,
    /// It names no auth revision.
    #[error("failed to obtain revision claims from jwt token")]
    NoRevision,
}

impl Refusal {
    /// Logs it. The texts are fixed: nothing of the token gets into the log.
    pub fn tell(&self) {
        match self {
            Refusal::Unfit(why) => log::warning!("failed to parse a JWT token", "error" = *why),
            other => log::warning!(other.to_string()),
        }
    }
}

impl Jwt {
    /// Reads the options and the files they name.
    ///
    /// # Errors
    /// The text for the operator.
    pub fn new(options: &Options<'_>) -> Result<Jwt, String> {
        if options.get("sign-method") == Some(&"ES512") {
            return Err("--auth-token: sign-method ES512 is not supported; use ES384, or another".into());
        }
        let read = Read::new(options).map_err(|error| {
            log::error!("problem loading JWT options", "error" = error);
            INVALID_OPTIONS
        })?;
        let unknown: Vec<_> = options.keys().filter(|name| !KNOWN.contains(name)).collect();
        if !unknown.is_empty() {
            log::warning!("unknown JWT options", "keys" = log::Value::list(unknown));
        }
        let (signs, verifies) = read.keys()?;
        Ok(Jwt {
            signs,
            verifies,
            header: Header::new(read.method),
            validation: signature_only(read.method),
            ttl: read.ttl,
        })
    }

    /// A token for this user at this auth revision.
    pub fn sign(&self, user: &str, revision: u64, now: SystemTime) -> Result<String, Status> {
        let key = self.signs.as_ref().ok_or(error::VERIFY_ONLY)?;
        let exp = (since_epoch(now) + self.ttl).as_secs();
        jsonwebtoken::encode(&self.header, &Claims { username: user, revision, exp }, key)
            .map_err(|error| Status::unknown(error.to_string()))
    }

    /// Whom a token names, if it is signed with our key and method and good at this time.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Who, Refusal> {
        let claimed = jsonwebtoken::decode::<Claimed>(token, &self.verifies, &self.validation)
            .map_err(|error| {
                Refusal::Unfit(match error.kind() {
                    ErrorKind::InvalidSignature => "token signature is invalid",
                    ErrorKind::InvalidAlgorithm => "token is unverifiable: invalid signing method",
                    _ => "token is malformed",
                })
            })?
            .claims;
        let now = since_epoch(now).as_secs_f64();
        if time(&claimed.exp)?.is_some_and(|end| now >= end) {
            return Err(Refusal::Unfit("token has invalid claims: token is expired"));
        }
        if time(&claimed.nbf)?.is_some_and(|start| now < start) {
            return Err(Refusal::Unfit("token has invalid claims: token is not valid yet"));
        }
        let user = claimed.username.as_str().ok_or(Refusal::NoUser)?.to_owned();
        let revision = claimed.revision.as_f64().ok_or(Refusal::NoRevision)?;
        // Beyond what a revision can be it ends at a bound, and is compared like any other.
        Ok(Who { user, revision: revision as u64 })
    }
}

/// What a time that is absent reads as.
fn no_time() -> Value {
    0.into()
}

/// A claim that is a time in seconds; 0 counts as absent, and null as no time, as in Go.
fn time(claim: &Value) -> Result<Option<f64>, Refusal> {
    match claim.as_f64() {
        Some(seconds) => Ok(Some(seconds.trunc()).filter(|_| seconds != 0.0)),
        None => Err(Refusal::Unfit("token is malformed")),
    }
}

fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Times are looked at here, where tests can say what time it is; nothing is demanded that Go does not demand.
fn signature_only(method: Algorithm) -> Validation {
    let mut validation = Validation::new(method);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

/// Shorter keys cannot be verified with.
const RSA_BITS_MIN: usize = 2048;
const RSA_TOO_SHORT: &str = "--auth-token: RSA keys below 2048 bits are not supported";

/// Names of options.
const KNOWN: [&str; 4] = ["sign-method", "pub-key", "priv-key", "ttl"];

/// What the options say, files read.
struct Read {
    method: Algorithm,
    public: Vec<u8>,
    private: Vec<u8>,
    ttl: Duration,
}

impl Read {
    fn new(options: &Options<'_>) -> Result<Read, String> {
        let text = |name| options.get(name).copied().filter(|text| !text.is_empty());
        let file = |name| match text(name) {
            None => Ok(Vec::new()),
            Some(path) => {
                std::fs::read(path).map_err(|error| format!("open {path}: {}", go_io_error(&error)))
            }
        };
        let ttl = text("ttl").map_or(Ok(TTL), go_duration)?;
        let (public, private) = (file("pub-key")?, file("priv-key")?);
        let method = text("sign-method").and_then(|name| name.parse().ok());
        let method = method.ok_or("auth: invalid auth signature method")?;
        Ok(Read { method, public, private, ttl })
    }

    /// The key to sign with, if there is one, and the one to verify with. Given both, they must belong together.
    fn keys(&self) -> Result<(Option<EncodingKey>, DecodingKey), String> {
        let family = self.method.family();
        let bad = |half: &str| format!("key is not a valid {} {half} key", name(family));
        let signs = match self.private.as_slice() {
            [] => None,
            pem => Some(private_key(self.method, pem).ok_or_else(|| bad("private"))?),
        };
        let own = match &signs {
            None => None,
            Some(key) => {
                Some(Jwk::from_encoding_key(key, self.method).map_err(|error| match error.kind() {
                    ErrorKind::InvalidRsaKey(why) if why == "TooSmall" => RSA_TOO_SHORT.into(),
                    _ => bad("private"),
                })?)
            }
        };
        let given = match self.public.as_slice() {
            [] => None,
            // A secret has no public half.
            _ if family == AlgorithmFamily::Hmac => None,
            pem => Some(public_key(self.method, pem).ok_or_else(|| bad("public"))?),
        };
        if family == AlgorithmFamily::Rsa && rsa_bits(&self.public).is_some_and(|bits| bits < RSA_BITS_MIN) {
            return Err(RSA_TOO_SHORT.into());
        }
        let jwk = match (own, given) {
            (None, None) => return Err("auth: missing key data".into()),
            (Some(own), Some(given)) if own.algorithm != given.algorithm => {
                return Err("auth: public and private keys don't match".into());
            }
            (Some(jwk), _) | (None, Some(jwk)) => jwk,
        };
        let verifies = DecodingKey::from_jwk(&jwk).map_err(|_| bad("public"))?;
        Ok((signs, verifies))
    }
}

fn name(family: AlgorithmFamily) -> &'static str {
    match family {
        AlgorithmFamily::Hmac => "HMAC",
        AlgorithmFamily::Rsa => "RSA",
        AlgorithmFamily::Ec => "ECDSA",
        AlgorithmFamily::Ed => "Ed25519",
    }
}

fn private_key(method: Algorithm, pem: &[u8]) -> Option<EncodingKey> {
    match method.family() {
        AlgorithmFamily::Hmac => EncodingKey::from_secret(pem).ok(),
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(pem).ok(),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(pem).ok(),
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(pem).ok().or_else(|| old_ec_key(method, pem)),
    }
}

/// `EC PRIVATE KEY`, the form `openssl ecparam` writes.
fn old_ec_key(method: Algorithm, pem: &[u8]) -> Option<EncodingKey> {
    let curve = match method {
        Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        _ => return None,
    };
    let pem = ::pem::parse(pem).ok().filter(|pem| pem.tag() == "EC PRIVATE KEY")?;
    let pair = EcdsaKeyPair::from_private_key_der(curve, pem.contents()).ok()?;
    Some(EncodingKey::from_ec_der(pair.to_pkcs8v1().ok()?.as_ref()))
}

fn public_key(method: Algorithm, pem: &[u8]) -> Option<Jwk> {
    let key = match method.family() {
        AlgorithmFamily::Hmac => return None,
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem),
    };
    let jwk = Jwk::from_decoding_key(&key.ok()?, Some(method)).ok()?;
    let fits = match (&jwk.algorithm, method) {
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => key.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(key), _) => key.curve == EllipticCurve::P384,
        _ => true,
    };
    fits.then_some(jwk)
}

/// The length of a public RSA key.
fn rsa_bits(pem: &[u8]) -> Option<usize> {
    let pem = ::pem::parse(pem).ok()?;
    let key = aws_lc_rs::rsa::PublicKey::from_der(pem.contents()).ok()?;
    let modulus = key.modulus().big_endian_without_leading_zero();
    Some(modulus.len() * 8 - modulus.first()?.leading_zeros() as usize)
}

#[cfg(test)]
mod tests;
