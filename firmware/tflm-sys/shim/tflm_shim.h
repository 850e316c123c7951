// TensorFlow Lite Micro behind eight C functions, the same for both source trees (registry crate of 2020, upstream).
//
// One interpreter at a time: the error text is a global. Nothing here has a constructor that must run before main.
#ifndef TFLM_SHIM_H_
#define TFLM_SHIM_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// A kernel's registration and parser, filled in by a `tflm_op_*` function.
typedef struct tflm_slot tflm_slot;
typedef struct {
  void (*fill)(tflm_slot*);
  int32_t code;  // BuiltinOperator in the TFLite schema
} tflm_op;

// An input or output tensor. `dims` and `data` point into the arena or the model.
typedef struct {
  uint8_t* data;
  size_t bytes;
  const int32_t* dims;
  int32_t rank;
  int32_t type;  // TfLiteType: 3 uint8, 9 int8
  float scale;
  int32_t zero_point;
} tflm_tensor;

// Constructs an interpreter in `storage` (TFLM_INTERPRETER_BYTES, never moved afterwards) with the `count` kernels that
// `ops` names, kept in `slots` (TFLM_SLOT_BYTES each), both 8-byte aligned, and allocates all tensors in `arena`. 0:
// ready; then `tflm_end` must be called before any of the memory is used for something else. Otherwise `tflm_error`
// says why.
int32_t tflm_begin(void* storage, const uint8_t* model, const tflm_op* ops, void* slots, size_t count, uint8_t* arena,
                   size_t arena_bytes);
void tflm_end(void* storage);

// The only input and the only output; 0: filled in.
int32_t tflm_input(void* storage, tflm_tensor* tensor);
int32_t tflm_output(void* storage, tflm_tensor* tensor);

// One inference; 0: done.
int32_t tflm_invoke(void* storage);

// What TFLM says it uses of the arena, bytes.
size_t tflm_arena_used(void* storage);

// What TFLM said since `tflm_clear_error`, zero-terminated, the first 255 bytes of it.
const char* tflm_error(void);
void tflm_clear_error(void);

// Given by whoever links this: TFLM would loop for ever, outside `tflm_begin` and `tflm_invoke`, which return 1 in that
// case. Must not return.
void tflm_halted(void);

#ifdef __cplusplus
}
#endif
#endif  // TFLM_SHIM_H_
