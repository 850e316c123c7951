"""The upload gate: a device with its token asks for upload URLs and gets nothing else.

    python -m deployments.upload_gate PORT [HOST]          (HOST: 127.0.0.1; TLS is a reverse proxy's work)

    POST /uploads   Authorization: Bearer TOKEN
        {"session": "hall-7", "files": [{"name": "1.jpg", "sha256": "...", "captured_at": "2026-01-31T14:25:30Z"}]}
        or only "names": ["1.jpg", ...], or only "count": 20; "seconds": how long the URLs hold (3600, at most 7 days)
    -> {"device", "expires_at", "uploads": [{"name", "key", "url", "headers"}]}; ?as=curl: what `curl -K -` reads

The device PUTs each file to its `url` with exactly those `headers`: 200 is stored, 412 is that it was there already,
403 anything else. With `sha256` an upload that breaks off leaves nothing and can be repeated; without, versitygw 1.8.0
keeps what had arrived, and its name is taken. The gate reads devices' records, and neither reads nor writes frames.
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import urlsplit

from pydantic import ValidationError

from deployments.bounded_server import HEALTH, BoundedServer, JsonHandler, Refused
from tasks.devices import ALLOWED, Device, Upload, UploadRequest, authenticated, uploads
from tasks.store import Store, StoreError, open_store

UPLOADS = "/uploads"
MOST_BYTES = 512 * 1024  # of a request: a thousand files with digests and times take 220 KB


class Handler(JsonHandler):
    """POST /uploads and the health check."""

    store: Store

    def route(self) -> None:
        address = urlsplit(self.path)
        if address.path == HEALTH and self.command in ("GET", "HEAD"):
            return self.answer(HTTPStatus.OK, b'{"ok": true}\n')
        if address.path != UPLOADS:
            raise Refused(HTTPStatus.NOT_FOUND, "no_such_path", f"there is only POST {UPLOADS}")
        if self.command != "POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "method", f"{UPLOADS} takes POST", Allow="POST")
        try:
            # The token first: nobody else's body is read.
            device = self._device()
            wanted = _wanted(self.body(MOST_BYTES))
            now = datetime.now(UTC)
            made = uploads(self.store, device, wanted, now)
        except StoreError as error:
            self.log_message("%s", str(error).replace("\n", " "))
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE, "store_away", "the bucket does not answer; try again", Retry_After="10"
            ) from error
        if address.query == "as=curl":
            return self.answer(HTTPStatus.OK, curl_config(made).encode(), "text/plain; charset=utf-8")
        expires_at = (now + timedelta(seconds=wanted.seconds)).isoformat(timespec="seconds")
        found = {"device": device.name, "expires_at": expires_at, "uploads": [one._asdict() for one in made]}
        return self.answer(HTTPStatus.OK, json.dumps(found).encode() + b"\n")

    def _device(self) -> Device:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        device = authenticated(self.store, token.strip()) if kind.lower() == "bearer" else None
        if device is None:
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "bad_token",
                "send the device's token: Authorization: Bearer TOKEN",
                WWW_Authenticate="Bearer",
            )
        self.who = f"device {device.name}"
        return device


def curl_config(made: list[Upload]) -> str:
    """The uploads of files in the current folder, for `curl --config`."""
    lines = []
    for upload in made:
        # --fail: a refusal is an exit code; --next: options are of one transfer only.
        lines += [f'url = "{upload.url}"', f'upload-file = "{upload.name}"', "fail", "silent", "show-error"]
        lines += [f'header = "{name}: {value}"' for name, value in upload.headers.items()]
        lines.append("next")
    return "\n".join(lines[:-1]) + "\n"


def _wanted(body: bytes) -> UploadRequest:
    try:
        return UploadRequest.model_validate_json(body)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors()[:3]]
        hint = (
            f"; names are {ALLOWED}" if any(one["type"] == "string_pattern_mismatch" for one in error.errors()) else ""
        )
        raise Refused(HTTPStatus.BAD_REQUEST, "bad_request", "; ".join(faults) + hint) from error


def make_server(store: Store, port: int, host: str = "127.0.0.1", *, seconds: float = 30) -> BoundedServer:
    """A gate on `host`:`port` (0: any free port) for `store`; call `serve_forever` on it."""
    return BoundedServer(host, port, type("BoundHandler", (Handler,), {"store": store}), seconds=seconds)


def main() -> None:
    """Serves the bucket of this process's settings until it is stopped."""
    with make_server(open_store(), int(sys.argv[1]), *sys.argv[2:3]) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
