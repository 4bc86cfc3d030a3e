#!/usr/bin/env bash
# Makes .venv and installs Plumbline with everything from the lock. Uses uv if it can be had, else pip.
#
# Which PyTorch: a find-links folder (PIP_FIND_LINKS or UV_FIND_LINKS) that holds one wins. Without one, a machine with an
# NVIDIA driver gets the CUDA build of the public index, and a machine without gets the CPU build, which uv knows where to
# find. Without uv, pip takes the public index's default build: larger, but it runs on a CPU too.
set -eu -o pipefail
cd "$(dirname "$0")/.."

python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Plumbline needs Python 3.11 or newer; $python is $("$python" --version 2>&1). Set PYTHON=/path/to/python3.11." >&2
  exit 1
}
[ -x .venv/bin/python ] || "$python" -m venv .venv

links="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
has_torch=no
for place in $links; do
  if compgen -G "$place/torch-*.whl" > /dev/null; then has_torch=yes; fi
done
backend=()
if [ "$has_torch" = no ] && ! command -v nvidia-smi > /dev/null; then backend=(cpu); fi

target='.[airflow,server,data,train,governance,serve,dev]'
if .venv/bin/python -m pip install -q uv 2> /dev/null; then
  [ -z "$links" ] || export UV_FIND_LINKS="$links"
  VIRTUAL_ENV="$PWD/.venv" .venv/bin/uv pip install --compile-bytecode -c constraints.txt \
    ${backend[@]:+--torch-backend=cpu} -e "$target"
else
  .venv/bin/python -m pip install -c constraints.txt -e "$target"
fi
