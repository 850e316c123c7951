//! The loop's one step.

use core::fmt::Display;

use detector::{Decision, Detector};

use crate::backoff::Backoff;
use crate::report::{Happening, Report};

/// Frames that are captured and not looked at after the camera was set up: its exposure settles meanwhile.
pub const SETTLE_FRAMES: u8 = 8;
/// Captures in a row that may fail before the camera is set up anew.
pub const FAILURES_TO_RECONFIGURE: u8 = 3;

/// Where frames come from.
pub trait Camera<const PIXELS: usize> {
    /// What can go wrong.
    type Error: Display;

    /// Sets the camera up, from whatever state it is in.
    ///
    /// # Errors
    ///
    /// Where the camera does not answer; it is asked again later.
    fn configure(&mut self) -> Result<(), Self::Error>;

    /// Captures the next frame, 8-bit gray, row by row.
    ///
    /// # Errors
    ///
    /// Where no complete frame came in time. What `frame` holds then is not a frame.
    fn capture(&mut self, frame: &mut [u8; PIXELS]) -> Result<(), Self::Error>;
}

/// The network.
pub trait Classifier {
    /// What can go wrong.
    type Error: Display;

    /// The network's output bytes on a frame.
    ///
    /// # Errors
    ///
    /// Where the network gives none.
    fn classify(&mut self, frame: &[u8]) -> Result<&[u8], Self::Error>;
}

/// What the loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The camera is to be set up, not before this time in milliseconds.
    Down { retry_at_ms: u64 },
    /// The camera runs.
    Up { settling: u8, failures: u8 },
}

/// Looks at frame after frame and gets the camera back when it fails.
#[derive(Debug)]
pub struct Watch<'f, C, M, const PIXELS: usize> {
    camera: C,
    network: M,
    frame: &'f mut [u8; PIXELS],
    detector: Option<Detector>,
    state: State,
    backoff: Backoff,
    frames: u32,
}

impl<'f, C: Camera<PIXELS>, M: Classifier, const PIXELS: usize> Watch<'f, C, M, PIXELS> {
    /// A loop that has not begun. `frame` is the memory that frames are captured into; without `decision` there are
    /// outputs and no verdicts.
    pub fn new(camera: C, network: M, frame: &'f mut [u8; PIXELS], decision: Option<Decision>) -> Self {
        let detector = decision.map(Detector::new);
        let state = State::Down { retry_at_ms: 0 };
        Self { camera, network, frame, detector, state, backoff: Backoff::new(), frames: 0 }
    }

    /// Does one thing: sets the camera up, or captures one frame and classifies it, or nothing while it must wait.
    /// Returns after one capture and one inference at the latest.
    ///
    /// `micros` is the time since start in microseconds.
    pub fn step(&mut self, micros: impl Fn() -> u64) -> Report<'_, C::Error, M::Error> {
        let now_ms = || micros() / 1_000;
        let begun_ms = now_ms();
        let happening = match self.state {
            State::Down { retry_at_ms } if begun_ms < retry_at_ms => Happening::Waiting,
            State::Down { .. } => match self.camera.configure() {
                Ok(()) => {
                    self.state = State::Up { settling: SETTLE_FRAMES, failures: 0 };
                    Happening::CameraReady
                }
                Err(error) => {
                    let retry_in_ms = self.backoff.failed();
                    self.state = State::Down { retry_at_ms: now_ms().saturating_add(retry_in_ms) };
                    Happening::CameraLost { error, retry_in_ms }
                }
            },
            State::Up { settling, failures } => match self.camera.capture(self.frame) {
                Err(error) => {
                    self.failed(now_ms(), settling, failures);
                    Happening::NoFrame { error }
                }
                Ok(()) if self.detector.as_mut().is_some_and(|detector| !detector.is_new(self.frame)) => {
                    self.failed(now_ms(), settling, failures);
                    Happening::SameFrame
                }
                Ok(()) => {
                    self.backoff = Backoff::new(); // a camera that gives frames is well again
                    self.state = State::Up { settling: settling.saturating_sub(1), failures: 0 };
                    if settling > 0 {
                        Happening::Settling
                    } else {
                        // The answer's age counts from the frame: an inference may take a second.
                        let captured = micros();
                        match self.network.classify(self.frame) {
                            Err(error) => Happening::NoOutput { error },
                            Ok(output) => {
                                let inference_us = micros().saturating_sub(captured);
                                if let Some(detector) = &mut self.detector {
                                    detector.see(captured / 1_000, output);
                                }
                                let index = self.frames;
                                self.frames = self.frames.wrapping_add(1);
                                Happening::Frame { index, output, inference_us }
                            }
                        }
                    }
                }
            },
        };
        let at_ms = now_ms();
        let answer = self.detector.as_ref().map(|detector| detector.answer(at_ms));
        Report { at_ms, happening, answer }
    }

    /// A capture failed. After some in a row the camera is set up anew, later and later while that does not help.
    fn failed(&mut self, now_ms: u64, settling: u8, failures: u8) {
        let failures = failures.saturating_add(1);
        self.state = if failures < FAILURES_TO_RECONFIGURE {
            State::Up { settling, failures }
        } else {
            State::Down { retry_at_ms: now_ms.saturating_add(self.backoff.failed()) }
        };
    }
}
