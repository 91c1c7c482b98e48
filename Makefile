# The verbs of this project. `make run` and `make test` need nothing but Python 3.11 to 3.13.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run serve setup test check bench clean

run: setup ## the sample conversation to out/conversation-take-1.mp4, by the real path
	$(BIN)/visavis-server up --submit examples/conversation.wav --out out

serve: setup ## API and worker on this machine, until Ctrl-C
	$(BIN)/visavis-server up

setup: $(VENV)/.setup ## only the environment

$(VENV)/.setup: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e ".[all]"
	touch $@

$(VENV)/.dev: $(VENV)/.setup
	$(INSTALL) -e ".[all,dev]"
	touch $@

test: $(VENV)/.dev ## installs what tests need and runs all of them
	$(BIN)/python -m pytest -q

check: $(VENV)/.dev ## lint, format, types, imports, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

bench: setup
	$(BIN)/python -m bench motion
	$(BIN)/python -m bench avatar

clean:
	rm -rf $(VENV) .visavis out
