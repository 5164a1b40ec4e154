# make demo   sets up and trains a small U-Net under batch, group and switchable normalization
# make test   sets up and runs the tests
# make example   sets up and trains the network of Examples under several norms
# make docs   sets up and builds the documentation into .build/docs
# make fuzz   reads broken files for FUZZ_MINUTES (10); what crashes, hangs or takes too much memory is kept
# make fuzz-guided   the same by libFuzzer, which follows the coverage of the readers (Linux)
# make sanitize   runs tests under the address, undefined-behaviour and thread sanitizers
# make install PREFIX=/usr/local   installs what `make setup` built, with shell completions and manual pages; make uninstall
# make man, make completions   write those into .build/man and .build/completions
# make bench-peers   sets up and measures Norma beside other libraries (Benchmarks/README.md)
# make optimizers   sets up and makes the figures of Documentation/Optimizers.md again (350 short trainings)
.PHONY: setup demo test fuzz fuzz-guided sanitize install uninstall man completions example docs bench-peers optimizers format lint

setup:
	@Scripts/setup

# Built-in synthetic data; DEMO_OPTIONS shortens or lengthens it.
DEMO_OPTIONS ?= --width 16 --crop 128 --synthetic-size 256 --epochs 3 --samples-per-epoch 400 --head plain --dropout 0
demo: setup
	.build/release/norma compare --norms batch,group,switchable $(DEMO_OPTIONS) --output runs/demo --overwrite

test: setup
	@Scripts/test

# FUZZ_OPTIONS go to norma-fuzz (--help tells them), as the names of formats.
FUZZ_MINUTES ?= 10
FUZZ_OPTIONS ?=
fuzz:
	@NORMA_NO_BUILD=1 Scripts/setup
	swift build -c release --product norma-fuzz
	.build/release/norma-fuzz --minutes $(FUZZ_MINUTES) --seed $$(date +%s) $(FUZZ_OPTIONS)
	NORMA_BROKEN_CHECKPOINTS=20000 swift test --filter brokenCheckpointsAreErrorsNotCrashes

fuzz-guided:
	@Scripts/fuzz-guided $(FUZZ_MINUTES)

# SANITIZERS names one of them.
SANITIZERS ?= address thread
sanitize:
	@NORMA_NO_BUILD=1 Scripts/setup
	@Scripts/sanitize $(SANITIZERS)

PREFIX ?= /usr/local
# Without setup, which would build as the user who may write to PREFIX.
install uninstall:
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' Scripts/install $@

man: setup
	@.build/release/norma --experimental-dump-help | \
	  NORMA_VERSION=$$(.build/release/norma --version) python3 Scripts/manual.py .build/man

completions: setup
	@mkdir -p .build/completions
	@for shell in bash zsh fish; do \
	  .build/release/norma --generate-completion-script $$shell >.build/completions/norma.$$shell || exit 1; done

# EXAMPLE_NORMS names norms in the place of the example's own choice.
EXAMPLE_NORMS ?=
example: setup
	swift run -c release --package-path Examples OwnNetwork $(EXAMPLE_NORMS)

docs: setup
	@Scripts/docs

# KERAS=1 and JAX=1 measure those too; BENCH_OPTIONS go to Benchmarks/peers/run.py.
BENCH_OPTIONS ?=
bench-peers: setup
	@KERAS='$(KERAS)' JAX='$(JAX)' PEERS_PYTHON='$(PEERS_PYTHON)' Scripts/bench-peers $(BENCH_OPTIONS)

# OPTIMIZERS_OPTIONS go to norma compare.
OPTIMIZERS_OPTIONS ?=
optimizers: setup
	@Scripts/optimizers $(OPTIMIZERS_OPTIONS)

FORMATTED = Sources Tests Benchmarks/Sources Examples/Sources Package.swift Benchmarks/Package.swift Examples/Package.swift
format:
	swift format --in-place --recursive $(FORMATTED)

lint:
	swift format lint --strict --recursive $(FORMATTED)
