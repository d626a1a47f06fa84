#!/usr/bin/env bash
# Builds, from source, the tools of the native cluster: a real Kubernetes for machines that have neither Docker nor a
# container registry, only Go's module proxy and Debian's packages.
#
#   build.sh api-level          etcd, the control plane and kubectl (one binary); the definitions of the Gateway API
#   build.sh next-level         those, and the API server and controller manager of the next minor version
#   build.sh node-level         etcd, the control plane, and all that a node which runs pods needs
#   build.sh packages           only install the Debian packages that the build and the node need
#   build.sh TOOL…              some of: node next gateway-api containerd runc helm coredns traefik addons pause
#   build.sh tidy               after changing a version in a go.mod
#
# Each tool goes to $MCP_OPERATOR_CACHE/bin/TOOL-VERSION-HASH (default ~/.cache/mcp-operator), named after everything
# that determines it; what is there is never built again. $MCP_OPERATOR_CACHE/bin/current holds links for your PATH.
# Standard output is `TOOL=FOLDER` lines for programs; progress goes to standard error.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${MCP_OPERATOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mcp-operator}/bin

api_level=(node gateway-api)
next_level=(node next gateway-api)
node_level=(node gateway-api containerd runc pause coredns traefik addons helm)

# ── What determines a tool: its pins, its source, and the lines below that build it ─────────────────────────────────

pinned() { awk -v module="$2" '{ sub(/^require /, "") } $1 == module && $2 ~ /^v/ { print substr($2, 2); exit }' "$here/$1/go.mod"; }

version_of() {
  case $1 in
    node | next) pinned "$1" k8s.io/kubernetes ;;
    containerd) pinned tools github.com/containerd/containerd/v2 ;;
    runc) pinned tools github.com/opencontainers/runc ;;
    helm) pinned tools helm.sh/helm/v4 ;;
    coredns) pinned tools github.com/coredns/coredns ;;
    traefik) pinned traefik github.com/traefik/traefik/v3 ;;
    addons) echo 1 ;;
    pause) echo 1 ;;
    gateway-api) echo 1.6.3 ;;
    *) die "unknown tool '$1'; the tools are: ${node_level[*]} next" ;;
  esac
}

sources_of() {
  case $1 in
    node | next) echo "$1/main.go" "$1/go.mod" "$1/go.sum" ;;
    containerd | runc | helm) echo tools/go.mod tools/go.sum ;;
    coredns) echo tools/coredns/main.go tools/go.mod tools/go.sum ;;
    traefik) echo traefik/lego_dns.go.txt traefik/ecs.go.txt traefik/go.mod traefik/go.sum ;;
    addons) echo addons/*.go addons/go.mod addons/go.sum ;;
    pause) echo pause/pause.c ;;
    gateway-api) echo /dev/null ;; # its version says all
  esac
}

folder_of() {
  local hash
  # The recipe is hashed too, so that changing how a tool is built builds it anew.
  # shellcheck disable=SC2046 # sources_of is a list of words
  hash=$( (declare -f "build_$1" go_build go_build_kubernetes traefik_module; cd "$here" && cat $(sources_of "$1")) | sha256sum)
  echo "$bin/$1-$(version_of "$1")-${hash:0:10}"
}

# On two cores, from nothing.
duration_of() {
  case $1 in
    node) echo "5 to 8 min" ;;
    next) echo "3 to 5 min" ;;
    traefik | addons) echo "2 min" ;;
    containerd | coredns | helm) echo "1 to 2 min" ;;
    *) echo "10 s" ;;
  esac
}

# ── How each tool is built: into the folder $1 ──────────────────────────────────────────────────────────────────────

# `nice`: a build of minutes must not make the machine unusable.
go_build() {
  command -v go >/dev/null || die "Go is missing: install Go 1.26.6 or newer"
  GOWORK=off GOFLAGS="-trimpath -buildvcs=false" CGO_ENABLED=${CGO_ENABLED:-0} nice go build "$@"
}

# The tool $1, a part of Kubernetes or all of it, which says its version.
go_build_kubernetes() {
  local version minor
  version=$(version_of "$1")
  minor=${version#*.}
  cd "$here/$1"
  go_build -o "$2/$1" -ldflags "-s -w
    -X k8s.io/component-base/version.gitVersion=v$version
    -X k8s.io/component-base/version.gitMajor=${version%%.*}
    -X k8s.io/component-base/version.gitMinor=${minor%%.*}" .
}

build_node() {
  go_build_kubernetes node "$1"
  ln -s node "$1/kubectl"
}

build_next() {
  go_build_kubernetes next "$1"
}

build_containerd() {
  local module=github.com/containerd/containerd/v2
  cd "$here/tools"
  go_build -o "$1/" -ldflags "-s -w -X $module/version.Version=v$(version_of containerd)" \
    $module/cmd/containerd $module/cmd/containerd-shim-runc-v2 $module/cmd/ctr
}

# Without libseccomp (and the tag) every pod with a seccomp profile, so every restricted pod, fails to start.
build_runc() {
  cd "$here/tools"
  CGO_ENABLED=1 go_build -o "$1/" -tags seccomp -ldflags "-s -w" github.com/opencontainers/runc
}

build_helm() {
  cd "$here/tools"
  go_build -o "$1/" -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=v$(version_of helm)" helm.sh/helm/v4/cmd/helm
}

build_coredns() {
  cd "$here/tools"
  go_build -o "$1/coredns" -ldflags "-s -w" ./coredns
}

build_traefik() {
  local work=$1.module
  traefik_module "$work"
  cd "$work"
  go_build -o "$1/" -ldflags "-s -w -X github.com/traefik/traefik/v3/pkg/version.Version=$(version_of traefik)" \
    github.com/traefik/traefik/v3/cmd/traefik
}

# With cert-manager's definitions, as its users install them.
build_addons() {
  local source
  source=$(module_folder github.com/cert-manager/cert-manager "$(pinned addons github.com/cert-manager/cert-manager)")
  mkdir "$1/cert-manager"
  cp "$source"/deploy/crds/*.yaml "$1/cert-manager/"
  chmod -R u+w "$1/cert-manager"
  cd "$here/addons"
  go_build -o "$1/" -ldflags "-s -w" .
}

# Not a program: the standard channel of its definitions, as its users install it.
build_gateway-api() {
  local source
  source=$(module_folder sigs.k8s.io/gateway-api "$(version_of gateway-api)")
  cp "$source"/config/crd/standard/*.yaml "$1/"
}

build_pause() {
  command -v musl-gcc >/dev/null || die "musl-gcc is missing: install musl-tools"
  musl-gcc -static -Os -s -o "$1/pause" "$here/pause/pause.c"
}

# A third of Traefik's build is code for clouds: the SDKs of 190 DNS hosters, behind lego, the ACME client, and Amazon's.
# This cluster uses none of it. So both modules are replaced by copies without, in the folder $1.
traefik_module() {
  mkdir -p "$1"
  cp "$here"/traefik/go.* "$1/"
  copy_module "$1/lego" github.com/go-acme/lego/v4 ./cmd ./e2e ./providers/dns ./internal/releaser ./internal/dns
  mkdir -p "$1/lego/providers/dns"
  cp "$here/traefik/lego_dns.go.txt" "$1/lego/providers/dns/dns.go"
  copy_module "$1/traefik" github.com/traefik/traefik/v3 ./docs ./integration ./pkg/provider/ecs
  mkdir "$1/traefik/pkg/provider/ecs"
  cp "$here/traefik/ecs.go.txt" "$1/traefik/pkg/provider/ecs/ecs.go"
}

# Copies the module $2, as it is pinned for Traefik, to the folder $1, without the folders that follow.
copy_module() {
  local target=$1 module=$2 source
  shift 2
  source=$(module_folder "$module" "$(pinned traefik "$module")")
  mkdir "$target"
  tar -C "$source" -c "${@/#/--exclude=}" --exclude='*_test.go' --exclude=testdata . | tar -C "$target" -x --mode=u+w
}

# Where Go keeps the sources of the module $1 in the version $2.
module_folder() {
  local source
  source=$(cd / && GOWORK=off go mod download -json "$1@v$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  [ -n "$source" ] || die "cannot download $1"
  echo "$source"
}

# ── What must be installed: `probe:package`, a probe being a command, a file or a pkg-config module ─────────────────

# shellcheck disable=SC2054 # a comma separates the places where one file may be
packages=(
  ip:iproute2 iptables:iptables ipset:ipset conntrack:conntrack nsenter:util-linux mount:mount
  /usr/lib/cni/bridge,/opt/cni/bin/bridge:containernetworking-plugins
  gcc:gcc musl-gcc:musl-tools cmake:cmake # static Rust binaries: aws-lc is C and is built by cmake
  pkg-config:pkg-config libseccomp.pc:libseccomp-dev
  buildah:buildah           # images from the Dockerfiles, without a daemon
  redis-server:redis-server # becomes the image of the redis pod
)

install_packages() {
  local missing=() entry
  for entry in "${packages[@]}"; do
    present "${entry%%:*}" || missing+=("${entry#*:}")
  done
  [ ${#missing[@]} = 0 ] && return 0
  command -v apt-get >/dev/null || die "these are missing, and there is no apt-get to install them: ${missing[*]}"
  say "installing Debian packages: ${missing[*]}"
  apt-get update -qq >&2
  # The run level keeps Debian from starting services (redis) because they were installed.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2
}

present() {
  local probe
  for probe in ${1//,/ }; do
    case $probe in
      /*) [ -e "$probe" ] && return ;;
      *.pc) pkg-config --exists "${probe%.pc}" 2>/dev/null && return ;;
      *) command -v "$probe" >/dev/null && return ;;
    esac
  done
  return 1
}

# ── The work ────────────────────────────────────────────────────────────────────────────────────────────────────────

die() { echo "build.sh: $*" >&2; exit 1; }
say() { echo "$*" >&2; }

build() {
  local tool=$1 position=$2 folder work started status
  folder=$(folder_of "$tool")
  if [ ! -d "$folder" ]; then
    printf '[%s] building %s %s (about %s) … ' "$position" "$tool" "$(version_of "$tool")" "$(duration_of "$tool")" >&2
    started=$SECONDS
    # Built aside and renamed: an interrupted build leaves nothing that looks finished.
    work=$(mktemp -d "$bin/.building-XXXXXX")
    mkdir "$work/out"
    # Not `if (…)`: bash turns `set -e` off inside conditions.
    set +e
    (set -e; "build_$tool" "$work/out") >"$work/log" 2>&1
    status=$?
    set -e
    if [ $status != 0 ]; then
      say "failed:"
      tail -n 30 "$work/log" >&2
      die "$tool did not build (log: $work/log). Is the Go module proxy reachable? The same command continues"
    fi
    chmod 755 "$work/out"
    mv "$work/out" "$folder"
    chmod -R u+w "$work" && rm -rf "$work"
    say "done in $((SECONDS - started)) s"
    built=yes
  fi
  link_current "$folder"
  echo "$tool=$folder"
}

link_current() {
  local file link
  for file in "$1"/*; do
    link=$bin/current/${file##*/}
    [ "$(readlink "$link" 2>/dev/null)" = "$file" ] || { ln -sfn "$file" "$link.$$" && mv -fT "$link.$$" "$link"; }
  done
}

tidy() {
  local module work
  for module in node next tools addons; do
    (cd "$here/$module" && GOWORK=off go mod tidy)
  done
  work=$(mktemp -d)
  traefik_module "$work"
  (cd "$work" && GOWORK=off go mod tidy)
  cp "$work"/go.mod "$work"/go.sum "$here/traefik/"
  rm -rf "$work"
}

main() {
  local tools=() argument position=0 built=
  for argument in "$@"; do
    case $argument in
      api-level) tools+=("${api_level[@]}") ;;
      next-level) tools+=("${next_level[@]}") ;;
      node-level) tools+=("${node_level[@]}") ;;
      packages) install_packages; exit ;;
      tidy) tidy; exit ;;
      -*) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
      *) version_of "$argument" >/dev/null; tools+=("$argument") ;;
    esac
  done
  [ ${#tools[@]} -gt 0 ] || die "say what to build: api-level, next-level, node-level, packages, or tools; --help tells more"

  mkdir -p "$bin/current"
  exec 9>"$bin/.lock"
  flock -w 2 9 || { say "another build is running; waiting for it"; flock 9; }
  rm -rf "$bin"/.building-* # of a build that was interrupted: the lock is ours, so nobody is building

  [[ " $* " == *" node-level "* ]] && install_packages
  for tool in "${tools[@]}"; do
    build "$tool" "$((position += 1))/${#tools[@]}"
  done
  [ -z "$built" ] || say "kubectl, helm and the others are linked in $bin/current: put it on your PATH"
}

main "$@"
