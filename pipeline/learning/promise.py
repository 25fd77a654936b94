"""On which machines a training has the same bits."""

from pipeline import schedules
from pipeline.models import is_exact
from pipeline.optimizers import EXACT, OPTIMIZERS
from pipeline.settings.schema import Mode


def trains_exactly(mode: Mode, model: str, optimizer: str) -> bool:
    """Tell whether both model and optimizer compute with the operations of pipeline/exact."""
    return is_exact(mode, model) and OPTIMIZERS[optimizer] in EXACT


def promise(mode: Mode, model: str, optimizer: str, schedule: str) -> str:
    """Return on which machines a training has the same bits, as the end of a sentence."""
    if mode == "off":
        return "no other machine, and perhaps not twice on this one"
    if mode == "machine":
        return "processors of the same kind"
    exact = trains_exactly(mode, model, optimizer) and schedules.is_exact(schedule)
    return "every machine" if exact else "x86-64 with AVX2"
