"""`f2f device add`: a device gets its token."""

import json

import click


@click.command("add")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
def command(name: str, as_json: bool) -> None:
    """Register NAME and print its token, which is stored nowhere and cannot be shown again.

    NAME is the device's folder in the bucket: 1 to 64 characters of A-Z a-z 0-9 . _ -.

    \b
    Examples:
      f2f device add hall-7
      f2f device add hall-7 --json | jq -r .token

    Exit codes: 0 added, 1 there is such a device already or the bucket does not answer.
    """
    from tasks.devices import add
    from tasks.settings import settings
    from tasks.store import open_store

    store = open_store()
    token = add(store, name)
    gate = f"http://127.0.0.1:{settings().gate_port}"
    example = upload_example(token, gate)
    if as_json:
        click.echo(json.dumps({"device": name, "token": token, "gate": gate, "example": example}, indent=1))
        return
    click.echo(f"{name} may upload. Its token, shown this once:\n\n  {token}\n")
    click.echo(f"An upload of 0001.jpg in the session first, on the device (here {gate} is the gate):\n\n{example}\n")


def upload_example(token: str, gate: str) -> str:
    """Two lines of shell that upload 0001.jpg of the current folder; curl exits with 22 where it is refused."""
    body = '{"session": "first", "files": [{"name": "0001.jpg", "sha256": "\'$(sha256sum 0001.jpg | cut -c-64)\'"}]}'
    return (
        f"curl -fsS -H 'Authorization: Bearer {token}' '{gate}/uploads?as=curl' \\\n  --data '{body}' | curl --config -"
    )
