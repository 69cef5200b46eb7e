# One-liners over cargo and cargo xtask.

# format, lints, tidy
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo xtask tidy

fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty

test:
    cargo test --workspace

# the longer runs: more cases, more kills
long:
    BALSA_LONG=1 cargo test --workspace

# licences, advisories, sources (needs cargo-deny and the network)
deny:
    cargo deny check

# one fuzz target for a while: just fuzz wal_segment 600
fuzz target seconds="600":
    cd fuzz && cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}

# Balsa beside another etcd: just bench put-many put-one (docs/performance.md)
bench *args:
    cargo xtask bench {{args}}

# three members on loopback, and a prompt that kills, pauses and cuts off
cluster *args:
    cargo xtask cluster {{args}}

# instructions of the hot paths against the baseline (needs valgrind); with --bless they become the baseline
instructions *args:
    cargo xtask bench --instructions {{args}}

generate:
    cargo generate

ci:
    bash .ci/run
