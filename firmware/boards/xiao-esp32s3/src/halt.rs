//! Where there is no way on: what is said, and what happens then.

use core::fmt::Display;

use app::Quoted;
use esp_hal::delay::Delay;
use esp_hal::system::{reset_reason as last_reset, software_reset};
use esp_println::println;

use crate::watchdog::Watchdog;

/// Between two repetitions of a reason, milliseconds.
const REPEAT_MS: u32 = 5_000;
/// Between a panic's message and the reset, milliseconds: time for the console to deliver it.
const READ_MS: u32 = 3_000;

/// Ends the firmware for a reason that a reset would not mend (no PSRAM, a model that TFLM refuses): says it again
/// and again, so that a console that is opened later shows it too.
pub fn stop(watchdog: &mut Watchdog, reason: impl Display) -> ! {
    loop {
        watchdog.feed();
        println!("{{\"event\":\"error\",\"message\":{}}}", Quoted(&reason));
        Delay::new().delay_millis(REPEAT_MS);
    }
}

/// After a panic: `esp-backtrace` has printed its message and the call stack; the chip starts anew.
#[unsafe(no_mangle)]
extern "Rust" fn custom_halt() -> ! {
    Delay::new().delay_millis(READ_MS);
    software_reset()
}

/// Why the chip started: power, the watchdog, or a panic's software reset.
pub fn reset_reason() -> impl Display {
    struct Reason;
    impl Display for Reason {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            match last_reset() {
                Some(reason) => write!(f, "{reason:?}"),
                None => f.write_str("unknown"),
            }
        }
    }
    Reason
}
