"""The one way in which this project says no: what happened, to which object, and what to do next."""


class PipelineError(Exception):
    """Something that a person can act on. Shown without a traceback by the command line.

    `message` says what happened, to which object and what is allowed; `next_step` says what to do about it.
    """

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.next_step}" if self.next_step else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders here (workers, Prefect results); keyword-only arguments would be lost.
        return (_rebuild, (type(self), self.message, self.next_step))


def _rebuild(kind: type[PipelineError], message: str, next_step: str) -> PipelineError:
    error = kind.__new__(kind)
    PipelineError.__init__(error, message, next_step=next_step)
    return error
