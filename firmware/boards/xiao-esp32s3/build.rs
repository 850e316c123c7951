//! How the image is linked.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=guard.x");
    println!("cargo::rustc-link-search={}", env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
    // Start-up code and the memory map are esp-hal's.
    for argument in ["-nostartfiles", "-Wl,-Tlinkall.x", "-Wl,-Tguard.x"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
