# Two commands on a fresh machine:  make demo  (Figures 1 and 5)   make test  (all tests)
#
# Both set up what they need first: a virtual environment, OS packages (as root on Debian or Ubuntu), container
# images. A second time nothing of it is done again. Without Docker, as root, network namespaces stand in (README.md).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME ?= $(if $(filter true,$(CI)),docker,auto)

demo: $(VENV)/installed
	$(BIN)/testbed run scenarios/figure_1.py scenarios/figure_5.py --profile quick --build --runtime $(RUNTIME)

# Most tests wait for programs, so three modules run at a time, the slow ones first; those that measure what the others would
# spoil come last and alone.
test: $(VENV)/installed-test
	$(MAKE) -j3 --output-sync=target lint programs images
	$(BIN)/pytest tests -m 'not alone' --numprocesses 3 --dist loadscope --no-loadscope-reorder
	$(BIN)/pytest tests -m alone

images: $(VENV)/installed
	$(BIN)/testbed build --runtime $(RUNTIME)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Optimised with gcc, optimised with clang, and under the sanitizers: what the tests and the compilers' warnings need.
programs: $(VENV)/installed-test
	$(MAKE) -C images -j2
	$(MAKE) -C images -j2 CC=clang BUILD=build/clang
	$(MAKE) -C images -j2 SANITIZE=1

# Measures, alternating both sides of each comparison; prints ratios. Wants a quiet machine. One part: make bench ONLY=up
bench: $(VENV)/installed-bench programs
	$(BIN)/testbed build --runtime $(RUNTIME)
	$(BIN)/python -m tests.benchmark $(ONLY)

$(VENV)/installed: pyproject.toml os_packages.sh
	./os_packages.sh $(PYTHON) run
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	./os_packages.sh $(PYTHON) test
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/installed-bench: $(VENV)/installed-test
	./os_packages.sh $(PYTHON) bench
	touch $@

clean:
	rm -rf $(VENV) images/build

.PHONY: demo test lint programs images bench clean
