"""Names of layers that people know, from the names that TensorFlow's converter gives to tensors.

`functional_1/block_1_expand_relu_1/Relu6;functional_1/block_1_expand_1/convolution;...` lists all that was fused into
one operator: it becomes `block_1_expand`, as the layer is called in tasks/model.py.
"""

import re
from collections import Counter

from tasks.tflite_file import Operator, Subgraph

LONGEST = 60
# Last parts of names that belong to a layer with weights: that one names the operator, whatever was fused into it.
_WEIGHTED = re.compile(r"(convolution|depthwise|conv2d|depthwiseconv2dnative|matmul|biasadd)\d*", re.IGNORECASE)
_COUNTED = re.compile(r"_\d+$")


def layer_names(graph: Subgraph) -> tuple[str, ...]:
    """A short, printable name for each operator, by its first output, each name once.

    The scope that all names share goes, as does a number at the end that every layer carries (a clone of a Keras model
    is `block_1_expand_1` throughout). Operators of one layer differ in their last part (`rescaling/mul`); what is still
    not unique gets the operator's number. The model's only output, which the converter calls `PartitionedCall:0`, is
    called `output`.
    """
    paths = [_path(graph, op) for op in graph.operators]
    inner = [path for path in paths if len(path) > 1]
    while len({path[0] for path in inner}) == 1 and len(inner) > 1 and all(len(path) > 2 for path in inner):
        inner[:] = [path[1:] for path in inner]
        paths = [path[1:] if len(path) > 1 else path for path in paths]
    counted = len(inner) > 1 and all(_COUNTED.search(path[-2]) for path in inner)
    layers = []
    for path in paths:
        scopes = [_COUNTED.sub("", part) if counted else part for part in path[:-1]]
        layers.append(("/".join(scopes) or path[-1], "/".join([*scopes, path[-1]])))
    short = Counter(name for name, _ in layers)
    names = [_fitted(name if short[name] == 1 else long) for name, long in layers]
    times = Counter(names)
    return tuple(
        name if times[name] == 1 else f"{name} #{op.index}" for name, op in zip(names, graph.operators, strict=True)
    )


def _path(graph: Subgraph, op: Operator) -> list[str]:
    """The parts of the name that speaks best for what was fused into this operator."""
    if not op.outputs:
        return [op.name.lower()]
    if op.outputs == graph.outputs and len(op.outputs) == 1:
        return ["output"]
    fused = [name.split("/") for name in graph.tensors[op.outputs[0]].name.split(";") if name.strip("/")]
    weighted = [path for path in fused if _WEIGHTED.fullmatch(path[-1])]
    return [part for part in (weighted or fused or [[op.name.lower()]])[0] if part]


def _fitted(name: str) -> str:
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= LONGEST else "…" + name[1 - LONGEST :]
