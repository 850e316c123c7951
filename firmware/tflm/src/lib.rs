//! TensorFlow Lite Micro for one network that is known when the firmware is compiled.
//!
//! What can be wrong with a model is found while compiling: [`Network`] carries the model and the facts that the rest
//! of the firmware relies on, and its generated implementation compares them in a constant. What is left for run time
//! comes back as an [`Error`] with TFLM's own words.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/network.rs"));
//! # network!(Person, input: [i8; 768], scale: 1.0);
//! # const ARENA_BYTES: usize = 65536;
//! # fn main() -> Result<(), tflm::Error> {
//! # let frame = [0; 768];
//! use tflm::{Interpreter, Storage};
//!
//! tflm::arena!(static ARENA: ARENA_BYTES bytes in ".bss.tensor_arena");
//! static STORAGE: Storage<Person> = Storage::new();
//!
//! let arena = ARENA.claim().expect("nobody has claimed it before");
//! let mut interpreter = Interpreter::<Person>::new(&STORAGE, arena)?;
//! interpreter.input().copy_from_slice(&frame);
//! let [score] = interpreter.invoke()?;
//! # let _: &i8 = score;
//! # Ok(())
//! # }
//! ```
//!
//! The interpreter lives in a static and is constructed in place: nothing runs before `main`, and nothing is moved.
#![no_std]

mod arena;
mod error;
mod interpreter;
pub mod model;
mod network;

pub use arena::{ALIGNMENT, Arena, ArenaMemory};
pub use error::{Error, ErrorKind, Text};
pub use interpreter::{Interpreter, Storage};
pub use model::{Element, Model, ModelError, TensorFacts};
pub use network::{Elements, Network, SlotArray, SlotMemory, resolves};
pub use tflm_sys::{KERNELS, Op, REVISION, SOURCES_SHA256, ops};
