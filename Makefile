# Every target does its own set-up: on Debian as root it installs what is missing, elsewhere it says what is missing and how to get it.
# The tools are plain scripts in tools/; nothing here needs to be run before anything else.

.POSIX:
.PHONY: help run test test-long bench lint build dist dist-check clean setup setup-test

# A pinned toolchain that is missing is said (tools/rust.sh), never downloaded behind anybody's back.
export RUSTUP_AUTO_INSTALL = 0

# `make bench ONLY=http/static` runs the rows whose names contain that; ARGS goes to the program as it is.
ONLY =
ARGS =

help:
	@echo "make run         build skep and serve the built-in examples in the foreground"
	@echo "make build       the release binary: dist/skep, statically linked"
	@echo "make test        lint, the release build, then every test; ends in 'N passed, N failed'"
	@echo "make lint        rustfmt, clippy, cargo deny, the house rules"
	@echo "make bench       side by side with the peers: bench/RESULTS.md (ONLY=http/scripted for some rows)"
	@echo "make dist        dist/skep-VERSION-x86_64-linux.tar.gz; make dist-check builds it twice and compares"
	@echo "make clean       remove what was built"

setup:
	@tools/need.sh c++=g++ make=make ldd=libc-bin
	@tools/rust.sh

setup-test: setup
	@tests/peers/acme.sh
	@tests/peers/cgi.sh
	@tests/peers/fronts.sh
	@tests/peers/http.sh
	@tests/peers/http2.sh
	@tests/peers/redis.sh
	@tests/peers/tls.sh
	@tests/peers/browser.sh
	@tests/peers/autobahn.sh
	@tests/peers/luau.sh

# The release build: what a newcomer runs is what is shipped.
run: build
	dist/skep run

build: setup
	@tools/release.sh

lint: setup
	@tools/lint.sh

test: setup-test lint build
	@tools/test.sh

# Every case of Autobahn's suite, the compression cases included: a quarter of an hour.
test-long: setup-test
	@SKEP_LONG=1 cargo test --release --locked --test websocket autobahn -- --nocapture

bench: setup build
	@tests/peers/http.sh
	@tests/peers/http2.sh
	@tests/peers/tls.sh
	@tests/peers/cgi.sh
	@tools/need.sh fcgiwrap=fcgiwrap
	@tests/peers/redis.sh
	@tests/peers/realtime.sh
	@cargo run --quiet --release --locked --package skep-bench -- --skep dist/skep --only "$(ONLY)" $(ARGS)

dist: build
	@tools/archive.sh

dist-check: setup
	@tools/reproducible.sh

clean:
	rm -rf target dist
