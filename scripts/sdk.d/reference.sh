# shellcheck shell=bash
# The API references of the SDKs, in HTML. Each function writes one in a folder, given by its absolute path. scripts/sdk sources
# this file.
# shellcheck disable=SC2034,SC2154,SC2164 # scripts/sdk sets the options and the variables

# reference_go FOLDER
reference_go() {
  (cd "$GO_MODULE" && go run ./internal/reference "$1")
}

# reference_java FOLDER: the references of the published archives, in a folder each.
reference_java() {
  # The release profile writes them, with the warnings of javadoc as errors.
  maven_java "$JAVA_SDK" -Prelease -DskipTests package
  copy_reference_java "$1"
}

# copy_reference_java FOLDER: copy the references that the build has written.
copy_reference_java() {
  local module archive
  for module in core testkit opentelemetry spring-boot-starter; do
    archive=$(echo "$JAVA_SDK/$module"/target/*-javadoc.jar)
    [ -e "$archive" ] || die "$JAVA_SDK/$module/target has no archive of the reference"
    mkdir -p "$1/$module"
    (cd "$1/$module" && jar --extract --file "$ROOT/$archive")
    [ -e "$1/$module/index.html" ] || die "$archive has no index.html"
  done
}

# reference_python FOLDER
reference_python() {
  local python
  python=$(python_environment requirements.txt)
  (
    cd "$PYTHON_MODULE"
    # ruff refuses missing doc comments.
    PYTHONPATH=src PYTHONDONTWRITEBYTECODE=1 "$python" -m pdoc --output-directory "$1" goconductor \
      goconductor.{databases,errors,inbox,opentelemetry,outbox,sync,testing}
  )
}

# reference_typescript FOLDER
reference_typescript() {
  [ -d "$TYPESCRIPT_PACKAGE/dist" ] || build_typescript
  (cd "$TYPESCRIPT_PACKAGE" && npm run --silent reference -- --out "$1") >&2
}

# references FOLDER SDK…: write the references of SDKs, each in a folder with its name.
references() {
  local each to
  mkdir -p "$1"
  to=$(cd "$1" && pwd)
  for each in "${@:2}"; do
    step "$each: API reference in $to/$each"
    mkdir -p "$to/$each"
    "reference_$each" "$to/$each"
  done
  step_done
}
