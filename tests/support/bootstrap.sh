#!/usr/bin/env bash
# The environment from nothing but python3 and make: a venv, uv in it, then exactly what uv.lock says.
set -euo pipefail
python=$1 uv_version=$2
say() { printf '==> %s\n' "$*"; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "error: $("$python" --version 2>&1) is too old: MailSync needs Python 3.11 or later (make venv PYTHON=python3.12)" >&2
  exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  # Debian and Ubuntu ship venv apart from python3.
  package="$("$python" -c 'import sys; print(f"python3.{sys.version_info[1]}-venv")')"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing $package (python3 has no venv)"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
  else
    echo "error: $python has no venv module: install $package, then run make again" >&2
    exit 1
  fi
fi
# A venv whose interpreter moved or was upgraded away is made anew.
[ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null || { say "creating .venv"; rm -rf .venv; "$python" -m venv .venv; }
if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$uv_version" ]; then
  say "installing uv $uv_version into .venv"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
fi
say "installing what uv.lock pins"
UV_PYTHON_DOWNLOADS=never .venv/bin/uv sync --frozen --all-extras --quiet
