# Two commands for a newcomer: `make demo` and `make test`. Both need only Python >= 3.11, git and make.
PYTHON ?= python3
BIN := .venv/bin

# One stamp a set of packages: reinstalled only when what is asked for has changed.
STAMP = .venv/.installed-$(1)

.PHONY: demo test lint docs gpu-check clean

demo: $(call STAMP,prep)
	$(BIN)/python -m benchmarks.demo

test: $(call STAMP,test)
	$(BIN)/python -m pytest

lint: $(call STAMP,test)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Into site/; a warning, such as a dead link, is an error.
docs: $(call STAMP,docs)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo $(CURDIR)/site/index.html

# On a machine with a CUDA GPU and these packages; needs no network. Uses .venv where there is one.
HAVE = $(or $(wildcard $(BIN)/python),$(PYTHON))
# CLIPS: videos to compare the decoders on, such as `make gpu-check CLIPS="a.mp4 b.mp4"`.
CLIPS ?= $(wildcard ../shared/clips/arm_wrestling.mp4)
gpu-check:
	OCTVIDEO_REQUIRE_GPU=1 $(HAVE) -m pytest -q -m gpu
	$(HAVE) -m octvideo bench model i3d_r50 --device cuda --batch_size 32 \
	    --precision bf16 --mode compiled --task inference training --rounds 15 --out benchmarks/results
	$(if $(CLIPS),$(HAVE) -m octvideo bench decode $(CLIPS) --device cpu cuda)

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("octvideo needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

# `test` holds everything that `prep` and `docs` hold.
.venv/.installed-%: setup.cfg pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	touch $@

clean:
	rm -rf .venv runs
