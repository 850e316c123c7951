"""The Prefect UI as a person meets it: a real headless Chromium, a real stack, a retrain from its form to the release.

Of the two UIs in Prefect 3.8 the one that a browser gets which never chose one. Does not touch what a verdict says
(tests/tasks) or what a flow stores (tests/flows).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright
from prefect.utilities.schema_tools.hydration import hydrate

from deployments import browser as installer
from deployments import stack
from deployments.prefect_server import api_url, call
from flows.parameters import RetrainParameters
from tasks.ingest import ingest
from tasks.labelled_folder import labelled_folder
from tasks.parameters import Parameters, SplitParameters
from tasks.settings import PROJECT, Settings
from tasks.store import Store
from tasks.upload import upload
from tests.conftest import free_port
from tests.flows.conftest import easy_frames  # noqa: F401 - a fixture

SECONDS = 1000.0  # Playwright counts milliseconds
PAGE_LIMIT = 60 * SECONDS
RUN_LIMIT = 480 * SECONDS
# Prefect's UI asks there how it should be watched, whatever PREFECT_SERVER_ANALYTICS_ENABLED says, and sends nothing
# more where that is false. Here it gets no answer.
PREFECTS_OWN = "sr-client-cfg.amplitude.com"

# A few steps of training, and limits that nothing can miss: what is looked at here is how it is shown.
TINY = RetrainParameters.model_validate(
    {
        "validation": {"min_frames_train": 100, "min_frames_val": 20, "min_frames_test": 20},
        "train": {
            "alpha": 0.35,
            "width": 96,
            "height": 72,
            "weights": "none",
            "head_epochs": 0,
            "fine_tune_layers": -1,
            "fine_tune_epochs": 6,
            "fine_tune_learning_rate": 2e-3,
            "augment": False,
        },
        "quantize": {"calibration_frames": 32},
        "limits": {
            "min_accuracy": 0,
            "min_recall": 0,
            "max_degradation": 1,
            "max_degradation_bound": 1,
            "min_test_frames": 40,
        },
        "firmware": {"boards": []},
        "promote": {"compare": {"min_slice_accuracy": 0}},
    }
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser; tests that need it are skipped where there is none."""
    try:
        program = installer.find_browser()
    except installer.BrowserMissing as missing:
        pytest.skip(f"needs chromium: {missing.message} ({missing.next_step})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def running(
    chromium: Browser,
    tmp_path_factory: pytest.TempPathFactory,
    s3_program: Path,
    easy_frames: Path,  # noqa: F811
) -> Iterator[Settings]:
    """The whole stack on free ports, a few hundred frames in its index. The browser first: it may be missing."""
    folder = tmp_path_factory.mktemp("ui") / "f2f"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "versitygw").symlink_to(s3_program)
    ports = {name: free_port() for name in Settings.model_fields if name.endswith("_port")}
    own = Settings(_env_file=None, data_dir=folder, **ports)  # type: ignore[call-arg, arg-type]
    try:
        # Before there is a Prefect server, so that the frames are no events and wake no watch.
        store = Store(stack.up(own, prefect=False, say=quiet))
        upload(store, labelled_folder(easy_frames, "easy-cam").files)
        assert ingest(store, SplitParameters()).new == 360
        yield stack.up(own, say=quiet)
    finally:
        stack.down(own, say=quiet)


def quiet(text: str) -> None:
    """Says nothing."""


@contextmanager
def looking(chromium: Browser, where: Settings, evidence: Path) -> Iterator[Page]:
    """A fresh browser at the server's front door. What went wrong is in a picture and the page's text in `evidence`.

    Nothing gets out: every request to another machine fails, and at the end there were none but Prefect's own.
    """
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PAGE_LIMIT)
    strangers: set[str] = set()

    def only_here(route: Route) -> None:
        strangers.add(urlsplit(route.request.url).hostname or "")
        route.abort()

    context.route(lambda url: urlsplit(url).hostname not in ("127.0.0.1", None), only_here)
    page = context.new_page()
    try:
        page.goto(f"http://127.0.0.1:{where.prefect_port}/")
        yield page
    except BaseException:
        page.screenshot(path=evidence / "page.png", full_page=True)
        (evidence / "page.txt").write_text(f"{page.url}\n\n{page.inner_text('body')}")
        print(f"what the browser showed: {evidence}/page.png, page.txt")
        raise
    finally:
        context.close()
    assert strangers <= {PREFECTS_OWN}


def open_form(page: Page, deployment: str) -> None:
    """From anywhere in the UI, as a person gets there."""
    page.get_by_role("link", name="Deployments", exact=True).first.click()
    page.get_by_role("link", name=deployment, exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    expect(page.get_by_role("button", name="Submit")).to_be_visible()
    expect(page.get_by_text(re.compile(r"^parameters( \(Optional\))?$"))).to_be_visible()


def order_nothing(page: Page) -> None:
    """From now on no run is made, whatever the page asks for."""
    page.route("**/create_flow_run", lambda route: route.abort())


def submit(page: Page) -> None:
    page.get_by_role("button", name="Submit").click()


def asked_for(request: Request) -> Any:
    """The parameters that a form sent, as the server takes them."""
    return hydrate(request.post_data_json["parameters"])["parameters"]


def defaults_of(flow: str) -> Any:
    """The parameter model's instance that the flow takes where it is given none."""
    return signature(getattr(import_module(f"flows.{flow}"), flow).fn).parameters["parameters"].default


@pytest.mark.slow
def test_forms_are_filled_bounded_and_described(chromium: Browser, running: Settings, tmp_path: Path) -> None:
    names = [item["name"] for item in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]]
    with looking(chromium, running, tmp_path) as page:
        expect(page).to_have_url(re.compile("/v2/dashboard"))
        order_nothing(page)
        for name in names:
            if name == "rollback":
                continue  # has no default: looked at below
            open_form(page, name)
            with page.expect_request("**/create_flow_run") as untouched:
                submit(page)
            default = defaults_of(name)
            assert type(default).model_validate(asked_for(untouched.value)) == default, name

        open_form(page, "retrain")
        for words in ("Train (Optional)", "Frames per training step. [1 to 512]", "Stale after (ms) (Optional)"):
            expect(page.get_by_text(words, exact=True)).to_be_visible()
        for group in RetrainParameters.model_json_schema()["$defs"]:
            expect(page.get_by_text(f"{group} (Optional)")).to_have_count(0)  # a class, and no title
        batch = page.get_by_label("Batch size")
        expect(batch).to_have_value("32")
        with page.expect_request("**/create_flow_run") as allowed:
            batch.fill("5000")
            submit(page)
            assert "512" in batch.evaluate("field => field.validationMessage")
            batch.fill("64")
            submit(page)
        assert asked_for(allowed.value)["train"]["batch_size"] == 64


@pytest.mark.slow
def test_a_rollback_is_not_started_without_a_reason(chromium: Browser, running: Settings, tmp_path: Path) -> None:
    with looking(chromium, running, tmp_path) as page:
        open_form(page, "rollback")
        expect(page.get_by_text("[3 to 500 characters]")).to_be_visible()
        submit(page)
        expect(page.get_by_text("'reason' is a required property", exact=True)).to_be_visible()
        page.get_by_label("Reason").fill("no")
        submit(page)
        expect(page.get_by_text("'no' is too short", exact=True)).to_be_visible()
        url = api_url(running.prefect_port)
        runs = {"deployments": {"name": {"any_": ["rollback"]}}}
        assert call(url, "POST", "/flow_runs/filter", runs) == []
        order_nothing(page)
        page.reload()
        page.get_by_label("Reason").fill("ghosts in the hall")
        with page.expect_request("**/create_flow_run") as reasoned:
            submit(page)
        assert asked_for(reasoned.value) == {"reason": "ghosts in the hall", "release": 0, "channel": "stable"}


@pytest.mark.slow
def test_a_retrain_from_its_form_shows_its_verdict_and_the_line_it_was_released_to(
    chromium: Browser, running: Settings, tmp_path: Path
) -> None:
    url = api_url(running.prefect_port)
    deployment = call(url, "GET", "/deployments/name/retrain/retrain")["id"]
    preset = {"parameters": {"parameters": TINY.model_dump(mode="json")}}
    call(url, "PATCH", f"/deployments/{deployment}", preset)  # to type them all would be a test of typing
    with looking(chromium, running, tmp_path) as page:
        open_form(page, "retrain")
        epochs = page.get_by_label("Fine tune epochs")
        expect(epochs).to_have_value("6")
        epochs.fill("4")
        choose(page, "Schedule", "cosine")
        expect(page.get_by_label("Dry run")).to_be_checked()
        page.get_by_label("Dry run").click()
        with page.expect_response("**/create_flow_run") as answer:
            submit(page)
        run = answer.value.json()
        wanted = TINY.model_dump()
        wanted["train"] |= {"fine_tune_epochs": 4, "schedule": "cosine"}
        wanted["promote"]["dry_run"] = False
        assert RetrainParameters.model_validate(run["parameters"]["parameters"]).model_dump() == wanted

        page.get_by_role("link", name=run["name"]).first.click()
        ended = page.get_by_text(re.compile("^(Passed|Rejected|Completed|Failed|Crashed|Cancelled)$")).first
        ended.wait_for(timeout=RUN_LIMIT)
        assert ended.inner_text() == "Passed", call(url, "GET", f"/flow_runs/{run['id']}")["state"]["message"]

        # The verdict: figures, and links that open.
        open_artifact(page, "verdict")
        expect(page.get_by_role("heading", name="Passed: all 7 rules hold")).to_be_visible()
        accuracy = page.get_by_role("row").filter(has_text=re.compile("^accuracy")).get_by_role("cell")
        expect(accuracy.nth(1)).to_have_text(re.compile(r"^\d+\.\d\d %$"))
        with following(page, "Report") as report:
            expect(report).to_have_title(re.compile("^Passed: INT8 model [0-9a-f]{12}$"))
            expect(report.get_by_role("heading", name=re.compile("^Passed"))).to_be_visible()
        with following(page, "Data Docs") as docs:
            expect(docs.get_by_text(re.compile("is fit for training"))).to_be_visible()

        # What it became: the promotion, and the line's picture.
        page.goto(f"http://127.0.0.1:{running.prefect_port}/v2/runs/flow-run/{run['id']}")
        open_artifact(page, "promotion")
        expect(page.get_by_role("heading", name=re.compile("is release 1, now in channel stable"))).to_be_visible()
        page.goto(f"http://127.0.0.1:{running.prefect_port}/v2/runs/flow-run/{run['id']}")
        open_artifact(page, "accuracy-stable")
        picture = page.locator("img[src$='/accuracy-000001.svg']")
        expect(picture).to_be_visible()
        picture.evaluate("image => image.decode()")  # rejected where it cannot be loaded
        assert picture.evaluate("image => [image.naturalWidth, image.width > 400]") == [1008, True]
        expect(page.get_by_text("release 1 in the field (revision 1); accuracy over releases")).to_be_visible()


def choose(page: Page, field: str, value: str) -> None:
    """Picks `value` in a select."""
    page.get_by_label(field).click()
    page.get_by_role("option", name=value, exact=True).click()


def open_artifact(page: Page, key: str) -> None:
    """From a run's page: the list of artifacts, the versions of this one, the newest of them."""
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_role("link", name=re.compile(rf"\b{key}\b")).first.click()
    expect(page).to_have_url(re.compile(f"/artifacts/key/{key}"))
    page.get_by_role("link", name=re.compile("^[0-9a-f]{8}$")).first.click()
    expect(page.get_by_role("tab", name="Raw")).to_be_visible()


@contextmanager
def following(page: Page, link: str) -> Iterator[Page]:
    """The page behind a link of an artifact, one of the project's own, that gives no cause for complaint."""
    target = page.get_by_role("link", name=link, exact=True).get_attribute("href")
    assert target
    complaints: list[str] = []
    opened = page.context.new_page()
    opened.on(
        "console",
        lambda said: complaints.append(f"{said.type}: {said.text}") if said.type in ("error", "warning") else None,
    )
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    answer = opened.goto(target, wait_until="load")
    assert answer
    assert answer.status == 200
    yield opened
    assert not complaints
    opened.close()


def test_who_has_no_chromium_is_told_what_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert installer.main() == 0
    assert "apt-get install --no-install-recommends chromium" in capsys.readouterr().err


@pytest.mark.parametrize("kind", Parameters.__subclasses__(), ids=lambda kind: kind.__name__)
def test_a_form_has_words_for_every_field_and_figures_for_every_bound(kind: type[Parameters]) -> None:
    for name, field in kind.model_json_schema()["properties"].items():
        assert field["title"][0].isupper(), name
        assert "_" not in field["title"]
        for bound in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength"):
            if field.get(bound):
                assert f"{field[bound]:,}".removesuffix(".0") in field["description"].rpartition("[")[2], name
