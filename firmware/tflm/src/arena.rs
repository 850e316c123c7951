//! The tensor arena: a static that is given out once.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

/// Alignment of every arena, bytes: TFLM wants 16, and a cache line of 64 (twice that of a Cortex-M7, that of an
/// ESP32-S3) keeps other data out of the lines that the tensors are in.
pub const ALIGNMENT: usize = 64;

/// `BYTES` of memory, aligned and padded to cache lines. Made by [`arena!`](crate::arena) only.
#[doc(hidden)]
#[repr(C, align(64))]
pub struct ArenaMemory<const BYTES: usize>(UnsafeCell<[MaybeUninit<u8>; BYTES]>);

// SAFETY: the bytes are reachable through `Arena::claim` only, and that hands them out once, to one owner.
unsafe impl<const BYTES: usize> Sync for ArenaMemory<BYTES> {}

impl<const BYTES: usize> ArenaMemory<BYTES> {
    #[doc(hidden)]
    pub const fn new() -> Self {
        const {
            assert!(BYTES > 0 && BYTES.is_multiple_of(16), "an arena is a multiple of 16 bytes: TFLM aligns to 16");
        }
        Self(UnsafeCell::new([MaybeUninit::uninit(); BYTES]))
    }
}

/// `BYTES` for TFLM's tensors, to be claimed once. Declared with [`arena!`](crate::arena).
pub struct Arena<const BYTES: usize> {
    memory: &'static ArenaMemory<BYTES>,
    claimed: AtomicBool,
}

impl<const BYTES: usize> Arena<BYTES> {
    /// # Safety
    ///
    /// `memory` belongs to this arena alone.
    #[doc(hidden)]
    pub const unsafe fn over(memory: &'static ArenaMemory<BYTES>) -> Self {
        Self { memory, claimed: AtomicBool::new(false) }
    }

    /// All bytes, the first time; `None` ever after. They are not initialised.
    pub fn claim(&self) -> Option<&'static mut [MaybeUninit<u8>]> {
        if self.claimed.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: the swap above lets one caller through in the life of this arena, and `over` was promised that
        // nobody else has the memory.
        Some(unsafe { &mut *self.memory.0.get() })
    }
}

/// Declares a static [`Arena`] whose memory lies in a linker section of its own, so that the linker script decides
/// which memory it gets and the size report can name it. Start-up code need not clear that section.
///
/// ```
/// tflm::arena!(static ARENA: 4096 bytes in ".tensor_arena");
/// assert_eq!(ARENA.claim().expect("the first claim").len(), 4096);
/// assert!(ARENA.claim().is_none());
/// ```
#[macro_export]
macro_rules! arena {
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $bytes:tt bytes in $section:literal) => {
        $(#[$attribute])*
        $visibility static $name: $crate::Arena<{ $bytes }> = {
            #[unsafe(link_section = $section)]
            static MEMORY: $crate::ArenaMemory<{ $bytes }> = $crate::ArenaMemory::new();
            // SAFETY: nothing outside this block can name MEMORY.
            unsafe { $crate::Arena::over(&MEMORY) }
        };
    };
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]
mod tests {
    extern crate std;
    use super::*;
    use std::thread;

    #[test]
    fn of_many_who_claim_at_once_one_gets_the_arena() {
        crate::arena!(static ARENA: 1024 bytes in ".bss.tensor_arena");
        let winners: usize = thread::scope(|scope| {
            let claims: std::vec::Vec<_> =
                (0..8).map(|_| scope.spawn(|| usize::from(ARENA.claim().is_some()))).collect();
            claims.into_iter().map(|claim| claim.join().expect("no panic")).sum()
        });
        assert_eq!(winners, 1);
        assert!(ARENA.claim().is_none());
    }

    #[test]
    fn an_arena_is_aligned_and_padded_to_cache_lines() {
        crate::arena!(static ARENA: 1040 bytes in ".bss.tensor_arena");
        let bytes = ARENA.claim().expect("first claim");
        assert_eq!(bytes.as_ptr().addr() % ALIGNMENT, 0);
        assert_eq!(bytes.len(), 1040);
        assert_eq!(size_of::<ArenaMemory<1040>>() % ALIGNMENT, 0);
        bytes[0].write(1);
        bytes[1039].write(2);
    }
}
