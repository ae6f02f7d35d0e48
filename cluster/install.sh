#!/usr/bin/env bash
# The environment of a node, the same on all: Python, torch built for CUDA 12.6, and what the project needs.
#
#     bash cluster/install.sh [FOLDER]      default ~/larvae-env; run it again after an update
#
# On Ubuntu it also installs a C++ compiler for torch.compile and, where there is a GPU without one, NVIDIA's driver:
# branch 580 is the last to know the V100, and only in its proprietary form.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
environment=${1:-$HOME/larvae-env}
torch_index=${TORCH_INDEX:-https://download.pytorch.org/whl/cu126}
uv=$HOME/.local/bin/uv
# Beside the environment, which needs it: other nodes may share its disk, but not this home.
export UV_PYTHON_INSTALL_DIR=${UV_PYTHON_INSTALL_DIR:-$environment.python}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

packages=()
command -v g++ >/dev/null || packages+=(g++)
if grep -qs '^0x10de' /sys/bus/pci/devices/*/vendor && ! command -v nvidia-smi >/dev/null; then
    packages+=("linux-headers-$(uname -r)" nvidia-headless-580-server nvidia-utils-580-server)
fi
if ((${#packages[@]})) && command -v apt-get >/dev/null; then
    if ! { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy "${packages[@]}"; }; then
        [[ ${packages[*]} != *nvidia* ]] || exit 1
        echo "warning: no C++ compiler could be installed, so that steps are not compiled and take longer" >&2
    fi
    [[ ${packages[*]} != *nvidia* ]] || as_root modprobe nvidia
fi

[[ -x $uv ]] || curl -LsSf https://astral.sh/uv/0.13.9/install.sh | UV_INSTALL_DIR=$(dirname "$uv") sh
[[ -x $environment/bin/python ]] || "$uv" venv --python 3.11.15 "$environment"
install=("$uv" pip install --python "$environment/bin/python" --constraint "$root/cluster/constraints.txt")
# Its dependencies are those of the constraints, whichever index has them.
"${install[@]}" torch --index "$torch_index" --index-strategy unsafe-best-match
"${install[@]}" --editable "$root"
