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
    std::fs::write(out.join("SOURCES.fnv"), format!("{:016x}\n", fingerprint(&files)?))?;
    Ok(())
}

/// FNV-1a over names and contents: a test of `proto` compares it, so that stale code is seen without a compiler.
fn fingerprint(files: &[PathBuf]) -> std::io::Result<u64> {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for byte in name.bytes().chain(std::fs::read(path)?) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    Ok(hash)
}
