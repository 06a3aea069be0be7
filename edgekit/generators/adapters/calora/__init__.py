"""CA-LoRA: LoRA on the attention heads that a concept depends on ("Concept-Aware LoRA", arXiv 2503.22172v2)."""
