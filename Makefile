# Two commands do everything on a fresh machine: make demo, make test.
SHELL := /bin/bash
DEMO ?= demo

.PHONY: demo test test-long test-fleet chaos lint setup clean

setup:
	@bash scripts/setup.sh

demo: setup
	@source .ws/env.sh && page4d demo --output "$(DEMO)"

# tests compute with one thread each: as many processes as cores, four at most for the memory
test: setup
	@source .ws/env.sh && PAGE4D_REQUIRE_ALL=1 python -m pytest -n auto --maxprocesses 4 \
		--dist loadfile $(PYTEST_ARGS)

test-long: setup
	@source .ws/env.sh && PAGE4D_REQUIRE_ALL=1 python -m pytest -m long $(PYTEST_ARGS)

# page4d annotate on Ray and on an object store; installs 450 MB into .venv first
test-fleet: setup
	@.venv/bin/python -m pip install -q $(PIP_ARGS) -r requirements/fleet.txt
	@source .ws/env.sh && PAGE4D_REQUIRE_ALL=1 python -m pytest test/fleet -m "long or not long" $(PYTEST_ARGS)

# faults thrown at a live node; CHAOS="--faults 2000 --seed 1" for a long campaign
chaos: setup
	@source .ws/env.sh && PYTHONPATH="test$${PYTHONPATH:+:$$PYTHONPATH}" python -m chaos $(CHAOS)

lint: setup
	@source .ws/env.sh && ruff check . && ruff format --check .

clean:
	rm -rf .venv .ws demo chaos.json
