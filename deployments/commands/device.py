"""`f2f device`: who may upload frames."""

import click

from deployments.lazy_group import Commands, LazyGroup

COMMANDS: Commands = {
    "add": ("deployments.commands.device_add", "Register a device and print its token, once."),
    "list": ("deployments.commands.device_list", "List the devices that may upload."),
    "remove": ("deployments.commands.device_remove", "End a device's token."),
    "uploads": ("deployments.commands.device_uploads", "Print upload URLs for a device that cannot ask for them."),
}


class _Commands(LazyGroup):
    lazy = COMMANDS


@click.group("device", cls=_Commands)
def command() -> None:
    """Devices that may upload frames and nothing more.

    A device holds a token and no S3 credentials. For the token the upload gate (`f2f up` starts it, F2F_GATE_PORT)
    gives it presigned URLs, each of which creates one object below frames/DAY/DEVICE/ once: with it nothing can be
    read, listed, overwritten or deleted. Labels are not a device's to give.

    Devices reach the bucket at F2F_DEVICE_ENDPOINT_URL where that is another address than this machine's
    (F2F_ENDPOINT_URL): a URL holds only for the host name that it was signed for, so a proxy in between has to pass the
    Host header on unchanged.
    """
