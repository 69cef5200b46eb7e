//! `cargo xtask generate`: compiles `crates/proto/proto/*.proto` into `crates/proto/src/gen`.
use std::path::{Path, PathBuf};

/// Generates into the source tree.
pub fn run() -> Result<(), Box<dyn std::error::Error>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    generate(&proto.join("proto"), &proto.join("src/gen"))
}

/// Compiles every `.proto` below `sources` into one file per package below `out`.
pub fn generate(sources: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(sources)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|f| f.extension().is_some_and(|e| e == "proto"));
    files.sort();
    let descriptors = protox::compile(&files, [sources])?;
    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    std::fs::create_dir_all(out)?;
    tonic_prost_build::configure()
        .out_dir(out)
        .server_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .client_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .build_transport(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
