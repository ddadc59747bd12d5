#!/usr/bin/env bash
# All tests, with what they need set up first. SKIP=cluster,servers leaves groups out, by name only.
set -euo pipefail
expression="not bench"
for group in ${SKIP//,/ }; do
  case $group in
    servers | crash | cluster) expression+=" and not $group" ;;
    *) echo "error: SKIP=$group is no group of tests: choose from servers, crash, cluster" >&2; exit 2 ;;
  esac
done
.venv/bin/python -m tests.setup ${SKIP:+--skip "$SKIP"}
exec .venv/bin/python -m pytest -m "$expression" --durations=10 "$@"
