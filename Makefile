# `make run` needs nothing but Python 3.11 to 3.13; `make test` also needs Chromium, for the tests of the web page.
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .venv-tools
WITH_NODE := PATH="$(CURDIR)/$(TOOLS)/node:$$PATH"
TOOLS_DONE := $(TOOLS)/.done tools/node_modules/.done client/typescript/node_modules/.done
PYTHON ?= $(or $(wildcard $(BIN)/python),python3)

# `TORCH=cpu make setup` installs the CPU build of torch, from pip's package index or else from TORCH_INDEX. The default
# is the build that pip selects: on Linux usually CUDA. The environment remembers its build.
BUILD := $(if $(wildcard $(VENV)/.setup),$(or $(shell cat $(VENV)/.torch 2>/dev/null),default))
TORCH ?= $(or $(BUILD),default)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# Waiting threads of torch sleep: on shared cores, spinning costs ten times the work.
export OMP_WAIT_POLICY ?= PASSIVE
INSTALL := $(PYTHON) tools/install.py --environment $(VENV) --torch $(TORCH) --torch-index $(TORCH_INDEX)

# `make test`: one process more than cores, because tests of services wait; at most 4, each takes up to 2.5 GB.
PROCESSES ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 4 ? cores + 1 : 4)))

# `make demo-person`: folder of the training conversations, and minutes of training on each of two cores. One core
# trains the body, the other the face (9 of 14 parts) and then the guide. The committed weights took 68 minutes.
DATA ?= .visavis/demo-data
MINUTES ?= 56

# `make chaos`: number of jobs, kills and other faults, and the seed; CHAOS="--no-broker --setup embedded" for others.
JOBS ?= 200
KILLS ?= 50
FAULTS ?= 25
SEED ?= 1

.DEFAULT_GOAL := help
.PHONY: help run serve setup python test docs page-three client-types check-alerts check-deploy fuzz watermark-survival schemathesis chaos sick-workers hostile scaling simulation-check queue-rates training-machines client-batch bulk long-clip check screenshots bench performance demo-person clean

help: ## this list
	@echo 'make TARGET, with a target of:'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1:\2/p' Makefile | awk -F: '{ printf "  %-18s %s\n", $$1, substr($$0, length($$1) + 2) }'
	@echo 'First run: make run. With the CPU build of torch: TORCH=cpu make run.'

run: setup ## video of the sample conversation: out/conversation-take-1.mp4, through API, queue and worker
	$(BIN)/visavis-server up --submit examples/conversation.wav --out out

serve: setup ## API and worker on this machine, until Ctrl-C
	$(BIN)/visavis-server up

setup: $(VENV)/.setup ## only the environment; TORCH=cpu selects the CPU build of torch
	@echo 'Ready. This line puts visavis and visavis-server on the PATH:  . $(BIN)/activate'

# Stops with one sentence unless PYTHON is a supported version and TORCH is the build of the environment.
python:
	@command -v '$(PYTHON)' >/dev/null || \
	  { echo '$(PYTHON): not found; install Python 3.11 to 3.13, or name one: make setup PYTHON=python3.12' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo '$(PYTHON) is' "$$('$(PYTHON)' -V 2>&1), and visavis needs 3.11 to 3.13; name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@case '$(TORCH)' in cpu|default) ;; *) echo 'TORCH: unknown build $(TORCH); use cpu or default' >&2; exit 1;; esac
	@case '$(BUILD)' in ''|'$(TORCH)') ;; *) \
	  echo '$(VENV) has TORCH=$(BUILD); remove it (rm -r $(VENV)) to install TORCH=$(TORCH)' >&2; exit 1;; esac

$(VENV)/.setup: pyproject.toml client/pyproject.toml constraints.txt | python
	@if [ -e $@ ]; then echo 'Updating $(VENV)'; else \
	  echo 'Installing into $(VENV): with the CPU build of torch 0.6 GB to download and 1.9 GB on disk, with CUDA 3.1 and 5.8 GB.'; \
	  echo 'TORCH=$(TORCH). TORCH=cpu selects the CPU build; default is the one that pip selects, on Linux usually CUDA.'; fi
	@$(INSTALL) -e ".[all]" -e "./client[cli]"
	@touch $@

$(VENV)/.dev: $(VENV)/.setup
	@echo 'Installing what tests and checks need: 1.1 GB more on disk'
	@$(INSTALL) -e ".[all,bulk,ray,dev]" -e "./client[cli]"
	@touch $@

# Tools apart from the product, and the Node.js packages of two folders: 410 MB, and 206 MB more on a
# machine without Node.js.
$(TOOLS)/.done: tools/requirements.txt tools/nodejs.sh
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r tools/requirements.txt
	tools/nodejs.sh $(CURDIR)/$(TOOLS)/bin/python $(TOOLS)/node
	touch $@

%/node_modules/.done: %/package.json %/package-lock.json $(TOOLS)/.done
	cd $* && $(WITH_NODE) npm ci --no-progress
	touch $@

test: $(VENV)/.dev $(TOOLS_DONE) ## installs what tests need and runs all of them, in several processes
	$(BIN)/python -m pytest -q -n $(PROCESSES) --dist worksteal --timeout 600 --reruns 1

check-alerts: ## cases of the alert rules; wants promtool (apt-get install prometheus)
	@command -v promtool >/dev/null || { echo 'promtool: not found; install it, in Debian with the package prometheus' >&2; exit 1; }
	promtool check rules docker/observability/alerts.yml
	promtool test rules docker/observability/alerts_test.yml

check-deploy: $(VENV)/.dev $(TOOLS)/.done ## images, compose file and Kubernetes objects; `make test` contains it
	$(BIN)/python -m pytest -q tests/deploy

docs: setup ## update what is generated: tables in docs, options of the client, alert rules of k8s/
	$(BIN)/python -m jobs.request.table docs/api.md
	$(BIN)/python -m jobs.request.export client/visavis/command/fields.json
	PYTHONPATH=. $(BIN)/python tools/configuration.py docs/configuration.md
	PYTHONPATH=. $(BIN)/python tools/metrics.py docs/monitoring.md
	$(BIN)/python tools/alert_rules.py k8s/components/monitoring/alerts.yaml

page-three: $(TOOLS_DONE) ## the parts of three.js that the web page uses, as one file
	$(WITH_NODE) tools/node_modules/.bin/esbuild tools/three.mjs --bundle --minify --format=esm --legal-comments=none \
	  --banner:js='/* three.js, MIT License, Copyright 2010-2026 three.js authors: see NOTICE */' \
	  --outfile=api/page/three/three.min.js

client-types: $(VENV)/.dev ## the document from which the TypeScript client is built, after a change of the API
	$(BIN)/visavis-server openapi > client/typescript/openapi.json

MARKS ?= $(or $(TMPDIR),/tmp)/visavis-marks
watermark-survival: $(VENV)/.dev ## watermarks after CRF 28, half size, crop, 24 fps, AAC and all together; an hour or more
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.models.watermark.survival --work $(MARKS)

FUZZ ?= --files 3000 --seed 1
fuzz: $(VENV)/.dev ## thousands of damaged files through a running API and worker
	$(BIN)/python -m tests.fuzzing $(FUZZ)

schemathesis: $(VENV)/.dev ## hundreds of drawn requests for each operation of the API, on both databases
	VISAVIS_TEST_EXAMPLES=300 $(BIN)/python -m pytest -q tests/api/test_schemathesis.py
	VISAVIS_TEST_DATABASE=postgresql VISAVIS_TEST_EXAMPLES=300 $(BIN)/python -m pytest -q tests/api/test_schemathesis.py

chaos: $(VENV)/.dev ## kills, outages and full disks in both set-ups; every accepted job is accounted for
	$(BIN)/python -m tests.chaos.run --jobs $(JOBS) --kills $(KILLS) --faults $(FAULTS) --seed $(SEED) $(CHAOS)

SICK_JOBS ?= 200
sick-workers: $(VENV)/.dev ## one of two workers is sick in each of six ways; no job fails
	$(BIN)/python -m tests.chaos.sick_workers --jobs $(SICK_JOBS)

BURST ?= 60
SPEED ?= 10
scaling: $(VENV)/.dev ## workers by the rules in k8s/, from 1 to 4 to none, under load; no job is lost or runs twice
	$(BIN)/python -m tests.deploy.scaling --jobs $(BURST) --speed $(SPEED)

# The check runs 600 jobs in each of 12 runs at once, half an hour on two idle cores. Beside other work: chrt -r 10 make ...
simulation-check: $(VENV)/.dev ## waits of real workers beside those of the simulation; within 20 %
	$(BIN)/python -m tests.bench.simulation.check

queue-rates: $(VENV)/.dev ## rates of SQLite, PostgreSQL, Redis and S3 alone, and the figures of docs/scaling.md
	$(BIN)/python -m tests.bench.queue_rates
	$(BIN)/python -m bench simulate --document docs/scaling.md

SECONDS ?= 300
hostile: $(VENV)/.dev ## slow, endless and hanging clients of one tenant beside honest ones of others
	$(BIN)/python -m tests.hostile.run --seconds $(SECONDS)

training-machines: $(VENV)/.dev ## training on two machines with a bucket, of which one is lost; the same bits
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.training.loop.machines

CLIPS ?= 50
client-batch: $(VENV)/.dev ## batches by library and command, which are killed twice, and the service once
	$(BIN)/python -m tests.client.killed_batch --clips $(CLIPS)

bulk: $(VENV)/.dev ## bulk runs by processes, Ray and shares, killed twice each, compared with the service
	$(BIN)/python -m tests.worker.bulk.killed_run --clips $(CLIPS)

# `make long-clip`: minutes of the clip; LONG="--quality draft --both-minutes 0" for other options.
long-clip: MINUTES = 60
long-clip: setup ## memory and CPU time of an hour, and of 5 minutes of both people, beside a minute
	PYTHONPATH=. $(BIN)/python tools/long_clip.py --minutes $(MINUTES) $(LONG)

check: $(VENV)/.dev $(TOOLS_DONE) ## lint, format, types, imports, spelling, API description
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 -p visavis
	$(BIN)/mypy --no-incremental tools/install.py
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/visavis-server openapi > $(TOOLS)/openapi.json
	VISAVIS_ACCESS=keys $(BIN)/visavis-server openapi > $(TOOLS)/openapi-keys.json
	@cmp $(TOOLS)/openapi.json client/typescript/openapi.json || \
	  { echo 'client/typescript/openapi.json is not the document of the API; run: make client-types' >&2; exit 1; }
	$(WITH_NODE) tools/node_modules/.bin/redocly lint --config tools/redocly.yaml $(TOOLS)/openapi*.json

screenshots: $(VENV)/.dev ## pictures of the web page in docs/pictures/page, with the demo person (wants Chromium)
	$(BIN)/python -m tests.page.screenshots docs/pictures/page

bench: setup ## speed of motion networks, renderer, service and training
	$(BIN)/python -m bench motion
	$(BIN)/python -m bench avatar
	$(BIN)/python -m bench service
	$(BIN)/python -m bench training

performance: $(VENV)/.dev ## page about speed, measured again: reports, document and plots in docs (15 minutes on two idle cores)
	mkdir -p docs/performance
	set -e; for name in job avatar motion training queue; do \
	  $(BIN)/python -m bench $$name --json docs/performance/$$name.json; done
	$(BIN)/python -m bench page docs

demo-person: TRAIN = $(BIN)/python -m training
demo-person: LEARN = --data $(DATA)/train --out people/demo --work $(DATA)/work --config demo
demo-person: setup ## the demo people again: bodies, conversations, networks (wants flite, espeak-ng)
	@$(INSTALL) -e ".[all,demo-person]"
	$(BIN)/python -m training.demo.body --out people/demo
	$(BIN)/python -m training data make-demo $(DATA)/train --minutes 150 --seed 1
	$(BIN)/python -m training data make-demo $(DATA)/held-out --minutes 10 --seed 99 --held-out
	rm -f people/demo/stats.json people/demo/speech.safetensors
	$(TRAIN) tokenizer $(LEARN)
	$(TRAIN) data features $(DATA)/train --person people/demo --device cpu
	( $(TRAIN) face $(LEARN) --minutes $$(( $(MINUTES) * 9 / 14 )) && \
	  $(TRAIN) guide $(LEARN) --minutes $$(( $(MINUTES) * 5 / 14 )) ) & other=$$!; \
	$(TRAIN) body $(LEARN) --minutes $(MINUTES); body=$$?; wait $$other && exit $$body
	$(TRAIN) lips $(LEARN)
	$(BIN)/python -m training.demo.finishing --data $(DATA)/held-out --person people/demo --clips 8
	$(BIN)/python -m training.demo.body --out people/sam
	$(BIN)/python -m training.demo.shared_motion --person people/sam --base people/demo
	$(BIN)/python -m training.demo.media --person people/demo --clip examples/conversation.wav
	$(BIN)/python -m training.demo.media --person people/sam --clip examples/conversation.wav --person-channel right --first 6.5
	$(BIN)/python -m training judge --data $(DATA)/held-out --person people/demo

clean: ## remove environments, node packages, and all jobs and videos of `make run` and `make serve`
	rm -rf $(VENV) $(TOOLS) tools/node_modules client/typescript/node_modules .visavis out
