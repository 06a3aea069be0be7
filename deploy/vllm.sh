#!/bin/sh
# A Checkpoint behind plain vLLM on a GPU machine that has no edgekit: deploy/vllm.sh CHECKPOINT [flags …]
#   python3 -m venv vllm && vllm/bin/pip install -r deploy/requirements-serve-cuda.txt
# Then nothing enforces the label by default: send response_format with every request
# (edgekit's endpoint client does). HOST, PORT, NAME and DTYPE change what they say; another HOST than
# loopback wants VLLM_API_KEY.
set -eu
checkpoint=${1:?"usage: deploy/vllm.sh CHECKPOINT [flags for vllm serve]"}
shift
refuse() {
  printf '%s\n  why: %s\n  do:  %s\n' "$@" >&2
  exit 2
}
case ${HOST:=127.0.0.1} in
  127.* | localhost | ::1) ;;
  *) [ -n "${VLLM_API_KEY:-}" ] || refuse "deploy/vllm.sh: $HOST can be reached by others, and there is no key" \
       "VLLM_API_KEY is not set" "set it (export VLLM_API_KEY=\$(openssl rand -hex 16)), or leave HOST out" ;;
esac
[ -f "$checkpoint/config.json" ] ||
  refuse "$checkpoint: not a Checkpoint" "it has no config.json" "name a folder that distill or quantize wrote"
# As edgekit serve: what the weights were saved in, for vLLM's own auto rounds float32 to bfloat16.
stored='import json, sys; c = json.load(open(sys.argv[1])); d = c.get("dtype") or c.get("torch_dtype")
print("auto" if "quantization_config" in c else d or "auto")'
[ -n "${DTYPE:-}" ] || DTYPE=$(python3 -c "$stored" "$checkpoint/config.json")
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
exec "${VLLM:-vllm}" serve "$checkpoint" \
  --host "$HOST" \
  --port "${PORT:-8000}" \
  --served-model-name "${NAME:-edgekit}" \
  --load-format safetensors \
  --dtype "$DTYPE" \
  --max-model-len 2048 \
  --max-num-seqs 32 \
  --limit-mm-per-prompt '{"image": 1, "video": 0}' \
  --mm-processor-cache-gb 0 \
  --structured-outputs-config '{"backend": "xgrammar", "disable_any_whitespace": true}' \
  --seed 0 \
  --gpu-memory-utilization 0.9 \
  "$@"
