//! Feature gates: named switches, as `--feature-gates=Name=true,Other=false`.
use super::golang;
use crate::log::quote;

/// State of every gate that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureGates {
    /// The leader compares the compaction hashes of its followers.
    pub compact_hash_check: bool,
    /// A lease is renewed without waiting for the applied index.
    pub fast_lease_keep_alive: bool,
    /// Compare hashes with peers before serving.
    pub initial_corrupt_check: bool,
    /// The leader replicates what is left of each lease.
    pub lease_checkpoint: bool,
    /// What was replicated is stored.
    pub lease_checkpoint_persist: bool,
    /// Some requests, such as lease revokes, pass the overload limit.
    pub priority_request: bool,
    /// Dial peers from the first address in the advertised peer URLs.
    pub set_member_local_addr: bool,
    /// The health service says NOT_SERVING while defragmenting.
    pub stop_grpc_service_on_defrag: bool,
    /// Write transactions read through the shared buffer.
    pub txn_mode_write_with_shared_buffer: bool,
}

impl Default for FeatureGates {
    fn default() -> Self {
        FeatureGates {
            compact_hash_check: false,
            fast_lease_keep_alive: true,
            initial_corrupt_check: false,
            lease_checkpoint: false,
            lease_checkpoint_persist: false,
            priority_request: false,
            set_member_local_addr: false,
            stop_grpc_service_on_defrag: false,
            txn_mode_write_with_shared_buffer: true,
        }
    }
}

/// One gate: its name, stage and place.
pub(super) struct Gate {
    pub name: &'static str,
    /// Beta gates are `BETA`, alpha ones `ALPHA`.
    pub stage: &'static str,
    field: fn(&mut FeatureGates) -> &mut bool,
}

/// Every gate but the two that stand for all of a stage.
pub(super) static GATES: [Gate; 9] = [
    Gate { name: "CompactHashCheck", stage: "ALPHA", field: |g| &mut g.compact_hash_check },
    Gate { name: "FastLeaseKeepAlive", stage: "BETA", field: |g| &mut g.fast_lease_keep_alive },
    Gate { name: "InitialCorruptCheck", stage: "ALPHA", field: |g| &mut g.initial_corrupt_check },
    Gate { name: "LeaseCheckpoint", stage: "ALPHA", field: |g| &mut g.lease_checkpoint },
    Gate { name: "LeaseCheckpointPersist", stage: "ALPHA", field: |g| &mut g.lease_checkpoint_persist },
    Gate { name: "PriorityRequest", stage: "ALPHA", field: |g| &mut g.priority_request },
    Gate { name: "SetMemberLocalAddr", stage: "ALPHA", field: |g| &mut g.set_member_local_addr },
    Gate { name: "StopGRPCServiceOnDefrag", stage: "ALPHA", field: |g| &mut g.stop_grpc_service_on_defrag },
    Gate {
        name: "TxnModeWriteWithSharedBuffer",
        stage: "BETA",
        field: |g| &mut g.txn_mode_write_with_shared_buffer,
    },
];

impl FeatureGates {
    /// Reads `Name=true,Other=false`. `AllAlpha` and `AllBeta` set every gate of their stage that is not named.
    pub(super) fn set(&mut self, text: &str) -> Result<(), String> {
        let mut named = Vec::new();
        let mut stages = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (name.trim(), value.trim());
            if value.is_empty() && !pair.contains('=') {
                return Err(format!("missing bool value for {name}"));
            }
            let Some(on) = golang::bool(value) else {
                let why = format!("strconv.ParseBool: parsing {}: invalid syntax", quote(value));
                return Err(format!("invalid value of {name}={value}, err: {why}"));
            };
            match (name, GATES.iter().find(|g| g.name == name)) {
                ("AllAlpha", _) => stages.push(("ALPHA", on)),
                ("AllBeta", _) => stages.push(("BETA", on)),
                (_, Some(gate)) => named.push((gate, on)),
                (_, None) => return Err(format!("unrecognized feature gate: {name}")),
            }
        }
        for (stage, on) in stages {
            for gate in GATES.iter().filter(|g| g.stage == stage) {
                *(gate.field)(self) = on;
            }
        }
        for (gate, on) in named {
            *(gate.field)(self) = on;
        }
        Ok(())
    }

    /// Every gate with its stage and state, by name; for the metrics page.
    pub fn states(&self) -> Vec<(&'static str, &'static str, bool)> {
        let mut gates = self.clone();
        GATES.iter().map(|g| (g.name, g.stage, *(g.field)(&mut gates))).collect()
    }
}

/// The gates that are not as they are by default.
impl std::fmt::Display for FeatureGates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let default = FeatureGates::default().states();
        let changed = self.states().into_iter().zip(default).filter(|(now, default)| now != default);
        let pairs: Vec<String> = changed.map(|((name, _, on), _)| format!("{name}={on}")).collect();
        f.write_str(&pairs.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_gate_wins_over_its_stage() {
        let mut gates = FeatureGates::default();
        gates.set("LeaseCheckpoint=false,AllAlpha=true, FastLeaseKeepAlive=0").unwrap();
        assert!(!gates.lease_checkpoint && gates.compact_hash_check && !gates.fast_lease_keep_alive);
        let text = gates.to_string();
        assert!(text.starts_with("CompactHashCheck=true,FastLeaseKeepAlive=false,"), "{text}");
        assert!(!text.contains("LeaseCheckpoint="), "as by default: {text}");
    }

    #[test]
    fn errors_are_in_the_words_of_etcd() {
        let error = |text| FeatureGates::default().set(text).unwrap_err();
        assert_eq!(error("Foo=true"), "unrecognized feature gate: Foo");
        assert_eq!(error("Foo"), "missing bool value for Foo");
        assert_eq!(
            error("CompactHashCheck=x"),
            "invalid value of CompactHashCheck=x, err: strconv.ParseBool: parsing \"x\": invalid syntax"
        );
    }
}
