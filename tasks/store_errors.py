"""What the bucket can answer that is not success."""

from tasks.errors import PipelineError


class StoreError(PipelineError):
    """Base of everything the bucket can answer that is not success."""


class StoreUnreachable(StoreError):
    """No answer from the endpoint."""


class AccessRefused(StoreError):
    """Credentials missing, wrong, or not allowed to do this."""


class BucketMissing(StoreError):
    """The endpoint answers, the bucket does not exist."""


class ObjectMissing(StoreError):
    """No object under this key."""


class ConditionsIgnored(StoreError):
    """The store accepts conditional writes and does not honour them: concurrent runs would overwrite each other."""


class RecordDamaged(StoreError):
    """An object that should hold a record and does not."""


class DigestMismatch(StoreError):
    """A blob's bytes are not what its name says."""


class ConditionFailed(StoreError):
    """A conditional write lost (412, or AWS's 409)."""
