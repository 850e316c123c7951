// The one function of ESP-IDF that the ESP-NN kernels of Espressif's TFLM call. Defined in src/clock.rs.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Microseconds since start.
int64_t esp_timer_get_time(void);

#ifdef __cplusplus
}
#endif
