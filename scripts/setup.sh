#!/usr/bin/env bash
# Make .venv and .ws: everything `make demo` and `make test` need. Nothing outside the checkout is
# touched, root is not needed, and a second run does only what has changed.
#
#   PYTHON=python3.12    interpreter to use; otherwise python3, if it is 3.10 to 3.13, or one of these
#   PIP_ARGS="..."       added to every pip install, e.g. --extra-index-url for a CPU build of torch
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }
die() { printf '[setup] %s\n' "$*" >&2; exit 1; }

# A sourced .ws/env.sh must not be taken for a distribution.
ros_installed() { [ -n "${ROS_DISTRO:-}" ] && [ -n "${AMENT_PREFIX_PATH:-}" ] && [[ "$AMENT_PREFIX_PATH" != *"$PWD/.venv"* ]]; }

find_python() {
  if ros_installed; then echo "${PYTHON:-python3}"; return; fi
  for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.13 python3.10}; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$candidate"; return
    fi
  done
  die "needs Python 3.10 to 3.13 with the venv module (Debian, Ubuntu: apt install python3 python3-venv)"
}

make_venv() {
  local fingerprint
  fingerprint=$({ cat requirements/*.txt "$0"; ros_installed && echo "$ROS_DISTRO"; echo "${PIP_ARGS:-}"; } | sha256sum | cut -d' ' -f1)
  [ "$(cat .venv/.ready 2>/dev/null)" = "$fingerprint" ] && return
  local python pip=(.venv/bin/python -m pip install -q --disable-pip-version-check ${PIP_ARGS:-})
  python=$(find_python)
  say "installing into .venv with $("$python" --version); the first time this takes some minutes"
  rm -rf .venv
  if ros_installed; then
    "$python" -m venv --system-site-packages .venv
    grep -v -e '^opencv' -e '^#' requirements/python.txt > .venv/python.txt
    # cv_bridge of the distribution is built for its own NumPy and OpenCV
    "${pip[@]}" -r .venv/python.txt "numpy<2"
  else
    [ "$(uname -m)" = x86_64 ] || die "ROS 2 comes from PyPI for x86_64 only; here, install and source a ROS 2 distribution first"
    command -v g++ >/dev/null || die "needs a C++ compiler (Debian, Ubuntu: apt install g++ make)"
    "$python" -m venv .venv
    "${pip[@]}" --require-hashes --no-deps -r requirements/locked.txt
    # a build for the CPU or for one of several CUDA versions: no list of hashes holds them all
    "${pip[@]}" -c requirements/ros-constraints.txt "$(grep '^torch==' requirements/python.txt)"
  fi
  touch .venv/COLCON_IGNORE
  echo "$fingerprint" > .venv/.ready
}

write_env() {
  mkdir -p .ws
  {
    echo "source '$PWD/.venv/bin/activate'"
    if ! ros_installed; then
      echo 'export AMENT_PREFIX_PATH="$VIRTUAL_ENV" CMAKE_PREFIX_PATH="$VIRTUAL_ENV"'
      echo 'export ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3'
    fi
    echo "[ ! -f '$PWD/.ws/install/local_setup.bash' ] || source '$PWD/.ws/install/local_setup.bash'"
  } > .ws/env.sh.new
  cmp -s .ws/env.sh.new .ws/env.sh || mv .ws/env.sh.new .ws/env.sh
  rm -f .ws/env.sh.new
}

build() {
  local fingerprint paths=(.)
  fingerprint=$({ cat .venv/.ready; find page4d_ros msg srv launch config cmake CMakeLists.txt setup.py package.xml -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum; } | sha256sum)
  [ "$(cat .ws/.built 2>/dev/null)" = "$fingerprint" ] && return
  # shellcheck disable=SC1091
  set +u; source .ws/env.sh; set -u
  # a stand-in, only where no distribution brings the real one
  .venv/bin/python -c 'import tf2_msgs' 2>/dev/null || paths+=(cmake/tf2_msgs)
  say 'building the workspace in .ws'
  mkdir -p .ws/log
  .venv/bin/python -m colcon --log-base .ws/log build --merge-install --base-paths "${paths[@]}" \
    --build-base .ws/build --install-base .ws/install \
    --cmake-args -DBUILD_TESTING=OFF -DPython3_EXECUTABLE="$PWD/.venv/bin/python" --no-warn-unused-cli > .ws/build.log 2>&1 \
    || { tail -n 40 .ws/build.log >&2; die "the build failed; the whole log is .ws/build.log"; }
  echo "$fingerprint" > .ws/.built
}

make_venv
write_env
build
