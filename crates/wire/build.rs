//! Generates the gRPC types from `proto/`. The compiler is Rust: nobody needs `protoc`.

use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("../../proto");
    let mut files: Vec<PathBuf> = Vec::new();
    for package in ["goconductor/v1", "goconductor/internal/v1"] {
        let folder = root.join(package);
        println!("cargo:rerun-if-changed={}", folder.display());
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        // An rpc may be called Connect; channels are the client's business.
        .build_transport(false)
        .bytes(".goconductor.internal")
        .compile_fds(descriptors)?;
    Ok(())
}
