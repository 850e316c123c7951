//! Turns `contract.json` in the folder `F2F_MODEL_DIR` into Rust and puts the model beside it.

use std::path::PathBuf;
use std::{env, fs, process};

fn main() {
    println!("cargo::rerun-if-env-changed=F2F_MODEL_DIR");
    // Without a model of somebody's own: the small one that this crate's tests use.
    let folder = env::var_os("F2F_MODEL_DIR").map_or_else(|| PathBuf::from("example"), PathBuf::from);
    for file in ["contract.json", "model.tflite"] {
        println!("cargo::rerun-if-changed={}", folder.join(file).display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let written =
        contract::Contract::read(&folder).map_err(|refused| refused.to_string()).and_then(|(contract, model)| {
            fs::write(out.join("model.tflite"), model)
                .and_then(|()| fs::write(out.join("person.rs"), contract::generate(&contract)))
                .map_err(|error| format!("cannot write to {}: {error}", out.display()))
        });
    if let Err(reason) = written {
        println!("cargo::error={reason}");
        process::exit(1);
    }
}
