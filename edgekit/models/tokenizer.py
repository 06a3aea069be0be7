"""The nano tokenizer: a byte-level BPE of 2,048 ids, split as Qwen2.5 splits.

It was trained once; ``nano_tokenizer/tokenizer.json`` ships. Training it again on another corpus
voids every nano checkpoint. ``python -m edgekit.models.tokenizer`` writes the file anew: with the
corpus as it is, the same bytes.
"""

from __future__ import annotations

import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from edgekit.core.label import SLOTS, SceneLabel, coherent, to_answer, to_text
from edgekit.engine.chat import END
from edgekit.engine.slots import Grammar

FOLDER = Path(__file__).resolve().parent / "nano_tokenizer"
NANO_TOKENIZER = FOLDER / "tokenizer.json"
VOCAB = 2048

# Qwen2.5's added tokens, in Qwen's order; in Qwen's own vocabulary the first has id 151643.
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
PLAIN = (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
    "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
)  # fmt: skip

# How Qwen2.5 cuts text before BPE: contractions; a word with one sign before it; single digits;
# runs of signs; line ends; blanks. Hence '","', 'other', '_left', '":"', 'none', '6', '0'.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
)


def qwen_tokenizer(bpe: models.BPE) -> Tokenizer:
    """A BPE model dressed as Qwen2.5's tokenizer: NFC, its split, byte level; no added tokens yet."""
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def add_qwen_tokens(tokenizer: Tokenizer) -> None:
    """The 22 added tokens, after the BPE's ids."""
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in PLAIN])


def corpus() -> list[str]:
    """What the vocabulary is fitted on: the prompts' text, and answers so often that words stay whole."""
    lines = (FOLDER / "corpus.txt").read_text().splitlines()
    labels = [SceneLabel()]
    for slot, options in SLOTS.items():
        labels += [coherent({s: v[0] for s, v in SLOTS.items()} | {slot: value}) for value in options]
    draw = random.Random(0)
    labels += [coherent({s: draw.choice(v) for s, v in SLOTS.items()}) for _ in range(400)]
    answers = [to_answer(label) for label in labels] * 2
    words = [f'"{slot}":"{value}"' for slot, options in SLOTS.items() for value in options] * 20
    return lines * 4 + answers + words + [to_text(label) for label in labels]


def train() -> Tokenizer:
    """Fits the nano tokenizer (about a second)."""
    tokenizer = qwen_tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(SPECIAL) - len(PLAIN),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    add_qwen_tokens(tokenizer)
    if tokenizer.get_vocab_size() != VOCAB:
        raise ValueError(f"the corpus gives {tokenizer.get_vocab_size()} ids, not {VOCAB}")
    return tokenizer


def nano_tokenizer() -> Tokenizer:
    """The one that ships."""
    return Tokenizer.from_file(str(NANO_TOKENIZER))


def grammar_of(tokenizer: Tokenizer) -> Grammar:
    """The answer's grammar in a tokenizer. Raises UserError where its pieces do not keep apart."""
    return Grammar.of(
        lambda text: tokenizer.encode(text, add_special_tokens=False).ids, tokenizer.token_to_id(END)
    )


def main() -> None:
    tokenizer = train()
    grammar = grammar_of(tokenizer)
    tokenizer.save(str(NANO_TOKENIZER))
    lengths = [len(grammar.tokens({s: v[k % len(v)] for s, v in SLOTS.items()})) for k in range(26)]
    print(
        f"{NANO_TOKENIZER.name}: {tokenizer.get_vocab_size()} ids, {min(lengths)}–{max(lengths)} tokens an answer"
    )


if __name__ == "__main__":
    main()
