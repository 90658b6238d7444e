# shellcheck shell=bash
# Functions and settings that the scripts share. Source this file; do not run it.
set -euo pipefail

# The root of the checkout.
# shellcheck disable=SC2034 # the sourcing script uses it
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Build results and downloads, outside the checkout. GOCONDUCTOR_CACHE overrides the directory.
CACHE=${GOCONDUCTOR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/goconductor}
# All scripts share one target directory, so that nothing is built twice. A value from the environment wins.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
# A server reads GOCONDUCTOR_… as its settings. These variables are settings of the scripts.
export -n GOCONDUCTOR_CACHE GOCONDUCTOR_SERVICES GOCONDUCTOR_DEMO_DIR

# Messages go to standard error, results to standard output.
say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# step TEXT: print the name of the next step and the duration of the previous one. STEPS is the number of steps.
STEP=0
STEP_BEGAN=0
step() {
  step_done
  STEP=$((STEP + 1))
  STEP_BEGAN=$SECONDS
  say ""
  say "== $STEP${STEPS:+/$STEPS} $*"
}
# step_done: print the duration of the last step.
step_done() {
  if ((STEP > 0)); then say "   took $((SECONDS - STEP_BEGAN)) s"; fi
}

# need_cargo: exit with instructions unless cargo runs.
need_cargo() {
  have cargo || [ ! -x "${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo" ] ||
    PATH=${CARGO_HOME:-${HOME:-}/.cargo}/bin:$PATH # rustup was installed, but the shell was not restarted
  have cargo || die "cargo is not installed. Install Rust with rustup, see https://rustup.rs, then run this again."
  cargo --version >&2 || die "cargo does not run; install a toolchain with: rustup toolchain install stable"
}

# need_c_compiler: a C compiler builds SQLite and links the programs.
need_c_compiler() {
  have cc || install_packages gcc libc6-dev
}

# need_go: exit with instructions unless Go runs. A C compiler builds SQLite and the race detector of its tests.
need_go() {
  have go || [ ! -x /usr/local/go/bin/go ] || PATH=/usr/local/go/bin:$PATH # the shell was not restarted
  have go || die "Go is not installed. Install Go 1.26 or later, see https://go.dev/doc/install, then run this again."
  # An older Go installs the version that the module requires.
  go -C "$ROOT/sdk/go" version >&2 || die "Go does not run; install Go 1.26 or later, see https://go.dev/doc/install"
  need_c_compiler
  export CGO_ENABLED=1 CC=${CC:-cc}
}

# need_node [HINT]: exit with instructions, and with HINT, unless a supported Node.js runs.
NODE_AT_LEAST=20
need_node() {
  local major
  if ! have node || ! have npm; then
    die "Node.js is not installed; install Node.js $NODE_AT_LEAST or later${1:+. $1}"
  fi
  major=$(node -p 'process.versions.node.split(".")[0]')
  ((major >= NODE_AT_LEAST)) || die "Node.js $(node --version) is too old; install Node.js $NODE_AT_LEAST or later"
}

# need_compiler: make also builds the allocator.
need_compiler() {
  need_c_compiler
  have make || install_packages make
}

# install_packages PACKAGE...: install Debian packages as root; otherwise exit with instructions.
install_packages() {
  have apt-get || die "install these first, named as on Debian: $*; apt-get was not found"
  [ "$(id -u)" = 0 ] || die "install first: sudo apt-get update && sudo apt-get install $*"
  say "installing $*"
  # RUNLEVEL=1 keeps the packages from starting their services.
  local -x DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  # Scripts can install at a time, but apt-get update does not wait for its lock.
  local lock
  exec {lock}>"${TMPDIR:-/tmp}/goconductor-apt.lock"
  flock "$lock"
  apt-get -qq -o DPkg::Lock::Timeout=300 update >&2 || die "apt-get update failed; check the network connection"
  apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" >&2 ||
    die "apt-get failed to install $*"
  exec {lock}>&-
}

# python_package TARGET REQUIREMENT: install a package from PyPI, which contains a compiled program, in a directory. The
# directory appears complete or not at all, because concurrent builds can install at a time. Fail without pip.
python_package() {
  local package
  have python3 || return 1
  mkdir -p "$(dirname "$1")"
  package=$(mktemp -d "$1.XXXXXX")
  if ! python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
    --target "$package" "$2" >&2; then
    rm -rf -- "$package"
    return 1
  fi
  mv -T "$package" "$1" 2>/dev/null || rm -rf -- "$package" # another build was faster
}

# cargo_tool NAME VERSION PACKAGE: print the path of a cargo subcommand, installed in the cache from the Python package
# PACKAGE. Without pip, cargo builds it, which takes some minutes.
cargo_tool() {
  local tool=$CACHE/$1-$2
  if [ ! -x "$tool/bin/$1" ]; then
    say "installing $1 $2 in $tool"
    python_package "$tool" "$3==$2" || cargo install --quiet --locked --root "$tool" --version "$2" "$1" >&2 ||
      die "failed to install $1; check that pip or cargo reaches its registry"
  fi
  [ -x "$tool/bin/$1" ] || die "$tool is incomplete; remove it and try again"
  echo "$tool/bin/$1"
}

# port_is_free PORT: succeed if no process listens on the port.
port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port: print a free port below the ephemeral range, where no outgoing connection can take it. A server that starts
# elsewhere at the same time may not have bound its port yet, so each port is printed only once in ten minutes.
free_port() {
  local now ports port old try
  now=$(($(date +%s) / 600))
  ports=${TMPDIR:-/tmp}/goconductor-ports-$(id -u)
  mkdir -p "$ports/$now"
  for old in "$ports"/*; do
    if ((${old##*/} < now - 1)); then rm -rf "$old"; fi
  done
  for try in {1..200}; do
    port=$((20000 + RANDOM % 10000))
    [ ! -e "$ports/$((now - 1))/$port" ] || continue
    # mkdir fails if another process has just created the directory.
    mkdir "$ports/$now/$port" 2>/dev/null || continue
    if port_is_free "$port"; then echo "$port"; return; fi
  done
  die "found no free port in $try attempts"
}

# process_birth PID: print the start time of the process; fail if it has ended or is a zombie.
process_birth() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  stat=${stat##*) } # the name may contain spaces
  [ "${stat%% *}" != Z ] || return 1
  cut -d' ' -f20 <<<"$stat"
}

# remember_process FILE PID: record the process with its start time, because the system reuses process IDs.
remember_process() {
  local born
  born=$(process_birth "$2") || born=gone
  echo "$2 $born" >"$1"
}

# process_of FILE: print the ID of the recorded process if it still runs.
process_of() {
  local pid born
  { read -r pid born <"$1"; } 2>/dev/null || return 1
  [ "$(process_birth "$pid")" = "$born" ] || return 1
  echo "$pid"
}

# descendants PID: print the process and its descendants, parents first.
descendants() {
  local stat parent
  [ -d "/proc/$1" ] || return 0
  echo "$1"
  for stat in /proc/[0-9]*/stat; do
    { read -r parent <"$stat"; } 2>/dev/null || continue
    parent=${parent##*) }
    read -r _ parent _ <<<"$parent"
    stat=${stat#/proc/}
    if [ "$parent" = "$1" ]; then descendants "${stat%/stat}"; fi
  done
}

# end_all PID...: ask processes and their descendants to end. Parents come first, so that they start no further children.
end_all() {
  local each all
  for each in "$@"; do
    [ -n "$each" ] || continue
    # A process that has lost its parent is no longer found, so that all are found before one ends.
    mapfile -t all < <(descendants "$each")
    ((${#all[@]} == 0)) || kill -TERM "${all[@]}" 2>/dev/null || true
  done
}

# await_end PID SECONDS: wait until the process and its zombie are gone; fail after SECONDS.
await_end() {
  local tenths=$(($2 * 10))
  while [ -e "/proc/$1" ]; do
    ((tenths-- > 0)) || return 1
    sleep 0.1
  done
}
