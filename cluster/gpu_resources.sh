#!/usr/bin/env bash
# Prints the custom resource that tells what kind of GPU this node has, for `ray start --resources`:
# {"gpu_16GB": 1000} on a V100 16 GB, {} without a GPU. Among different GPUs the smallest counts.
set -euo pipefail

memory=$(nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits 2>/dev/null | sort -n | head -n 1) || memory=
if [[ $memory =~ ^[0-9]+$ ]]; then
    printf '{"gpu_%dGB": 1000}\n' $(((memory + 512) / 1024)) # MiB, a little less than the GiB on the label
else
    echo '{}'
fi
