# Everything here starts from Python 3.11 to 3.13 and make: the first run builds .venv, later runs start at once.
#   make app PYTHON=python3.12        another Python
#   make test ARGS="tests/simulate"   words handed on to the program behind the target

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off
# What a Hugging Face Space installs beside requirements.txt; ZeroGPU adds the torch limit.
SPACE_PINS := "gradio[oauth,mcp]==$(shell sed -n 's/^sdk_version: *//p' README.md)" "uvicorn>=0.14.0" "websockets>=10.4" spaces

.PHONY: help app test check bench space clean
.DELETE_ON_ERROR:

help:
	@echo "make app     install what is missing and serve the app"
	@echo "make test    run the tests"
	@echo "make check   lint, formatting and types"
	@echo "make bench   print the benchmarks"
	@echo "make space   check that the requirements resolve on a Hugging Face Space (needs network)"
	@echo "make clean   remove .venv and all caches"

app: .venv/app.stamp
	$(BIN)/python -m app $(ARGS)

test: .venv/dev.stamp
	$(BIN)/python -m pytest $(ARGS)

check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: .venv/dev.stamp
	$(BIN)/python -m tests.benchmarks $(ARGS)

space: .venv/app.stamp
	$(INSTALL) --dry-run --quiet -r requirements.txt $(SPACE_PINS)
	$(INSTALL) --dry-run --quiet -r requirements.txt $(SPACE_PINS) "torch<=2.13.0"

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .gradio
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is younger than the files it was made from, so nothing is installed twice.
.venv/app.stamp: .venv/created.stamp requirements.txt constraints.txt
	@echo "Installing the packages the app needs. The first time this takes some minutes and several gigabytes."
	$(INSTALL) -r requirements.txt -c constraints.txt
	@touch $@

.venv/dev.stamp: .venv/app.stamp requirements-dev.txt
	@echo "Installing the packages the tests need."
	$(INSTALL) -r requirements-dev.txt -c constraints.txt
	@touch $@

.venv/created.stamp:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "'$(PYTHON)' was not found. Install Python 3.11 or newer, or name one: make app PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "GenDeg Studio needs Python 3.11 or newer, but '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1)." \
	       "Name a newer one: make app PYTHON=python3.12"; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(INSTALL) --quiet pip==26.3
	@touch $@
