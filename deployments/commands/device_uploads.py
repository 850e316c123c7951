"""`f2f device uploads`: upload URLs without the gate."""

import click


@click.command("uploads")
@click.argument("name")
@click.option("--session", required=True, help="The session that the frames belong to.")
@click.option("--count", required=True, type=click.IntRange(1, 1000), help="How many URLs, for one frame each.")
@click.option("--days", default=1, show_default=True, type=click.IntRange(1, 7), help="How long they hold.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with keys, URLs and headers.")
def command(name: str, session: str, count: int, days: int, as_json: bool) -> None:
    """Print COUNT upload URLs for the device NAME, one a line, for a device that cannot reach the gate.

    Each URL creates one object once, by a PUT with the header `If-None-Match: *`. Whoever holds a URL can use it, and
    nobody can take it back before it expires. Send Content-MD5 as well: without a digest versitygw 1.8.0 keeps what
    had arrived of an upload that broke off.

    \b
    Examples:
      f2f device uploads hall-7 --session monday --count 20 --days 7 > urls
      curl -f -T 1.jpg -H 'If-None-Match: *' -H "Content-MD5: $(openssl md5 -binary 1.jpg | base64)" "$(sed -n 1p urls)"

    Exit codes: 0 printed, 1 there is no such device or the bucket does not answer, 2 wrong usage.
    """
    import json
    from datetime import UTC, datetime, timedelta

    from tasks.devices import DAY, UploadRequest, checked, load, uploads
    from tasks.store import open_store

    wanted = UploadRequest(session=checked(session, "session"), count=count, seconds=days * DAY)
    store, now = open_store(), datetime.now(UTC)
    made = uploads(store, load(store, name), wanted, now)
    expires_at = (now + timedelta(days=days)).isoformat(timespec="seconds")
    if as_json:
        found = {"device": name, "expires_at": expires_at, "uploads": [one._asdict() for one in made]}
        click.echo(json.dumps(found, indent=1))
        return
    for one in made:
        click.echo(one.url)
    click.echo(f"{count} URLs until {expires_at}; each PUT needs the header If-None-Match: *", err=True)
