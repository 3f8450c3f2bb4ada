# make demo   train on the digits, sample, measure: everything lands in outputs/demo
# make test   linter, type checker, suite
# Both create .venv when it is missing. To use something else:
#   make PYTHON=python3.12        another interpreter
#   make CONSTRAINTS=/dev/null    the newest versions instead of the pinned ones
#   make TORCH_INDEX=URL          an index of your own for torch's wheels

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
TORCH_INDEX ?=
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
RUN = $(VENV)/bin/python
DEMO = outputs/demo

.PHONY: demo test lint suite slow notebooks clean

demo: $(VENV)/.ready
	$(RUN) train.py experiment=digits hydra.run.dir=$(DEMO)
	$(RUN) sample.py checkpoint=$(DEMO)/model.safetensors solver=heun steps=50 n=1797 hydra.run.dir=$(DEMO)
	$(RUN) evaluate.py samples=$(DEMO)/samples.npy hydra.run.dir=$(DEMO)

test: lint suite

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

suite: $(VENV)/.ready
	$(RUN) -m pytest -m "not slow"

slow: $(VENV)/.ready
	$(RUN) -m pytest -m slow

notebooks: $(VENV)/.ready
	$(RUN) -m tests.test_examples

# the stamp is written last: an installation that broke off is taken up again
$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "scoresde needs Python 3.11 or newer: try make PYTHON=python3.12"; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c $(CONSTRAINTS) -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
