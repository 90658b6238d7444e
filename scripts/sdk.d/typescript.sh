# shellcheck shell=bash
# The check of the TypeScript SDK. scripts/sdk sources this file, and has the functions that it uses.
# shellcheck disable=SC2015,SC2016,SC2034,SC2086,SC2154,SC2164 # scripts/sdk sets the options and the variables
TYPESCRIPT_PACKAGE=sdk/typescript

# typescript_modules: install the locked packages in the cache, unless they are installed, and link the package to them.
typescript_modules() {
  local lock modules new
  lock=$(sha256sum "$TYPESCRIPT_PACKAGE/package-lock.json" | cut -d' ' -f1)
  modules=$CACHE/sdk-typescript/$lock
  if [ ! -d "$modules/node_modules" ]; then
    say "installing the packages of $TYPESCRIPT_PACKAGE/package-lock.json"
    mkdir -p "$CACHE/sdk-typescript"
    new=$(mktemp -d "$modules.XXXXXX")
    cp "$TYPESCRIPT_PACKAGE"/{package.json,package-lock.json,.npmrc} "$new"
    npm ci --ignore-scripts --loglevel=error --prefix "$new" >&2 || die "npm ci failed; check that npm reaches its registry"
    mv -T "$new" "$modules" 2>/dev/null || rm -rf -- "$new" # another check was faster
  fi
  if [ -L "$TYPESCRIPT_PACKAGE/node_modules" ] || [ ! -e "$TYPESCRIPT_PACKAGE/node_modules" ]; then
    ln -sfn "$modules/node_modules" "$TYPESCRIPT_PACKAGE/node_modules"
  fi
}

# build_typescript: generate the messages, and compile the package, its tests and its examples.
build_typescript() {
  typescript_modules
  (cd "$TYPESCRIPT_PACKAGE" && npm run --silent generate && npm run --silent build) >&2
}

# installs_typescript: install the package as published in an empty project, and compile and load a program with it.
installs_typescript() {
  local project=$folder/project package
  mkdir "$project"
  package=$(cd "$TYPESCRIPT_PACKAGE" && npm pack --silent --ignore-scripts --pack-destination "$folder")
  cp "$TYPESCRIPT_PACKAGE/examples/order-in-one/main.ts" "$project/main.mts"
  (
    cd "$project"
    npm init --yes >/dev/null
    npm install --silent --no-audit --no-fund --prefer-offline "$folder/$package" >&2
    ln -s "$ROOT/$TYPESCRIPT_PACKAGE/node_modules/@types" node_modules/@types
    "$ROOT/$TYPESCRIPT_PACKAGE/node_modules/.bin/tsc" --strict --target es2022 --lib es2022 --module nodenext --types node \
      main.mts
    node -e 'Promise.all(["", "/inbox", "/outbox", "/testing", "/proto"].map((part) => import(`@goconductor/sdk${part}`)))
      .then(() => require.resolve("@goconductor/sdk/sql/inbox/postgres.sql"))
      .catch((error) => { console.error(error); process.exit(1); })'
  )
}

# install_typescript: what takes minutes on a new machine.
install_typescript() {
  scripts/buf --version >&2
  scripts/services/postgres.sh install
  scripts/services/mysql.sh install
  build_typescript
}

check_typescript() {
  STEPS=8
  step "TypeScript: build"
  build_typescript
  same_sql "$TYPESCRIPT_PACKAGE/sql"
  step "TypeScript: eslint"
  (cd "$TYPESCRIPT_PACKAGE" && npm run --silent lint) >&2
  step "TypeScript: API reference"
  reference_typescript "$folder/reference"
  step "TypeScript: databases of the tests"
  start_databases
  step "TypeScript: tests"
  (cd "$TYPESCRIPT_PACKAGE" && TMPDIR=$folder npm run --silent test) >&2
  step "TypeScript: the package installs in an empty project"
  installs_typescript
  build_suite
  suites TypeScript node "$ROOT/$TYPESCRIPT_PACKAGE/build/conformance/main.js"
  step_done
}
