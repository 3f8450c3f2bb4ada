# make demo   train on the digits, sample, measure: everything lands in outputs/demo
# make test   linter, type checker, suite
# make benchmark   solvers against other packages, on exact scores: docs/images/solvers.png, docs/solvers.csv
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

.PHONY: demo test lint suite slow notebooks benchmark clean

demo: $(VENV)/.ready
	$(RUN) train.py experiment=digits hydra.run.dir=$(DEMO)
	$(RUN) sample.py checkpoint=$(DEMO)/model.safetensors solver=heun steps=50 n=1797 trajectory=true hydra.run.dir=$(DEMO)
	$(RUN) evaluate.py samples=$(DEMO)/samples.npy hydra.run.dir=$(DEMO)

test: lint suite

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# a process for each core, of one thread: the tests are small
suite: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m "not slow" -n auto

slow: $(VENV)/.ready
	$(RUN) -m pytest -m slow

notebooks: $(VENV)/.ready
	$(RUN) -m tests.test_examples

# its own environment: other packages' samplers, without their own dependencies, of which some bring another torch
benchmark:
	test -x .venv-benchmark/bin/python || $(PYTHON) -m venv .venv-benchmark
	.venv-benchmark/bin/python -m pip install -c $(CONSTRAINTS) -e .
	.venv-benchmark/bin/python -m pip install -c $(CONSTRAINTS) -r benchmarks/requirements.txt
	.venv-benchmark/bin/python -m pip install --no-deps azula==0.11.1 k-diffusion==0.1.1.post1
	.venv-benchmark/bin/python benchmarks/solvers.py

# the stamp is written last: an installation that broke off is taken up again
$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "scoresde needs Python 3.11 or newer: try make PYTHON=python3.12"; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c $(CONSTRAINTS) -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
