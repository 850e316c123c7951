//! The example model, frames made by a formula, and memory whose surroundings are watched.

use std::alloc::{Layout, alloc, dealloc};
use std::mem::MaybeUninit;

/// Frame `number` as `tests/firmware/example_contract.py` makes it, as input bytes of the network.
pub fn frame(number: u32) -> [i8; 768] {
    let level = |x: u32, y: u32| match number {
        n if n.is_multiple_of(6) => [0, 255, 128, 127][(n / 6 % 4) as usize],
        n if !n.is_multiple_of(2) => (x * (n + 1) + y * (2 * n + 3) + (x * y) / (n + 1)) % 256,
        n => {
            let noise = (x + 32 * y + 768 * n + 1).wrapping_mul(2_654_435_761);
            ((noise ^ (noise >> 15)) >> 9) % 256
        }
    };
    std::array::from_fn(|i| ((level(i as u32 % 32, i as u32 / 32) as u8) ^ 0x80).cast_signed())
}

/// What TFLM gives for these frames in Python (tests/tasks/test_contract.py makes sure of it).
pub fn expected() -> Vec<i8> {
    let text = include_str!("../../../model/example/expected.json");
    let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
    value["outputs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|output| i8::try_from(output.as_i64().expect("a number")).expect("int8"))
        .collect()
}

/// None under AddressSanitizer, which sees what is outside an allocation and nothing inside.
const GUARD: usize = if option_env!("TFLM_SANITIZE").is_some() { 0 } else { 64 };
const PAINT: u8 = 0xc5;

/// `size` bytes at an address that is a multiple of 64 plus `skew`, in painted surroundings.
pub struct Watched {
    start: *mut u8,
    layout: Layout,
    before: usize,
    size: usize,
}

impl Watched {
    /// Memory with painted surroundings, uninitialised inside.
    pub fn new(size: usize, skew: usize) -> Self {
        let before = GUARD + skew;
        let layout = Layout::from_size_align((before + size + GUARD).max(1), 64).expect("a layout");
        // SAFETY: the size is not 0, and every byte is written before it is read.
        let start = unsafe {
            let start = alloc(layout);
            assert!(!start.is_null());
            start.write_bytes(PAINT, layout.size());
            start
        };
        Self { start, layout, before, size }
    }

    /// The memory.
    pub fn bytes(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: inside the allocation, borrowed as this object is.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(self.before).cast(), self.size) }
    }

    /// Whether the paint around it is as it was.
    pub fn is_intact(&self) -> bool {
        // SAFETY: the whole allocation was painted, so all of it is initialised.
        let all = unsafe { std::slice::from_raw_parts(self.start, self.layout.size()) };
        let (before, rest) = all.split_at(self.before);
        let (_, after) = rest.split_at(self.size);
        before.iter().chain(after).all(|byte| *byte == PAINT)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.start, self.layout) };
    }
}
