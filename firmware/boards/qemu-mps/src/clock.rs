//! A timer that runs with the emulated processor. With QEMU's `-icount shift=0` an instruction takes a nanosecond, so
//! ticks count instructions, the same in every run.

/// The running timer.
pub struct Clock(());

/// CMSDK APB timer 0 of MPS2: counts down at 25 MHz (DAI0386, DAI0500; DDI0479 section 4.4).
#[cfg(not(feature = "an547"))]
mod registers {
    pub const HZ: u32 = 25_000_000;
    const CONTROL: *mut u32 = 0x4000_0000 as *mut u32;
    const VALUE: *mut u32 = 0x4000_0004 as *mut u32;
    const RELOAD: *mut u32 = 0x4000_0008 as *mut u32;

    pub fn start() {
        // SAFETY: the timer's registers, which nothing else uses.
        unsafe {
            CONTROL.write_volatile(0);
            RELOAD.write_volatile(u32::MAX);
            VALUE.write_volatile(u32::MAX);
            CONTROL.write_volatile(1);
        }
    }

    pub fn ticks() -> u32 {
        // SAFETY: a readable register.
        u32::MAX - unsafe { VALUE.read_volatile() }
    }
}

/// System counter of SSE-300: counts up at 32 MHz (Arm 101773, sections "System counter" and "System timer").
#[cfg(feature = "an547")]
mod registers {
    pub const HZ: u32 = 32_000_000;
    const CONTROL: *mut u32 = 0x5810_0000 as *mut u32; // CNTCR of the counter's control frame
    const COUNT: *const u32 = 0x5800_0000 as *const u32; // CNTPCT[31:0] of timer 0

    pub fn start() {
        // SAFETY: the counter's register, which nothing else uses.
        unsafe { CONTROL.write_volatile(1) };
    }

    pub fn ticks() -> u32 {
        // SAFETY: a readable register.
        unsafe { COUNT.read_volatile() }
    }
}

impl Clock {
    /// Ticks a second.
    pub const HZ: u32 = registers::HZ;

    /// Starts it.
    pub fn start() -> Self {
        registers::start();
        Self(())
    }

    /// Ticks since it started, wrapping after minutes of emulated time.
    pub fn ticks(&self) -> Ticks {
        Ticks(registers::ticks())
    }
}

/// A reading of the clock.
#[derive(Clone, Copy)]
pub struct Ticks(u32);

impl core::ops::Sub for Ticks {
    type Output = u32;

    fn sub(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}
