"""The pull step of every deployment in prefect.yaml: a flow run uses the checkout that its worker was started from.

`prefect deploy` would record the folder that it was called in, which is another one on the next machine.
"""

import os

from tasks.settings import PROJECT


def own_checkout() -> dict[str, str]:
    """Makes this checkout the working directory of the flow run, whatever machine or container that is."""
    os.chdir(PROJECT)
    return {"directory": str(PROJECT)}
