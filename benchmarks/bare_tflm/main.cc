// TensorFlow Lite Micro without this project's wrapper: MicroInterpreter and MicroMutableOpResolver called directly, on
// mps2-an386. benchmarks/firmware_wrapper.py compiles it against the very library that the firmware links.
#include <stdint.h>

#include "tensorflow/lite/micro/kernels/micro_ops.h"
#include "tensorflow/lite/micro/micro_error_reporter.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

extern "C" {
extern const uint8_t model_start[];
extern uint32_t stack_top, data_start, data_end, data_load, bss_start, bss_end;
void tflm_halted() {
  for (;;) {
  }
}
void reset();
__attribute__((section(".vectors"), used)) const void* vectors[16] = {&stack_top, reinterpret_cast<void*>(&reset)};
}

namespace {

alignas(64) __attribute__((section(".tensor_arena"))) uint8_t arena[ARENA_BYTES];

int semihost(int operation, const void* argument) {
  register int r0 asm("r0") = operation;
  register const void* r1 asm("r1") = argument;
  asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

void print(const char* text) { semihost(0x04, text); }

void print(uint32_t number) {
  char digits[12] = {};
  int at = 10;
  do {
    digits[at--] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number);
  print(digits + at + 1);
}

volatile uint32_t* const timer = reinterpret_cast<volatile uint32_t*>(0x40000000);  // CMSDK timer 0, 25 MHz, down

}  // namespace

int main() {
  static tflite::MicroErrorReporter reporter;
  static tflite::MicroMutableOpResolver<OPS> resolver(&reporter);
#include "ops.inc"
  static tflite::MicroInterpreter interpreter(tflite::GetModel(model_start), resolver, arena, sizeof(arena), &reporter);
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    print("allocation failed\n");
    return 1;
  }
  timer[2] = timer[1] = 0xffffffffu;
  timer[0] = 1;
  for (uint32_t frame = 0; frame < 3; ++frame) {
    TfLiteTensor* input = interpreter.input(0);
    for (size_t i = 0; i < input->bytes; ++i) input->data.int8[i] = static_cast<int8_t>((i * 7 + frame * 31) & 0xff);
    uint32_t before = timer[1];
    if (interpreter.Invoke() != kTfLiteOk) return 1;
    print("ticks ");
    print(before - timer[1]);
    print("\n");
  }
  return 0;
}

extern "C" __attribute__((noreturn, used)) void reset() {
  for (uint32_t *to = &data_start, *from = &data_load; to < &data_end;) *to++ = *from++;
  for (uint32_t* to = &bss_start; to < &bss_end;) *to++ = 0;
  *reinterpret_cast<volatile uint32_t*>(0xE000ED88) |= 0xFu << 20;  // FPU on
  asm volatile("dsb\n isb");
  semihost(0x18, reinterpret_cast<void*>(main() == 0 ? 0x20026 : 0x20023));
  for (;;) {
  }
}
