"""The way out for operators that a device cannot run: what to write in the model instead."""

from tasks.tflm_support import Revision

INT8_CONVERSION = (
    "convert with optimizations = [tf.lite.Optimize.DEFAULT], a representative_dataset, "
    "target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8] and inference_input_type and "
    "inference_output_type = tf.int8"
)
_ACTIVATION = "use ReLU, ReLU6 or, with upstream TFLM, hard swish as activation"
_STATIC = "rebuild the model with a static batch of 1 (batch_shape) and fixed shapes before converting"
_OUTSIDE = "apply it outside the model: to the frame before, or to the score after"
_FREEZE = (
    "freeze the model first (convert_variables_to_constants_v2), or export a SavedModel with batch_shape and "
    "convert that"
)
_PLAIN = "write it with ADD, MUL and the activations, or leave it out of the deployed model"

_WAYS: dict[str, str] = {
    **dict.fromkeys(("ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "PRELU", "SELU"), _ACTIVATION),
    **dict.fromkeys(("EXP", "LOG"), f"{_ACTIVATION} (EXP and LOG come from softplus, SELU or a log); or {_OUTSIDE}"),
    **dict.fromkeys(("SIN", "COS", "ATAN2", "CEIL", "FLOOR", "ROUND", "SIGN"), _OUTSIDE),
    **dict.fromkeys(("SHAPE", "PACK", "STRIDED_SLICE", "SLICE", "BROADCAST_ARGS", "BROADCAST_TO", "FILL"), _STATIC),
    **dict.fromkeys(("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"), _FREEZE),
    **dict.fromkeys(("WHILE", "IF", "UNIDIRECTIONAL_SEQUENCE_LSTM"), "unroll the recurrent layer (unroll=True)"),
    **dict.fromkeys(("POW", "SQRT", "SQUARE", "RSQRT", "DIV", "NEG", "ABS", "SQUARED_DIFFERENCE"), _PLAIN),
    **dict.fromkeys(("TOPK_V2", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "ARG_MAX", "ARG_MIN"), _OUTSIDE),
}
_WAYS_2020: dict[str, str] = {
    "MEAN": "use AveragePooling2D over the whole last map instead of GlobalAveragePooling2D",
    "QUANTIZE": "convert with int8 input and output (that revision has no uint8 to int8)",
    "RESIZE_BILINEAR": "use nearest-neighbour resizing, or firmware with upstream TFLM",
    "HARD_SWISH": "use ReLU6, or firmware with upstream TFLM",
}


def way_out(op: str, revision: Revision, types: str = "") -> str:
    """What to do about an operator that the revision cannot run on these types (as in `2 x uint8, int32 to uint8`)."""
    if revision == "upstream" and "uint8" in types and op != "QUANTIZE":
        return "the model has legacy uint8 quantization: convert it again with TensorFlow 2 to int8"
    if "int64" in types:
        return "make indices and shapes int32 in the model"
    if "int16" in types and op not in _WAYS:
        return "convert with TFLITE_BUILTINS_INT8 rather than 16-bit activations"
    known = _WAYS_2020.get(op) if revision == "registry" else None
    other = "" if revision == "upstream" else ", or use firmware with upstream TFLM"
    return (
        known or _WAYS.get(op) or f"replace {op} by operators with an INT8 kernel, or take it out of the model{other}"
    )
