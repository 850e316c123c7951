"""Devices: names, tokens, and what the upload URLs are for, on a real bucket. What a server does with such a URL is in
tests/deployments/test_upload_gate.py; no URL is used here.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from tasks import devices
from tasks.devices import DAY, DeviceExists, DeviceUnknown, NameInvalid, UploadRequest
from tasks.inbox import LOOK_BACK
from tasks.ingest import ingest
from tasks.parameters import SplitParameters
from tasks.store import Store
from tests.tasks.landing import raw

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "a/b", "a\\b", "a b", "a%2fb", "é", "a\n", "x" * 65, "a?b", "a'b", "a\0"]
)
def test_a_name_that_is_no_part_of_a_key_is_refused_everywhere(store: Store, name: str) -> None:
    for action in (devices.add, devices.load, devices.remove):
        with pytest.raises(NameInvalid, match="device"):
            action(store, name)
    for wanted in ({"session": name, "count": 1}, {"session": "s", "names": [name]}):
        with pytest.raises(ValidationError):
            UploadRequest.model_validate(wanted)
    assert list(store.list("")) == []


def test_the_token_is_stored_nowhere_and_only_its_owner_has_it(store: Store) -> None:
    token = devices.add(store, "hall-7")
    other = devices.add(store, "hall-8")
    everything = b"".join(store.get(item.key) for item in store.list(""))
    assert token.rpartition(".")[2].encode() not in everything
    found = devices.authenticated(store, token)
    assert found is not None
    assert found.name == "hall-7"
    assert [one.name for one in devices.devices(store)] == ["hall-7", "hall-8"]
    secret = token.rpartition(".")[2]
    swapped = f"hall-8.{secret}"
    wrong = ["", ".", "hall-7", "hall-7.", secret, f".{secret}", swapped, token + "x", token[:-1], f"nobody.{secret}"]
    wrong += [f"../devices/hall-7.{secret}", f"hall-7/../hall-7.{secret}", token.upper(), f"{token}\n", " ", "é" * 50]
    wrong += [other.replace("hall-8", "hall-7"), found.token_sha256, f"hall-7.{found.token_sha256}", "\ud800" * 44]
    assert [text for text in wrong if devices.authenticated(store, text)] == []


def test_a_second_device_of_the_name_is_refused_and_changes_nothing(store: Store) -> None:
    token = devices.add(store, "hall-7")
    with pytest.raises(DeviceExists, match="hall-7") as refused:
        devices.add(store, "hall-7")
    assert "f2f device remove hall-7" in refused.value.next_step
    assert devices.authenticated(store, token)


def test_of_eight_who_add_the_name_at_once_one_has_a_token_that_counts(store: Store) -> None:
    def add(_: int) -> str | None:
        try:
            return devices.add(store, "hall-7")
        except DeviceExists:
            return None

    with ThreadPoolExecutor(8) as pool:
        tokens = [token for token in pool.map(add, range(8)) if token]
    assert len(tokens) == 1
    assert devices.authenticated(store, tokens[0])


def test_a_removed_device_stays_removed_even_where_its_name_comes_back(store: Store) -> None:
    old = devices.add(store, "hall-7")
    devices.remove(store, "hall-7")
    assert devices.authenticated(store, old) is None
    with pytest.raises(DeviceUnknown, match="hall-7"):
        devices.remove(store, "hall-7")
    new = devices.add(store, "hall-7")
    assert devices.authenticated(store, old) is None
    assert devices.authenticated(store, new)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"names": ["1"], "count": 1},
        {"names": ["1", "1"]},
        {"files": [{"name": "1", "label": "person"}]},
        {"names": ["1"], "label": "person"},
        {"names": ["1"], "device": "hall-8"},
        {"names": ["1"], "day": "2026-01-01"},
        {"count": 0},
        {"count": 1001},
        {"count": True},
        {"count": "5"},
        {"names": [f"{n}" for n in range(1001)]},
        {"count": 1, "seconds": 0},
        {"count": 1, "seconds": 7 * DAY + 1},
        {"files": [{"name": "1", "sha256": "abc"}]},
        {"files": [{"name": "1", "captured_at": "2026-01-31T14:25:30"}]},
        {"files": [{"name": "1", "captured_at": "now\r\nx-amz-meta-label: person"}]},
    ],
)
def test_nothing_else_can_be_asked_for(wanted: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        UploadRequest.model_validate_json(json.dumps({"session": "s", **wanted}))


def test_every_url_is_for_the_devices_own_folder_and_must_not_overwrite(store: Store) -> None:
    team = Store(store.where.model_copy(update={"prefix": "team"}))
    devices.add(team, "hall-7")
    device = devices.load(team, "hall-7")
    digest = "ab" * 32
    file = {"name": "1.jpg", "sha256": digest, "captured_at": "2026-01-31T14:25:30+02:00"}
    made = devices.uploads(team, device, UploadRequest.model_validate({"session": "s", "files": [file]}), NOON)
    assert [one.key for one in made] == ["frames/2026-01-31/hall-7/s/1.jpg"]
    url = urlsplit(made[0].url)
    assert url.path == f"/{team.where.bucket}/team/frames/2026-01-31/hall-7/s/1.jpg"
    assert made[0].headers == {
        "If-None-Match": "*",
        "x-amz-meta-captured-at": "2026-01-31T12:25:30+00:00",
        "x-amz-checksum-sha256": "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=",
    }
    signed = parse_qs(url.query)["X-Amz-SignedHeaders"][0].split(";")
    assert signed == ["host", "if-none-match", "x-amz-checksum-sha256", "x-amz-meta-captured-at"]
    assert parse_qs(url.query)["X-Amz-Expires"] == ["3600"]


def test_counted_names_are_in_order_and_never_come_twice(store: Store) -> None:
    devices.add(store, "hall-7")
    device = devices.load(store, "hall-7")
    wanted = UploadRequest(session="s", count=20)
    keys = [[one.key for one in devices.uploads(store, device, wanted, NOON)] for _ in range(2)]
    assert keys[0] == sorted(keys[0])
    assert len({*keys[0], *keys[1]}) == 40


@pytest.mark.parametrize("seconds", [1, 3600, DAY, 2 * DAY, 3 * DAY, 7 * DAY])
def test_whenever_a_url_is_used_its_day_is_one_that_the_next_look_lists(seconds: int) -> None:
    for hour in range(24):
        now = datetime(2026, 1, 31, hour, 59, tzinfo=UTC)
        day = devices.landing_day(now, seconds)
        assert day >= now.date()
        if seconds <= 2 * DAY:
            assert day == now.date(), "the day is the server's own"
        assert day >= (now + timedelta(seconds=seconds)).date() - LOOK_BACK


def test_a_frame_of_a_week_old_url_is_found_though_newer_days_have_been_listed(store: Store) -> None:
    devices.add(store, "hall-7")
    device, now = devices.load(store, "hall-7"), datetime.now(UTC)
    store.put(f"frames/{now.date()}/hall-8/s/1.raw", raw(1))
    assert ingest(store, SplitParameters()).indexed == 1
    week = UploadRequest(session="s", count=1, seconds=7 * DAY)
    [old] = devices.uploads(store, device, week, now - timedelta(days=6, hours=23))
    store.put(old.key, raw(2))
    assert ingest(store, SplitParameters()).indexed == 1
