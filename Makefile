# make demo · make test · make vision · make lint · make bench: each does its own set-up in .venv or .venv-vision
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo

.PHONY: demo test test-all vision lint bench clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/ready
	$(BIN)/djpq sweep benchmarks/plans/demo.yaml --out $(DEMO)
	$(BIN)/djpq front $(DEMO) --cost energy_pj --out $(DEMO)/front
	$(BIN)/djpq report $(DEMO) --html $(DEMO)/report.html

test: .venv/ready
	$(BIN)/python -m pytest -q -m 'not slow'

test-all: .venv/ready
	$(BIN)/python -m pytest -q

.venv-vision/ready: pyproject.toml constraints-vision.txt
	$(PYTHON) -m venv .venv-vision
	.venv-vision/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-vision.txt -e '.[dev,vision,counters]'
	touch $@

vision: .venv-vision/ready
	.venv-vision/bin/python -m pytest -q tests/vision

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready
	$(BIN)/python -m pytest -q benchmarks --benchmark-only --benchmark-json=benchmarks/results/speed.json

clean:
	rm -rf .venv .venv-vision demo
