# Two commands do everything on a fresh machine: make demo, make test.
SHELL := /bin/bash
DEMO ?= demo

.PHONY: demo test test-long test-fleet chaos soak fuzz sbom lock lint setup clean

setup:
	@bash scripts/setup.sh

demo: setup
	@source .ws/env.sh && page4d demo --output "$(DEMO)"

# tests compute with one thread each: as many processes as cores, four at most for the memory;
# one that dies ends the run, as pytest-xdist hands its tests to processes that have ended already,
# and a test that hangs fails with its stack
test: setup
	@source .ws/env.sh && PAGE4D_REQUIRE_ALL=1 python -m pytest -n auto --maxprocesses 4 \
		--dist loadfile --max-worker-restart 0 --timeout 900 $(PYTEST_ARGS)

test-long: setup
	@source .ws/env.sh && PAGE4D_REQUIRE_ALL=1 python -m pytest -m long $(PYTEST_ARGS)

# page4d annotate on Ray and on an object store; installs 450 MB into .venv first
test-fleet: setup
	@.venv/bin/python -m pip install -q $(PIP_ARGS) -r requirements/tools/fleet.txt
	@source .ws/env.sh && PAGE4D_REQUIRE_ALL=1 python -m pytest test/fleet -m "long or not long" $(PYTEST_ARGS)

# faults thrown at a live node; CHAOS="--faults 2000 --seed 1" for a long campaign
chaos: setup
	@source .ws/env.sh && PYTHONPATH="test$${PYTHONPATH:+:$$PYTHONPATH}" python -m chaos $(CHAOS)

# the node at camera rate; SOAK="--minutes 60" for an hour
soak: setup
	@source .ws/env.sh && PYTHONPATH="test$${PYTHONPATH:+:$$PYTHONPATH}" python -m chaos.soak $(SOAK)

# damaged input for every reader; FUZZ="--seconds 3600 --target mcap", or FUZZ=--list
fuzz: setup
	@source .ws/env.sh && { python -c 'import atheris' 2>/dev/null || \
		pip install -q --only-binary :all: -r requirements/tools/fuzz.txt || true; }
	@source .ws/env.sh && PYTHONPATH="test$${PYTHONPATH:+:$$PYTHONPATH}" python -m fuzz $(FUZZ)

# what is installed, as CycloneDX; its tool stays out of the environment that it describes
sbom: setup
	@[ -x .ws/sbom/bin/cyclonedx-py ] || { .venv/bin/python -m venv .ws/sbom && \
		.ws/sbom/bin/pip install -q -r requirements/tools/sbom.txt; }
	@env -u PYTHONPATH .ws/sbom/bin/cyclonedx-py environment --output-reproducible --of JSON \
		-o sbom.json .venv/bin/python

# requirements/locked.txt, after a change of the others
lock:
	@[ -x .ws/lock/bin/uv ] || { python3 -m venv .ws/lock && .ws/lock/bin/pip install -q uv; }
	@PATH="$$PWD/.ws/lock/bin:$$PATH" bash scripts/lock.sh

lint: setup
	@source .ws/env.sh && ruff check . && ruff format --check .

clean:
	rm -rf .venv .ws demo chaos.json fuzz soak sbom.json
