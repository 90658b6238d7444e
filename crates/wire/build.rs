//! Generates the gRPC types from `proto/`. The compiler is written in Rust, so `protoc` is not needed.

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
    let api = files.iter().filter(|file| file.starts_with(root.join("goconductor/v1")));
    let api = protox::compile(api, [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("api_descriptors.bin"), prost::Message::encode_to_vec(&api))?;
    tonic_prost_build::configure()
        // The generated `connect` of a client would conflict with the rpc Connect. Clients create their own channels.
        .build_transport(false)
        .bytes(".goconductor.internal")
        .compile_fds(descriptors)?;
    Ok(())
}
