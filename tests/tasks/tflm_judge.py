"""The real TFLM interpreter (package tflite-micro) as a judge, one child process a model: kernels may abort."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def judged(models: Mapping[str, bytes], folder: Path) -> dict[str, int]:
    """0 where TFLM allocates and runs the model, 1 where it refuses, -6 where it aborts; by the names of `models`."""
    for name, data in models.items():
        (folder / name).write_bytes(data)
    command = [sys.executable, __file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    lines = [line.split(" ") for line in done.stdout.splitlines() if line.startswith("verdict ")]
    return {name: int(code) for _, name, code in lines if name in models}


def _main(folder: Path) -> None:
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema
    from tflite_micro.python.tflite_micro import runtime  # once, for all children

    def run(data: bytes) -> None:
        interpreter = runtime.Interpreter.from_bytes(data, arena_size=4 << 20)
        for i in range(schema.Model.GetRootAs(data, 0).Subgraphs(0).InputsLength()):
            details = interpreter.get_input_details(i)
            interpreter.set_input(np.ones(details["shape"], details["dtype"]), i)
        interpreter.invoke()

    for path in sorted(folder.iterdir()):
        sys.stdout.flush()
        child = os.fork()
        if not child:
            code = 1
            try:
                run(path.read_bytes())
                code = 0
            except RuntimeError:
                pass
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print("verdict", path.name, os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
