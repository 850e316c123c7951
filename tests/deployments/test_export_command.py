"""`f2f export` where there is nothing to export. What it writes is covered by tests/flows/test_retrain.py."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from deployments.cli import cli
from tasks.errors import PipelineError


@pytest.mark.usefixtures("this_bucket")
def test_without_a_passed_candidate_it_says_what_to_do_and_writes_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["export", str(tmp_path / "out")])
    assert isinstance(result.exception, PipelineError)
    assert "no candidate has passed" in str(result.exception)
    assert "f2f retrain" in str(result.exception)
    assert not (tmp_path / "out").exists()
