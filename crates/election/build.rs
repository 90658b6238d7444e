//! Generates the types of `proto/etcd.proto` with a compiler in Rust, so that `protoc` is not required.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    #[cfg(feature = "etcd")]
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .compile_fds(protox::compile(["etcd.proto"], ["proto"])?)?;
    Ok(())
}
