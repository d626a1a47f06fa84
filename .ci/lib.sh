# shellcheck shell=bash
# What the scripts of this folder share: sections with times, a summary, and tools that are installed once.

cache=${MCP_OPERATOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mcp-operator}
sections=()
title=
started=0

# Says in the summary that this section did nothing.
skip() {
  echo "skipped: $1"
  end_section skipped
}

# Ends the section before it and begins another.
section() {
  end_section ok
  title=$1
  started=$SECONDS
  printf '\n━━ %s\n' "$title"
}

end_section() {
  [ -n "$title" ] || return 0
  sections+=("$(printf '  %-7s %5d s  %s' "$1" $((SECONDS - started)) "$title")")
  title=
}

summary() {
  local status=$?
  trap - EXIT
  if [ $status = 0 ]; then end_section ok; else end_section FAILED; fi
  printf '\n━━ %s after %d s\n' "$([ $status = 0 ] && echo passed || echo FAILED)" "$SECONDS"
  printf '%s\n' "${sections[@]}"
  exit $status
}

# Installs the Debian packages among the arguments (command:package) whose command is missing.
need_commands() {
  local missing=() entry
  for entry in "$@"; do
    command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
  done
  [ ${#missing[@]} = 0 ] && return
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"
}

# Installs a cargo tool into a folder named after its version, outside of the clone, and puts it on the PATH.
need_cargo_tool() {
  local folder=$cache/cargo/$1-$2
  [ -x "$folder/bin/$1" ] || cargo install --quiet --locked --root "$folder" --version "$2" "$1"
  PATH=$folder/bin:$PATH
}

# The same for a Go program: PACKAGE VERSION.
need_go_tool() {
  local name folder
  name=$(basename "$1")
  folder=$cache/go/$name-$2
  [ -x "$folder/$name" ] || GOBIN=$folder go install "$1@$2"
  PATH=$folder:$PATH
}

# The same for a program that PyPI has as a wheel: PACKAGE VERSION.
need_python_tool() {
  local folder=$cache/python/$1-$2
  if [ ! -e "$folder/.installed" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "$1==$2"
    touch "$folder/.installed"
  fi
  PATH=$folder/bin:$PATH
}

# Installs exactly what FOLDER/package-lock.json says, outside of the clone, and sets $packages to where. Without scripts:
# nothing that we install needs to run code of its own to be installed.
need_npm_packages() {
  packages=$cache/npm/$(basename "$1")-$(sha256sum "$1/package-lock.json" | cut -c1-16)
  [ -e "$packages/.installed" ] && return
  rm -rf "$packages"
  mkdir -p "$packages"
  cp "$1/package.json" "$1/package-lock.json" "$packages"
  npm ci --prefix "$packages" --ignore-scripts --no-audit --no-fund --loglevel=error
  touch "$packages/.installed"
}

# The same for FOLDER/requirements.txt, whose hashes are checked; sets $python to the interpreter that has them.
need_python_requirements() {
  local folder
  folder=$cache/python/$(basename "$(dirname "$1")")-$(sha256sum "$1/requirements.txt" | cut -c1-16)
  python=$folder/bin/python
  [ -x "$python" ] && [ -e "$folder/.installed" ] && return
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$1/requirements.txt"
  touch "$folder/.installed"
}

trap summary EXIT
