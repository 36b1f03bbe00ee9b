# Everything there is to do with a checkout; `make` alone lists it.

# PYTHON chooses the interpreter, once: .venv remembers it.
PYTHON ?= $(or $(shell cat .venv/.python 2>/dev/null),python3)
CONFIG ?= etc/jabberd.toml
BIN := .venv/bin

ifneq ($(shell cat .venv/.python 2>/dev/null),$(PYTHON))
$(shell rm -f .venv/.has-*)
endif

.DEFAULT_GOAL := help
.PHONY: help demo run test unit faults interop guard bench bench-peers crowd rooms fuzz lint types docs clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

demo: .venv/.has-demo ## two servers, one conversation: see it happen (ONCE=1 ends by itself)
	@$(BIN)/python demo/play.py $(if $(ONCE),--once)

run: .venv/.has-demo ## run the server here, as CONFIG=etc/jabberd.toml says
	@$(BIN)/python demo/certificates.py
	@$(BIN)/twistd --nodaemon jabberd --config $(CONFIG)

test: .venv/.has-dev ## the whole test suite (ARGS="-k name" for a part)
	@$(BIN)/python -m pytest $(ARGS)

unit: .venv/.has-dev ## what needs no other process, on two cores: a minute (ARGS="tests/jsm" for a part)
	@$(BIN)/python -m pytest -q -n 2 -m "not foreign and not process" $(ARGS)

faults: .venv/.has-dev ## break two servers in every way for FOR=120 seconds, USERS=100 on each, and count (SEED=...)
	@JABBERD_FAULTS_SECONDS=$(or $(FOR),120) JABBERD_FAULTS_USERS=$(or $(USERS),100) \
	JABBERD_FAULTS_SEED=$(or $(SEED),0) $(BIN)/python -m pytest -q -s -o faulthandler_timeout=0 tests/faults

interop: .venv/.has-dev ## the public interoperability suite, JAR=FILE, against this server (docs/interop.md)
	@$(BIN)/python -m tests.interop.suite $(JAR) $(ARGS)

bench: .venv/.has-bench ## measure what the server costs: two minutes, a table and a picture in var/bench
	@$(BIN)/python benchmarks/bench.py --output var/bench $(ARGS)

crowd: .venv/.has-bench ## 5000 idle and 500 chatting sessions for ten minutes (FOR=600 IDLE=5000 CHATTING=500)
	@$(BIN)/python benchmarks/crowd.py --for $(or $(FOR),600) --idle $(or $(IDLE),5000) \
	--chatting $(or $(CHATTING),500) --output var/bench

rooms: .venv/.has-bench ## rooms under churn for FOR=300 seconds, ROOMS=50 OCCUPANTS=100; nothing is lost or reordered
	@$(BIN)/python benchmarks/rooms.py --for $(or $(FOR),300) --rooms $(or $(ROOMS),50) \
	--occupants $(or $(OCCUPANTS),100) --output var/bench

bench-peers: .venv/.has-bench ## the same beside Prosody, ejabberd and jabberd2, where they are installed
	@$(BIN)/python benchmarks/bench.py --peers --idle 1000 5000 --output var/bench $(ARGS)

guard: .venv/.has-dev ## count the machine instructions of a chat message and a login (ARGS=--record stores the figures)
	@$(BIN)/python benchmarks/instructions.py $(ARGS)

fuzz: .venv/.has-fuzz ## odd input for the parser, SASL and addresses for FOR=60 seconds; finds go to var/fuzz
	@for target in stream sasl jid; do \
	$(BIN)/python -m tests.fuzz.run $$target $$(( $(or $(FOR),60) / 3 )) || exit 1; done

lint: .venv/.has-dev ## style and common mistakes
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: .venv/.has-dev ## the types, strictly
	@$(BIN)/mypy

docs: .venv/.has-dev ## write the tables of the RFCs and of XEP-0479, check links and examples, show the next NEWS
	@$(BIN)/python -m tests.rfc.tables
	@$(BIN)/python -m tests.rfc.compliance
	@$(BIN)/python -m pytest -q tests/test_docs.py
	@$(BIN)/towncrier build --draft

clean: ## remove what the other targets made, the demo's data too
	rm -rf .venv var build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

# The stamp comes last: a set-up that was interrupted begins anew.
.venv/.has-%: setup.cfg pyproject.toml scripts/make_venv.sh
	@sh scripts/make_venv.sh "$(PYTHON)" .venv $*
	@touch $@
