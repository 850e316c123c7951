"""Where settings come from and which one wins. Touches no server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.settings import own_settings, settings


@pytest.fixture
def stack_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What `f2f up` wrote into an empty data folder."""
    monkeypatch.setenv("F2F_DATA_DIR", str(tmp_path))
    file = tmp_path / "stack.env"
    file.write_text(
        "F2F_ENDPOINT_URL='http://127.0.0.1:1'\nF2F_PROFILE='f2f'\nF2F_CREDENTIALS_FILE='/stack/credentials'\n"
        "F2F_BUCKET='local'\nF2F_PUBLIC_BASE_URL='http://127.0.0.1:2'\nPREFECT_API_URL='http://127.0.0.1:3/api'\n"
    )
    settings.cache_clear()
    yield file
    settings.cache_clear()


def test_the_local_stack_is_found_when_nothing_is_set(stack_file: Path) -> None:
    where = settings()
    assert (where.endpoint_url, where.profile, where.bucket) == ("http://127.0.0.1:1", "f2f", "local")
    assert where.credentials_file == Path("/stack/credentials")
    assert own_settings().endpoint_url is None


def test_what_the_user_sets_wins(stack_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("F2F_BUCKET", "mine")
    assert settings().bucket == "mine"
    assert settings().endpoint_url == "http://127.0.0.1:1"


def test_the_local_stacks_credentials_never_go_to_another_store(
    stack_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("F2F_ENDPOINT_URL", "https://s3.example.org")
    where = settings()
    assert where.endpoint_url == "https://s3.example.org"
    assert (where.profile, where.credentials_file) == (None, None)
    assert where.public_base_url == "http://127.0.0.1:2", "reports are still served here"
