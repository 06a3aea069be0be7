"""Drawn pictures whose colour tells their class, and a small ONNX graph with the outputs of FID's Inception."""

import numpy as np


def coloured(n=48, size=24, seed=0):
    """uint8 [n, size, size, 3], reddish (0) or bluish (1) in turn, with noise."""
    images = np.random.default_rng(seed).integers(0, 160, (n, size, size, 3), dtype=np.uint8)
    kinds = np.arange(n) % 2
    images[kinds == 0, ..., 0] += 90
    images[kinds == 1, ..., 2] += 90
    return images, kinds


def write_inception(path, pooled=2048, channels=192, names=("pool_3", "mixed_6_conv"), side=299, batch="N"):
    """pooled: a 1 × 1 convolution of the picture's mean; spatial: one of its 17 × 17 means. Weights are drawn."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(draw.normal(size=(n, 3, 1, 1)).astype(np.float32), name)
        for n, name in ((pooled, "w_pooled"), (channels, "w_spatial"))
    ]
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Conv", ["mean", "w_pooled"], ["deep"]),
        helper.make_node("Flatten", ["deep"], [names[0]]),
        helper.make_node("AveragePool", ["images"], ["cells"], kernel_shape=[27, 27], strides=[17, 17]),
        helper.make_node("Conv", ["cells", "w_spatial"], [names[1]]),
    ]
    graph = helper.make_graph(
        nodes, "inception",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, [batch, pooled]),
         helper.make_tensor_value_info(names[1], TensorProto.FLOAT, [batch, channels, "h", "w"])],
        weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return [numpy_helper.to_array(w)[:, :, 0, 0] for w in weights]


def write_clip(folder):
    """A CLIP model with few and drawn weights, and the tokenizer of driving words."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from edgekit.generators.words import nano_tokenizer

    tokenizer = nano_tokenizer(length=16)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=sizes | {"vocab_size": len(tokenizer), "max_position_embeddings": 16,
                             "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id},
        vision_config=sizes | {"image_size": 14, "patch_size": 7},
        projection_dim=6,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
