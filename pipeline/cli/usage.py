"""What `--help` shows: the values in force, with the comments of their files, and the choices."""

import re
import textwrap
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from ruamel.yaml import YAML

from pipeline import yaml_edit
from pipeline.masking import masked
from pipeline.settings import conf_files, params

NO_VALUES = re.compile(r"^(?:defaults|hydra):.*?(?=^[^\s#]|\Z)", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"^([^#\n]*\S) +# ", re.MULTILINE)
PARAM = re.compile(r"\$\{params:([\w.]+)\}$", re.MULTILINE)


def register() -> None:
    """Let `hydra.help.template` read `${commented_values:}` and `${options:GROUP}`."""
    OmegaConf.register_new_resolver("commented_values", _commented_values, replace=True)
    OmegaConf.register_new_resolver(
        "options",
        lambda group: ", ".join(GlobalHydra.instance().config_loader().get_group_options(group)),
        replace=True,
    )


def _commented_values(*, _root_: DictConfig) -> str:
    """Return the text of the chosen files and conf/config.yaml, with the values in force."""
    composed = OmegaConf.to_container(
        OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"]), resolve=True
    )
    assert isinstance(composed, dict)
    parts = []
    choices = HydraConfig.get().runtime.choices
    for group in [str(key) for key in composed if key in choices]:
        text = conf_files.check(params.CONF, f"{group}/{choices[group]}")
        parts.append(f"{group}:\n{textwrap.indent(text, '  ')}\n")
    config = NO_VALUES.sub("", conf_files.read(params.CONF / "config.yaml"))
    comments = _comments(YAML().load(conf_files.read(params.FILE)))
    parts.append(PARAM.sub(lambda found: found[0] + comments.get(found[1], ""), config))
    text = "".join(parts)
    written = params.leaves(conf_files.parse(text, params.CONF))
    in_force = params.leaves(composed)
    other = {k: v for k, v in in_force.items() if k not in written or written[k] != v}
    text = COMMENT.sub(lambda found: f"{found[1]:<30} # ", yaml_edit.with_values(text, other))
    return masked(text).rstrip().replace("$", "$$")  # it becomes part of a string.Template


def _comments(tree: Any, prefix: str = "") -> dict[str, str]:
    """Return the comments behind the values of a YAML file, by dotted key."""
    found = {
        f"{prefix}{key}": f"  {token[2].value.strip()}" for key, token in tree.ca.items.items()
    }
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _comments(value, f"{prefix}{key}.")
    return found
