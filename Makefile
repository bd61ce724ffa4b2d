# Bare `make` prints what there is.
PYTHON ?= $(shell command -v python3.11 || echo python3)
export DVC_NO_ANALYTICS := 1
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Were nothing kept of what Python compiles, each of the study's processes would compile all that it imports again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install repro smoke report test lint dependencies readme clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/ready ## set up .venv alone

repro: .venv/ready ## rebuild the study on the phantom (dvc repro, stages side by side) and print the result
	python -m stages.repro
	python -m stages.result

smoke: .venv/ready ## the same study in miniature, for a first look
	cd profiles/smoke && python -m stages.repro && python -m stages.result

report: .venv/ready ## build the page of the run where it is not up to date (dvc repro report), and open it
	dvc --wait-for-lock repro report
	python -m stages.show report/index.html

test: lint ## lint, types, tests, the smoke profile through DVC
	python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations 15

lint: .venv/ready ## ruff and mypy
	ruff check .
	ruff format --check .
	mypy

dependencies: .venv/ready ## write the source files of all stages into dvc.yaml, copy it to the profiles
	python .ci/dependencies.py .

readme: .venv/ready ## write the committed figures into README and docs
	python -m stages.result --pages $$(grep -l '^<!-- /' README.md docs/*.md)

clean: ## remove the environment and the states of interrupted runs; DVC's cache and outputs stay
	rm -rf .venv scratch profiles/*/scratch

# Python compiles what it imports when it first does; pip would compile all of torch, for a minute. The lock names all
# there is to install, so that two processes can share it.
INSTALL := .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps
CUDA := ^(nvidia|cuda|triton)
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	grep -E '$(CUDA)' requirements.lock >.venv/cuda.lock
	grep -vE '$(CUDA)' requirements.lock >.venv/rest.lock
	$(INSTALL) --requirement .venv/cuda.lock & cuda=$$!; \
	$(INSTALL) --requirement .venv/rest.lock; rest=$$?; wait $$cuda && exit $$rest
	$(INSTALL) --no-build-isolation --editable .
	.venv/bin/python -m pip check
	touch $@
