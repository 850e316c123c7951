// See tflm_shim.h. TFLM_REGISTRY: the tree of 2020, whose interpreter, resolver and log have other signatures.
#include "tflm_shim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <new>

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"

#ifdef TFLM_REGISTRY
#include "tensorflow/lite/micro/kernels/micro_ops.h"
#include "tensorflow/lite/micro/micro_error_reporter.h"
typedef TfLiteRegistration Registration;
typedef tflite::MicroOpResolver::BuiltinParseFunction Parser;
#else
#include "tensorflow/lite/micro/arena_allocator/single_arena_buffer_allocator.h"
#include "tensorflow/lite/micro/debug_log.h"
#include "tensorflow/lite/micro/memory_helpers.h"
#include "tensorflow/lite/micro/memory_planner/greedy_memory_planner.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
typedef TFLMRegistration Registration;
typedef tflite::TfLiteBridgeBuiltinParseFunction Parser;
#endif

struct tflm_slot {
  Registration registration;
  Parser parser;
};

namespace {

// All zero-initialised: no constructor is needed. On a hosted system each thread has its own: tests run side by side.
#ifdef TFLM_HOSTED
#define TFLM_GLOBAL thread_local
#else
#define TFLM_GLOBAL
#endif
TFLM_GLOBAL char said[256];

// Where an allocation fails TFLM says so and goes on: allocators, parsers and kernels then write to the null pointer
// that they got, which on a Cortex-M is memory like any other. Where a check fails it says HALTED and loops for ever.
// From both messages the shim leaves for the function that the caller called. Nothing that is left behind has a
// destructor that does anything, and all memory is the caller's.
TFLM_GLOBAL jmp_buf way_out;
TFLM_GLOBAL bool has_way_out;

bool starts_with(const char* text, const char* with) { return strncmp(text, with, strlen(with)) == 0; }

// `message` has been said.
void leave_if_fatal(const char* message) {
  bool halted = starts_with(message, "HALTED");
  bool full = starts_with(message, "Failed to allocate") || starts_with(message, "Failed to resize buffer");
  if ((halted || full) && has_way_out) longjmp(way_out, 1);
  if (halted) tflm_halted();
}

// What `step` returns, or 1 where it had to be left.
template <typename Step>
int32_t attempt(Step step) {
  if (setjmp(way_out) != 0) {
    has_way_out = false;
    return 1;
  }
  has_way_out = true;
  int32_t status = step();
  has_way_out = false;
  return status;
}

void say(char c) {
  size_t length = strlen(said);
  if (length + 1 < sizeof(said)) {
    said[length] = c;
    said[length + 1] = '\0';
  }
}

void say(const char* text) {
  for (; text && *text; ++text) say(*text);
}

// Kernels in memory that the caller owns: MicroMutableOpResolver would need its capacity as a template parameter.
class Resolver : public tflite::MicroOpResolver {
 public:
  Resolver(const tflm_slot* slots, size_t count) : slots_(slots), count_(count) {}

  Parser GetOpDataParser(tflite::BuiltinOperator op) const override {
    const tflm_slot* found = Find(op);
    return found ? found->parser : nullptr;
  }

#ifdef TFLM_REGISTRY
  // Any version: what an operator's version asks for was checked when the model was audited.
  const Registration* FindOp(tflite::BuiltinOperator op, int) const override { return Registered(op); }
  const Registration* FindOp(const char*, int) const override { return nullptr; }
  TfLiteStatus AddBuiltin(tflite::BuiltinOperator, Registration*, int) override { return kTfLiteError; }
#else
  const Registration* FindOp(tflite::BuiltinOperator op) const override { return Registered(op); }
  const Registration* FindOp(const char*) const override { return nullptr; }
#endif

  // Never deleted; without this the linker would want a heap's `operator delete`.
  void operator delete(void*) {}

 private:
  const tflm_slot* Find(tflite::BuiltinOperator op) const {
    for (size_t i = 0; i < count_; ++i) {
      if (slots_[i].registration.builtin_code == op) return &slots_[i];
    }
    return nullptr;
  }
  const Registration* Registered(tflite::BuiltinOperator op) const {
    const tflm_slot* found = Find(op);
    return found ? &found->registration : nullptr;
  }

  const tflm_slot* slots_;
  size_t count_;
};

#ifndef TFLM_REGISTRY
// How many pieces of memory for the moment are in use. No member of Arena: it shall take no more than upstream's own.
TFLM_GLOBAL size_t in_use;

// Upstream's allocator with two checks that it lacks, for arenas that are a little too small: where memory for the
// moment (from the start upwards) is aligned beyond the memory that stays (from the end downwards), their difference
// wraps and anything fits; and memory that stays is laid over memory for the moment that is still in use.
class Arena : public tflite::SingleArenaBufferAllocator {
 public:
  // An allocator for these bytes, which lies in them itself, as upstream's does.
  static tflite::MicroAllocator* Over(uint8_t* memory, size_t bytes) {
    in_use = 0;
    Arena whole(memory, bytes);
    Arena* arena = new (whole.AllocatePersistentBuffer(sizeof(Arena), alignof(Arena))) Arena(whole);
    typedef tflite::GreedyMemoryPlanner Planner;
    return tflite::MicroAllocator::Create(
        arena, new (arena->AllocatePersistentBuffer(sizeof(Planner), alignof(Planner))) Planner());
  }

  uint8_t* AllocateTemp(size_t size, size_t alignment) override {
    if (tflite::AlignPointerUp(moment(), alignment) > tail()) Full(size);
    ++in_use;
    return SingleArenaBufferAllocator::AllocateTemp(size, alignment);
  }
  void DeallocateTemp(uint8_t* memory) override {
    --in_use;
    SingleArenaBufferAllocator::DeallocateTemp(memory);
  }
  uint8_t* AllocatePersistentBuffer(size_t size, size_t alignment) override {
    if (in_use > 0 && tflite::AlignPointerDown(tail() - size, alignment) < moment()) Full(size);
    return SingleArenaBufferAllocator::AllocatePersistentBuffer(size, alignment);
  }

 private:
  using SingleArenaBufferAllocator::SingleArenaBufferAllocator;

  uint8_t* moment() const { return tail() - GetAvailableMemory(1); }
  void Full(size_t size) const {  // does not return: see leave_if_fatal
    MicroPrintf("Failed to allocate memory. Requested: %u, available %u", size, GetAvailableMemory(1));
  }
};
static_assert(sizeof(Arena) == sizeof(tflite::SingleArenaBufferAllocator), "it lies in the caller's arena");
#endif

struct Interpreter {
  Resolver resolver;
#ifdef TFLM_REGISTRY
  tflite::MicroErrorReporter reporter;
  tflite::MicroInterpreter interpreter;
  Interpreter(const uint8_t* model, const tflm_slot* slots, size_t count, uint8_t* arena, size_t arena_bytes)
      : resolver(slots, count),
        interpreter(tflite::GetModel(model), resolver, arena, arena_bytes, &reporter) {}
#else
  tflite::MicroInterpreter interpreter;
  Interpreter(const uint8_t* model, const tflm_slot* slots, size_t count, uint8_t* arena, size_t arena_bytes)
      : resolver(slots, count),
        interpreter(tflite::GetModel(model), resolver, Arena::Over(arena, arena_bytes)) {}
#endif
};

Interpreter* at(void* storage) { return static_cast<Interpreter*>(storage); }

int32_t describe(const TfLiteTensor* from, tflm_tensor* to) {
  if (!from || !from->dims) return 1;
  to->data = from->data.uint8;
  to->bytes = from->bytes;
  to->dims = reinterpret_cast<const int32_t*>(from->dims->data);  // int: 32 bits wherever TFLM runs
  to->rank = from->dims->size;
  to->type = from->type;
  to->scale = from->params.scale;
  to->zero_point = from->params.zero_point;
  return 0;
}

}  // namespace

extern "C" {

#ifdef TFLM_REGISTRY
void DebugLog(const char* text) {
  say(text);
  leave_if_fatal(text);
}
#else
// TFLM's own formats are few, and newlib's vsnprintf would take 20 KB of flash for them.
static void say_formatted(const char* format, va_list args) {
  for (; *format; ++format) {
    if (*format != '%') {
      say(*format);
      continue;
    }
    do {
      ++format;
    } while (*format && strchr("0123456789.-+ #lzht", *format));
    unsigned long value = 0;
    unsigned base = 10;
    switch (*format) {
      case '\0': return;
      case 's': say(va_arg(args, const char*)); continue;
      case 'c': say(static_cast<char>(va_arg(args, int))); continue;
      case '%': say('%'); continue;
      case 'f': case 'g': case 'e': {
        double number = va_arg(args, double);
        if (number < 0) {
          say('-');
          number = -number;
        }
        value = static_cast<unsigned long>(number);
        break;
      }
      case 'x': case 'X': case 'p': base = 16; value = va_arg(args, unsigned int); break;
      case 'd': case 'i': {
        int number = va_arg(args, int);
        if (number < 0) say('-');
        value = number < 0 ? 0ul - static_cast<unsigned long>(number) : static_cast<unsigned long>(number);
        break;
      }
      default: value = va_arg(args, unsigned int); break;
    }
    char digits[20];
    size_t n = 0;
    do {
      digits[n++] = "0123456789abcdef"[value % base];
      value /= base;
    } while (value && n < sizeof(digits));
    while (n) say(digits[--n]);
  }
}

void DebugLog(const char* format, va_list args) {
  say_formatted(format, args);
  leave_if_fatal(format);
}

int DebugVsnprintf(char* buffer, size_t size, const char*, va_list) {
  if (size) buffer[0] = '\0';  // only profilers and op names of custom kernels use it
  return 0;
}
#endif

#ifndef TFLM_HOSTED
// Destructors are never run by deleting, but their tables name these.
void __cxa_pure_virtual() { tflm_halted(); }
int __aeabi_atexit(void*, void (*)(void*), void*) { return 0; }
#endif

int32_t tflm_begin(void* storage, const uint8_t* model, const tflm_op* ops, void* slots, size_t count, uint8_t* arena,
                   size_t arena_bytes) {
  static_assert(alignof(Interpreter) <= 8 && alignof(tflm_slot) <= 8, "the caller aligns to 8 bytes");
  static_assert(sizeof(Interpreter) <= TFLM_INTERPRETER_BYTES, "raise INTERPRETER_BYTES in build.rs");
  static_assert(sizeof(tflm_slot) == TFLM_SLOT_BYTES, "set SLOT_BYTES in build.rs");
  tflm_slot* filled = static_cast<tflm_slot*>(slots);
  for (size_t i = 0; i < count; ++i) ops[i].fill(new (&filled[i]) tflm_slot());
  return attempt([=]() -> int32_t {
    auto* made = &(new (storage) Interpreter(model, filled, count, arena, arena_bytes))->interpreter;
    // Where it does not get ready, without the destructor: it walks nodes that may never have been made.
    return made->initialization_status() == kTfLiteOk && made->AllocateTensors() == kTfLiteOk ? 0 : 1;
  });
}

void tflm_end(void* storage) { at(storage)->~Interpreter(); }

int32_t tflm_input(void* storage, tflm_tensor* tensor) { return describe(at(storage)->interpreter.input(0), tensor); }
int32_t tflm_output(void* storage, tflm_tensor* tensor) {
  return describe(at(storage)->interpreter.output(0), tensor);
}
int32_t tflm_invoke(void* storage) {
  return attempt([=]() -> int32_t { return at(storage)->interpreter.Invoke() == kTfLiteOk ? 0 : 1; });
}
size_t tflm_arena_used(void* storage) {
  size_t length = strlen(said);
  size_t used = at(storage)->interpreter.arena_used_bytes();
  said[length] = '\0';  // the tree of 2020 logs three lines of figures, which are no part of the next error
  return used;
}
const char* tflm_error(void) { return said; }
void tflm_clear_error(void) { said[0] = '\0'; }

// One function a kernel, so that the linker keeps just those that are named: generated by build.rs.
#include "tflm_ops.inc"

}  // extern "C"

#ifndef TFLM_HOSTED
void operator delete(void*) noexcept {}
void operator delete(void*, size_t) noexcept {}
#endif
