"""`f2f firmware sources`: the source trees that firmware can be built from, at pinned commits."""

import json
import shlex
from pathlib import Path

import click

from deployments.firmware_sources import ensure, environment, sources_folder
from deployments.source_pins import ESP, UPSTREAM
from tasks.settings import settings


@click.command("sources")
@click.option("--esp", is_flag=True, help="Espressif's TFLM and ESP-NN kernels (board xiao-esp32s3) instead.")
@click.option(
    "--from",
    "brought",
    multiple=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Take them from here, without any network: a folder of git clones or archives named after the repositories, "
    "or a single one. Verified against the same pins. Can be given more than once.",
)
@click.option("--verify", is_flag=True, help="Hash every file of the trees that are there already.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
def command(esp: bool, brought: tuple[Path, ...], verify: bool, as_json: bool) -> None:
    """Fetch TFLM, its dependencies and CMSIS-NN from GitHub, and print how to build firmware from them.

    Each tree is that of one pinned commit; its content is checked against a SHA-256 in this program. What is there
    already is not fetched again. Without these trees firmware is built from the sources in the crate tfmicro.

    \b
    Example:   eval "$(f2f firmware sources)" && f2f firmware build model.tflite
               f2f firmware sources --from ~/clones --json | jq .environment

    \b
    Exit code: 0  all are there
               1  one could not be had, or is not what is pinned (said which and why; finished ones stay)
    """
    data_dir = settings().data_dir
    sources = ESP if esp else UPSTREAM
    places = ensure(sources, data_dir, lambda text: click.echo(text, err=True), brought=brought, verify=verify)
    variables = environment(data_dir, esp=esp)
    if as_json:
        trees = [
            {"name": s.name, "repository": s.repository, "commit": s.commit, "sha256": s.sha256}
            | {"path": str(places[s.name])}
            for s in sources
        ]
        click.echo(
            json.dumps({"folder": str(sources_folder(data_dir)), "sources": trees, "environment": variables}, indent=2)
        )
    else:
        for name, value in variables.items():
            click.echo(f"export {name}={shlex.quote(value)}")
