# make repro: from a clean checkout to verified results.  make test: every test.
PYTHON ?= python3
BIN := .venv/bin
# stages and tests start `python`, `dvc` and `mlflow` of this environment, activated or not
export PATH := $(CURDIR)/$(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv
INSTALL = $(BIN)/uv pip install --quiet --compile-bytecode

.PHONY: repro verify test pytest slow lint storage cluster bench processors lock clean clean-results bench-large fuzz audit crash
.DELETE_ON_ERROR:

repro: .venv/runtime
	@test -d .git || git rev-parse --git-dir >/dev/null 2>&1 || dvc config --local core.no_scm true
	@python -m pipeline.repair && dvc repro && python -m pipeline.record

# the pipeline once more, from nothing, in a temporary clone: make verify ARGS=rev=HEAD~3
verify: .venv/runtime
	@python -m pipeline.verify $(ARGS)

# some tests alone: make test TESTS='tests/test_figures.py tests/test_metrics.py'
# Lint and tests run at the same time: mypy without a cache takes as long as a tenth of the tests.
test: .venv/dev
	@$(MAKE) --no-print-directory --jobs=2 lint pytest

# one worker more than there are cores, as tests wait for a third of their time
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(1 + os.cpu_count())')
pytest: .venv/dev
	@python -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

# the tests marked slow, which `make test` leaves out; COLD=1 starts each of their commands from nothing
slow: .venv/dev
	@COLD=$(COLD) python -m pytest -n $(WORKERS) --dist worksteal -m slow

lint: .venv/dev
	@ruff check . && ruff format --check . && mypy
	@check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	@check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

# N random inputs for each test of tests/test_fuzz*.py; 100,000 take an hour
N ?= 100000
fuzz: .venv/dev
	@FUZZ=$(N) python -m pytest -n auto tests/test_fuzz.py tests/test_fuzz_readers.py

# known vulnerabilities of the locked packages; pip-audit itself is not in the lock
audit: .venv/dev
	@$(BIN)/uv tool run --from 'pip-audit>=2.9,<3' pip-audit --disable-pip --require-hashes --strict -r requirements-dev.txt \
		|| { echo "audit: not passed: above are vulnerabilities, or why the database of them cannot be reached" >&2; exit 1; }

# kills at random moments (100 of them), and slow faults: make crash KILLS=1000 SEED=7
crash: .venv/dev
	@KILLS=$(KILLS) SEED=$(SEED) python -m pytest crash -n 2 --dist=load --maxschedchunk=1 -rP

# sweeps on a real Slurm of one node, with an MLflow server on PostgreSQL; needs root, and Debian
cluster: .venv/dev
	@python -m pytest cluster

bench: .venv/dev
	@python -m benchmarks.training && python -m benchmarks.pipeline && python -m benchmarks.sweep

# the bits of other processors, under qemu-user: make processors MODELS='EPYC-Milan --small'
# The emulators (as root, on Debian) and a Python for ARM are fetched if they are missing.
processors: .venv/runtime
	@python -m benchmarks.processors $(MODELS)

# data larger than memory: 10 GB of files in FOLDER, some minutes; needs root
ROWS ?= 2000000
FOLDER ?= .
bench-large: .venv/dev
	@python -m benchmarks.large --rows $(ROWS) --folder $(FOLDER)

.venv/runtime: requirements.txt pyproject.toml
	@echo "Installing the locked environment into .venv (about half a minute) ..."
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --disable-pip-version-check 'uv>=0.8,<1'; }
	@$(INSTALL) --require-hashes -r requirements.txt
	@$(INSTALL) --no-deps -e .
	@touch $@

# what DVC and MLflow need for a team's storage: make storage EXTRA='s3 ssh', of s3, gs, azure and ssh
EXTRA ?= s3
storage: .venv/runtime
	@$(INSTALL) --require-hashes -r pyproject.toml $(addprefix --extra ,$(EXTRA)) -c requirements-storage.txt

.venv/dev: requirements-dev.txt .venv/runtime
	@$(INSTALL) --require-hashes -r requirements-dev.txt
	@touch $@

# the complete lock, for every platform, with hashes and without the address of an index
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --no-annotate --custom-compile-command 'make lock'
lock:
	@$(COMPILE) $(UPGRADE) --extra launchers -o requirements.txt
	@$(COMPILE) $(UPGRADE) --extra launchers --extra dev -c requirements.txt -o requirements-dev.txt
	@$(COMPILE) $(UPGRADE) --extra s3 --extra gs --extra azure --extra ssh -c requirements.txt -o requirements-storage.txt

clean-results:
	@rm -rf data/processed models checkpoints metrics plots mlflow.db* mlruns .dvc/cache .dvc/tmp

clean: clean-results
	@rm -rf .venv data/raw multirun seeds optuna.db*
