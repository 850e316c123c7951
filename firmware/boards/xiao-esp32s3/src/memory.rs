//! What lies in which memory.
//!
//! | memory                      | bytes     | what is in it                                              |
//! |-----------------------------|-----------|------------------------------------------------------------|
//! | SRAM                        | 341,760   | code that must not wait, data, DMA buffer, stack, small arena |
//! | SRAM of the boot loader     | 73,744    | the frame                                                  |
//! | PSRAM                       | 8,388,608 | an arena that SRAM has no room for                         |
//! | flash                       | 8,323,072 | program and model, read through the caches                 |
//!
//! The arena is in SRAM where it fits: PSRAM is read and written through a cache of 64 KB.

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use esp_hal::peripherals::PSRAM;
use esp_hal::psram::{FlashFreq, Psram, PsramConfig, PsramMode, SpiRamFreq};
use model::ARENA_BYTES;
use ov2640::PIXELS;

/// Largest arena in SRAM. The rest of its 341,760 B is for code in RAM, static data and DMA buffers (about 48 KB) and
/// the stack (at least 32 KB, `ESP_HAL_CONFIG_ENSURE_MAIN_STACK_MINIMUM`: the linker checks it).
pub const SRAM_ARENA_LIMIT: usize = 240 * 1024;

const IN_SRAM: bool = ARENA_BYTES <= SRAM_ARENA_LIMIT;
/// Where the arena is.
pub const PLACE: &str = if IN_SRAM { "sram" } else { "psram" };
/// Bytes of SRAM that are reserved for it; an arena cannot be empty.
const SRAM_BYTES: usize = if IN_SRAM { ARENA_BYTES } else { 16 };

tflm::arena!(static SRAM_ARENA: SRAM_BYTES bytes in ".noinit.tensor_arena");

/// Why there is no arena.
pub enum NoArena {
    /// It was given out before.
    Claimed,
    /// The PSRAM is missing or too small.
    Psram {
        /// Bytes that it has.
        found: usize,
    },
}

impl fmt::Display for NoArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoArena::Claimed => f.write_str("the tensor arena was claimed before main"),
            NoArena::Psram { found: 0 } => {
                write!(f, "the model's arena of {ARENA_BYTES} B needs PSRAM and no octal PSRAM answers")
            }
            NoArena::Psram { found } => {
                write!(f, "the model's arena of {ARENA_BYTES} B does not fit the {found} B of PSRAM")
            }
        }
    }
}

/// The tensor arena, in the memory that its size asks for.
///
/// # Errors
///
/// Where the PSRAM that it needs is not there.
pub fn arena(psram: PSRAM<'static>) -> Result<&'static mut [MaybeUninit<u8>], NoArena> {
    if IN_SRAM {
        return SRAM_ARENA.claim().ok_or(NoArena::Claimed);
    }
    // 80 MHz double data rate is the fastest that esp-hal does without tuning; the size is read from the chip.
    let config = PsramConfig {
        mode: PsramMode::OctalSpi,
        flash_frequency: FlashFreq::FlashFreq80m,
        ram_frequency: SpiRamFreq::Freq80m,
        ..PsramConfig::default()
    };
    let (start, found) = Psram::new(psram, config).raw_parts();
    if found < ARENA_BYTES || start.is_null() {
        return Err(NoArena::Psram { found });
    }
    // SAFETY: esp-hal has mapped `found` bytes of PSRAM at `start` for good, at the start of a page of 64 KiB. They
    // belong to whoever has the peripheral, which this function has consumed: nothing else points there.
    Ok(unsafe { core::slice::from_raw_parts_mut(start.cast::<MaybeUninit<u8>>(), ARENA_BYTES) })
}

/// Memory for one frame.
struct FrameMemory(UnsafeCell<MaybeUninit<[u8; PIXELS]>>);

// SAFETY: the bytes are reachable through `frame` only, which lets one caller through.
unsafe impl Sync for FrameMemory {}

/// Memory for one frame, black, the first time; `None` ever after.
pub fn frame() -> Option<&'static mut [u8; PIXELS]> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    // The boot loader's memory, free by now. Nobody clears it.
    #[unsafe(link_section = ".dram2_uninit")]
    static MEMORY: FrameMemory = FrameMemory(UnsafeCell::new(MaybeUninit::uninit()));
    if TAKEN.swap(true, Ordering::AcqRel) {
        return None;
    }
    // SAFETY: the swap lets one caller through, so this is the only reference.
    let memory = unsafe { &mut *MEMORY.0.get() };
    Some(memory.write([0; PIXELS]))
}
