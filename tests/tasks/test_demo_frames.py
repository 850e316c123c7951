"""The composed demo frames and the folder they are written to; the real importer reads the manifest.

Not touched: what a network makes of them (benchmarks/demo_clues.py), and the network, which nothing here may use.
"""

import hashlib
import socket
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from deployments.commands.demo_frames import command
from tasks import demo_folder
from tasks.demo_folder import MANIFEST, MARKER, write_frames
from tasks.demo_frames import DemoFrame, _mixed, compose
from tasks.demo_scenes import DEVICES, ELLIPSE, matched, material, photograph, standardised
from tasks.errors import PipelineError
from tasks.lineage import CLASSES, SPLITS

COUNT = 400


@pytest.fixture(scope="module")
def frames() -> list[DemoFrame]:
    return list(compose(COUNT, 0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "frames"
    write_frames(path, count=60, seed=0)
    return path


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_equal_arguments_give_equal_frames(frames: list[DemoFrame]) -> None:
    for one, two in zip(frames, compose(COUNT, 0), strict=True):
        assert np.array_equal(one.pixels, two.pixels)
        assert (one.file, one.session, one.split) == (two.file, two.session, two.split)


def test_another_seed_gives_other_frames_in_other_sessions(frames: list[DemoFrame]) -> None:
    others = list(compose(60, 1))
    assert not {f.session for f in frames} & {f.session for f in others}
    assert not {f.pixels.tobytes() for f in frames} & {f.pixels.tobytes() for f in others}


def test_nothing_comes_from_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    material.cache_clear()
    assert len(list(compose(10, 0))) == 10


def test_frames_are_what_the_camera_delivers(frames: list[DemoFrame]) -> None:
    for frame in frames:
        assert frame.pixels.shape == (120, 160)
        assert frame.pixels.dtype == np.uint8
        assert 20 < frame.pixels.mean() < 235
        assert frame.pixels.std() > 10


def test_half_of_the_frames_are_person_in_every_split_and_device(frames: list[DemoFrame]) -> None:
    counts = Counter((f.split, f.label) for f in frames)
    for split in SPLITS:
        assert counts[split, "person"] == counts[split, "no_person"] > 0
    devices = Counter((f.device, f.label) for f in frames)
    assert set(DEVICES) == {f.device for f in frames}
    for device in DEVICES:
        assert devices[device, "person"] == devices[device, "no_person"] > 0


def test_no_two_frames_are_the_same(frames: list[DemoFrame]) -> None:
    assert len({f.pixels.tobytes() for f in frames}) == len({f.file for f in frames}) == COUNT


def test_a_session_has_one_split_one_device_and_one_label(frames: list[DemoFrame]) -> None:
    sessions = defaultdict(set)
    for frame in frames:
        sessions[frame.session].add((frame.split, frame.device, frame.label))
    assert all(len(found) == 1 for found in sessions.values())
    assert COUNT / 2 < len(sessions) < COUNT


def test_sources_never_cross_splits() -> None:
    seen: dict[bytes, str] = {}
    for split, source in material().items():
        for patch in (
            *source.faces,
            *source.others,
            *(region for scenes in source.scenes.values() for region in scenes),
        ):
            assert seen.setdefault(np.ascontiguousarray(patch).tobytes(), split) == split
    assert [len(material()[split].faces) for split in SPLITS] == [65, 15, 20]


def test_what_stands_in_for_a_face_has_its_gray_levels_and_sharpness() -> None:
    source = material()["train"]
    alike = []
    for face, other in zip(source.faces[:20], source.others[::150], strict=False):
        twin = matched(other, face)
        assert abs(standardised(twin[None])[0] - twin).max() < 0.3  # about mean 0 and deviation 1 under the ellipse
        steps = [np.abs(np.diff(patch[8:17, 8:17])).mean() for patch in (face, twin)]
        assert 0.4 < steps[1] / steps[0] < 2.5
        alike.append(
            [np.corrcoef((twin * ELLIPSE).ravel(), (patch * ELLIPSE).ravel())[0, 1] for patch in (other, face)]
        )
    assert np.mean(alike, axis=0)[0] > 0.4  # still shows what it did, and no face
    assert np.mean(alike, axis=0)[1] < 0.25


def test_every_face_of_a_split_is_shown() -> None:
    rng = np.random.default_rng(0)
    for split in SPLITS:
        faces = material()[split].faces
        shown = np.stack([_mixed(faces, rng) for _ in range(20 * len(faces))])
        main = (shown[:, None] * faces[None] * ELLIPSE).mean((2, 3)).argmax(1)  # which face it is most like
        assert len(set(main)) > 0.9 * len(faces)


def test_an_unknown_photograph_is_named() -> None:
    with pytest.raises(PipelineError, match="'eagle' ships with neither"):
        photograph("eagle")


def test_the_folder_holds_both_classes_and_the_manifest(folder: Path) -> None:
    lines = (folder / MANIFEST).read_text().splitlines()
    assert lines[0] == "file,label,device,session,split,captured_at"
    assert len(lines) == 61
    assert {path.name for path in folder.iterdir()} == {*CLASSES, MANIFEST, MARKER}
    for line in lines[1:]:
        file, label, *_ = line.split(",")
        assert file.startswith(f"{label}/")
        assert (folder / file).is_file()


def test_the_importer_takes_every_row_of_the_manifest(folder: Path) -> None:
    from tasks.image_manifest import from_manifest

    found = from_manifest(folder, folder / MANIFEST, "demo", [])
    assert not found.refused_rows
    assert len(found.files) == 60


def test_every_frame_is_accepted_by_the_frame_check(folder: Path) -> None:
    from deployments.commands.check_frames import command as check_frames

    result = CliRunner().invoke(check_frames, [str(folder), "--json"])
    accepted = result.stdout.count('"ok": true') + result.stdout.count('"ok":true')
    assert accepted >= 60, result.stdout[:2000]


def test_a_second_run_writes_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    result = write_frames(folder, count=60, seed=0)
    assert (result.written, result.kept) == (0, 60)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_interrupted_run_goes_on(tmp_path: Path, folder: Path) -> None:
    def stop(done: int, total: int, unit: str) -> None:
        if done == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_frames(tmp_path / "x", count=60, seed=0, progress=stop)
    assert not (tmp_path / "x" / MANIFEST).exists()
    result = write_frames(tmp_path / "x", count=60, seed=0)
    assert (result.written, result.kept) == (35, 25)
    assert contents(tmp_path / "x") == contents(folder)


def test_a_damaged_frame_is_written_again(tmp_path: Path) -> None:
    write_frames(tmp_path / "x", count=20, seed=0)
    before = contents(tmp_path / "x")
    victims = sorted((tmp_path / "x" / "person").iterdir())
    victims[0].write_bytes(b"")
    victims[1].unlink()
    assert write_frames(tmp_path / "x", count=20, seed=0).written == 2
    assert contents(tmp_path / "x") == before


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(PipelineError, match="was not made by"):
        write_frames(tmp_path, count=20, seed=0)
    assert contents(tmp_path) == {"holiday.jpg": hashlib.sha256(b"mine").hexdigest()}


def test_frames_of_other_parameters_are_not_mixed(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(PipelineError, match="count 60, seed 0; asked for version 1, count 60, seed 1"):
        write_frames(folder, count=60, seed=1)
    assert contents(folder) == before


@pytest.mark.parametrize("marker", ["", "[]", "{}", "\x00", '{"version": 1}', "null"])
def test_a_broken_marker_is_named(tmp_path: Path, marker: str) -> None:
    (tmp_path / MARKER).write_text(marker)
    with pytest.raises(PipelineError, match="cannot be read"):
        write_frames(tmp_path, count=20, seed=0)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(PipelineError, match="is a file"):
        write_frames(tmp_path / "x", count=20, seed=0)


def test_the_command_prints_only_json_where_asked(tmp_path: Path) -> None:
    import json

    result = CliRunner().invoke(command, [str(tmp_path / "x"), "--count", "20", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "folder": str(tmp_path / "x"),
        "frames": 20,
        "written": 20,
        "kept": 0,
        "manifest": str(tmp_path / "x" / MANIFEST),
    }


@pytest.mark.parametrize("arguments", [["--count", "19"], ["--seed", "-1"], ["--cont", "20"]])
def test_wrong_usage_is_refused_before_anything_is_written(tmp_path: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(command, [str(tmp_path / "x"), *arguments])
    assert result.exit_code == 2
    assert not (tmp_path / "x").exists()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PipelineError, match="package 'skimage', which is not installed"):
        photograph("brick")


def test_the_marker_names_every_file(folder: Path) -> None:
    import json

    named = json.loads((folder / MARKER).read_text())["files"]
    assert set(named) == set(contents(folder)) - {MARKER}
    assert demo_folder.MANIFEST in named
