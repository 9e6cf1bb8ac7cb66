# Install, run and check one_api. `make` alone lists the targets.
#
# Everything is installed into .venv, third-party packages from requirements/*.txt only: exact
# versions whose hashes pip verifies. Our own packages are installed in place, without asking an
# index for anything.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps

PURE_ADAPTERS := echo openai claude gemini ollama
ADAPTERS := $(PURE_ADAPTERS) llamacpp

# Marks of the tests that `make fast` leaves out and `make slow` runs.
SLOW := llamacpp or slow or redis or postgres
# Without a server of its kind a test cannot run: it is left out, and said so. CI has them all.
REDIS := $(shell command -v redis-server)
# Debian keeps the programs of PostgreSQL's servers off the path.
POSTGRES := $(shell ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null || command -v initdb)
RUNNABLE := (llamacpp or slow or redis or postgres)$(if $(REDIS),, and not redis)$(if \
	$(POSTGRES),, and not postgres)

# Modules that are not kept compiled would be compiled in each process of each run.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest

PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet
INSTALL_HERE := $(INSTALL) --no-deps --no-build-isolation
INSTALL_PINNED := $(INSTALL) --require-hashes --requirement

# The benchmarks run on the Python of the distribution where there is one that can: those are built
# with profiles, and one that was built without (pyenv's) takes half as long again.
BENCH_VENV := .bench/one_api
BENCH_PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys, venv; \
	sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo /usr/bin/python3 || echo $(PYTHON))

# Leaves out the parts of llama.cpp that the adapter does not call: 78 objects instead of 193.
# Flags of your own (`make install CMAKE_ARGS=-DGGML_CUDA=ON`) come after these.
LLAMACPP_CMAKE_ARGS := -DLLAVA_BUILD=OFF \
	-DCMAKE_PROJECT_INCLUDE=$(CURDIR)/adapters/llamacpp/build/nocommon.cmake

.DEFAULT_GOAL := help
.PHONY: help serve install test lint format types layers pins fast slow lock clean \
	bench bench-quick bench-local bench-environment

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(STAMPS)/core ## Run the gateway on 127.0.0.1:8000 (ARGS="--port 9000" adds options)
	@exec $(BIN)/one-api serve $(ARGS)

install: $(STAMPS)/core $(STAMPS)/llamacpp $(STAMPS)/dev ## Install everything, local models included

test: lint types layers pins fast slow ## Run every check and every test

lint: $(STAMPS)/dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMPS)/dev ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Each adapter in a run of its own: it is a package beside the others, not one of theirs.
types: $(STAMPS)/dev $(STAMPS)/llamacpp ## Check the types
	$(BIN)/mypy one_api tests docs benchmarks $(ADAPTERS:%=adapters/%/tests)
	set -e; for name in $(ADAPTERS); do \
		MYPYPATH=adapters/$$name $(BIN)/mypy adapters/$$name/one_api_$$name; done

layers: $(STAMPS)/dev ## Check that each layer imports only from those below it
	$(BIN)/lint-imports

pins: $(STAMPS)/dev $(STAMPS)/llamacpp ## Check that what is pinned satisfies our packages
	$(PIP) check

fast: $(STAMPS)/dev ## Run the tests that take seconds and no compiler
	$(PYTEST) -n auto --dist worksteal -m "not ($(SLOW))" $(ARGS)

# Ends with the laws that are tried on generated examples, each on many more of them.
slow: $(STAMPS)/dev $(STAMPS)/llamacpp ## Run the others: local models, programs and servers
	$(if $(REDIS),,@echo "redis-server was not found: the tests marked redis are left out" \
		"(Debian, Ubuntu: apt-get install redis-server)")
	$(if $(POSTGRES),,@echo "PostgreSQL's initdb was not found: the tests marked postgres are" \
		"left out (Debian, Ubuntu: apt-get install postgresql)")
	$(PYTEST) -m "$(RUNNABLE)" $(ARGS)
	$(PYTEST) -n auto --dist worksteal -m "hypothesis and not ($(SLOW))" \
		--hypothesis-profile thorough $(ARGS)

bench: bench-environment ## Measure beside other gateways, into docs/performance.md; 40 minutes
	$(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

bench-quick: bench-environment ## Compare processor time with what is recorded; 3 minutes
	$(BENCH_VENV)/bin/python -m benchmarks --quick $(ARGS)

bench-environment:
	@$(MAKE) VENV=$(BENCH_VENV) PYTHON=$(BENCH_PYTHON) $(BENCH_VENV)/.stamps/core

bench-local: $(STAMPS)/dev $(STAMPS)/llamacpp ## Measure local models; 12 minutes, quiet machine
	benchmarks/local/build_server.sh
	$(BIN)/python -m benchmarks.local.run --write $(ARGS)

clean: ## Remove .venv and all caches; .env, databases and models stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
	find one_api adapters tests -name __pycache__ -prune -exec rm -rf {} +

# --- What is installed -------------------------------------------------------------------------
# One stamp for each requirements file, inside .venv so that both go together.

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON) was not found: install Python 3.11 or newer" \
			"(Debian, Ubuntu: apt-get install python3 python3-venv)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "one_api needs Python 3.11 or newer and $(PYTHON) is $$($(PYTHON) --version 2>&1):" \
			"name another one, as in 'make PYTHON=python3.12 $(MAKECMDGOALS)'" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make a virtual environment: install its venv module" \
			"(Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(STAMPS)/build: requirements/build.txt | $(BIN)/python
	$(INSTALL_PINNED) requirements/build.txt
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/core: requirements/core.txt pyproject.toml \
		$(PURE_ADAPTERS:%=adapters/%/pyproject.toml) $(STAMPS)/build
	$(INSTALL_PINNED) requirements/core.txt
	$(INSTALL_HERE) --editable . $(PURE_ADAPTERS:%=--editable adapters/%)
	@touch $@

# Most of the llamacpp adapter's tests need its code, not llama.cpp.
$(STAMPS)/dev: requirements/dev.txt adapters/llamacpp/pyproject.toml $(STAMPS)/core
	$(INSTALL_PINNED) requirements/dev.txt
	$(INSTALL_HERE) --editable adapters/llamacpp
	@touch $@

$(STAMPS)/llamacpp: requirements/llamacpp.txt requirements/llamacpp-build.txt \
		adapters/llamacpp/pyproject.toml $(STAMPS)/core
	@command -v c++ >/dev/null || { \
		echo "local models need a C++ compiler (Debian, Ubuntu: apt-get install build-essential;" \
			"macOS: xcode-select --install)" >&2; exit 1; }
	@echo "Installing llama.cpp: compiled once, in some minutes; from then on from pip's cache"
	CMAKE_ARGS="$(LLAMACPP_CMAKE_ARGS) $(CMAKE_ARGS)" $(INSTALL_PINNED) requirements/llamacpp.txt \
		--build-constraint requirements/llamacpp-build.txt
	$(INSTALL_HERE) --editable adapters/llamacpp
	@touch $@

# --- What may be installed ---------------------------------------------------------------------
# Each file is compiled under the constraints of those before it. Resolved on the oldest Python we
# support, from the index alone: this machine's pip configuration must leave no trace.

LOCKS := core build llamacpp-build llamacpp dev

lock: $(STAMPS)/dev ## Pin requirements/*.in anew (LOCK_ARGS=--upgrade takes the newest versions)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "lock with the oldest supported Python: make clean && make PYTHON=python3.11 lock" >&2; \
		exit 1; }
	set -e; for name in $(LOCKS); do \
		env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null \
			CUSTOM_COMPILE_COMMAND="make lock" \
			$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
			--no-emit-options --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
			$(LOCK_ARGS) --output-file requirements/$$name.txt requirements/$$name.in; done
	@! grep -nE '^--|://' $(LOCKS:%=requirements/%.txt)
