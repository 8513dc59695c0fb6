# make demo is the first thing to try; make help lists the rest. Nothing here relies on a program that was installed
# by hand: tools are built by Go, at the versions below, into .tools, which git ignores.

COSIGN_VERSION       := v3.1.3
REGCTL_VERSION       := v0.11.7
CRANE_VERSION        := v0.22.1
DISTRIBUTION_VERSION := v3.1.2
HELM_VERSION         := v4.3.1
GOLANGCI_VERSION     := v2.15.0
DEADCODE_VERSION     := v0.52.0

# How long make fuzz spends on each target.
FUZZTIME ?= 30s

TOOLS   := $(CURDIR)/.tools
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# -s -w leave out symbols, which a release does not need; an empty build id and -trimpath make the result a function
# of the source, the version and the toolchain.
RELEASE_FLAGS := -trimpath -buildvcs=false -ldflags '-s -w -buildid= -X airgap/cmd/airgap/app.version=$(VERSION)'
PLATFORMS     := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/airgap
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-X airgap/cmd/airgap/app.version=$(VERSION)' -o bin/ ./cmd/airgap

.PHONY: demo
demo: build ## carry an image from one registry to another, on this machine
	bin/airgap demo

.PHONY: test
test: ## run every test that needs nothing but Go
	go test -timeout 20m ./...

.PHONY: race
race: ## the same with the race detector, which needs a C compiler
	go test -race -timeout 30m ./...

.PHONY: interop
interop: interop-tools ## run the round trips with cosign, regctl, regsync, crane, helm, skopeo, SoftHSM and real registries
	cd testdata/interop && AIRGAP_TOOLS='$(TOOLS)' go test -count=1 -timeout 20m ./...
	AIRGAP_TOOLS='$(TOOLS)' go test -count=1 -run '^TestRealHelm$$' ./export/chart

.PHONY: interop-tools
interop-tools: $(TOOLS)/.cosign-$(COSIGN_VERSION) $(TOOLS)/.regctl-$(REGCTL_VERSION) $(TOOLS)/.regsync-$(REGCTL_VERSION) \
	$(TOOLS)/.crane-$(CRANE_VERSION) $(TOOLS)/.registry-$(DISTRIBUTION_VERSION) $(TOOLS)/.helm-$(HELM_VERSION) skopeo docker-registry softhsm

# skopeo cannot be built by Go alone, and so comes from Debian.
.PHONY: skopeo
skopeo:
	@command -v skopeo >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends skopeo; } || \
		{ echo 'skopeo is missing: install it, as in "sudo apt-get install skopeo"' >&2; exit 1; }

# Nor can SoftHSM, a PKCS#11 token in software, and what lets OpenSSL sign with one.
.PHONY: softhsm
softhsm:
	@{ [ -e /usr/lib/softhsm/libsofthsm2.so ] && openssl engine pkcs11 >/dev/null 2>&1; } || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openssl softhsm2 libengine-pkcs11-openssl; } || \
		{ echo 'SoftHSM is missing: install it, as in "sudo apt-get install softhsm2 libengine-pkcs11-openssl"' >&2; exit 1; }

# Neither can distribution 2.8, which Debian calls docker-registry. It is unpacked into .tools and not installed, since
# installing it makes a user and a service.
.PHONY: docker-registry
docker-registry:
	@command -v docker-registry >/dev/null || [ -x '$(TOOLS)/docker-registry' ] || { \
		unpacked=$$(mktemp -d) && trap 'rm -rf "$$unpacked"' EXIT && mkdir -p '$(TOOLS)' && cd "$$unpacked" && \
		{ [ "$$(id -u)" != 0 ] || apt-get update -qq; } && apt-get -o APT::Sandbox::User=root download -qq docker-registry && \
		dpkg-deb -x docker-registry_*.deb . && mv usr/bin/docker-registry '$(TOOLS)/'; } || \
		{ echo 'docker-registry is missing: install it, as in "sudo apt-get install docker-registry", and disable its service' >&2; exit 1; }

.PHONY: bench
bench: interop-tools ## compare with regctl, crane, skopeo, oras-go and the floors (12 GB of disk, half an hour)
	@for tool in curl openssl tar dd; do command -v $$tool >/dev/null || { echo "$$tool is missing" >&2; exit 1; }; done
	cd testdata/interop && AIRGAP_TOOLS='$(TOOLS)' go test -run '^$$' -bench '^Benchmark(AgainstPeers|ManySmallImages|SecondBundle)$$' -benchtime 1x -timeout 60m .

.PHONY: bench-go
bench-go: ## run the benchmarks of single packages
	go test -run '^$$' -bench . -benchmem -timeout 30m ./...

.PHONY: bench-memory
bench-memory: ## measure the peak memory of export, verify and import
	go test -run '^$$' -bench '^BenchmarkPeakMemory' -benchtime 1x -timeout 30m ./cmd/airgap

# What airgap itself does not reach, and tests do: the packages that help them, and what keeps a key out of messages.
FOR_TESTS := -e 'test/[^/]*\.go:' -e 'func: PrivateKey.Format$$'

.PHONY: lint
lint: $(TOOLS)/.golangci-lint-$(GOLANGCI_VERSION) $(TOOLS)/.deadcode-$(DEADCODE_VERSION) ## check formatting, go vet, golangci-lint and dead code
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w is missing for: $$unformatted" >&2; exit 1; fi
	go vet ./...
	'$(TOOLS)/golangci-lint' run ./...
	@set -e; unused=$$('$(TOOLS)/deadcode' ./...); untested=$$('$(TOOLS)/deadcode' -test ./...); \
	dead=$$({ echo "$$unused" | grep -v $(FOR_TESTS); echo "$$untested"; } | sed '/^$$/d' | sort -u); \
	if [ -n "$$dead" ]; then echo "$$dead" >&2; exit 1; fi

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@set -e; for package in $$(go list ./...); do \
		listed=$$(go test -list '^Fuzz' $$package); \
		for target in $$(echo "$$listed" | grep '^Fuzz' || true); do \
			echo "== $$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package; \
		done; \
	done

.PHONY: fixtures
fixtures: ## make testdata/fixtures again, with real tools (half an hour; all digests change)
	AIRGAP_TOOLS='$(TOOLS)/fixtures' testdata/fixtures/make.sh

.PHONY: release
release: ## build for all platforms into dist, twice, and compare
	rm -rf dist
	@$(MAKE) --no-print-directory binaries SOURCE='$(CURDIR)' DIST='$(CURDIR)/dist'
	@set -e; again=$$(mktemp -d); trap 'chmod -R u+w "$$again"; rm -rf "$$again"' EXIT; \
	mkdir "$$again/source"; \
	git ls-files -co --exclude-standard | while IFS= read -r f; do [ ! -f "$$f" ] || echo "$$f"; done \
		| tar cf - -T - | tar xf - -C "$$again/source"; \
	echo 'building again, elsewhere and without the build cache'; \
	GOCACHE="$$again/cache" $(MAKE) --no-print-directory binaries SOURCE="$$again/source" DIST="$$again/dist"; \
	diff -r dist "$$again/dist"
	cd dist && if command -v sha256sum >/dev/null; then sha256sum airgap-*; else shasum -a 256 airgap-*; fi > SHA256SUMS
	@cat dist/SHA256SUMS

# binaries builds from SOURCE into DIST; it is a part of release.
.PHONY: binaries
binaries:
	@set -e; cd '$(SOURCE)'; for platform in $(PLATFORMS); do \
		os=$${platform%/*}; arch=$${platform#*/}; suffix=; \
		[ "$$os" != windows ] || suffix=.exe; \
		echo "building $$platform"; \
		GOFLAGS= CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch \
			go build $(RELEASE_FLAGS) -o '$(DIST)'/airgap-$$os-$$arch$$suffix ./cmd/airgap; \
	done

.PHONY: clean
clean: ## remove what was built; the tools stay, "rm -rf .tools" removes them
	rm -rf bin dist

# A file .tools/.NAME-VERSION says that NAME is there in that version. GOFLAGS is emptied as flags for this module,
# such as -mod or -modfile, make no sense for another.
define install
	@mkdir -p '$(TOOLS)'
	@rm -f '$(TOOLS)/.$(1)'-*
	GOFLAGS= CGO_ENABLED=0 GOBIN='$(TOOLS)' go install $(2)
	@touch '$@'
endef

$(TOOLS)/.cosign-$(COSIGN_VERSION):
	$(call install,cosign,github.com/sigstore/cosign/v3/cmd/cosign@$(COSIGN_VERSION))

$(TOOLS)/.regsync-$(REGCTL_VERSION):
	$(call install,regsync,github.com/regclient/regclient/cmd/regsync@$(REGCTL_VERSION))

$(TOOLS)/.regctl-$(REGCTL_VERSION):
	$(call install,regctl,github.com/regclient/regclient/cmd/regctl@$(REGCTL_VERSION))

$(TOOLS)/.crane-$(CRANE_VERSION):
	$(call install,crane,github.com/google/go-containerregistry/cmd/crane@$(CRANE_VERSION))

$(TOOLS)/.registry-$(DISTRIBUTION_VERSION):
	$(call install,registry,github.com/distribution/distribution/v3/cmd/registry@$(DISTRIBUTION_VERSION))

$(TOOLS)/.helm-$(HELM_VERSION):
	$(call install,helm,helm.sh/helm/v4/cmd/helm@$(HELM_VERSION))

$(TOOLS)/.deadcode-$(DEADCODE_VERSION):
	$(call install,deadcode,golang.org/x/tools/cmd/deadcode@$(DEADCODE_VERSION))

$(TOOLS)/.golangci-lint-$(GOLANGCI_VERSION):
	$(call install,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION))
