#!/usr/bin/env bash
# Lint, types, layers, generated files and unit tests; the slow ones side by side. Each failure is shown whole.
set -uo pipefail
bin=.venv/bin
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT
names=() pids=()
start() { # name command...
  local name=$1; shift
  ( "$@" >"$logs/$name" 2>&1 ) &
  names+=("$name") pids+=("$!")
}
began=$SECONDS
start ruff-check "$bin/ruff" check --quiet .
start ruff-format "$bin/ruff" format --check --quiet .
start import-linter "$bin/lint-imports" --no-cache
start crds "$bin/python" -m mailsync_api.crd --check crds
start mypy "$bin/mypy" --no-error-summary
# Side by side: some wait for hostile servers, some for processes of their own, the rest is work.
unit=("$bin/python" -m pytest -q -m "not servers and not crash and not faults and not cluster and not bench")
hostile=tests/unit_syncjob/test_hostile.py
start unit-hostile "${unit[@]}" "$hostile"
processes=(tests/unit_syncjob/test_{crashes,cli,job,probe_job}.py)
start unit-engine "${unit[@]}" tests/unit_syncjob --ignore="$hostile" "${processes[@]/#/--ignore=}"
start unit-processes "${unit[@]}" "${processes[@]}"
start unit-rest "${unit[@]}" --ignore=tests/unit_syncjob
failed=0
for i in "${!pids[@]}"; do
  if wait "${pids[$i]}"; then
    printf 'ok    %s\n' "${names[$i]}"
  else
    failed=1
    printf 'FAIL  %s\n' "${names[$i]}"
    sed 's/^/      /' "$logs/${names[$i]}"
  fi
done
tail -qn 1 "$logs"/unit-*
printf 'make check: %s s\n' "$((SECONDS - began))"
exit "$failed"
