# `make demo` and `make test` are all a newcomer needs; both make .venv first if it is absent or stale.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# Tests wait for servers and clusters more than they compute.
TEST_PROCESSES ?= 4

.PHONY: demo serve page docs test check mutants venv wheel lock clean slurm-up slurm-down
.DELETE_ON_ERROR:

demo: venv
	@$(BIN)/upscaling demo

# The service with its page, the demo's algorithm and its back-end; no account.
serve: venv page
	@$(BIN)/upscaling serve --demo

test: check page
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# A real SLURM of four nodes on this machine, for tests/cluster and to try things out; root on Debian only.
slurm-up:
	@bash tools/slurm_up.sh

slurm-down:
	@bash tools/slurm_down.sh

# Everything that needs no running code: style, types, workflow style, generated files.
check: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src
	@$(BIN)/python tools/check_examples.py
	@$(BIN)/lint-imports --no-logo >.imports.log 2>&1 || { cat .imports.log; exit 1; }; rm -f .imports.log; echo "layers hold, no import cycles"
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/upscaling config-files --check
	$(BIN)/python tools/conda_recipe.py --check
	$(BIN)/python tools/check_sizes.py

# Do the tests of the core notice changes in it? Takes a quarter of an hour, so it is not in CI.
# make mutants MUTANTS_ARGS="--most 60 --seed 7" draws other changes.
MUTANTS_ARGS ?=
mutants: venv .mutmut/.versions
	@PYTHONPATH=.mutmut $(BIN)/python tools/mutants.py $(MUTANTS_ARGS)

.mutmut/.versions: tools/mutants.lock | venv
	@rm -rf .mutmut
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --target .mutmut -r $<
	@touch $@

venv: $(VENV)/.package

# Two steps, as the versions change seldom and take minutes, and the package itself takes seconds.
$(VENV)/.versions: requirements.lock tools/make_venv.sh
	@PYTHON="$(PYTHON)" bash tools/make_venv.sh "$(VENV)"
	@touch $@

$(VENV)/.package: $(VENV)/.versions pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# What the page needs from npm, as web/package-lock.json pins it; nothing of it is in git.
VENDOR := src/upscaling/service/page/vendor
page: $(VENDOR)/LICENCES.txt

$(VENDOR)/LICENCES.txt: web/package-lock.json tools/build_web.py | venv
	@$(BIN)/python tools/build_web.py

# The documentation site in site/index.html; no network. Warnings (a broken link, a page in no menu) are errors.
docs: venv
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

# What `pip install` takes, with the workflow in it.
wheel: venv page
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .

# After a change of pyproject.toml; needs uv. requirements-core.lock is what an install without extras takes. overrides.txt says which wrong pins are taken out of the way, and why.
lock:
	uv pip compile pyproject.toml --all-extras --override overrides.txt --generate-hashes --universal \
	  --python-version 3.11 --prerelease if-necessary --no-header --quiet -o requirements.lock
	uv pip compile pyproject.toml --override overrides.txt --constraint requirements.lock --generate-hashes --universal \
	  --python-version 3.11 --prerelease if-necessary --no-header --no-annotate --quiet -o requirements-core.lock
	uv pip compile tools/mutants.in --no-deps --generate-hashes --universal --python-version 3.11 --no-header --no-annotate \
	  --quiet -o tools/mutants.lock

clean:
	rm -rf $(VENV) .mutmut mutants site .demo .mypy_cache .ruff_cache .pytest_cache
