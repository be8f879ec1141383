#!/usr/bin/env bash
# Write requirements/locked.txt: exact versions and hashes of all that scripts/setup.sh installs from
# PyPI for Python 3.10 to 3.13, but for torch, of which each user has another build, and its GPU
# libraries. Needs uv.
set -euo pipefail
cd "$(dirname "$0")/../requirements"

compile() {
  uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate --no-header "$@"
}

all=(python.txt ros.txt ros-build.txt -c ros-constraints.txt)
torch=$(compile "${all[@]}" | grep -oE '^(torch|triton|nvidia|cuda)[a-z0-9-]*' | sort -u)
left_out=()
for name in $torch; do left_out+=(--no-emit-package "$name"); done
{
  echo '# Made by make lock; do not edit. torch is installed by its version alone.'
  compile "${all[@]}" "${left_out[@]}"
  compile --no-deps ros-build-nodeps.txt
} > locked.new
mv locked.new locked.txt
