//! TensorFlow Lite Micro for one network that is known when the firmware is compiled.
//!
//! What can be wrong with a model is found while compiling: [`Network`] carries the model and the facts that the rest
//! of the firmware relies on, and its generated implementation compares them in a constant. What is left for run time
//! comes back as an [`Error`] with TFLM's own words.
//!
//! ```ignore
//! tflm::arena!(static ARENA: {model::ARENA_BYTES} bytes in ".tensor_arena");
//! static STORAGE: Storage<model::Person> = Storage::new();
//!
//! let mut interpreter = Interpreter::<model::Person>::new(&STORAGE, ARENA.claim()?)?;
//! interpreter.input().copy_from_slice(&frame);
//! let score = interpreter.invoke()?[0];
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
