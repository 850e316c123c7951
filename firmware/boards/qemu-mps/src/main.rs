//! The firmware on an emulated board: runs the frames that the host hands it and reports every answer.
//!
//! The host's command line says what to do, the host's working directory holds `frames.bin` (camera frames, one after
//! the other, 8-bit gray) and gets `outputs.bin` (the network's output bytes, frame by frame). The console gets one
//! JSON object a line; `tasks/emulator.py` reads them.
//!
//! ```text
//! run                   all frames with the arena that the firmware reserves
//! run arena=391724      the same with less of it: how it fails is part of the proof
//! measure from=288000   the smallest arena that works, by bisection to 16 bytes
//! ```
#![cfg_attr(target_os = "none", no_std, no_main)]
// The model is checked while this compiles: all of its tables, which takes a second.
#![allow(long_running_const_eval)]

#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod firmware;
#[cfg(target_os = "none")]
mod host_files;
#[cfg(target_os = "none")]
mod measure;
#[cfg(target_os = "none")]
mod stack;

/// On the host there is nothing to run: this crate is for the emulated boards.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("qemu-mps runs on an emulated board: `f2f firmware run MODEL --frames DIR --board mps2-an386`");
}
