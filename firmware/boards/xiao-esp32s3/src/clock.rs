//! Time since start.

use esp_hal::time::Instant;

/// Microseconds since start.
pub fn micros() -> u64 {
    Instant::now().duration_since_epoch().as_micros()
}

/// The same for C: the ESP-NN kernels in Espressif's TFLM add up how long they took (`esp_timer.h`).
#[unsafe(no_mangle)]
extern "C" fn esp_timer_get_time() -> i64 {
    micros().cast_signed()
}
