"""One architecture of a sweep, as the stages of the sweep hand it on."""

from pydantic import BaseModel, ConfigDict


class SweepPoint(BaseModel):
    """One architecture of a sweep. Accuracies are None where the model was not fit to be evaluated."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    alpha: float
    width: int
    height: int
    trained: str  # digests of its records
    int8: str
    report: str | None
    accuracy_fp32: float | None
    accuracy_int8: float | None
    size_bytes: int
    activation_peak_bytes: int  # liveness lower bound of the tensor arena
    macs: int
    on_front: bool = False  # no other point is at least as good in everything and better in something

    @property
    def name(self) -> str:
        return f"{self.alpha:g} · {self.width}x{self.height}"
