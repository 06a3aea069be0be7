# From a checkout: `make quickstart` walks the whole road on a laptop CPU; `make test` tests it all.
# Everything is resumable: a target that was stopped goes on where it was.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do $$p -c "" 2>/dev/null && echo $$p && break; done)
EDGEKIT := .venv/bin/edgekit
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup side-blender side-serve quickstart test test-slow lint study assets

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/'

setup: ## the main environment, in .venv (2.5 GB)
	@$(if $(PYTHON),,echo "error: no python3 was found; install python3.11" >&2; exit 2;) $(PYTHON) -m edgekit.bootstrap

side-blender: setup ## the environment that draws scenes (1.1 GB)
	@$(EDGEKIT) setup blender

side-serve: setup ## the environment that serves through vLLM (2.4 GB)
	@$(EDGEKIT) setup serve

quickstart: side-blender ## set up, then walk the road with nano models: about five minutes on two cores
	@$(EDGEKIT) road nano

test: setup ## all environments, then every test
	@start=$$(date +%s); $(EDGEKIT) setup blender && echo "[test] blender environment: $$(($$(date +%s) - start)) s"
	@start=$$(date +%s); $(EDGEKIT) setup serve && echo "[test] serve environment: $$(($$(date +%s) - start)) s"
	@start=$$(date +%s); .venv/bin/python -m pytest $(PYTEST_ARGS); status=$$?; \
	  echo "[test] tests: $$(($$(date +%s) - start)) s"; exit $$status

test-slow: setup side-serve ## the tests that make test leaves out for their time
	@.venv/bin/python -m pytest -m slow $(PYTEST_ARGS)

lint: setup ## ruff and the floors
	@.venv/bin/ruff check . && .venv/bin/lint-imports

study: side-blender ## compare fine-tuning methods on nano generators: hours on two cores
	@$(EDGEKIT) render nano --out runs/render/nano
	@$(EDGEKIT) tune study/bases --out runs/tune/study-bases
	@for name in methods difffit driveditfit calora tsm; do \
	  $(EDGEKIT) tune study/$$name --out runs/tune/study-$$name || exit $$?; done

assets: side-blender ## render, train and cut what ships in the package: about two hours on two cores
	@$(EDGEKIT) render nano --out runs/render/nano
	@$(EDGEKIT) render nano-hard --out runs/render/nano-hard
	@$(EDGEKIT) render nano-gate --out runs/render/nano-gate
	@$(EDGEKIT) render nano-drives --out runs/render/nano-drives
	@$(EDGEKIT) distill nano-teacher-start --out runs/distill/nano-teacher-start
	@$(EDGEKIT) distill nano-teacher-more --out runs/distill/nano-teacher-more
	@$(EDGEKIT) distill nano-teacher --out runs/distill/nano-teacher
	@$(EDGEKIT) evaluate gate model=runs/distill/nano-teacher dataset=runs/render/nano-gate --out runs/evaluate/nano-gate
	@.venv/bin/python -m edgekit.assets.make --teacher runs/distill/nano-teacher --frames runs/render/nano \
	  --test-frames runs/render/nano-gate --drives runs/render/nano-drives
