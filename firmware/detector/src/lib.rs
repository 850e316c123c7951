//! From camera bytes to a verdict: what goes into the network and what its answers mean.
//!
//! Hardware-independent and without TFLM, so that all of it is tested on the host. Thresholds come from the training
//! side by way of the generated crate `model`; nothing here is tuned by hand.
#![no_std]
#![forbid(unsafe_code)]

mod input;
mod verdict;

pub use input::{Feeding, Geometry, MAX_FRAME_BYTES, MAX_WIDTH, WrongSize, fill_input};
pub use verdict::{Answer, Decision, Detector, Outputs};
