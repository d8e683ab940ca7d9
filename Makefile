# What a person types. Needs Python 3.11 or newer and make; everything else comes into .venv.
#   make run     a relay on this machine, captured mail only (DATA=folder chooses where it keeps things)
#   make test    the whole test-suite           make check   format, lint, types, generated files
#   make peers   against real mail programs     make bench   against real mail programs, by the clock
#   make soak    crash journeys, fuzzers: long  make fuzz    libFuzzer on every parser (SECONDS=60 for each)
#   make lock    pinned requirements anew (wants pip-tools)

DATA ?= var
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
PYTEST := $(BIN)/python -m pytest
PROCESSES ?= auto
SECONDS ?= 60
CORPUS ?= $(VENV)/fuzz

.PHONY: run test check peers bench soak fuzz lock clean
.DELETE_ON_ERROR:

run: $(VENV)/.run
	@test -e '$(DATA)/sesrelay.yaml' || $(BIN)/sesrelay init --data '$(DATA)'
	@exec $(BIN)/sesrelay --config '$(DATA)/sesrelay.yaml' serve

test: $(VENV)/.dev
	$(PYTEST) -n $(PROCESSES)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -q -n0 tests/test_architecture.py

peers: $(VENV)/.dev
	-tests/peers/install
	$(PYTEST) -m peers -n0 tests/peers

soak: $(VENV)/.dev
	$(PYTEST) -m soak -n0 --timeout=0

# What it finds stands in $(CORPUS)/<target>; with its mend it goes into tests/samples/fuzz/<target>.
fuzz: $(VENV)/.fuzz
	@set -e; for target in session body path header mailbox replies conversation; do \
		mkdir -p '$(CORPUS)'/$$target/corpus; echo "== $$target"; \
		$(BIN)/python -m tests.fuzz $$target '$(CORPUS)'/$$target/corpus tests/samples/fuzz/$$target \
			-artifact_prefix='$(CORPUS)'/$$target/ -max_total_time=$(SECONDS) -max_len=4096 -print_final_stats=1; done

bench: $(VENV)/.dev
	$(BIN)/python -m bench

$(VENV)/bin/python:
	@test -n '$(PYTHON)' || { echo 'sesrelay needs Python 3.11 or newer; none found (PYTHON=program names one)' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		echo '$(PYTHON) has no venv module; on Debian: apt install python3-venv' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# Exactly the pinned files, checked by hash, for running and for development.
$(VENV)/.run: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

$(VENV)/.fuzz: requirements-fuzz.txt $(VENV)/.dev
	$(PIP) install --require-hashes --only-binary :all: -r requirements-fuzz.txt
	@touch $@

# The oldest Python that we support asks for the most; the files hold on newer ones too.
LOCK := pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
	--no-emit-index-url --no-emit-trusted-host --no-emit-options --resolver=backtracking
lock:
	$(LOCK) --build-deps-for wheel --output-file requirements.txt pyproject.toml
	$(LOCK) --build-deps-for wheel --extra dev --constraint requirements.txt \
		--output-file requirements-dev.txt pyproject.toml
	echo 'atheris>=3' | $(LOCK) --output-file requirements-fuzz.txt -

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
