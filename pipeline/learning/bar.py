"""A bar that grows with the epochs; where there is no terminal, a line for each."""

import logging
import shutil
from threading import RLock
from typing import Self

from tqdm import tqdm

from pipeline.learning import history
from pipeline.learning.history import Epoch

log = logging.getLogger(__name__)


class Bar:
    """The progress bar of one training.

    Parameters
    ----------
    done : int
        Epochs that were trained before this process began.
    total : int
        Epochs of the whole training.
    brief : bool
        Whether the bar vanishes at its end and logs no lines, as in a sweep, which logs a line for
        each trial.
    """

    def __init__(self, done: int, total: int, *, brief: bool = False):
        tqdm.set_lock(RLock())  # bars are not shared between processes
        columns, lines = shutil.get_terminal_size()  # 80 and 24 where the terminal says 0
        self._total, self._brief = total, brief
        self._bar = tqdm(
            total=total,
            initial=done,
            bar_format="{n_fmt}/{total_fmt} {bar} {remaining} left{postfix}",
            ncols=columns - 1,  # some terminals begin a line after the last column
            nrows=lines,
            leave=not brief,
            disable=None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, epoch: Epoch) -> None:
        """Show an epoch that has been trained."""
        shown = "  ".join(
            f"{name} {history.text(name, value)}" for name, value in epoch.metrics.items()
        )
        self._bar.set_postfix_str(
            shown.replace("accuracy", "acc").replace("  ", " "), refresh=False
        )
        self._bar.update()
        if self._bar.disable and not self._brief:
            log.info("epoch %3d/%d  %s", epoch.epoch, self._total, shown)
