"""`f2f export`: the newest passed model, its report and its manifest in a folder."""

import json
import shutil
import tempfile
from pathlib import Path

import click

from tasks.errors import PipelineError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--candidate", "digest", help="A candidate's digest (or its first digits) instead of the newest passed.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(folder: Path, digest: str | None, as_json: bool) -> None:
    """Bring the newest passed model with report and manifest to FOLDER.

    \b
    Writes model_int8.tflite, model.keras, report.html, manifest.parquet, records/*.json, and what is flashed of every
    image in firmware/BOARD/.
    Files of an earlier export are replaced, each at once; other files in FOLDER stay.
    """
    from tasks.candidates import candidates, newest_passed
    from tasks.firmware_records import FirmwareImage
    from tasks.lineage import DatasetVersion, Int8Model, TrainedModel
    from tasks.store import open_store

    store = open_store()
    if digest:
        candidate = next((c for c in candidates(store) if c.digest.startswith(digest)), None)
    else:
        candidate = newest_passed(store)
    if candidate is None:
        raise PipelineError(
            f"no candidate {digest!r} in the bucket" if digest else "no candidate has passed its gate yet",
            next_step="run `f2f retrain`, or look at the reports of the rejected ones (`f2f status` says where)",
        )
    int8 = store.get_record(candidate.records["int8"], Int8Model)
    files = {
        "model_int8.tflite": store.get_blob(int8.tflite),
        "model.keras": store.get_blob(store.get_record(candidate.records["model"], TrainedModel).model),
        "manifest.parquet": store.get_blob(store.get_record(candidate.records["dataset"], DatasetVersion).manifest),
        "report.html": store.get(candidate.html),
        **{f"records/{name}.json": store.get(key) for name, key in candidate.records.items()},
    }
    for name, key in candidate.records.items():
        if name.startswith("firmware-"):
            image = store.get_record(key, FirmwareImage)
            flashed = [file for file in image.files if file.endswith((".elf", ".bin")) or file == "contract.json"]
            files |= {f"firmware/{image.board}/{file}": store.get(image.folder + file) for file in flashed}
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as part:  # all there before anything is replaced
        for number, data in enumerate(files.values()):
            (Path(part) / str(number)).write_bytes(data)
        for number, name in enumerate(files):
            shutil.move(Path(part) / str(number), folder / name)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "candidate": candidate.digest, "files": sorted(files)}))
    else:
        click.echo(f"candidate {candidate.digest[:12]} ({'passed' if candidate.passed else 'rejected'}):")
        for name, data in files.items():
            click.echo(f"  {folder / name}  {len(data):,} B")
