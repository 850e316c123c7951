"""The FP32 model that a hand-built INT8 one stands for: same graph, names and real values, in float32."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.tasks.hand_built_models import repacked

_STORED = {schema.TensorType.INT8: np.int8, schema.TensorType.UINT8: np.uint8, schema.TensorType.INT32: np.int32}


def float_twin(int8: bytes) -> bytes:
    """Every quantised tensor becomes float32, with its real values where it has some."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(int8, 0))
    for tensor in model.subgraphs[0].tensors:
        if tensor.quantization is None or tensor.quantization.scale is None:  # a shape, an axis
            continue
        scale, zero = np.asarray(tensor.quantization.scale), np.asarray(tensor.quantization.zeroPoint)
        data = model.buffers[tensor.buffer].data
        if data is not None:
            along = np.ones(len(tensor.shape), int)
            if len(scale) > 1:
                along[tensor.quantization.quantizedDimension] = len(scale)
            stored = np.frombuffer(bytes(data), _STORED[tensor.type]).reshape(tensor.shape)
            values = (stored.astype(np.float64) - zero.reshape(along)) * scale.reshape(along)
            model.buffers[tensor.buffer].data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
    return repacked(model)
