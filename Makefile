# `make` builds bin/outwarden and bin/partnerapi; `make help` lists the rest.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
PREFIX  ?= /usr/local
FUZZTIME ?= 30s
# Tools the gate installs live outside the tree, so that a second run is quick.
TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/outwarden/tools
GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)
BENCHSTAT_VERSION := v0.0.0-20260908200009-22c9c6c9d4da
BENCHSTAT := $(TOOLS)/benchstat-$(BENCHSTAT_VERSION)
BENCHWORK ?= a
BASE ?= main

export CGO_ENABLED ?= 0
GOBUILD := go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'

.DEFAULT_GOAL := build
.PHONY: help build generate demo test test-kernels unit bench-capture conformance-tls lint fuzz bench bench-profile bench-compare abuse kills s3 isolation namespaces soak clean install

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/outwarden and bin/partnerapi (needs Go alone)
	$(GOBUILD) -o bin/ ./cmd/outwarden ./cmd/partnerapi

generate: ## compile bpf/ anew and write its Go twin (needs clang)
	scripts/setup generate
	go generate ./...

demo: build ## show the whole way of a call, on network namespaces of its own (root)
	scripts/demo/demo

test: ## run every test; as root it prepares the machine, else it says what it skipped
	scripts/test $(TESTFLAGS)

test-kernels: ## capture, netfilter and the daemon in Debian's kernels, 5.10 to the newest, emulated; KERNELTESTS="-short trixie" chooses
	scripts/kernels/run $(KERNELTESTS)

unit: ## the systemd unit, by a real systemd in an emulated machine: ready, capture, restart, kill, watchdog, boot order
	scripts/systemd/unit

conformance-tls: ## BetterTLS in full and everything of testssl.sh, minutes; `make test` has a short form (root)
	scripts/setup test
	OUTWARDEN_TEST_ROOT=1 OUTWARDEN_CONFORMANCE_FULL=1 go test -count=1 -timeout=15m -v -run 'TestBetterTLS|TestTestssl|TestChainsAsGo|TestAdversarial|TestTickets|TestOversized' ./pkg/proxy

lint: $(GOLANGCI) ## gofmt, go vet, golangci-lint, clang-format
	scripts/lint $(GOLANGCI)

fuzz: ## fuzz every parser for FUZZTIME each (default 30s)
	scripts/fuzz $(FUZZTIME)

bench: ## compare with the peers, as ratios within one run (root); BENCH=short only shows that it runs
	scripts/bench/run $(BENCH)

bench-profile: ## where the CPU of outwarden goes under BENCHWORK (default a; needs perf, root)
	profile=$$(mktemp -d) && scripts/bench/run -work $(BENCHWORK) -peers outwarden -rounds 1 -seconds 5 -profile "$$profile"

bench-compare: $(BENCHSTAT) ## the benchmarks of the stages, here and at BASE (default main), by benchstat
	scripts/bench/compare $(BENCHSTAT) $(BASE)

bench-capture: ## what the hooks cost a connect and a packet, in turn with and without them (root)
	OUTWARDEN_TEST_ROOT=1 go test -count=1 -timeout=10m -run '^$$' -bench Cost -benchtime 1x -v ./pkg/capture

abuse: ## attack the proxy in full: mutations, slow clients, floods of names, a noisy neighbour
	scripts/abuse

namespaces: ## 500 network namespaces come and go, and nothing may be left of them (root)
	OUTWARDEN_TEST_ROOT=1 OUTWARDEN_NAMESPACES=500 go test -count=1 -timeout=9m -v -run TestSystemNamespacesComeAndGo ./pkg/daemon

s3: ## uploads of up to over 1 GiB to a real S3 server by clients with a placeholder key (root)
	scripts/setup test
	scripts/s3server $(TOOLS)
	PATH=$(TOOLS):$$PATH OUTWARDEN_TEST_ROOT=1 OUTWARDEN_S3=full go test -count=1 -timeout=15m -v -run 'TestSystemS3$$' ./pkg/daemon

isolation: ## two workloads, one host, 20000 requests each under the race detector: nobody gets the other's
	OUTWARDEN_ABUSE=full CGO_ENABLED=1 go test -race -count=1 -timeout=30m -v -run TestTenants ./pkg/proxy

kills: ## kill the daemon KILLS (200) times under load, under each fail policy, stop it for 30 s, starve it; `make test` in short (root)
	scripts/setup test
	OUTWARDEN_TEST_ROOT=1 OUTWARDEN_KILLS=$(or $(KILLS),200) go test -count=1 -timeout=30m -v -run 'TestSystem(KilledUnderLoad|Starved|OutOf|TamperUnderLoad)' ./pkg/daemon

soak: ## mixed work for DURATION (default 1h), at most REQUESTS in it, in which nothing may grow
	scripts/soak $(or $(DURATION),1h) $(REQUESTS)

clean: ## remove what the build made
	rm -rf bin
	go clean -testcache

install: build ## install the binary and the systemd unit under PREFIX (default /usr/local)
	install -D -m 0755 bin/outwarden $(DESTDIR)$(PREFIX)/bin/outwarden
	install -D -m 0644 scripts/systemd/outwarden.service $(DESTDIR)$(PREFIX)/lib/systemd/system/outwarden.service
	install -D -m 0644 scripts/systemd/after-outwarden.conf $(DESTDIR)$(PREFIX)/share/outwarden/after-outwarden.conf

$(GOLANGCI):
	mkdir -p $(TOOLS)/new
	GOBIN=$(TOOLS)/new go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/new/golangci-lint $@

$(BENCHSTAT):
	mkdir -p $(TOOLS)/new
	GOBIN=$(TOOLS)/new go install golang.org/x/perf/cmd/benchstat@$(BENCHSTAT_VERSION)
	mv $(TOOLS)/new/benchstat $@
