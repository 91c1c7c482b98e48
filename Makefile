# `make run` and `make test` need nothing but Python 3.11 to 3.13.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .venv-tools
TOOLS_DONE := $(TOOLS)/.done tools/node_modules/.done client/typescript/node_modules/.done
# Waiting threads of torch sleep: on shared cores, spinning costs ten times the work.
export OMP_WAIT_POLICY ?= PASSIVE
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# `make demo-person`: folder of the training conversations, and minutes of training on each of two cores. One core
# trains the body, the other the face (9 of 14 parts) and then the guide. The committed weights took 68 minutes.
DATA ?= .visavis/demo-data
MINUTES ?= 56

# `make chaos`: number of jobs and kills, and the seed.
JOBS ?= 200
KILLS ?= 50
SEED ?= 1

.PHONY: run serve setup test docs fuzz schemathesis chaos check bench demo-person clean

run: setup ## the sample conversation to out/conversation-take-1.mp4, through API, queue and worker
	$(BIN)/visavis-server up --submit examples/conversation.wav --out out

serve: setup ## API and worker on this machine, until Ctrl-C
	$(BIN)/visavis-server up

setup: $(VENV)/.setup ## only the environment

$(VENV)/.setup: pyproject.toml client/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e ".[all]" -e "./client[cli]"
	touch $@

$(VENV)/.dev: $(VENV)/.setup
	$(INSTALL) -e ".[all,dev]" -e "./client[cli]"
	touch $@

# Tools apart from the product, and the Node.js packages of two folders: 146 MB, and 206 MB more on a
# machine without Node.js.
$(TOOLS)/.done: tools/requirements.txt tools/nodejs.sh
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r tools/requirements.txt
	tools/nodejs.sh $(CURDIR)/$(TOOLS)/bin/python $(TOOLS)/node
	touch $@

%/node_modules/.done: %/package.json %/package-lock.json $(TOOLS)/.done
	cd $* && PATH="$(CURDIR)/$(TOOLS)/node:$$PATH" npm ci --no-progress
	touch $@

test: $(VENV)/.dev $(TOOLS_DONE) ## installs what tests need and runs all of them, one worker a core
	$(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist worksteal

docs: setup ## update generated tables in docs
	$(BIN)/python -m jobs.request.table docs/api.md

FUZZ ?= --files 3000 --seed 1
fuzz: $(VENV)/.dev ## thousands of damaged files through a running API and worker
	$(BIN)/python -m tests.fuzzing $(FUZZ)

schemathesis: $(VENV)/.dev ## hundreds of drawn requests for each operation of the API
	VISAVIS_TEST_EXAMPLES=300 $(BIN)/python -m pytest -q tests/api/test_schemathesis.py

chaos: $(VENV)/.dev ## kills, outages and full disks in both set-ups; every accepted job is accounted for
	$(BIN)/python -m tests.chaos.run --jobs $(JOBS) --kills $(KILLS) --seed $(SEED)

check: $(VENV)/.dev $(TOOLS_DONE) ## lint, format, types, imports, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

bench: setup
	$(BIN)/python -m bench motion
	$(BIN)/python -m bench avatar
	$(BIN)/python -m bench service
	$(BIN)/python -m bench training

demo-person: TRAIN = $(BIN)/python -m training
demo-person: LEARN = --data $(DATA)/train --out people/demo --work $(DATA)/work --config demo
demo-person: setup ## the demo person again: body, conversations, networks (wants flite, espeak-ng)
	$(INSTALL) -e ".[all,demo-person]"
	$(BIN)/python -m training.demo.body --out people/demo
	$(BIN)/python -m training data make-demo $(DATA)/train --minutes 150 --seed 1
	$(BIN)/python -m training data make-demo $(DATA)/held-out --minutes 10 --seed 99 --held-out
	rm -f people/demo/stats.json people/demo/speech.safetensors
	$(TRAIN) tokenizer $(LEARN)
	$(TRAIN) data features $(DATA)/train --person people/demo --device cpu
	( $(TRAIN) face $(LEARN) --minutes $$(( $(MINUTES) * 9 / 14 )) && \
	  $(TRAIN) guide $(LEARN) --minutes $$(( $(MINUTES) * 5 / 14 )) ) & other=$$!; \
	$(TRAIN) body $(LEARN) --minutes $(MINUTES); body=$$?; wait $$other && exit $$body
	$(BIN)/python -m training judge --data $(DATA)/held-out --person people/demo

clean:
	rm -rf $(VENV) $(TOOLS) tools/node_modules client/typescript/node_modules .visavis out
