"""The contract and the expected outputs of the model that the firmware's own tests run: `firmware/model/example`.

The contract is what `make_contract` gives; the outputs are what the TFLM of the package `tflite-micro` computes, on
frames made by a formula so that the Rust tests (firmware/tflm/tests) can make the very same ones.

    python -m tests.firmware.example_contract   # writes both files again, in a few seconds
"""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.contract import Contract, checked, make_contract
from tasks.parameters import HysteresisParameters
from tests.firmware.example_model import INPUT_SHAPE, PATH

CONTRACT = PATH.with_name("contract.json")
EXPECTED = PATH.with_name("expected.json")
ARENA_BYTES = 65_536  # several times what it needs on any host: tests find the smallest arena themselves
FRAMES = 24


def contract() -> Contract:
    """Of the model as it lies there, which the older of the two TFLM revisions must run, too."""
    model = PATH.read_bytes()
    return make_contract(model, checked(model, "registry"), ARENA_BYTES, 0.5, HysteresisParameters())


def formula_frame(number: int) -> NDArray[np.uint8]:
    """Gray levels (24, 32): ramps and noise in turn, two levels at the start and the end of the list; integers only."""
    height, width = INPUT_SHAPE[1:3]
    y, x = (part.astype(np.uint32) for part in np.mgrid[:height, :width])
    if number % 6 == 0:
        return np.full((height, width), (0, 255, 128, 127)[number // 6 % 4], np.uint8)
    if number % 2:
        return ((x * (number + 1) + y * (2 * number + 3) + (x * y) // (number + 1)) % 256).astype(np.uint8)
    noise = (x + 32 * y + 768 * np.uint32(number) + 1) * np.uint32(2_654_435_761)  # wraps, as it does in Rust
    return ((noise ^ (noise >> np.uint32(15))) >> np.uint32(9)).astype(np.uint8)


def expected() -> dict[str, Any]:
    """The output byte of every frame, by TFLM on this machine."""
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(PATH.read_bytes(), arena_size=1 << 20)
    outputs = []
    for number in range(FRAMES):
        frame = formula_frame(number) ^ 0x80
        interpreter.set_input(frame.view(np.int8).reshape(INPUT_SHAPE), 0)
        interpreter.invoke()
        outputs.append(int(interpreter.get_output(0).reshape(-1)[0]))
    return {"rule": "output (int8) of frame n as tests/firmware/example_contract.py makes it", "outputs": outputs}


def main() -> None:
    """Writes the files."""
    CONTRACT.write_text(contract().text())
    EXPECTED.write_text(json.dumps(expected()) + "\n")
    print(f"{CONTRACT}, {EXPECTED}")


if __name__ == "__main__":
    main()
