"""conf/ as Hydra reads it: all files as they were when the command began, each checked when chosen.

The texts travel with Hydra's configuration loader. So every worker and job composes the trials of a
sweep from the same texts, whatever has been edited since.
"""

from io import StringIO
from os.path import normpath
from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource as Published
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult
from omegaconf import OmegaConf

from pipeline.errors import UserError
from pipeline.settings import conf_files


def register() -> None:
    """Let Hydra read all folders by this class, here and in the processes of a sweep."""
    Plugins.instance()  # registers Hydra's own, which cannot be replaced before
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource


class FileConfigSource(Published):
    """The YAML files of a folder, read once.

    It has the name of Hydra's own class. When a worker registers that one again, Hydra finds a
    class of this name, and keeps it.
    """

    def __init__(self, provider: str, path: str):
        super().__init__(provider, path)
        self.texts: dict[str, str | UserError] = {}
        for file in Path(self.path).rglob("*.yaml"):
            name = file.relative_to(self.path).as_posix()
            try:
                self.texts[name] = conf_files.read(file)
            except UserError as error:  # the file may never be chosen
                self.texts[name] = error

    def load_config(self, config_path: str) -> ConfigResult:
        """Check a file and return what is in it.

        Raises
        ------
        UserError, ConfigLoadError
            If it cannot be read, or would make Hydra run code; if it is not there.
        """
        name = normpath(self._normalize_file_name(config_path))
        text = self.texts.get(name)
        if text is None:
            raise ConfigLoadError(f"{self.path}/{name} was not there when the command began")
        if isinstance(text, UserError):
            raise text
        conf_files.check(Path(self.path), config_path, text)
        config, header = OmegaConf.load(StringIO(text)), self._get_header_dict(text)
        return ConfigResult(self.provider, self.full_path(), config, header)

    def is_group(self, config_path: str) -> bool:
        """Tell whether a folder has files."""
        return any(Path(config_path) in Path(name).parents for name in self.texts)

    def is_config(self, config_path: str) -> bool:
        """Tell whether there is such a file."""
        return normpath(self._normalize_file_name(config_path)) in self.texts
