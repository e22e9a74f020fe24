# The habits of this project. `make` alone names them.
#   ROUNDS    of make crash, how often the server is killed
#   FUZZTIME  of make fuzz, the time of each target
#   STATE     of make run, the directory of the server's state
#   PORT      of make run, another port than 5640
#   MOUNT     of make run, the directory where the archive is mounted by FUSE; nothing: not at all
#   ARGS      of make run and make bench, further arguments
SHELL := /bin/bash
STATE ?= ./sliod-state
PORT ?=
# Root needs the right to mount, which a container may lack, and others fusermount3. Go's
# ./... leaves out what begins with _, and so the files of the archive.
MOUNT ?= $(shell [ -r /dev/fuse ] && [ -w /dev/fuse ] && \
  if [ "$$(id -u)" = 0 ]; then unshare -m true; else command -v fusermount3; fi >/dev/null 2>&1 && echo '$(STATE)/_mnt')
ROUNDS ?= 50
FUZZTIME ?= 20s
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help build run test lint bench fuzz crash faults fmt packages

help:
	@echo "make build   bin/sliod"
	@echo "make run     build it and serve $(STATE) (STATE=DIR PORT=N MOUNT=DIR ARGS='...')"
	@echo "make test    everything that must hold; installs what the tests need"
	@echo "make lint    gofmt, go vet, staticcheck"
	@echo "make bench   sliod beside null9p and diod; mounts beside others (root); tape; orders (ARGS='--json')"
	@echo "make fuzz    every fuzz target for FUZZTIME=$(FUZZTIME)"
	@echo "make crash   kill -9 the server ROUNDS=$(ROUNDS) times under load"
	@echo "make faults  fail every command to the library, and cut the power at every write (an hour)"
	@echo "make fmt     gofmt -w"

build:
	go build -o bin/sliod ./cmd/sliod

run: build
	@bin/sliod serve --state '$(STATE)' $(if $(PORT),--listen tcp:127.0.0.1:$(PORT) --listen 'unix:$(STATE)/sliod.sock') $(if $(MOUNT),--mount '$(MOUNT)') $(ARGS)

packages:
	@scripts/packages

test: packages lint
	@scripts/test
	@echo "make test: everything passed"

lint:
	@bad=$$(find . -path ./sliod-state -prune -o -name '*.go' -print0 | xargs -0 gofmt -l); \
	  [ -z "$$bad" ] || { echo "not formatted (run make fmt):"; echo "$$bad"; exit 1; }
	go vet ./...
	go tool staticcheck ./...

bench:
	@go run ./bench/run $(ARGS)
	@go test -run '^$$' -bench 'Archive|Recall' -benchtime 10x ./backend/mover >&2
	@go run ./bench/order
	@go test -count=1 -run '^TestEstimateAccuracy$$' -v ./backend/mover >&2
	@go test -run '^$$' -bench Forecast ./tape/schedule >&2
	@go test -run '^$$' -bench Million -benchtime 1x ./tape/ltfs >&2

fuzz:
	@FUZZTIME=$(FUZZTIME) scripts/fuzz

# TestCrashRounds reads ROUNDS; make test has 100, and 10 with the race detector.
crash:
	SLIOD_CRASH_ROUNDS=$(ROUNDS) SLIOD_CRASH_KEEPING=all go test -count=1 -timeout 24h -v -run Crash ./...

# The whole product instead of make test's sample.
faults:
	SLIOD_FAULTS=all SLIOD_FAULTS_AGAIN=3000 go test -count=1 -timeout 24h -v ./faults

fmt:
	@find . -path ./sliod-state -prune -o -name '*.go' -print0 | xargs -0 gofmt -w
