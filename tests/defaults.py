"""What this project has chosen; a team that chooses otherwise changes no test."""

from pathlib import Path

import yaml

CONF = Path(__file__).parent.parent / "conf"
EXPERIMENT = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["tracking"][
    "experiment"
]


def choices(group: str, *more: str) -> str:
    """Return the names of the files of a group, as an error line lists them."""
    return ", ".join(sorted([*more, *(path.stem for path in (CONF / group).glob("*.yaml"))]))
