//! Resets the chip when the loop stands still.

use esp_hal::peripherals::RTC_TIMER;
use esp_hal::rtc_cntl::{Rtc, RwdtStage};
use esp_hal::time::Duration;

/// Longest time between two feedings: more than a step of the loop takes with the slowest kernels. (2.7 billion
/// instructions of a MobileNetV2 0.5 in reference kernels are 11 s at one a cycle, and PSRAM makes it more.)
const TIMEOUT: Duration = Duration::from_secs(60);

/// The RTC's watchdog. It runs from a clock of its own and resets everything but the RTC's memory.
pub struct Watchdog(Rtc<'static>);

impl Watchdog {
    /// Starts it.
    pub fn start(timer: RTC_TIMER<'static>) -> Self {
        let mut rtc = Rtc::new(timer);
        rtc.rwdt.set_timeout(RwdtStage::Stage0, TIMEOUT);
        rtc.rwdt.enable(); // stage 0 resets the system
        rtc.rwdt.feed();
        Self(rtc)
    }

    /// Says that the loop goes on.
    pub fn feed(&mut self) {
        self.0.rwdt.feed();
    }
}
