# Two commands for a newcomer: `make demo` and `make test`. Both need only Python >= 3.11, git and make.
PYTHON ?= python3
BIN := .venv/bin

# One stamp a set of packages: reinstalled only when what is asked for has changed.
STAMP = .venv/.installed-$(1)

.PHONY: demo test test-slow test-oldest lint docs gpu-check gpu-wheels clean

demo: $(call STAMP,prep)
	$(BIN)/python -m benchmarks.demo

# Files of tests side by side, in processes of their own: decord's library can crash at the end of a process in which all
# slow tests ran (`double free`, in its handler of thread-local objects, after the last test).
PYTEST = -m pytest -n auto --maxprocesses 4 --dist loadfile

test: $(call STAMP,test)
	$(BIN)/python $(PYTEST)

# What takes more than a few seconds, but for what takes minutes (`soak`).
test-slow: $(call STAMP,test)
	$(BIN)/python $(PYTEST) -q -m "slow and not soak" --durations=25

# The fast tests with the oldest versions that setup.cfg allows, in an environment of its own: before a release.
OLDEST := .venv-oldest
test-oldest: $(call STAMP,test)
	$(PYTHON) -m venv $(OLDEST)
	$(BIN)/python tests/oldest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --disable-pip-version-check --constraint $(OLDEST)/constraints.txt --editable '.[test]'
	$(OLDEST)/bin/python $(PYTEST)

lint: $(call STAMP,test)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Into site/; a warning, such as a dead link, is an error.
docs: $(call STAMP,docs)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo $(CURDIR)/site/index.html

# On a machine with a CUDA GPU and these packages; needs no network. Uses .venv where there is one. Nine and a half
# minutes: the GPU tests, and everything that benchmarks/README.md has a GPU's figures of, into runs/gpu.
HAVE = $(or $(wildcard $(BIN)/python),$(PYTHON))
gpu-check:
	$(HAVE) -m benchmarks.gpu $(if $(wildcard .gpu),--kit .gpu)

# For a machine with a GPU and torch, but neither these packages nor a network: what it lacks, into .gpu.
gpu-wheels: $(call STAMP,prep)
	$(BIN)/python -m benchmarks.gpu.wheels

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("octvideo needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

# `test` holds everything that `prep` and `docs` hold.
.venv/.installed-%: setup.cfg pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	touch $@

clean:
	rm -rf .venv $(OLDEST) runs
