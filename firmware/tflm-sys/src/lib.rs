//! TensorFlow Lite Micro behind a C interface of eight functions. The safe wrapper is the crate `tflm`.
//!
//! See `shim/tflm_shim.h` for what each function does and `build.rs` for where the sources come from.
#![no_std]

use core::ffi::{c_char, c_void};

/// Which tree was compiled: `registry` (July 2020, from the crate `tfmicro`) or `upstream`.
pub const REVISION: &str = env!("TFLM_REVISION");
/// Which kernels: `reference`, `cmsis-nn` or `esp-nn`.
pub const KERNELS: &str = env!("TFLM_KERNELS");
/// SHA-256 (hex) over the compiled sources, by name and content.
pub const SOURCES_SHA256: &str = env!("TFLM_SOURCES_SHA256");

/// Where a kernel's registration is kept: `SLOT_BYTES`, 8-byte aligned.
#[repr(C)]
pub struct Slot {
    _opaque: [u8; 0],
}

/// A kernel that can be registered. Naming one is what makes the linker keep its code.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Op {
    /// Fills a slot.
    pub fill: unsafe extern "C" fn(*mut Slot),
    /// `BuiltinOperator` in the TFLite schema.
    pub code: i32,
}

include!(concat!(env!("OUT_DIR"), "/sizes.rs"));

/// Kernels of the compiled tree. One that the tree lacks has no constant, so using it does not compile.
#[allow(missing_docs)]
pub mod ops {
    include!(concat!(env!("OUT_DIR"), "/ops.rs"));
}

/// A tensor as TFLM sees it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tensor {
    /// First element, in the arena.
    pub data: *mut u8,
    /// Size of the data.
    pub bytes: usize,
    /// `rank` dimensions.
    pub dims: *const i32,
    /// Number of dimensions.
    pub rank: i32,
    /// `TfLiteType`: 3 is uint8, 9 is int8.
    pub element: i32,
    /// Quantization scale.
    pub scale: f32,
    /// Quantization zero point.
    pub zero_point: i32,
}

/// `TfLiteType` of uint8.
pub const TYPE_UINT8: i32 = 3;
/// `TfLiteType` of int8.
pub const TYPE_INT8: i32 = 9;

#[allow(missing_docs)] // documented where they are declared: shim/tflm_shim.h
unsafe extern "C" {
    pub fn tflm_begin(
        storage: *mut c_void,
        model: *const u8,
        ops: *const Op,
        slots: *mut c_void,
        count: usize,
        arena: *mut u8,
        arena_bytes: usize,
    ) -> i32;
    pub fn tflm_end(storage: *mut c_void);
    pub fn tflm_input(storage: *mut c_void, tensor: *mut Tensor) -> i32;
    pub fn tflm_output(storage: *mut c_void, tensor: *mut Tensor) -> i32;
    pub fn tflm_invoke(storage: *mut c_void) -> i32;
    pub fn tflm_arena_used(storage: *mut c_void) -> usize;
    pub safe fn tflm_error() -> *const c_char;
    pub safe fn tflm_clear_error();
}
