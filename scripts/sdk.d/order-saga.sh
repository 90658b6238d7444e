# shellcheck shell=bash
# The order saga of examples/three-languages: a service in Go with PostgreSQL, one in Python with MariaDB and one in TypeScript
# with SQLite. scripts/sdk sources this file.
# shellcheck disable=SC2034,SC2154,SC2164 # scripts/sdk sets the options and the variables
ORDER_SAGA=examples/three-languages

# lint_order_saga PYTHON: check the sources of the example as those of the SDKs.
lint_order_saga() {
  local staticcheck
  [ -z "$(gofmt -l $ORDER_SAGA/inventory)" ] || die "these files are not formatted: $(gofmt -l $ORDER_SAGA/inventory)"
  staticcheck=$(staticcheck_go)
  (cd $ORDER_SAGA/inventory && go vet . && "$staticcheck" .)
  "$1" -m ruff format --no-cache --check --quiet --config "$PYTHON_MODULE/pyproject.toml" $ORDER_SAGA ||
    die "files of $ORDER_SAGA are not formatted; run ruff format"
  "$1" -m ruff check --no-cache --quiet --config "$PYTHON_MODULE/pyproject.toml" $ORDER_SAGA
  (
    cd "$PYTHON_MODULE"
    MYPYPATH=src:$ROOT/$ORDER_SAGA/payments "$1" -m mypy --cache-dir "$CACHE/mypy-sdk" "$ROOT/$ORDER_SAGA/check.py" \
      "$ROOT/$ORDER_SAGA/payments/payments.py" >&2
  )
}

# build_shipping: compile the service in TypeScript in the temporary folder, with the packages of the check of the SDK.
build_shipping() {
  local modules=$folder/shipping/node_modules
  build_typescript
  mkdir -p "$modules/@goconductor"
  cp $ORDER_SAGA/shipping/{main.ts,package.json,tsconfig.json} "$folder/shipping/"
  ln -s "$ROOT/$TYPESCRIPT_PACKAGE" "$modules/@goconductor/sdk"
  ln -s "$ROOT/$TYPESCRIPT_PACKAGE/node_modules/libsql" "$modules/libsql"
  ln -s "$ROOT/$TYPESCRIPT_PACKAGE/node_modules/@types" "$modules/@types"
  "$TYPESCRIPT_PACKAGE/node_modules/.bin/tsc" --project "$folder/shipping" >&2
}

# own_databases: start the databases of the services, which other tests do not use.
own_databases() {
  unset GOCONDUCTOR_TEST_POSTGRES_URL GOCONDUCTOR_TEST_MYSQL_DSN
  start_databases
  export INVENTORY_DATABASE_URL=$GOCONDUCTOR_TEST_POSTGRES_URL
  # The address has the form of the Go driver.
  [[ $GOCONDUCTOR_TEST_MYSQL_DSN =~ ^([^:]*):(.*)@tcp\(([^:]*):([0-9]+)\)/ ]] ||
    die "MYSQL_DSN must have the form user:password@tcp(host:port)/"
  MYSQL_PWD=${BASH_REMATCH[2]} mariadb --no-defaults --host="${BASH_REMATCH[3]}" --port="${BASH_REMATCH[4]}" \
    --user="${BASH_REMATCH[1]}" --execute "CREATE DATABASE payments"
  export PAYMENTS_DATABASE_URL=mysql://${BASH_REMATCH[1]}:${BASH_REMATCH[2]}@${BASH_REMATCH[3]}:${BASH_REMATCH[4]}/payments
  export SHIPPING_DATABASE=$folder/shipping.db
}

order_saga() {
  local python
  # Python finds the SDK and the service, and writes nothing in the checkout.
  export PYTHONPATH=$ROOT/$PYTHON_MODULE/src:$ROOT/$ORDER_SAGA/payments PYTHONDONTWRITEBYTECODE=1
  STEPS=4
  step "order saga: lints"
  python=$(python_environment requirements.txt)
  lint_order_saga "$python"
  step "order saga: build inventory in Go, and shipping in TypeScript"
  (cd $ORDER_SAGA/inventory && go build -o "$folder/inventory" .)
  build_shipping
  step "order saga: databases of the services"
  own_databases
  step "order saga: orders that complete and orders that are rolled back"
  "$python" $ORDER_SAGA/check.py --inventory "$folder/inventory" --payments "$python $ORDER_SAGA/payments/payments.py" \
    --shipping "node $folder/shipping/build/main.js" >&2
  step_done
}
