# shellcheck shell=bash
# What the scripts share. Source it, do not run it; it changes nothing but the settings below.
set -euo pipefail

# The top of the checkout.
# shellcheck disable=SC2034 # used by those who source this
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What is built and can be built again, outside the checkout: GOCONDUCTOR_CACHE.
CACHE=${GOCONDUCTOR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/goconductor}
# Cargo's, the same for all scripts, so that nothing is built twice. One that is set is kept.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
# GOCONDUCTOR_… in the environment of a server is a setting of the server, and these are none.
export -n GOCONDUCTOR_CACHE GOCONDUCTOR_SERVICES GOCONDUCTOR_DEMO_DIR

# Messages go to standard error: standard output belongs to results.
say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# step TEXT: says which step begins, and how long the one before it took. STEPS is their number.
STEP=0
STEP_BEGAN=0
step() {
  step_done
  STEP=$((STEP + 1))
  STEP_BEGAN=$SECONDS
  say ""
  say "== $STEP${STEPS:+/$STEPS} $*"
}
# step_done: says how long the last step took.
step_done() {
  if ((STEP > 0)); then say "   took $((SECONDS - STEP_BEGAN)) s"; fi
}

# need_cargo: ends with what to do unless cargo runs.
need_cargo() {
  have cargo || [ ! -x "${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo" ] ||
    PATH=${CARGO_HOME:-${HOME:-}/.cargo}/bin:$PATH # rustup has only just been installed
  have cargo || die "cargo is not installed. Install Rust with rustup, see https://rustup.rs, then run this again."
  cargo --version >&2 || die "cargo does not run. Is a toolchain installed? rustup toolchain install stable"
}

# need_compiler: a C compiler builds SQLite and the allocator, by make, and links everything.
need_compiler() {
  if have cc && have make; then return; fi
  install_packages gcc libc6-dev make
}

# install_packages PACKAGE...: with apt-get as root; says what to do otherwise.
install_packages() {
  have apt-get || die "install first what is called $* on Debian; there is no apt-get here to do it"
  [ "$(id -u)" = 0 ] || die "install first: sudo apt-get update && sudo apt-get install $*"
  say "installing $*"
  # RUNLEVEL=1: what is installed does not start services of its own.
  local -x DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  apt-get -qq -o DPkg::Lock::Timeout=300 update >&2 || die "apt-get update failed: is the network there?"
  apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" >&2 ||
    die "apt-get could not install $*"
}

# port_is_free PORT: nothing answers there.
port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port: one below the ephemeral range, so that no client's connection takes it in between.
free_port() {
  local port try
  for try in {1..200}; do
    port=$((20000 + RANDOM % 12000))
    if port_is_free "$port"; then echo "$port"; return; fi
  done
  die "found no free port in $try tries"
}

# process_birth PID: when the kernel started it; fails for one that is gone or a zombie.
process_birth() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  stat=${stat##*) } # the name may contain blanks
  [ "${stat%% *}" != Z ] || return 1
  cut -d' ' -f20 <<<"$stat"
}

# remember_process FILE PID: so that another process that gets its number later is not taken for it.
remember_process() {
  local born
  born=$(process_birth "$2") || born=gone
  echo "$2 $born" >"$1"
}

# process_of FILE: the number of the remembered process, if that very one lives.
process_of() {
  local pid born
  { read -r pid born <"$1"; } 2>/dev/null || return 1
  [ "$(process_birth "$pid")" = "$born" ] || return 1
  echo "$pid"
}

# await_end PID SECONDS: until nothing is left of it, not even a zombie; fails when it takes longer.
await_end() {
  local tenths=$(($2 * 10))
  while [ -e "/proc/$1" ]; do
    ((tenths-- > 0)) || return 1
    sleep 0.1
  done
}
