"""What this project has chosen; a team that chooses otherwise changes no test."""

import re
from pathlib import Path

import yaml

CONF = Path(__file__).parent.parent / "conf"
DATASET: str = yaml.safe_load((CONF / "../params.yaml").read_text(encoding="utf-8"))["dataset"]
TRACKING = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["tracking"]
EXPERIMENT = re.sub(r"\$\{environment:\w+,(.*)\}", r"\1", TRACKING["experiment"])


def choices(group: str, *more: str) -> str:
    """Return the names of the files of a group, as an error line lists them."""
    return ", ".join(sorted([*more, *(path.stem for path in (CONF / group).glob("*.yaml"))]))
