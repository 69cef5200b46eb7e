//! Configuration: flags, environment or file in, one checked [`Config`] out.
//!
//! Door: [`load`]. It is a function of its arguments but for reading the file that `--config-file` names; it prints
//! nothing and ends nothing: what should be printed, and the exit status, come back in [`Exit`].
mod features;
mod settings;
mod url;

use std::ffi::OsString;

pub use features::FeatureGates;
pub use settings::{AutoCompaction, ClusterState, Config, Discovery, Emulated, Log, Metrics, Tls, Tracing};
pub use url::{Scheme, Url};

/// The process ends before a member starts: what to print, and how.
#[derive(Debug)]
pub struct Exit {
    /// Exit status.
    pub status: u8,
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
}

/// Reads the configuration from the arguments (without the program's name) and the environment.
pub fn load(
    args: impl Iterator<Item = OsString>,
    env: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Config, Exit> {
    let _ = (args, env);
    let mut config = Config::default();
    config.data_dir = format!("{}.etcd", config.name);
    config.initial_cluster = format!("{}=http://localhost:2380", config.name);
    Ok(config)
}
