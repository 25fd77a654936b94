"""Every key of params.yaml and conf/, wrong in every way: one line, and nothing is touched.

The keys are those that the files have, so that one that is added is tried too. A key of each kind
of file goes through the command. Else Hydra composes each file once, and what is wrong is put into
what it has composed.
"""

import copy
import inspect
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from pipeline.errors import UserError
from pipeline.models import MODELS
from pipeline.optimizers import OPTIMIZERS
from pipeline.readers import READERS, options_of
from pipeline.settings import params
from pipeline.settings.check import check
from pipeline.settings.compose import in_force, load
from pipeline.settings.dataset import Dataset
from tests.conftest import COPIED, ROOT, Project
from tests.conftest import PARAMS as TINY
from tests.defaults import DATASET
from tests.forks import Forks, forking

GROUPS = ("dataset", "model", "optimizer")
FILES = [
    "params.yaml",
    "conf/config.yaml",
    *sorted(
        f"conf/{group}/{path.name}"
        for group in GROUPS
        for path in (ROOT / "conf" / group).glob("*.yaml")
    ),
]
OF_EACH_KIND = [
    next(file for file in FILES if file.startswith(kind))
    for kind in ("params.yaml", "conf/config.yaml", *(f"conf/{group}" for group in GROUPS))
]
PARAMS = TINY.replace("tiny", DATASET)
CHOICE = f"dataset: {DATASET}"
HYDRAS = ("defaults", "hydra")  # keys of conf/config.yaml that are code
SHARED = ("seed", "train")
MAY_BE_BELOW_ZERO = {("model", "weight"), ("model", "bias")}
OURS = {"adam", "logistic_regression", "mlp", "sgd"}  # the options of others may be so too
Key = tuple[str | int, ...]
Checked = Callable[[str, Any], str | None]


def content(name: str) -> Any:
    text = PARAMS if name == "params.yaml" else (ROOT / name).read_text(encoding="utf-8")
    return OmegaConf.to_container(OmegaConf.create(text), resolve=False)


def keys(tree: Any, above: Key = ()) -> Iterator[Key]:
    """Yield the path of every key, of sections and of mappings in lists too."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in pairs:
        if not above and key in HYDRAS:
            continue
        if isinstance(tree, dict):
            yield (*above, key)
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, dict):
            yield from keys(value, (*above, key))


def parent(tree: Any, key: Key) -> Any:
    for part in key[:-1]:
        tree = tree[part]
    return tree


def mutations(tree: Any, key: Key) -> Iterator[tuple[str, Any]]:
    """Yield a name and the content of a file in which one key is wrong."""

    def changed(value: Any, name: str | int = key[-1]) -> Any:
        other = copy.deepcopy(tree)
        parent(other, key)[name] = value
        return other

    value = parent(tree, key)[key[-1]]
    yield "of a wrong type", changed([[]])
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield "out of range", changed(-1)
    if next(iter(parent(tree, key))) == key[-1]:
        yield "unknown", changed(1, f"{key[-1]}x")
    missing = copy.deepcopy(tree)
    del parent(missing, key)[key[-1]]
    yield "missing", missing


def has_default(group: str, tree: Any, key: Key) -> bool:
    if group == "dataset" and key[0] == "options":
        parameters = inspect.signature(READERS[tree["reader"]]).parameters
        return len(key) == 1 or parameters[str(key[1])].default is not inspect.Parameter.empty
    if group == "dataset" and len(key) == 1:
        return not Dataset.model_fields[str(key[0])].is_required()
    table: Any = {"model": MODELS, "optimizer": OPTIMIZERS}.get(group, {})
    parameters = inspect.signature(table[tree["name"]]).parameters if table else {}
    name = str(key[-1])
    return name in parameters and parameters[name].default is not inspect.Parameter.empty


def of_others(group: str, tree: Any) -> bool:
    return group in ("model", "optimizer") and tree["name"] not in OURS


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project's own files, without git."""
    folder = tmp_path_factory.mktemp("bad") / "my project"
    for name in COPIED:
        copy_of = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy_of(ROOT / name, folder / name)
    (folder / "params.yaml").write_text(PARAMS, encoding="utf-8")
    return Project(folder)


@pytest.fixture(scope="module")
def run(project: Project) -> Iterator[Forks]:
    with forking(project) as forks:
        yield forks


@pytest.fixture(scope="module")
def checked(project: Project) -> Checked:
    """Return the check of a file's other content, in what Hydra has composed of the right one."""
    made: dict[str, Any] = {}

    def line_of(name: str, wrong: Any) -> str | None:
        with chdir(project.folder), params.resolving_from(params.load()):
            if name not in made:
                with initialize_config_dir(str(project / "conf"), version_base="1.3"):
                    made[name] = compose("config", chosen(name), return_hydra_config=True)
            right = OmegaConf.to_container(made[name], resolve=False)
            assert isinstance(right, dict)
            groups = {group: right[group] for group in GROUPS}
            values = {key: value for key, value in right.items() if key != "hydra"}
            if name == "conf/config.yaml":
                values = groups | {key: wrong[key] for key in wrong if key not in HYDRAS}
            else:
                values[Path(name).parent.name] = wrong
            with in_force(made[name]):
                return said(lambda: options_of(check(OmegaConf.create(values)).dataset))

    return line_of


def said(made: Callable[[], object]) -> str | None:
    """Return the line that refuses a configuration, if it is refused."""
    try:
        made()
    except UserError as error:
        return str(error)
    return None


def loaded(project: Project, *overrides: str) -> str | None:
    """Return the line that refuses the files as they are, without a command."""
    with chdir(project.folder):
        return said(lambda: load(overrides))


def tree(project: Project) -> dict[Path, tuple[int, int]]:
    stats = {path: path.stat() for path in project.folder.rglob("*") if path.is_file()}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


def chosen(name: str) -> list[str]:
    """Return the override that makes a file of a group the chosen one."""
    path = Path(name)
    return [f"{path.parent.name}={path.stem}"] if path.parent.name in GROUPS else []


@contextmanager
def holding(project: Project, name: str, text: str | bytes) -> Iterator[None]:
    """Let a file have another content."""
    path = project / name
    before = path.read_bytes()
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    try:
        yield
    finally:
        path.write_bytes(before)


def refused(run: Forks, project: Project, name: str, text: str | bytes) -> str | None:
    """Compose with another content of a file; return the line that refuses it, if it is refused."""
    with holding(project, name, text):
        files = tree(project)
        done = run(*chosen(name))
        assert tree(project) == files
    assert done.seconds < 1
    if done.composed:
        return None
    assert done.code == 1, done.said
    assert done.said.startswith("train: ")
    (line,) = done.said.splitlines()
    return line.removeprefix("train: ")


def test_nothing_is_wrong_with_the_files_as_they_are(run: Forks) -> None:
    for name in FILES:
        assert run(*chosen(name)).composed


KEYS = [(name, key) for name in FILES for key in keys(content(name))]
BY_COMMAND = [  # and one that two files share
    *(next(one for one in KEYS if one[0] == name) for name in OF_EACH_KIND),
    ("conf/config.yaml", ("determinism",)),
    ("params.yaml", ("train", "epochs")),
]


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_every_key(run: Forks, project: Project, checked: Checked, name: str, key: Key) -> None:
    group = Path(name).parent.name
    whole = content(name)
    # conf/config.yaml repeats these keys of params.yaml: the two are compared before Hydra composes
    either = name == "conf/config.yaml" and key[0] in SHARED
    for what, wrong in mutations(whole, key):
        text = yaml.safe_dump(wrong, sort_keys=False)
        if either or name == "params.yaml":
            with holding(project, name, text):
                line = loaded(project)
        else:
            line = checked(name, wrong)
        if (name, key) in BY_COMMAND:
            assert refused(run, project, name, text) == line
        if line is None:
            assert (what == "missing" and has_default(group, whole, key)) or (
                what == "out of range"
                and ((group, key[-1]) in MAY_BE_BELOW_ZERO or of_others(group, whole))
            ), f"{name}: {key} {what} was taken"
            continue
        places = (name, "params.yaml") if either else (name,)
        assert line.startswith(tuple(f"{place}: " for place in places)), f"{what}: {line}"
        assert str(key[-1]) in line, f"{what}: {line}"


ALIASES = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}' if before else 'x'] * 9)}]\n"
    for before, name in zip(["", *"abcdefgh"], "abcdefghi", strict=True)
)
TRAPS = {
    "empty": (b"", "is empty"),
    "a comment": (b"# nothing else\n", "is empty"),
    "a list": (b"- 1\n", "must hold keys and values"),
    "a word": (b"word\n", "must hold keys and values"),
    "a tab": (b"a:\n\tb: 1\n", "line 2: is not valid YAML: found character that cannot start"),
    "an open bracket": (b"a: [1\n", "line 2: is not valid YAML: did not find expected"),
    "a key twice": (b"a: 1\nb: 2\na: 1\n", "line 3: is not valid YAML: found duplicate key a"),
    "a number as a key": (b"1: 2\n", "line 1: is not valid YAML: a key is not text"),
    "a list as a key": (b"[a]: 2\n", "line 1: is not valid YAML: a key is not text"),
    "two documents": (b"a: 1\n---\nb: 1\n", "line 2: is not valid YAML: but found another"),
    "a control character": (b"a: \x01\n", "is not valid YAML: unacceptable character #x0001"),
    "not UTF-8": (b"a: \xff\n", "is not UTF-8 text (byte 3): save it as UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "is not UTF-8 text (byte 0)"),
    "an octal number": (b"a: 1\nb: 010\n", "line 2: 010 is one number to YAML 1.1 and another to"),
    "a number to the base of 60": (b"a: 1:30\n", "line 1: 1:30 is one number to YAML 1.1 and an"),
    "nothing to refer to": (b"a: *b\n", "line 1: aliases (*) are not supported"),
    "a billion laughs": (ALIASES.encode(), "line 2: aliases (*) are not supported"),
    "itself": (b"a: &a [*a]\n", "line 1: aliases (*) are not supported"),
    "a tag": (b"a: !!set {b, c}\n", "line 1: tags (!!set) are not supported"),
    "an object": (b"a: !!python/object/apply:os.getcwd []\n", "line 1: tags (!!python/object"),
    "half a reference": (b"a: ${b\n", "is not valid YAML: "),
    "too many digits": (b"a: " + b"9" * 5000, "is not valid YAML: Exceeds the limit"),
    "too deep": (b"a: " + b"[" * 30 + b"]" * 30, "line 1: is nested more than 20 deep"),
    "much too deep": (
        b"a: " + b"[" * 90_000,
        "line 1: is not valid YAML: exceeded maximum nesting",
    ),
    "10 MB": (b"a: " + b"x" * 10_000_000, "is larger than 100,000 bytes"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_every_file_with(run: Forks, project: Project, trap: str) -> None:
    text, message = TRAPS[trap]
    assert str(refused(run, project, "params.yaml", text)).startswith(f"params.yaml: {message}")
    for name in OF_EACH_KIND:
        with holding(project, name, text):
            before = time.process_time()
            assert str(loaded(project, *chosen(name))).startswith(f"{name}: {message}")
            assert time.process_time() - before < 1


@pytest.mark.parametrize(
    ("old", "new", "composed"),
    [
        ("learning_rate: 0.1", "learning_rate: 1e-3", '"learning_rate":0.001'),
        ("learning_rate: 0.1", "learning_rate: 1", '"learning_rate":1.0'),
        ("  epochs: 3", "  <<: {epochs: 4}", '"epochs":4'),
        ("# What differs", "\ufeff# What differs", '"epochs":3'),
        ("batch_size: 16", "batch_size: ~", '"batch_size":null'),
    ],
)
def test_what_only_looks_wrong(
    run: Forks, project: Project, old: str, new: str, composed: str
) -> None:
    before = (project / "params.yaml").read_text(encoding="utf-8")
    try:
        project.edit("params.yaml", old, new)
        assert composed in run().said
    finally:
        (project / "params.yaml").write_text(before, encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 0", "seed: no", "seed should be a valid integer, not false"),
        ("seed: 0", "seed: ${oc.env:HOME}", "seed should be a valid integer, not '${oc.env:HOME}'"),
        (CHOICE, "dataset: no", "dataset: there is no false; choose one of"),
        (CHOICE, "dataset:", "dataset: there is no null; choose one of"),
        (CHOICE, "dataset: [mnist]", 'dataset: there is no ["mnist"]; choose one of'),
        ("learning_rate: 0.1", "learning_rate: .inf", "train.learning_rate should be a finite"),
        ("learning_rate: 0.1", "learning_rate: 1e999", "train.learning_rate should be a finite"),
        ("epochs: 3", "epochs: 99999999999", "train.epochs should be less than 2147483648"),
        ("batch_size: 16", "batch_size: 1e3", "train.batch_size should be a valid integer"),
        ("learning_rate: 0.1", "learning_rate: on", "train.learning_rate should be a valid number"),
        ("train:\n", "train: {}\nrest:\n", "train should hold train.epochs, train.batch_size"),
    ],
)
def test_a_value_of_another_kind(project: Project, old: str, new: str, message: str) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert old in text
    with holding(project, "params.yaml", text.replace(old, new)):
        assert str(loaded(project)).startswith(f"params.yaml: {message}")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("${nothing}", "model.hidden: Interpolation key 'nothing' not found"),
        ("${nothing:1}", "model.hidden: Unsupported interpolation type nothing"),
        ("${.hidden}", "model.hidden: Recursive interpolation detected"),
        ("???", "model.hidden: Missing mandatory value: hidden"),
        ("2001-01-01", "model.hidden should be a valid list, not '2001-01-01'"),
    ],
)
def test_a_value_that_is_not_there(checked: Checked, value: str, message: str) -> None:
    name = "conf/model/mlp.yaml"
    assert checked(name, {"name": "mlp", "hidden": value}) == f"{name}: {message}"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("reader", "csv", f"there is no 'csv'; choose one of {', '.join(sorted(READERS))}"),
        ("scale", "log", "should be 'bytes', 'minmax', 'standardise' or 'none', not 'log'"),
        ("split", 1.5, "should be files, or a share between 0 and 1, not 1.5"),
        ("split", "file", "should be files, or a share between 0 and 1, not 'file'"),
        ("validation", "first", "should be 'last' or 'stratified', not 'first'"),
        ("classes", ["a", "b", "a"], "must be different names, but 'a' stands there twice"),
        ("shape", [], "List should have at least 1 item after validation, not 0"),
        ("files", {"../x": "0" * 64}, "must be paths below data/raw/, not '../x'"),
        ("files", {"/x": "0" * 64}, "must be paths below data/raw/, not '/x'"),
    ],
)
def test_a_key_of_a_data_set(checked: Checked, key: str, value: Any, message: str) -> None:
    name = f"conf/dataset/{DATASET}.yaml"
    line = checked(name, content(name) | {key: value})
    assert str(line).startswith(f"{name}: dataset.{key} {message}") or line == (
        f"{name}: dataset.{key}: {message}"
    )


@pytest.mark.parametrize(
    ("file", "name", "message"),
    [
        ("copy", "mnist", "must be 'copy', as the file is called, not 'mnist'"),
        ("a b", "a b", "must be letters (a to z), digits, _, - and .: a folder has this name"),
        ("zéro", "zéro", "must be letters (a to z), digits, _, - and .: a folder has this name"),
        (".a", ".a", "must be letters (a to z), digits, _, - and .: a folder has this name"),
        ("copy", "../../copy", "must be letters (a to z), digits, _, - and .: a folder has this"),
    ],
)
def test_a_data_set_has_a_folder_of_its_own(
    project: Project, file: str, name: str, message: str
) -> None:
    path = project / f"conf/dataset/{file}.yaml"
    wrong = content(f"conf/dataset/{DATASET}.yaml") | {"name": name}
    path.write_text(yaml.safe_dump(wrong), encoding="utf-8")
    try:
        line = str(loaded(project, f"dataset='{file}'"))
    finally:
        path.unlink()
    assert line.startswith(f"conf/dataset/{file}.yaml: dataset.name {message}")
    assert "\n" not in line


def test_files_that_are_not_chosen_stop_nothing(run: Forks, project: Project) -> None:
    groups = [*GROUPS, "experiment", "hydra/launcher"]
    paths = [project / f"conf/{group}/other.yaml" for group in groups]
    for path in paths:
        path.write_text("a: [\n", encoding="utf-8")
    try:
        assert run().composed
        for group in groups:
            choice = f"{'+' * (group == 'experiment')}{group}=other"
            line = f"train: conf/{group}/other.yaml: line 2: is not valid YAML: "
            assert run(choice).said.startswith(line)
            assert run("-m", "seed=1,2", choice).said.startswith(line)
    finally:
        for path in paths:
            path.unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hydra/launcher=x"], "hydra/launcher: there is no 'x'; choose one of basic, joblib, "),
        (["hydra/sweeper="], "hydra/sweeper: there is no ''; choose one of basic, optuna"),
        (["hydra/job_logging=x"], "hydra/job_logging: there is no 'x'; choose one of default, "),
        (["+hydra/launcher=joblib"], "hydra/launcher has a value: use hydra/launcher=joblib"),
        (["+model=mlp"], "model has a value: use model=mlp"),
        (["--cfg", "job"], "Only one of --run, --multirun, --cfg, --info and --shell_completion"),
    ],
)
def test_a_choice_of_hydra(run: Forks, arguments: list[str], message: str) -> None:
    done = run("-m", "seed=1,2", *arguments)
    assert done.said.startswith(f"train: {message}")
    assert done.said.count("\n") == 1


def test_hydras_own_environment_costs_no_line(project: Project) -> None:
    done = project.stage("train", "train.x=1", code=1, HYDRA_FULL_ERROR="0", OC_CAUSE="1")
    assert done.stderr.startswith("train: train.x is not known; known are train.epochs, ")
    assert done.stderr.count("\n") == 1
