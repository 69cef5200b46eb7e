//! Options, keys and claims, with keys made here.

use std::path::PathBuf;

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair, RsaKeyPair,
};

use super::*;

const NOW: Duration = Duration::from_secs(1_700_000_000);

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + NOW + Duration::from_secs(seconds)
}

/// A pair of key files.
struct Pair {
    dir: tempfile::TempDir,
}

impl Pair {
    fn new(private: (&str, &[u8]), public: &[u8]) -> Pair {
        let dir = tempfile::tempdir().expect("a directory");
        let text = |tag: &str, der: &[u8]| ::pem::encode(&::pem::Pem::new(tag, der));
        std::fs::write(dir.path().join("private"), text(private.0, private.1)).expect("a key");
        std::fs::write(dir.path().join("public"), text("PUBLIC KEY", public)).expect("a key");
        Pair { dir }
    }

    fn rsa() -> Pair {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let public: PublicKeyX509Der = pair.public_key().as_der().expect("its public half");
        Pair::new(
            ("PRIVATE KEY", AsDer::<aws_lc_rs::encoding::Pkcs8V1Der>::as_der(&pair).expect("der").as_ref()),
            public.as_ref(),
        )
    }

    fn ed() -> Pair {
        let pair = Ed25519KeyPair::generate().expect("a key");
        let public: PublicKeyX509Der = pair.public_key().as_der().expect("its public half");
        let private: Pkcs8V1Der = pair.as_der().expect("der");
        Pair::new(("PRIVATE KEY", private.as_ref()), public.as_ref())
    }

    fn ec(curve: &'static EcdsaSigningAlgorithm, old: bool) -> Pair {
        let pair = EcdsaKeyPair::generate(curve).expect("a key");
        let public: PublicKeyX509Der = pair.public_key().as_der().expect("its public half");
        if old {
            let private: EcPrivateKeyRfc5915Der = pair.private_key().as_der().expect("der");
            Pair::new(("EC PRIVATE KEY", private.as_ref()), public.as_ref())
        } else {
            Pair::new(("PRIVATE KEY", pair.to_pkcs8v1().expect("der").as_ref()), public.as_ref())
        }
    }

    fn secret(text: &str) -> Pair {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("private"), text).expect("a secret");
        Pair { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// With these halves of the pair.
    fn jwt(&self, method: &str, halves: &[&str]) -> Result<Jwt, String> {
        let paths: Vec<_> = halves
            .iter()
            .map(|half| {
                let option = if *half == "private" { "priv-key" } else { "pub-key" };
                (option, self.path(half).display().to_string())
            })
            .collect();
        let mut options = Options::from([("sign-method", method)]);
        options.extend(paths.iter().map(|(option, path)| (*option, path.as_str())));
        Jwt::new(&options)
    }
}

/// A token of ours, and who it says.
fn signed(jwt: &Jwt) -> String {
    jwt.sign("alice", 7, at(0)).expect("a token")
}

fn alice() -> Who {
    Who { user: "alice".into(), revision: 7 }
}

#[test]
fn what_one_half_signs_the_other_verifies_with_every_method() {
    let (p256, p384) = (&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING);
    let secret = Pair::secret("a secret of some length");
    let rsa = Pair::rsa();
    for (pair, methods) in [
        (&rsa, &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        (&Pair::ec(p256, false), &["ES256"]),
        (&Pair::ec(p256, true), &["ES256"]),
        (&Pair::ec(p384, false), &["ES384"]),
        (&Pair::ec(p384, true), &["ES384"]),
        (&Pair::ed(), &["EdDSA"]),
    ] {
        for method in methods {
            let both = pair.jwt(method, &["private", "public"]).unwrap_or_else(|e| panic!("{method}: {e}"));
            let private = pair.jwt(method, &["private"]).expect("the public half is in the private one");
            let public = pair.jwt(method, &["public"]).expect("enough to verify");
            for verifier in [&both, &private, &public] {
                assert_eq!(verifier.verify(&signed(&private), at(1)), Ok(alice()), "{method}");
            }
            assert_eq!(public.sign("alice", 7, at(0)), Err(error::VERIFY_ONLY), "{method}");
        }
    }
    for method in ["HS256", "HS384", "HS512"] {
        let jwt = secret.jwt(method, &["private"]).expect(method);
        assert_eq!(jwt.verify(&signed(&jwt), at(1)), Ok(alice()), "{method}");
    }
}

#[test]
fn options_that_make_no_sense_are_refused_with_etcds_texts() {
    let (rsa, other, ec) = (Pair::rsa(), Pair::rsa(), Pair::ec(&ECDSA_P256_SHA256_ASN1_SIGNING, false));
    let refused = |options: Options<'_>| Jwt::new(&options).err().unwrap_or_default();
    let private = rsa.path("private").display().to_string();
    for (options, text) in [
        (Options::from([("priv-key", private.as_str())]), INVALID_OPTIONS),
        (Options::from([("priv-key", private.as_str()), ("sign-method", "none")]), INVALID_OPTIONS),
        (Options::from([("priv-key", "/nowhere"), ("sign-method", "RS256")]), INVALID_OPTIONS),
        (
            Options::from([("priv-key", private.as_str()), ("sign-method", "RS256"), ("ttl", "5")]),
            INVALID_OPTIONS,
        ),
        (Options::from([("sign-method", "RS256")]), "auth: missing key data"),
        (Options::from([("sign-method", "HS256"), ("pub-key", private.as_str())]), "auth: missing key data"),
        (
            Options::from([("sign-method", "ES256"), ("priv-key", private.as_str())]),
            "key is not a valid ECDSA private key",
        ),
        (
            Options::from([("sign-method", "RS256"), ("pub-key", private.as_str())]),
            "key is not a valid RSA public key",
        ),
    ] {
        assert_eq!(refused(options.clone()), text, "{options:?}");
    }
    assert!(refused(Options::from([("sign-method", "ES512")])).contains("ES512 is not supported"));
    std::fs::copy(other.path("public"), rsa.path("public")).expect("another's key");
    let mismatch = rsa.jwt("RS256", &["private", "public"]).err();
    assert_eq!(mismatch.as_deref(), Some("auth: public and private keys don't match"));
    let wrong_curve = ec.jwt("ES384", &["public"]).err();
    assert_eq!(wrong_curve.as_deref(), Some("key is not a valid ECDSA public key"));
}

/// Of 1024 bits, which nobody here makes.
const SHORT_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBAN4pstztUsDuNZhV
WLbxnUZVKpZD1ozHkU2ZdfPmr+7tBo10fF94qFyYa7C+JtMZekpyYHzbG1Qh+cia
4GnGVFhrw5CzFo8QKBfRrq4Ub2tu9kKelVr7sIWiErpzB6el/V+xJMzbHDmDqZ0n
1sxtP4K3mONV02bcbQ110fVqbUZPAgMBAAECgYEAt7OFOddnmS6f1JGl5MhPAyxD
JbN8gjY2+RKPDRnQmmEWDPuoKA2OMdq7GY9ybRXhIBQJotROebgKYg1myS/85wHR
bpW8Xwi20dPMpPgBezCej6ZfnnnWGi2vaPFLZ0h1fCzVCZkapPHCeFrXWqnEnFGv
iVzTaOS0ojxv2g1P7tkCQQD1HAL/2PLX9modFfwWehGZHsFiS3jtjMJp33zeOs0b
/DyEuj8805dccKW2Kp8l5+FxYgTuxz9pIXXM1Mk5K3IzAkEA6Aius5JRY/QVhJHZ
69NQN3qx+nZyDkTs2noxSmxlSg01grzJf9wc26erQ0iw7DWv+VwYCeoNeiNOYDlq
d/KXdQJAIdb0Mw5ouJg0nj9ixlekBlfQqxlwYJuGW8eXHbdQigSQ9mIgSO2NgB2t
QzEvN7SD03uM4spvXrxX3yehgFsXMQJAeMqUT80a68LUNNhMrvSprMgFwRJKG92L
w8yavlihfiRUOAQZjaNDrqGhiXxdBgqI2nIz3W1nqK6ajYM2Rs0WRQJBALx3qcnI
N22wdLIWR+jgVVuLzAzO5/qo1m0Jg9YgmGhQBvMTOkujgfNdK7Eog7gOIDWQIBBp
Vj7BaydNIKv1uTk=
-----END PRIVATE KEY-----";
const SHORT_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDeKbLc7VLA7jWYVVi28Z1GVSqW
Q9aMx5FNmXXz5q/u7QaNdHxfeKhcmGuwvibTGXpKcmB82xtUIfnImuBpxlRYa8OQ
sxaPECgX0a6uFG9rbvZCnpVa+7CFohK6cwenpf1fsSTM2xw5g6mdJ9bMbT+Ct5jj
VdNm3G0NddH1am1GTwIDAQAB
-----END PUBLIC KEY-----";

#[test]
fn rsa_keys_that_are_too_short_are_refused_at_the_start() {
    let pair = Pair::secret(SHORT_PRIVATE);
    std::fs::write(pair.path("public"), SHORT_PUBLIC).expect("a key");
    for halves in [&["private"][..], &["public"], &["private", "public"]] {
        let refused = pair.jwt("RS256", halves).err();
        assert_eq!(refused.as_deref(), Some(RSA_TOO_SHORT), "{halves:?}");
    }
}

#[test]
fn a_token_lives_for_ttl_and_five_minutes_unless_said() {
    let secret = Pair::secret("a secret of some length");
    let path = secret.path("private").display().to_string();
    let expired = Err(Refusal::Unfit("token has invalid claims: token is expired"));
    for (ttl, seconds) in [("", 300), ("90s", 90), ("1h", 3600)] {
        let options = Options::from([("sign-method", "HS256"), ("priv-key", path.as_str()), ("ttl", ttl)]);
        let jwt = Jwt::new(&options).expect("good options");
        assert_eq!(jwt.verify(&signed(&jwt), at(seconds - 1)), Ok(alice()), "{ttl:?}");
        assert_eq!(jwt.verify(&signed(&jwt), at(seconds)), expired, "{ttl:?}");
    }
}

#[test]
fn only_the_methods_own_algorithm_is_believed() {
    let pair = Pair::rsa();
    let jwt = pair.jwt("RS256", &["private"]).expect("a key");
    let wrong = Err(Refusal::Unfit("token is unverifiable: invalid signing method"));
    for method in ["RS384", "PS256"] {
        let other = pair.jwt(method, &["private"]).expect("a key");
        assert_eq!(jwt.verify(&signed(&other), at(1)), wrong, "{method}");
    }
    // The public key, which everybody has, taken for a secret.
    let public = std::fs::read_to_string(pair.path("public")).expect("the key");
    let forged = signed(&Pair::secret(&public).jwt("HS256", &["private"]).expect("a key"));
    assert_eq!(jwt.verify(&forged, at(1)), wrong);
    let good = signed(&jwt);
    let claims = good.split('.').nth(1).expect("claims");
    // {"alg":"none","typ":"JWT"}
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.");
    assert_eq!(jwt.verify(&none, at(1)), Err(Refusal::Unfit("token is malformed")));
}

#[test]
fn a_token_that_was_tampered_with_is_refused() {
    let jwt = Pair::rsa().jwt("RS256", &["private"]).expect("a key");
    let (good, other) = (signed(&jwt), jwt.sign("root", 7, at(0)).expect("a token"));
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (good, other) = (parts(&good), parts(&other));
    let mixed = format!("{}.{}.{}", good[0], other[1], good[2]);
    let unsigned = Err(Refusal::Unfit("token signature is invalid"));
    assert_eq!(jwt.verify(&mixed, at(1)), unsigned);
    assert_eq!(jwt.verify(&format!("{}.{}.", good[0], good[1]), at(1)), unsigned);
    let strangers = signed(&Pair::rsa().jwt("RS256", &["private"]).expect("a key"));
    assert_eq!(jwt.verify(&strangers, at(1)), unsigned);
    for text in ["", ".", "..", "a.b.c", "abcdefgh.12", &good[0], "\u{e9}.\u{e9}.\u{e9}"] {
        assert_eq!(jwt.verify(text, at(1)), Err(Refusal::Unfit("token is malformed")), "{text:?}");
    }
}

#[test]
fn claims_are_read_as_go_reads_them() {
    let pair = Pair::secret("a secret of some length");
    let jwt = pair.jwt("HS256", &["private"]).expect("a key");
    let unfit = |text| Err(Refusal::Unfit(text));
    let now = NOW.as_secs();
    for (claims, said) in [
        (format!(r#"{{"username":"alice","revision":7,"exp":{}}}"#, now + 1), Ok(alice())),
        (r#"{"username":"alice","revision":7.9}"#.into(), Ok(alice())), // lives for ever
        (r#"{"username":"alice","revision":7,"exp":0,"aud":"x","iss":"y","extra":[]}"#.into(), Ok(alice())),
        (
            format!(r#"{{"username":"alice","revision":7,"exp":{now}.9}}"#),
            unfit("token has invalid claims: token is expired"),
        ),
        (r#"{"username":"alice","revision":7,"exp":"soon"}"#.into(), unfit("token is malformed")),
        (r#"{"username":"alice","revision":7,"exp":null}"#.into(), unfit("token is malformed")),
        (r#"{"username":"alice","revision":7,"nbf":null}"#.into(), unfit("token is malformed")),
        (
            format!(r#"{{"username":"alice","revision":7,"nbf":{}}}"#, now + 1),
            unfit("token has invalid claims: token is not valid yet"),
        ),
        (r#"{"revision":7}"#.into(), Err(Refusal::NoUser)),
        (r#"{"username":5,"revision":7}"#.into(), Err(Refusal::NoUser)),
        (r#"{"username":"alice"}"#.into(), Err(Refusal::NoRevision)),
        (r#"{"username":"alice","revision":"7"}"#.into(), Err(Refusal::NoRevision)),
        ("7".into(), unfit("token is malformed")),
    ] {
        let value: Value = serde_json::from_str(&claims).expect("JSON");
        let key = EncodingKey::from_secret(b"a secret of some length").expect("a key");
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &value, &key).expect("a token");
        assert_eq!(jwt.verify(&token, at(0)), said, "{claims}");
    }
}
