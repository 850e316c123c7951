//! The processor's own switches.

use core::arch::asm;

/// Coprocessor 0: floating point. TFLM's preparation of the kernels needs it.
const FLOATING_POINT: u32 = 1 << 0;
/// Coprocessor 3: the 128-bit vector instructions (`ee.*`) that the ESP-NN kernels consist of.
const VECTORS: u32 = 1 << 3;

/// Lets the program use floating point and vectors; either would raise an exception otherwise.
///
/// The chip comes out of reset with all coprocessors on, but the boot loader has run since, and an emulator starts
/// with none (<https://github.com/espressif/qemu/issues/154>). No interrupt handler of this firmware uses vectors, so
/// nobody has to save their registers.
pub fn enable_coprocessors() {
    // SAFETY: CPENABLE only says which coprocessors raise an exception; `rsync` makes it hold for what follows.
    unsafe { asm!("wsr.cpenable {0}", "rsync", in(reg) FLOATING_POINT | VECTORS, options(nostack)) };
}
