"""What happens, in order: thin Prefect flows."""

from flows import plain_errors

plain_errors.install()
