//! What a firmware knows of its network when it is compiled. Implemented by generated code (crate `model`).

use core::mem::MaybeUninit;

use crate::model::{Element, Model, TensorFacts};
use tflm_sys::{Op, SLOT_BYTES};

/// A network and the facts about it that the firmware was compiled with.
///
/// [`Interpreter::new`](crate::Interpreter::new) compares them with the model while it is compiled. With a macro that
/// fills in the rest, this one is right (an empty arena is an error at run time):
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/network.rs"));
/// network!(Right, input: [i8; 768], scale: 1.0);
/// # static STORAGE: tflm::Storage<Right> = tflm::Storage::new();
/// # fn main() {
/// let made = tflm::Interpreter::<Right>::new(&STORAGE, &mut []);
/// # assert!(made.is_err());
/// # }
/// ```
///
/// and none of these compiles: another scale than the model's, another type, another size, a kernel that is missing,
/// too little room for the kernels.
///
/// ```compile_fail,E0080
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/network.rs"));
/// network!(Scale, input: [i8; 768], scale: 2.0);
/// # static STORAGE: tflm::Storage<Scale> = tflm::Storage::new();
/// # fn main() {
/// let made = tflm::Interpreter::<Scale>::new(&STORAGE, &mut []);
/// # assert!(made.is_err());
/// # }
/// ```
///
/// ```compile_fail,E0080
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/network.rs"));
/// network!(Type, input: [u8; 768], scale: 1.0);
/// # static STORAGE: tflm::Storage<Type> = tflm::Storage::new();
/// # fn main() {
/// let made = tflm::Interpreter::<Type>::new(&STORAGE, &mut []);
/// # assert!(made.is_err());
/// # }
/// ```
///
/// ```compile_fail,E0080
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/network.rs"));
/// network!(Size, input: [i8; 767], scale: 1.0);
/// # static STORAGE: tflm::Storage<Size> = tflm::Storage::new();
/// # fn main() {
/// let made = tflm::Interpreter::<Size>::new(&STORAGE, &mut []);
/// # assert!(made.is_err());
/// # }
/// ```
///
/// ```compile_fail,E0080
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/network.rs"));
/// network!(Kernel, input: [i8; 768], scale: 1.0, ops: [ADD, AVERAGE_POOL_2D, CONV_2D, DEPTHWISE_CONV_2D], slots: 5);
/// # static STORAGE: tflm::Storage<Kernel> = tflm::Storage::new();
/// # fn main() {
/// let made = tflm::Interpreter::<Kernel>::new(&STORAGE, &mut []);
/// # assert!(made.is_err());
/// # }
/// ```
///
/// ```compile_fail,E0080
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/network.rs"));
/// network!(Room, input: [i8; 768], scale: 1.0,
///     ops: [ADD, AVERAGE_POOL_2D, CONV_2D, DEPTHWISE_CONV_2D, LOGISTIC], slots: 4);
/// # static STORAGE: tflm::Storage<Room> = tflm::Storage::new();
/// # fn main() {
/// let made = tflm::Interpreter::<Room>::new(&STORAGE, &mut []);
/// # assert!(made.is_err());
/// # }
/// ```
pub trait Network: 'static {
    /// The model, checked in a constant.
    const MODEL: Model<'static>;
    /// The kernels in use.
    const OPS: &'static [Op];
    /// The input, e.g. `[i8; 19200]`, row by row.
    type Input: Elements;
    /// The output.
    type Output: Elements;
    /// Room for the kernels' registrations: `[SlotMemory; N]` with one element a kernel.
    type Slots: SlotArray;
    /// The input's shape and quantization.
    const INPUT: TensorFacts;
    /// The output's shape and quantization.
    const OUTPUT: TensorFacts;
}

/// Room for one kernel's registration.
pub type SlotMemory = [MaybeUninit<u8>; SLOT_BYTES];

/// An array of [`SlotMemory`].
///
/// # Safety
///
/// `COUNT` slots must fit.
pub unsafe trait SlotArray: Sized {
    /// How many.
    const COUNT: usize;
}

// SAFETY: N slots are exactly N slots.
unsafe impl<const N: usize> SlotArray for [SlotMemory; N] {
    const COUNT: usize = N;
}

/// The elements of a tensor: an array of `i8` or `u8`.
///
/// # Safety
///
/// The type is `BYTES` plain bytes of which every pattern is valid.
pub unsafe trait Elements: Sized + 'static {
    /// Their type.
    const ELEMENT: Element;
    /// Size, bytes.
    const BYTES: usize = size_of::<Self>();

    /// The elements as bytes.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: the trait promises plain bytes.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), Self::BYTES) }
    }

    /// The elements as bytes that can be written.
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the trait promises plain bytes of which every pattern is valid.
        unsafe { core::slice::from_raw_parts_mut(core::ptr::from_mut(self).cast(), Self::BYTES) }
    }
}

// SAFETY: an array of bytes.
unsafe impl<const N: usize> Elements for [i8; N] {
    const ELEMENT: Element = Element::I8;
}

// SAFETY: an array of bytes.
unsafe impl<const N: usize> Elements for [u8; N] {
    const ELEMENT: Element = Element::U8;
}

/// Whether every operator of the model has its kernel in `ops`.
#[expect(clippy::indexing_slicing, reason = "the loop's condition keeps both indices inside; `get` is not const")]
pub const fn resolves(model: &Model<'_>, ops: &[Op]) -> bool {
    let mut codes = [0; 128]; // more than there are kernels
    let mut count = 0;
    while count < ops.len() && count < codes.len() {
        codes[count] = ops[count].code;
        count += 1;
    }
    let (known, _) = codes.split_at(count);
    model.uses_only(known).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_seen_as_bytes_and_written_as_bytes() {
        let mut signed = [-1_i8, 0, 127];
        assert_eq!(signed.as_bytes(), [255, 0, 127]);
        signed.as_bytes_mut().copy_from_slice(&[128, 1, 2]);
        assert_eq!(signed, [-128, 1, 2]);
        let mut unsigned = [7_u8; 3];
        unsigned.as_bytes_mut().fill(9);
        assert_eq!(unsigned.as_bytes(), [9; 3]);
    }
}
