# `make demo` on a fresh Debian-like machine with Rust, Go and Node, as root, is all that it takes.

.PHONY: demo down test check conformance sdk-clients generate bench-runtime bench-operator fuzz

# Where clusters come from: native, kind or existing. Empty: kind where it can run, else native
CLUSTER ?=
export MCP_E2E_CLUSTER := $(or $(CLUSTER),$(MCP_E2E_CLUSTER))

# A real Kubernetes, the operator, two servers, and a client that we did not write
demo:
	@cargo run --locked --quiet --package e2e -- demo

# End the demo's cluster: no process, mount or network namespace stays
down:
	@cargo run --locked --quiet --package e2e -- down

# Every test; builds what it needs
test:
	@.ci/test

# All of .ci/run but the tests
check:
	@.ci/check

# The official conformance suite against the fixture server, and through the runtime as proxy
conformance:
	@.ci/conformance

# Clients of the official TypeScript, Python and Go SDKs, in both protocol eras
sdk-clients:
	@.ci/sdk-clients

# Random input to the parsers, SECONDS_EACH (60) for each; what is found once is kept in fuzz/corpus. ARGS: the targets
fuzz:
	@.ci/fuzz $(ARGS)

# Write anew what is generated from code: the definition, the chart's copy and roles, tables of the documentation
generate:
	@UPDATE=1 cargo test --locked --quiet --package mcp-crds --test generated
	@UPDATE=1 cargo test --locked --quiet --package mcp-operator --test rbac
	@UPDATE=1 cargo test --locked --quiet --package mcp-operator --lib documentation
	@UPDATE=1 cargo test --locked --quiet --package mcp-server-config --test documentation

# What a request, a session and an idle process cost, beside bare rmcp and nginx: docs/performance.md. ARGS: --quick, --only TEXT
bench-runtime:
	@.ci/bench-runtime $(ARGS)

# What a server costs the API server and the operator, beside a bare client: docs/performance.md. ARGS: --quick, --count N,
# --only minimal
bench-operator:
	@.ci/bench-operator $(ARGS)
