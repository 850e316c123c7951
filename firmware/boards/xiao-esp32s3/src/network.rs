//! The network on TFLM, as the loop wants it.

use core::fmt;
use core::mem::MaybeUninit;

use app::Classifier;
use detector::{WrongSize, fill_input};
use model::{FEEDING, GEOMETRY, Person};
use tflm::{Elements, Interpreter, Storage};

static STORAGE: Storage<Person> = Storage::new();

/// TFLM with the model in it.
pub struct Network(Interpreter<'static, Person>);

impl Network {
    /// Makes TFLM ready with `arena`.
    ///
    /// # Errors
    ///
    /// TFLM's own, with its words.
    #[allow(clippy::result_large_err, reason = "the error has TFLM's words in it, and is made once")]
    pub fn new(arena: &'static mut [MaybeUninit<u8>]) -> Result<Self, tflm::Error> {
        Interpreter::new(&STORAGE, arena).map(Self)
    }

    /// What TFLM says that it uses of the arena, bytes.
    pub fn arena_used(&self) -> usize {
        self.0.arena_used()
    }
}

/// Why there is no output.
pub enum NoOutput {
    /// The frame does not fit the model.
    Frame(WrongSize),
    /// TFLM failed.
    Tflm(tflm::Error),
}

impl fmt::Display for NoOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoOutput::Frame(error) => error.fmt(f),
            NoOutput::Tflm(error) => error.fmt(f),
        }
    }
}

impl Classifier for Network {
    type Error = NoOutput;

    fn classify(&mut self, frame: &[u8]) -> Result<&[u8], NoOutput> {
        fill_input(frame, &GEOMETRY, &FEEDING, self.0.input().as_bytes_mut()).map_err(NoOutput::Frame)?;
        self.0.invoke().map(Elements::as_bytes).map_err(NoOutput::Tflm)
    }
}
