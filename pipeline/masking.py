"""Passwords in addresses: what is shown or stored has `***` in their place."""

import logging
import re

from omegaconf import DictConfig, OmegaConf

USER = re.compile(  # :PASSWORD@ after ://USER, but neither ${...}, which is no password, nor :PORT/
    r"""(://[^\s:/@?#'"]*:)(?!\$\{)(?:[^\s/?#'",]*@|(?!\d{1,5}/)[^\s@'"]*@)"""
)
QUERY = re.compile(
    r"""([?&][\w.-]*(?:password|passwd|pwd|secret|token|key|signature)[\w.-]*=)(?!\$\{)[^\s&#'",\\]+""",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """Return a text without the passwords of the addresses in it."""
    return QUERY.sub(r"\1***", USER.sub(r"\1***@", text))


def masked_config(config: DictConfig) -> DictConfig:
    """Return a copy of a configuration without passwords; its interpolations are kept."""
    copy = OmegaConf.create(masked(OmegaConf.to_yaml(config)))
    assert isinstance(copy, DictConfig)
    return copy


class Masking(logging.Formatter):
    """The formatter of all that is logged."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message."""
        return masked(super().format(record))
