# make example   own environment, install, convert examples/digits/digits.onnx, check the result
# make test      the same for the tests: lint, format, types, tests
# make test-all  with the slow tests too
# make docs      the documentation as a site, in site/
# make clean     removes the environment and everything the targets wrote
#
# PYTHON picks the interpreter (make PYTHON=python3.12 test), VENV the environment's folder.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
comma := ,
space := $(subst ,, )
# what the tests prove
EXTRAS := tensorflow keras report micro ethos-u fleet test docs
MODEL := examples/digits/digits.onnx
OUT := saved_model

.PHONY: help example lint docs test test-all clean

help:
	@sed -n 's/^# //p' Makefile | head -5

# A system Python may come without ensurepip (Debian's python3-venv): then its own pip fills the environment.
$(BIN)/python:
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)

# One line of pip's output for each package, so that the first run is seen to move.
define install
	@echo "Installing $(1) into $(VENV) (only after a change of pyproject.toml; TensorFlow makes the first time slow)"
	@pip="$(BIN)/python -m pip"; $$pip --version >/dev/null 2>&1 || pip="$(PYTHON) -m pip --python $(BIN)/python"; \
	$$pip --disable-pip-version-check install --progress-bar off -e '$(1)' \
	  | awk '/^Collecting/ { print "  " $$2; fflush() } /^Installing collected/ { print "  unpacking"; fflush() }'
	@touch $@
endef

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(call install,.[tensorflow])

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(call install,.[$(subst $(space),$(comma),$(EXTRAS))])

example: $(VENV)/.installed
	@$(BIN)/onnx2tf -i $(MODEL) -o $(OUT)
	@echo "Accuracy on the held-out digits:"
	@$(BIN)/python examples/digits/evaluate.py $(OUT)/digits_float32.tflite

lint: $(VENV)/.installed-test
	@echo "ruff check"; $(BIN)/ruff check .
	@echo "ruff format --check"; $(BIN)/ruff format --check .
	@echo "mypy"; $(BIN)/mypy
	@echo "import contracts"; $(BIN)/lint-imports
	@echo "the house against what it was"; $(BIN)/python -m tests.ratchet

docs: $(VENV)/.installed-test
	@echo "sphinx"; $(BIN)/python -m sphinx -q -W --keep-going -b html docs site

test: lint docs
	@echo "pytest"; $(BIN)/python -m pytest -q -n 2

test-all: lint
	@echo "pytest, slow tests too"; $(BIN)/python -m pytest -q -n 2 -m "slow or not slow"

clean:
	rm -rf $(VENV) .venvs site $(OUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
