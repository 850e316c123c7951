//! What the firmware does, without the hardware: capture, classify, report, recover.
//!
//! The board lends a [`Camera`], a [`Classifier`] and a clock, calls [`Watch::step`] for ever, prints what it returns
//! and lights its LED by it. So the whole behaviour, failures included, is tested on the host.
#![no_std]

mod backoff;
mod report;
mod watch;

pub use backoff::Backoff;
pub use report::{Happening, Quoted, Report};
pub use watch::{Camera, Classifier, FAILURES_TO_RECONFIGURE, SETTLE_FRAMES, Watch};
