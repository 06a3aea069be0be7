#!/bin/sh
# A Checkpoint behind plain vLLM on a GPU machine that has no edgekit: deploy/vllm.sh CHECKPOINT [flags …]
#   python3 -m venv vllm && vllm/bin/pip install -r deploy/requirements-serve-cuda.txt
# Then nothing enforces the label by default: send response_format with every request
# (edgekit's endpoint client does), and set VLLM_API_KEY before you let others reach the port.
set -eu
checkpoint=${1:?"usage: deploy/vllm.sh CHECKPOINT [flags for vllm serve]"}
shift
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
exec "${VLLM:-vllm}" serve "$checkpoint" \
  --host "${HOST:-127.0.0.1}" \
  --port "${PORT:-8000}" \
  --served-model-name "${NAME:-edgekit}" \
  --load-format safetensors \
  --dtype auto \
  --max-model-len 2048 \
  --max-num-seqs 32 \
  --limit-mm-per-prompt '{"image": 1, "video": 0}' \
  --mm-processor-cache-gb 0 \
  --structured-outputs-config '{"backend": "xgrammar", "disable_any_whitespace": true}' \
  --seed 0 \
  --gpu-memory-utilization 0.9 \
  "$@"
