"""Models on disk and in torch: the nano tokenizer and network, checkpoints, the torch Answerer."""
