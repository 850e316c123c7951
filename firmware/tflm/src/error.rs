//! What can go wrong at run time.

use core::ffi::CStr;
use core::fmt;

use crate::model::{ModelError, TensorFacts};

/// Room for TFLM's own words.
const TEXT_BYTES: usize = 160;

/// A short text that owns its bytes: TFLM's message outlives the interpreter that gave it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text {
    bytes: [u8; TEXT_BYTES],
    length: usize,
}

impl Text {
    /// What TFLM has said since the last call, without the line ends at its end; then forgets it.
    pub(crate) fn take() -> Self {
        let mut text = Self { bytes: [0; TEXT_BYTES], length: 0 };
        // SAFETY: the shim's buffer is static and always zero-terminated.
        let said = unsafe { CStr::from_ptr(tflm_sys::tflm_error()) }.to_bytes().trim_ascii();
        for (to, from) in text.bytes.iter_mut().zip(said) {
            *to = if from.is_ascii_graphic() { *from } else { b' ' };
            text.length += 1;
        }
        tflm_sys::tflm_clear_error();
        text
    }

    /// The text; ASCII.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which step failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ErrorKind {
    /// The model is not one that TFLM may touch.
    Model(ModelError),
    /// The arena or the model does not start at a multiple of 16 bytes.
    Misaligned {
        /// Address that was given.
        address: usize,
    },
    /// The storage holds another interpreter.
    InUse,
    /// TFLM could not get ready: most often the arena is too small.
    Begin {
        /// Size of the arena that was given, bytes.
        arena_bytes: usize,
    },
    /// TFLM's input or output is not the one that the firmware was compiled for.
    Tensor {
        /// What the firmware was compiled for.
        expected: TensorFacts,
    },
    /// A kernel reported a failure.
    Invoke,
}

/// A failure, with TFLM's own words where it said something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Error {
    /// Which step failed.
    pub kind: ErrorKind,
    /// TFLM's own words; empty where TFLM was not asked.
    pub text: Text,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self { kind, text: Text::take() }
    }
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Model(error) => write!(f, "the model is refused: {error}")?,
            ErrorKind::Misaligned { address } => {
                write!(f, "arena and model must start at a multiple of 16 bytes, one is at {address:#x}")?;
            }
            ErrorKind::InUse => f.write_str("this storage already holds an interpreter")?,
            ErrorKind::Begin { arena_bytes } => {
                write!(f, "TFLM did not get ready with an arena of {arena_bytes} B")?;
            }
            ErrorKind::Tensor { expected } => write!(
                f,
                "TFLM's tensor is not the {:?} {:?} that the firmware was compiled for",
                expected.element,
                expected.shape()
            )?,
            ErrorKind::Invoke => f.write_str("a kernel failed")?,
        }
        if self.text.as_str().is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}
