//! The network of this firmware, generated from its contract (see the crate `contract`).
//!
//! `F2F_MODEL_DIR` names the folder with `contract.json` and `model.tflite`; without it the small model in `example/`
//! is compiled in, which tests use.
#![no_std]
#![allow(long_running_const_eval)] // all tables of the model are checked while this compiles

include!(concat!(env!("OUT_DIR"), "/person.rs"));
