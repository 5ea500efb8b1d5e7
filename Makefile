# CredAnt. "make" lists what there is to make.

# Only what git says of the commit goes into the binary, so two builds of one commit are the same bytes.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false

# Where the tests find what is under test, inside the VM too.
export CREDANT_BIN := $(CURDIR)/bin/credant
export CREDANT_RELAY_BIN := $(CURDIR)/bin/credant-relay

SCENARIOS := ./integration/scenario
MATRIX := ./integration/matrix
PAGES := ./integration/pages
IMAGE := ./integration/image
# Packages that start no goroutine.
SEQUENTIAL := $(strip $(file < integration/sequential.txt))
# Packages whose tests have a part that needs kernel WireGuard; it runs in the VM.
KERNEL := ./wgsetup ./wgsetup/sideport ./wgsetup/internal/nft

# $(call tests,NAME,PACKAGES) is "go test" that runs a failed test again by itself, twice at most: two cores that are busy with
# something else miss a deadline now and then, a mistake fails every time. "make test" ends with the names of such tests.
# Data races, and more than five failures, are no accidents.
tests = go tool gotestsum --format pkgname-and-test-fails --format-icons text --hide-summary skipped \
	--rerun-fails=2 --rerun-fails-max-failures=5 --rerun-fails-run-root-test --rerun-fails-abort-on-data-race \
	--rerun-fails-report '$(CURDIR)/bin/rerun-$(1).txt' --packages "$(2)" --

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

.PHONY: deps
deps: ## install what tests and demo need on Debian (as root)
	@integration/deps

.PHONY: build
build: ## both programs in bin: static, reproducible, stamped
	$(GO_BUILD) -ldflags '-s -w -X main.version=$(VERSION)' -o bin/credant ./cmd/credant
	$(GO_BUILD) -ldflags '-s -w -X main.version=$(VERSION)' -o bin/credant-relay ./cmd/credant-relay

.PHONY: packages
packages: ## deb, rpm, apk and archlinux packages, SPK and install.sh's folder, in bin/release
	cd deploy/packages && go run . -version '$(VERSION)' -out '$(CURDIR)/bin/release'

.PHONY: docs
docs: build ## the pages of reference in docs, from what the programs say of themselves
	cd deploy/packages && go run . -docs '$(CURDIR)/bin'

.PHONY: demo
demo: ## two machines behind NATs find each other (as root)
	@integration/deps demo
	@$(MAKE) --no-print-directory build
	@go run ./integration/demo -credant bin/credant

.PHONY: test
test: export CREDANT_TEST_STRICT := 1
test: deps lint build bin/vmrun ## everything; a test that cannot run fails (as root)
	@rm -f bin/rerun-*.txt
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-integration
	@$(MAKE) --no-print-directory -j 2 --output-sync=target test-machines
	@$(MAKE) --no-print-directory test-idle # last and alone: what it measures is small
	@! ls bin/rerun-*.txt >/dev/null 2>&1 || { echo 'Run more than once, because they failed:'; cat bin/rerun-*.txt; }

.PHONY: test-unit
test-unit: build ## every package, race detector on where it can find something
	$(call tests,race,$$(go list ./... | grep -v -e $(SCENARIOS) -e $(MATRIX) -e $(PAGES) -e $(IMAGE) $(SEQUENTIAL:.%=-e .%$$))) -p 4 -race -timeout 30m -skip '/kernel$$'
	$(call tests,plain,$(SEQUENTIAL) ./discovery/mainline ./control/relayd) -p 4 -timeout 30m
	cd deploy/packages && go test ./...

.PHONY: test-integration
test-integration: build ## the programs in a small internet, and what the pages show (as root)
	$(call tests,scenarios,$(SCENARIOS)) -count=1 -timeout 15m -parallel 8 -skip '^TestKernel|^TestIdle'
	$(call tests,matrix,$(MATRIX)) -count=1 -timeout 5m
	$(call tests,pages,$(PAGES)) -count=1 -timeout 10m -skip '^TestMachine$$'

.PHONY: matrix
matrix: deps build ## every two kinds of NAT, how they meet; writes docs/matrix.md (as root, an hour or two)
	go run $(MATRIX) -delay 20ms -page docs/matrix.md $(MATRIXFLAGS)

.PHONY: test-idle
test-idle: build ## what an idle node costs; takes six minutes (as root)
	$(call tests,idle,$(SCENARIOS)) -count=1 -timeout 15m -run '^TestIdle'

.PHONY: test-kernel test-kernel-packages test-kernel-scenarios
test-kernel: test-kernel-packages test-kernel-scenarios ## WireGuard of Debian's kernel, in QEMU (as root)
test-kernel-packages test-kernel-scenarios: export CREDANT_TEST_KERNEL := 1
test-kernel-packages: build bin/vmrun
	$(call tests,kernel,$(KERNEL)) -count=1 -p 1 -timeout 40m -skip '/embedded$$|//embedded$$' -exec '$(CURDIR)/bin/vmrun -timeout 40m --'
test-kernel-scenarios: build bin/vmrun
	$(call tests,kernel-scenarios,$(SCENARIOS)) -count=1 -timeout 40m -run '^TestKernel' -exec '$(CURDIR)/bin/vmrun -timeout 40m --'

.PHONY: test-image test-image-boots test-image-pages
test-image: test-image-boots test-image-pages ## services, the package, a first boot and reboots on a Debian with systemd, in QEMU (as root)
test-image-boots: build
	$(call tests,image,$(IMAGE)/...) -count=1 -timeout 60m
test-image-pages: build
	$(call tests,machine-pages,$(PAGES)) -count=1 -timeout 30m -run '^TestMachine$$'

# Each of these keeps one processor busy: emulated machines with a clock of their own. The longest begin.
.PHONY: test-machines
test-machines: test-image-boots test-kernel-scenarios test-kernel-packages test-image-pages

.PHONY: bin/vmrun
bin/vmrun:
	$(GO_BUILD) -o $@ ./integration/vm/cmd/vmrun

.PHONY: lint
lint: ## format, vet, staticcheck, and who may import whom
	@unformatted=$$(go tool gofumpt -l .); [ -z "$$unformatted" ] || { echo "not formatted (go tool gofumpt -w .):"; echo "$$unformatted"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	cd deploy/packages && go vet ./... && go tool -modfile=$(CURDIR)/go.mod staticcheck ./...
	go test -count=1 -run TestImportLaw ./integration

FUZZTIME ?= 10s
.PHONY: fuzz
fuzz: ## every fuzz target, FUZZTIME (10s) each
	@for package in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
	    echo "$$package $$target"; \
	    go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
	  done; \
	done

.PHONY: bench
bench: ## every benchmark
	go test -run '^$$' -bench . -benchmem $$(go list ./... | grep -v /integration)

.PHONY: bench-gossip
bench-gossip: ## what gossip costs at 10 and 100 nodes, simulated
	go test -run '^$$' -bench '^BenchmarkSimulation$$' -benchtime 1x ./discovery/gossip

.PHONY: bench-relay
bench-relay: deps ## what a packet costs this relay and coturn (as root)
	go run ./integration/bench/relay

.PHONY: clean
clean: ## remove bin; what integration/deps downloaded stays
	rm -rf bin
