"""What a model costs at run time, from its file alone: tensor memory by liveness, multiply-accumulates."""

from tasks.tflite_file import ModelFile, Operator, Subgraph


def live_bytes(graph: Subgraph) -> tuple[int, ...]:
    """Bytes of activations that must exist while each operator runs, in execution order: shape (operators,).

    A tensor lives from the operator that writes it to the last that reads it; the graph's inputs from the start, its
    outputs to the end, variables throughout (the lifetimes of TFLM's `micro_allocation_info.cc`). Weights stay in
    flash and do not count.
    """
    steps = len(graph.operators)
    first: dict[int, int] = dict.fromkeys(graph.inputs, 0)
    last: dict[int, int] = dict.fromkeys(graph.inputs, 0)
    for op in graph.operators:
        for index in (*op.outputs, *(i for i in op.inputs if i >= 0)):
            first.setdefault(index, op.index)
            last[index] = op.index
    for index in graph.outputs:
        first.setdefault(index, max(steps - 1, 0))
        last[index] = max(steps - 1, 0)
    change = [0] * (steps + 2)
    for index, start in first.items():
        tensor = graph.tensors[index]
        if tensor.is_constant:
            continue
        start, end = (0, steps) if tensor.is_variable else (start, last[index])
        change[start] += tensor.nbytes
        change[end + 1] -= tensor.nbytes
    live, now = [], 0
    for step in range(max(steps, 1)):
        now += change[step]
        live.append(now)
    return tuple(live)


def activation_peak(model: ModelFile) -> int:
    """Lower bound of the tensor arena in bytes: the most that is alive at once, calls into subgraphs included."""
    peaks: dict[int, int] = {}

    def peak(index: int) -> int:  # the reader has refused recursion
        if index not in peaks:
            graph = model.subgraphs[index]
            inner = [max((peak(i) for i in op.calls), default=0) for op in graph.operators] or [0]
            peaks[index] = max(now + inside for now, inside in zip(live_bytes(graph), inner, strict=True))
        return peaks[index]

    return peak(0)


def macs(graph: Subgraph, op: Operator) -> int:
    """Multiply-accumulates of one inference through this operator; 0 for operators without a dot product."""
    tensors = [None if i < 0 else graph.tensors[i] for i in op.inputs]
    outputs = [graph.tensors[i] for i in op.outputs]
    weights = tensors[1] if len(tensors) > 1 else None
    if weights is None or not outputs or not weights.elements:
        return 0
    shape, out = weights.shape, outputs[0].elements
    match op.name:
        case "CONV_2D" if len(shape) == 4:
            return out * shape[1] * shape[2] * shape[3]
        case "DEPTHWISE_CONV_2D" if len(shape) == 4:
            return out * shape[1] * shape[2]
        case "CONV_3D" if len(shape) == 5:
            return out * shape[0] * shape[1] * shape[2] * shape[3]
        case "FULLY_CONNECTED" if shape:
            return out * shape[-1]
        case "TRANSPOSE_CONV" if len(shape) == 4 and len(tensors) > 2 and tensors[2]:
            return tensors[2].elements * shape[0] * shape[1] * shape[2]
        case "BATCH_MATMUL" if tensors[0] and len(tensors[0].shape) > 1:
            return out * tensors[0].shape[-2 if op.transposes_first else -1]
        case "SVDF" if len(tensors) > 2 and tensors[2] and tensors[0] and tensors[0].shape:
            return tensors[0].shape[0] * (weights.elements + tensors[2].elements)
        case "UNIDIRECTIONAL_SEQUENCE_LSTM" if tensors[0] and len(tensors[0].shape) == 3:
            steps = tensors[0].shape[0] * tensors[0].shape[1]
            return steps * sum(t.elements for t in tensors[1:9] if t)
    return 0
