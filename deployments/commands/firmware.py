"""`f2f firmware`: the firmware part on its own, for any .tflite that passes the audit."""

import click

from deployments.lazy_group import Commands, LazyGroup

COMMANDS: Commands = {
    "build": (
        "deployments.commands.firmware_build",
        "Build the firmware of a model for a board, sized by measurement.",
    ),
    "run": (
        "deployments.commands.firmware_run",
        "Run frames on an emulated board and compare every byte with the host.",
    ),
    "report": ("deployments.commands.firmware_report", "Show where flash and RAM of a built image go."),
    "boards": ("deployments.commands.firmware_boards", "List the boards with memories, clocks and limits."),
    "sources": ("deployments.commands.firmware_sources", "Fetch upstream's TFLM and CMSIS-NN at pinned commits."),
}


class _Commands(LazyGroup):
    lazy = COMMANDS


@click.group("firmware", cls=_Commands)
def command() -> None:
    """Firmware of any full-integer .tflite, built and proven without a bucket.

    The model is audited, its firmware is generated from it (kernels, tensor facts, thresholds), the smallest tensor
    arena is found on the emulated board and reserved exactly, and frames are compared byte for byte with TFLM on this
    machine. TFLM comes from the crate registry (July 2020, portable kernels) unless TFLM_DIR and CMSIS_NN_DIR name
    source trees (`f2f firmware sources`).
    """
