//! TFLM's interpreter for one network.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use tflm_sys::{INTERPRETER_BYTES, TYPE_INT8, TYPE_UINT8, Tensor};

use crate::error::{Error, ErrorKind};
use crate::model::{Element, TensorFacts};
use crate::network::{Elements, Network, SlotArray, resolves};

/// Where an interpreter of network `N` lives: TFLM's object and the registrations of its kernels. Never moved.
#[repr(C, align(8))]
pub struct Storage<N: Network> {
    interpreter: UnsafeCell<[MaybeUninit<u8>; INTERPRETER_BYTES]>,
    slots: UnsafeCell<MaybeUninit<N::Slots>>,
    in_use: AtomicBool,
}

// SAFETY: the cells are reached by the interpreter only, of which `in_use` allows one at a time.
unsafe impl<N: Network> Sync for Storage<N> {}

impl<N: Network> Default for Storage<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: Network> Storage<N> {
    /// Storage without an interpreter.
    pub const fn new() -> Self {
        Self {
            interpreter: UnsafeCell::new([MaybeUninit::uninit(); INTERPRETER_BYTES]),
            slots: UnsafeCell::new(MaybeUninit::uninit()),
            in_use: AtomicBool::new(false),
        }
    }
}

/// An interpreter that is ready to run. Dropping it frees storage and arena for another one.
pub struct Interpreter<'m, N: Network> {
    storage: &'m Storage<N>,
    input: *mut N::Input,
    output: *const N::Output,
    arena_bytes: usize,
    // The arena is TFLM's while the interpreter lives. A raw pointer inside also keeps it to one thread.
    arena: PhantomData<&'m mut [MaybeUninit<u8>]>,
}

impl<'m, N: Network> Interpreter<'m, N> {
    /// Evaluated when a firmware that uses `N` is compiled.
    const CONSISTENT: () = {
        assert!(N::MODEL.input().same(&N::INPUT), "the model's input differs in type, shape, scale or zero point");
        assert!(N::MODEL.output().same(&N::OUTPUT), "the model's output differs in type, shape, scale or zero point");
        assert!(resolves(&N::MODEL, N::OPS), "the model uses an operator whose kernel is not named");
        assert!(N::Input::ELEMENT.is(N::INPUT.element), "the input type has other elements than the model's input");
        assert!(N::Output::ELEMENT.is(N::OUTPUT.element), "the output type has other elements than the model's output");
        assert!(N::Input::BYTES == N::INPUT.bytes(), "the input type has another size than the model's input");
        assert!(N::Output::BYTES == N::OUTPUT.bytes(), "the output type has another size than the model's output");
        assert!(N::Slots::COUNT >= N::OPS.len(), "one slot a kernel is needed");
    };

    /// Allocates all tensors in `arena`.
    ///
    /// # Errors
    ///
    /// With TFLM's own words where the arena is too small or a kernel refuses the model; before TFLM is asked where
    /// model or arena are misaligned or the storage holds another interpreter.
    pub fn new(storage: &'m Storage<N>, arena: &'m mut [MaybeUninit<u8>]) -> Result<Self, Error> {
        const { Self::CONSISTENT };
        tflm_sys::tflm_clear_error();
        let model = N::MODEL.bytes().as_ptr();
        for address in [model.addr(), arena.as_ptr().addr()] {
            if !address.is_multiple_of(16) {
                return Err(Error::new(ErrorKind::Misaligned { address }));
            }
        }
        if storage.in_use.swap(true, Ordering::AcqRel) {
            return Err(Error::new(ErrorKind::InUse));
        }
        let arena_bytes = arena.len();
        // SAFETY: both cells have the size and alignment that the shim checks when it is compiled, and `in_use` makes
        // this the only user; the model was checked and is static; the arena is borrowed for as long as the
        // interpreter lives.
        let status = unsafe {
            tflm_sys::tflm_begin(
                storage.interpreter.get().cast::<c_void>(),
                model,
                N::OPS.as_ptr(),
                storage.slots.get().cast::<c_void>(),
                N::OPS.len(),
                arena.as_mut_ptr().cast::<u8>(),
                arena_bytes,
            )
        };
        if status != 0 {
            storage.in_use.store(false, Ordering::Release);
            return Err(Error::new(ErrorKind::Begin { arena_bytes }));
        }
        // From here on dropping ends the interpreter, also on an early return.
        let mut made =
            Self { storage, input: core::ptr::null_mut(), output: core::ptr::null(), arena_bytes, arena: PhantomData };
        made.input = made.tensor(tflm_sys::tflm_input, &N::INPUT)?.cast();
        made.output = made.tensor(tflm_sys::tflm_output, &N::OUTPUT)?.cast();
        // SAFETY: `tensor` compared size and type. The arena may hold anything, even nothing that was ever written; an
        // input that nobody filled shall be the same in every run.
        unsafe { made.input.write_bytes(0, 1) };
        Ok(made)
    }

    /// The data of a tensor, after it was compared with what the firmware was compiled for.
    fn tensor(
        &self,
        get: unsafe extern "C" fn(*mut c_void, *mut Tensor) -> i32,
        expected: &TensorFacts,
    ) -> Result<*mut u8, Error> {
        let mut tensor = MaybeUninit::<Tensor>::uninit();
        // SAFETY: the interpreter was constructed; the shim fills the tensor in where it returns 0.
        let found = unsafe {
            if get(self.storage.interpreter.get().cast(), tensor.as_mut_ptr()) != 0 {
                return Err(Error::new(ErrorKind::Tensor { expected: *expected }));
            }
            tensor.assume_init()
        };
        let element = match expected.element {
            Element::U8 => TYPE_UINT8,
            Element::I8 => TYPE_INT8,
            _ => return Err(Error::new(ErrorKind::Tensor { expected: *expected })),
        };
        let same = found.element == element
            && found.bytes == expected.bytes()
            && found.scale.to_bits() == expected.scale.to_bits()
            && i64::from(found.zero_point) == expected.zero_point
            && !found.data.is_null();
        if same { Ok(found.data) } else { Err(Error::new(ErrorKind::Tensor { expected: *expected })) }
    }

    /// The input, to be filled before every [`Interpreter::invoke`]: TFLM may use its memory for other tensors.
    pub fn input(&mut self) -> &mut N::Input {
        // SAFETY: `new` compared size and type; the memory is in the arena, which is borrowed mutably.
        unsafe { &mut *self.input }
    }

    /// One inference.
    ///
    /// # Errors
    ///
    /// Where a kernel reports a failure, with TFLM's own words.
    pub fn invoke(&mut self) -> Result<&N::Output, Error> {
        // SAFETY: the interpreter was constructed and its tensors are allocated.
        if unsafe { tflm_sys::tflm_invoke(self.storage.interpreter.get().cast()) } != 0 {
            return Err(Error::new(ErrorKind::Invoke));
        }
        // SAFETY: as for `input`; the kernel has just written it.
        Ok(unsafe { &*self.output })
    }

    /// What TFLM says that it uses of the arena, bytes.
    pub fn arena_used(&self) -> usize {
        // SAFETY: the interpreter was constructed.
        unsafe { tflm_sys::tflm_arena_used(self.storage.interpreter.get().cast()) }
    }

    /// Size of the arena that was given, bytes.
    pub fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }
}

impl<N: Network> Drop for Interpreter<'_, N> {
    fn drop(&mut self) {
        // SAFETY: constructed in `new` and ended once.
        unsafe { tflm_sys::tflm_end(self.storage.interpreter.get().cast()) };
        self.storage.in_use.store(false, Ordering::Release);
    }
}

/// TFLM would loop for ever. The shim calls this where it has no call to leave with an error: getting ready and running
/// have one, so that this is for the kernels' destructors and the like.
#[unsafe(no_mangle)]
extern "C" fn tflm_halted() -> ! {
    panic!("TFLM gave up: {}", crate::error::Text::take())
}
