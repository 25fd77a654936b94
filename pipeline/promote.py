"""Promote: the settings of a trial become those of the pipeline, in params.yaml.

    python -m pipeline.promote [run_id=ID]

    run_id=ID     the trial of that MLflow run; without it, the best trial of the latest sweep

A trial whose settings params.yaml cannot hold all is refused, and nothing is changed. Afterwards
`dvc repro` gives the weights that the trial had, and the test metrics. For example, after
`python -m pipeline.train -m train.learning_rate=0.03,0.1,0.3`:

    python -m pipeline.promote && dvc repro
"""

import difflib
import io
import sys
from itertools import chain
from typing import Any

from hydra import compose, initialize_config_dir
from ruamel.yaml import YAML

from pipeline import params, ranking, sweep_folder, tracking
from pipeline.config import Config, check
from pipeline.errors import UserError
from pipeline.files import replacing
from pipeline.fingerprint import identity
from pipeline.output import keep_printing
from pipeline.sweep_folder import ROOT, begun, trials
from pipeline.trial_file import Trial


def main(arguments: list[str]) -> None:
    """Write the trial's values into params.yaml, all of them or none, and say what is next."""
    chosen = by_run_id(arguments) if arguments else best_of_latest()
    text = params.FILE.read_text(encoding="utf-8")
    promoted = with_values(text, values_of(chosen))
    config = check_whole(promoted, chosen)
    difference = difflib.unified_diff(
        text.splitlines(True), promoted.splitlines(True), "params.yaml", "params.yaml", n=0
    )
    run = tracking.described(chosen.run_id, chosen.uri, config.tracking)
    print(f"Trial {chosen.number} ({chosen.name}), MLflow run {run}")
    print("".join(list(difference)[2:]) or f"{params.FILE} has its values already\n", end="")
    if promoted != text:
        with replacing(params.FILE) as temporary:
            temporary.write_text(promoted, encoding="utf-8")
    print("Next: `dvc repro`, which trains it into the workspace and evaluates it on the test set.")


def best_of_latest() -> Trial:
    """Return the best finished trial of the sweep that was begun or gone on with last."""
    if not (sweeps := begun()):
        raise UserError(f"{ROOT}: has no sweep: run `python -m pipeline.train -m KEY=VALUE,VALUE`")
    folder = sweeps[-1]
    sweep = sweep_folder.read(folder)
    ranked = ranking.rank(trials(folder), sweep["objective"], sweep["direction"])
    if not ranked or sweep["objective"] not in ranked[0].metrics:
        raise UserError(f"{folder}: has no finished trial: run the sweep again")
    return ranked[0]


def by_run_id(arguments: list[str]) -> Trial:
    """Return the trial of the MLflow run that `run_id=ID` names."""
    key, _, run_id = arguments[0].partition("=")
    if len(arguments) > 1 or key != "run_id" or not run_id:
        raise UserError(
            f"{' '.join(arguments)} is not known: use no argument for the best trial of the latest "
            "sweep, or run_id=ID"
        )
    for found in chain.from_iterable(map(trials, begun())):
        if found.run_id == run_id:
            if found.status != "FINISHED":
                path = f"{found.folder}/trial.json"
                raise UserError(f"{path}: the trial is {found.status}, not FINISHED")
            return found
    raise UserError(f"{ROOT}: has no trial with the run_id {run_id}")


def values_of(chosen: Trial) -> dict[str, Any]:
    """Return the trial's value for every key of params.yaml."""
    tree = chosen.settings | {
        name: chosen.settings[name]["name"] for name in ("model", "optimizer")
    }
    tree |= {"dataset": chosen.dataset}
    values = {}
    for key in params.known_keys():
        found: Any = tree
        for part in key.split("."):
            found = found[part]
        values[key] = found
    return values


def with_values(text: str, values: dict[str, Any]) -> str:
    """Return the text of params.yaml with other values, its comments and order kept."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml.width = 10_000
    tree = yaml.load(text)
    for key, value in values.items():
        *sections, name = key.split(".")
        section = tree
        for part in sections:
            section = section[part]
        if section[name] != value or type(section[name]) is bool:
            section[name] = value
    stream = io.StringIO()
    yaml.dump(tree, stream)
    return stream.getvalue()


def check_whole(promoted: str, chosen: Trial) -> Config:
    """Compare what the pipeline's configuration would then be with the trial's, and return it.

    Raises
    ------
    UserError
        If the trial has a setting that params.yaml does not hold.
    """
    try:
        params.use(promoted)
        with initialize_config_dir(str(params.CONF), version_base="1.3"):
            config = check(compose("config", ["paths.output=."]))
    finally:
        params.use(None)
    ours, theirs = _leaves(identity(config)["settings"]), _leaves(chosen.settings)
    differing = [key for key in {**theirs, **ours} if ours.get(key) != theirs.get(key)]
    if differing:
        what = "; ".join(
            f"{key} is {theirs.get(key)} in the trial and {ours.get(key)} in conf/"
            for key in differing
        )
        raise UserError(
            f"trial {chosen.number} has settings that {params.FILE} does not hold: {what}. "
            "Put them into their file of conf/ and promote again; nothing was changed"
        )
    return config


def _leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in tree.items():
        found |= (
            _leaves(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
        )
    return found


if __name__ == "__main__":
    keep_printing()
    if {"-h", "--help"} & set(sys.argv[1:]):
        print((__doc__ or "").strip())
        sys.exit()
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"promote: {error}", file=sys.stderr)
        sys.exit(1)
