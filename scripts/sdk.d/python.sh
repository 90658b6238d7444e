# shellcheck shell=bash
# The checks of the Python SDK. scripts/sdk sources this file, with set -e and its variables.
# shellcheck disable=SC2034,SC2154,SC2164
PYTHON_MODULE=sdk/python
# The Python that creates the environments.
PYTHON=${PYTHON:-python3}

# The installer of packages. It takes seconds where pip takes minutes.
UV_VERSION=0.13.9

# need_python: exit with instructions unless Python and pip run.
need_python() {
  "$PYTHON" -c 'import pip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    die "Python 3.10 or later with pip is not installed; install it, on Debian with apt-get install python3-pip," \
      "or set PYTHON to the path of another Python"
}

# uv ARGUMENT…: run uv, with the registry of pip.
uv() {
  local tool=$CACHE/uv-$UV_VERSION
  [ -x "$tool/bin/uv" ] || python_package "$tool" "uv==$UV_VERSION" || die "failed to install uv; check that pip reaches its registry"
  [ -z "${PIP_INDEX_URL:-}" ] || local -x UV_DEFAULT_INDEX=$PIP_INDEX_URL
  "$tool/bin/uv" --quiet --system-certs --cache-dir "$CACHE/uv" "$@"
}

# python_environment LOCK: print the path of a Python with the packages of a lock file, installed in the cache. Programs of an
# environment contain its path, so that it is not moved when it is complete.
python_environment() {
  local key lock to
  key=$({ cat "$PYTHON_MODULE/$1" && "$PYTHON" -VV; } | sha256sum | cut -c1-16)
  to=$CACHE/python-sdk-$key
  mkdir -p "$CACHE"
  exec {lock}>"$to.lock" # concurrent checks can install at a time
  flock "$lock"
  if [ ! -e "$to/complete" ]; then
    say "installing the packages of $PYTHON_MODULE/$1 in $to"
    rm -rf -- "$to"
    uv venv --python "$PYTHON" "$to"
    uv pip install --python "$to/bin/python" --require-hashes -r "$PYTHON_MODULE/$1" ||
      die "failed to install the packages of $PYTHON_MODULE/$1; check that its registry can be reached"
    touch "$to/complete"
  fi
  exec {lock}>&-
  echo "$to/bin/python"
}

# generate_python FOLDER: write the generated files of the Python SDK in FOLDER, which has the layout of its src: messages,
# and the SQL of the inbox, whose sources are those of the Rust inbox and of the Go SDK.
generate_python() {
  local to python each
  to=$(cd "$1" && pwd)
  python=$(python_environment requirements-generate.txt)
  mkdir -p "$to/goconductor/v1" "$to/goconductor/inbox/sql" "$to/goconductor/outbox/sql"
  PATH=$(dirname "$python"):$PATH "$python" -m grpc_tools.protoc -I proto --python_out="$to" --grpc_python_out="$to" \
    --mypy_out="quiet:$to" --mypy_grpc_out="quiet:$to" proto/goconductor/v1/*.proto
  echo "\"\"\"The generated messages and clients of proto/goconductor/v1.\"\"\"" >"$to/goconductor/v1/__init__.py"
  cp crates/inbox/sql/postgres.sql sdk/go/inbox/sql/mysql.sql sdk/go/inbox/sql/sqlite.sql "$to/goconductor/inbox/sql/"
  for each in postgres mysql sqlite; do
    cp "sdk/go/outbox/sql/$each.sql" "$to/goconductor/outbox/sql/"
  done
}

check_generated_python() {
  local generated fresh=$folder/generated-python
  mkdir "$fresh"
  generate_python "$fresh"
  for generated in v1 inbox/sql outbox/sql; do
    diff -r --exclude=__pycache__ "$fresh/goconductor/$generated" "$PYTHON_MODULE/src/goconductor/$generated" >&2 ||
      die "$PYTHON_MODULE/src/goconductor/$generated differs; run scripts/sdk generate python"
  done
}

# lock_python: choose newer versions of the packages. Check afterwards.
lock_python() {
  local options
  options=(--universal --python-version 3.10 --upgrade --generate-hashes --no-emit-index-url --no-annotate
    --custom-compile-command "uv pip compile, see scripts/sdk.d/python.sh")
  (
    cd "$PYTHON_MODULE"
    uv pip compile "${options[@]}" --group dev --all-extras pyproject.toml -o requirements.txt
    uv pip compile "${options[@]}" --group generate -o requirements-generate.txt
  ) >/dev/null
}

# installs_python PYTHON: build the package as published, install it in an empty project, and use it there.
installs_python() {
  local dist=$folder/dist project=$folder/project-python wheel
  cp -r "$PYTHON_MODULE" "$folder/package-python"
  "$1" -m build --no-isolation --outdir "$dist" "$folder/package-python" >"$folder/build.log" 2>&1 ||
    { cat "$folder/build.log" >&2; die "the package does not build"; }
  wheel=$(echo "$dist"/goconductor-*.whl)
  uv venv --seed --python "$PYTHON" "$project"
  "$project/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel" >&2
  cp "$PYTHON_MODULE/examples/order_in_one.py" "$project/order.py"
  (
    cd "$project"
    bin/python -c 'import goconductor.inbox, goconductor.outbox, goconductor.sync, goconductor.testing
from goconductor.databases import Dialect
for dialect in Dialect: goconductor.inbox.migration(dialect), goconductor.outbox.migration(dialect)'
    # The types of the package are part of it.
    "$1" -m mypy --strict --no-incremental --python-executable bin/python order.py >&2
  )
}

# driver_python PYTHON: write the program that runs the driver with the sources of the checkout.
driver_python() {
  printf '#!/bin/sh\nexec env PYTHONPATH=%q %q %q\n' "$ROOT/$PYTHON_MODULE/src" "$1" \
    "$ROOT/$PYTHON_MODULE/conformance/driver.py" >"$folder/driver-python"
  chmod +x "$folder/driver-python"
}

install_python() {
  scripts/services/postgres.sh install
  scripts/services/mysql.sh install
  python_environment requirements.txt >&2
  python_environment requirements-generate.txt >&2
}

check_python() {
  local python
  export PYTHONDONTWRITEBYTECODE=1
  STEPS=8
  step "Python: generated files; run scripts/sdk generate python to update them"
  check_generated_python
  python=$(python_environment requirements.txt)
  step "Python: format, ruff and mypy"
  (
    cd "$PYTHON_MODULE"
    "$python" -m ruff format --no-cache --check --quiet . || die "files are not formatted; run ruff format in $PYTHON_MODULE"
    "$python" -m ruff check --no-cache --quiet .
    MYPYPATH=tests:examples "$python" -m mypy --cache-dir "$CACHE/mypy-sdk" src conformance tests examples/*.py >&2
    MYPYPATH=examples/order_saga "$python" -m mypy --cache-dir "$CACHE/mypy-sdk" examples/order_saga >&2
  )
  step "Python: API reference"
  reference_python "$folder/reference"
  step "Python: databases of the tests"
  start_databases
  step "Python: tests"
  (cd "$PYTHON_MODULE" && TMPDIR=$folder PYTHONPATH=src "$python" -m pytest -p no:cacheprovider --quiet >&2)
  step "Python: the package installs in an empty project"
  installs_python "$python"
  build_suite
  driver_python "$python"
  suites Python "$folder/driver-python"
  step_done
}
