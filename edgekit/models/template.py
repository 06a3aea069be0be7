"""The chat template that lies beside a checkpoint, for transformers and vLLM.

Several turns, images and videos anywhere. For one user turn with an image first it writes the text
of ``edgekit.engine.chat.prompt_text``: tested, because a vehicle runs that one and a server this.
"""

from __future__ import annotations

import json

from edgekit.core.contract import Contract

# Every tag trims its blanks, so the text does not hang on the renderer's trim settings.
_TEMPLATE = r"""
{%- set seen = namespace(images=0, videos=0) -%}
{%- if not messages or messages[0]['role'] != 'system' -%}
  {{- '<|im_start|>system\n' + @SYSTEM@ + '<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
  {{- '<|im_start|>' + message['role'] + '\n' -}}
  {%- if message['content'] is string -%}
    {{- message['content'] -}}
  {%- else -%}
    {%- for part in message['content'] -%}
      {%- if part['type'] in ['image', 'image_url'] or 'image' in part or 'image_url' in part -%}
        {%- set seen.images = seen.images + 1 -%}
        {%- if add_vision_id is defined and add_vision_id -%}
          {{- 'Picture ' + (seen.images | string) + ': ' -}}
        {%- endif -%}
        {{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
      {%- elif part['type'] in ['video', 'video_url'] or 'video' in part or 'video_url' in part -%}
        {%- set seen.videos = seen.videos + 1 -%}
        {%- if add_vision_id is defined and add_vision_id -%}
          {{- 'Video ' + (seen.videos | string) + ': ' -}}
        {%- endif -%}
        {{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
      {%- elif 'text' in part -%}
        {{- part['text'] -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\n' -}}
{%- endif -%}
"""


def chat_template(contract: Contract) -> str:
    """The jinja text, the contract's system prompt in it."""
    return _TEMPLATE.strip("\n").replace("@SYSTEM@", json.dumps(contract.system_prompt, ensure_ascii=False))
