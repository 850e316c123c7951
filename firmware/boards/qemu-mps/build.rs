//! Chooses the linker script of the machine.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let machines = ["an386", "an500", "an547"];
    let chosen: Vec<_> = machines
        .iter()
        .filter(|name| env::var_os(format!("CARGO_FEATURE_{}", name.to_uppercase())).is_some())
        .collect();
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os != "none") {
        return; // `cargo clippy` of the whole workspace on the host: there is nothing to link
    }
    let [machine] = chosen.as_slice() else {
        println!("cargo::error=choose one machine with --features: {}", machines.join(", "));
        return;
    };
    let script = format!("memory-{machine}.x");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    if let Err(error) = fs::copy(&script, out.join("memory.x")) {
        println!("cargo::error=cannot copy {script}: {error}");
    }
    println!("cargo::rerun-if-changed={script}");
    println!("cargo::rustc-link-search={}", out.display());
    for argument in ["-Tlink.x", "--nmagic", "--build-id=none"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
