//! Signed auth tokens: one member's token is another's, Balsa's and Go's alike, and bad ones are refused in Go's words.
mod harness;

use std::path::Path;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use client::{Client, Error, Options};
use harness::server::Server;
use harness::{Member, Ports, balsa, reference, run};
use proto::etcdserverpb as pb;

/// Writes `private` and `public`, of one RSA pair, into `dir`.
fn make_keys(dir: &Path) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let private: Pkcs8V1Der = pair.as_der().expect("its form");
    let public: PublicKeyX509Der = pair.public_key().as_der().expect("its public half");
    let write = |name, tag: &str, der: &[u8]| {
        std::fs::write(dir.join(name), pem::encode(&pem::Pem::new(tag, der))).expect("a key file");
    };
    write("private", "PRIVATE KEY", private.as_ref());
    write("public", "PUBLIC KEY", public.as_ref());
}

fn flags(dir: &Path, half: &str, more: &str) -> [String; 2] {
    let option = if half == "private" { "priv-key" } else { "pub-key" };
    let path = dir.join(half);
    let token = format!("--auth-token=jwt,sign-method=RS256,{option}={}{more}", path.display());
    [token, "--bcrypt-cost=4".into()]
}

/// Auth is on; `u` may use `k`.
fn enable_auth(member: &Member) {
    for args in [
        &["user", "add", "root:r"][..],
        &["role", "add", "root"],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "u:p"],
        &["role", "add", "part"],
        &["role", "grant-permission", "part", "readwrite", "k"],
        &["user", "grant-role", "u", "part"],
        &["auth", "enable"],
    ] {
        let endpoint = member.ports.endpoint();
        let all: Vec<&str> = ["--endpoints", &endpoint].into_iter().chain(args.iter().copied()).collect();
        let printed = run(&reference().etcdctl, &all, "");
        assert_eq!(printed.code, Some(0), "{args:?}: {}\n{}", printed.err, member.log_tail());
    }
}

async fn fetch_token(member: &Member, name: &str, password: &str) -> Result<String, Error> {
    let client = Client::connect(Options::to([member.ports.endpoint()])).await.expect("a client");
    let request = pb::AuthenticateRequest { name: name.into(), password: password.into() };
    client.fetch_token(request).await.map(|response| response.token)
}

/// How a put, a get, and a get of what is not allowed end with this token.
async fn use_token(member: &Member, token: &str) -> [String; 3] {
    let options = Options { token: Some(token.into()), ..Options::to([member.ports.endpoint()]) };
    let client = Client::connect(options).await.expect("a client");
    let put = pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
    let get = |key: &'static str| pb::RangeRequest { key: key.into(), ..Default::default() };
    [
        client.put(put).await.map_or_else(|e| e.to_string(), |_| "ok".into()),
        client.range(get("k")).await.map_or_else(|e| e.to_string(), |_| "ok".into()),
        client.range(get("other")).await.map_or_else(|e| e.to_string(), |_| "ok".into()),
    ]
}

const GOOD: [&str; 3] = ["ok", "ok", "etcdserver: permission denied"];
const INVALID: [&str; 3] = ["etcdserver: invalid auth token"; 3];
const OLD: [&str; 3] = ["etcdserver: revision of auth store is old"; 3];

#[tokio::test]
async fn what_go_signs_is_good_here_and_the_reverse_and_bad_tokens_are_refused_alike() {
    let dir = tempfile::tempdir().expect("a directory");
    make_keys(dir.path());
    let signing = flags(dir.path(), "private", "");
    let start = |binary: &Path, name| Member::start(binary, &dir.path().join(name), Ports::free(), &signing);
    let (ours, theirs) = (start(&balsa(), "ours"), start(&reference().etcd, "theirs"));
    let mut tokens = Vec::new();
    for member in [&ours, &theirs] {
        enable_auth(member);
        tokens.push(fetch_token(member, "u", "p").await.expect("a token"));
    }
    let good = tokens[0].clone();
    let claims = good.rfind('.').expect("three parts");
    let unsigned = good[..claims].to_owned();
    for member in [&ours, &theirs] {
        for token in &tokens {
            assert_eq!(use_token(member, token).await, GOOD, "{}", member.log_tail());
        }
        for bad in ["", "none.1", &unsigned, &format!("{unsigned}."), &good[1..]] {
            assert_eq!(use_token(member, bad).await, INVALID, "{bad:?}\n{}", member.log_tail());
        }
    }
    // Users changed: what was signed before is refused until they authenticate again.
    for (member, token) in [&ours, &theirs].into_iter().zip(&tokens) {
        let endpoint = member.ports.endpoint();
        let args = ["--endpoints", &endpoint, "--user", "root:r", "role", "add", "more"];
        assert_eq!(run(&reference().etcdctl, &args, "").code, Some(0));
        let ended = use_token(member, token).await;
        // Go 3.5 says so in other words.
        assert!(ended.iter().all(|text| text.ends_with(" is old")), "{ended:?}\n{}", member.log_tail());
        let fresh = fetch_token(member, "u", "p").await.expect("another token");
        assert_eq!(use_token(member, &fresh).await, GOOD);
    }
    assert_eq!(use_token(&ours, &good).await, OLD);
    let log = std::fs::read_to_string(dir.path().join("ours.log")).expect("its log");
    assert!(log.contains("\"msg\":\"invalid auth token\",\"token-fingerprint\":\""), "{log}");
    let signature = good.rsplit('.').next().expect("three parts");
    assert!(!log.contains(signature), "no token gets into the log");
}

#[tokio::test]
async fn a_member_with_the_public_key_alone_believes_tokens_and_signs_none() {
    let dir = tempfile::tempdir().expect("a directory");
    make_keys(dir.path());
    let start = |half, more| {
        Member::start(
            &balsa(),
            &dir.path().join(half).with_extension("d"),
            Ports::free(),
            &flags(dir.path(), half, more),
        )
    };
    let (signer, verifier) = (start("private", ",ttl=1h"), start("public", ""));
    enable_auth(&signer);
    enable_auth(&verifier);
    let token = fetch_token(&signer, "u", "p").await.expect("a token");
    assert_eq!(use_token(&verifier, &token).await, GOOD);
    let refused = fetch_token(&verifier, "u", "p").await.expect_err("no key to sign with");
    let text = "rpc error: code = Unknown desc = auth: token signing attempted with verify-only key";
    assert_eq!(refused.to_string(), text);
}

#[test]
fn keys_that_do_not_fit_end_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    make_keys(dir.path());
    let key = dir.path().join("private").display().to_string();
    for (said, text) in [
        ("jwt,sign-method=RS256".into(), "auth: missing key data"),
        (format!("jwt,sign-method=EdDSA,priv-key={key}"), "key is not a valid Ed25519 private key"),
        (format!("jwt,sign-method=ES512,priv-key={key}"), "sign-method ES512 is not supported"),
        ("jwt,oops".into(), "auth: invalid auth options"),
        ("paper".into(), "auth: invalid auth options"),
    ] {
        let (code, _, log) = Server::spawn(&data, Ports::free(), &[("auth-token", &said)]).end();
        let last = log.lines().last().unwrap_or_default();
        assert!(code == Some(1) && last.contains("discovery failed") && last.contains(text), "{said}: {log}");
        assert!(!data.exists(), "nothing was begun");
    }
}
