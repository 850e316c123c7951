"""One board's firmware, ordered by one machine and built by another: the two find each other's work in the bucket.

Which image an order leads to follows from tools that only the building machine has; it writes that down here.
"""

from tasks.firmware_records import FirmwareImage
from tasks.parameters import BoardLimits, FirmwareParameters, HysteresisParameters
from tasks.record import Record, Sha256
from tasks.store import Store


class FirmwareOrder(Record):
    """An order that was carried out. Its digest is known before: it says what is wanted, not what came of it."""

    IDENTITY = (
        "int8",
        "report",
        "dataset",
        "board",
        "golden_frames",
        "hysteresis",
        "limits",
        "seed",
        "code_version",
    )
    int8: Sha256  # digests of the records that the image is made from
    report: Sha256
    dataset: Sha256
    board: str
    golden_frames: int
    hysteresis: HysteresisParameters
    limits: BoardLimits
    seed: int
    code_version: Sha256  # of what makes and judges images, as the one who ordered has it
    image: Sha256  # digest of the FirmwareImage

    @property
    def key(self) -> str:
        return order_key(self.digest)


def order_key(digest: str) -> str:
    """Where the order with this digest lies once it is carried out."""
    return f"firmware/orders/{digest}.json"


def ordered_image(store: Store, digest: str) -> FirmwareImage | None:
    """The image that the order with this digest led to, its files still there; None where there is none yet."""
    order = store.find_record(order_key(digest), FirmwareOrder)
    if order is None:
        return None
    image = store.find_record(f"firmware/{order.image}/image.json", FirmwareImage)
    complete = image and all(store.exists(image.folder + name) for name in image.files)
    return image if complete else None


def golden_frames_on(board: str, parameters: FirmwareParameters) -> int:
    """How many golden frames `board` is proven on: the first of the boards gets more."""
    return parameters.golden_frames if board == parameters.boards[0] else parameters.golden_frames_others
