"""Extractors on small graphs and models of the test's own, and LPIPS's real AlexNet where it is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

from edgekit.core.errors import UserError
from edgekit.generators.quality.features import (
    AlexFeatures,
    ClipFeatures,
    Features,
    OnnxFeatures,
    joined,
    resized,
)
from tests.unit.generators.quality.pictures import coloured, write_clip, write_inception

torch.set_num_threads(1)
DATA = os.environ.get("EDGEKIT_REAL_DATA")
real_alexnet = pytest.mark.skipif(not DATA, reason="EDGEKIT_REAL_DATA is not set: LPIPS's weights are there")
CHANNELS = (64, 192, 384, 256, 256)


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory):
    """A file of the real one's names and shapes, with drawn weights."""
    draw, held, before = torch.Generator().manual_seed(0), {}, 3
    for i, (n, channels, kernel) in enumerate(zip((0, 3, 6, 8, 10), CHANNELS, (11, 5, 3, 3, 3), strict=True)):
        fan = before * kernel * kernel
        held[f"net.slice{i + 1}.{n}.weight"] = (
            torch.randn(channels, before, kernel, kernel, generator=draw) * (2 / fan) ** 0.5
        )
        held[f"net.slice{i + 1}.{n}.bias"] = torch.randn(channels, generator=draw) * 0.1
        held[f"lin{i}.model.1.weight"] = torch.rand(1, channels, 1, 1, generator=draw)
        before = channels
    held["scaling_layer.shift"] = torch.tensor([-0.03, -0.088, -0.188]).view(1, 3, 1, 1)
    held["scaling_layer.scale"] = torch.tensor([0.458, 0.448, 0.45]).view(1, 3, 1, 1)
    path = tmp_path_factory.mktemp("alexnet") / "lpips.safetensors"
    save_file(held, path)
    return path


# --- pictures in -----------------------------------------------------------------------------


def test_resizing_is_antialiased_and_not_rounded():
    stripes = np.zeros((1, 32, 32, 3), np.uint8)
    stripes[:, :, ::2] = 255
    small = resized(stripes, 8)
    assert small.shape == (1, 8, 8, 3) and small.dtype == np.float32
    assert np.abs(small[:, :, 2:6] - 127.5).max() < 1, "without antialiasing a stripe would survive"
    image = coloured(1, 20)[0]
    levels = np.asarray(Image.fromarray(image[0]).resize((7, 7), Image.Resampling.BICUBIC))
    found = resized(image, 7)[0]
    assert np.abs(found - levels).max() <= 1 and (found % 1).any()
    assert np.array_equal(resized(image, 20), image)


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(alexnet, bad):
    with pytest.raises(ValueError, match="uint8"):
        AlexFeatures(alexnet)(bad)


def test_batches_are_joined_in_order():
    parts = [Features(np.full((2, 3), i, np.float32), np.full((2, 1), -i, np.float32)) for i in range(2)]
    whole = joined(parts)
    assert whole.pooled[:, 0].tolist() == [0, 0, 1, 1] and whole.spatial[:, 0].tolist() == [0, 0, -1, -1]
    assert joined([Features(p.pooled) for p in parts]).spatial is None


# --- Inception -------------------------------------------------------------------------------


@pytest.mark.onnx
def test_inception_of_a_file(tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "inception.onnx"
    pooled, spatial = write_inception(path)
    extractor = OnnxFeatures(path, threads=1)
    images = coloured(3, 40)[0]
    found = extractor(images, batch=2)
    assert found.pooled.shape == (3, 2048) and found.spatial.shape == (3, 2023)
    x = resized(images, 299) / 127.5 - 1  # [3, 299, 299, 3]
    assert np.allclose(found.pooled, x.mean(axis=(1, 2)) @ pooled.T, atol=1e-4)
    corner = x[:, :27, :27].mean(axis=(1, 2)) @ spatial.T  # [3, 192]
    assert np.allclose(found.spatial.reshape(3, 7, 17, 17)[:, :, 0, 0], corner[:, :7], atol=1e-4)
    assert not extractor.stand_in and extractor.name == "Inception v3"
    assert extractor.source.startswith("inception.onnx sha256 ") and len(extractor.source.split()[-1]) == 12
    lower = OnnxFeatures(path, low=0, high=255, spatial=None, threads=1)(images)
    assert lower.spatial is None
    assert np.allclose(lower.pooled, (127.5 * (x + 1)).mean(axis=(1, 2)) @ pooled.T, rtol=1e-3, atol=0.05)


@pytest.mark.onnx
@pytest.mark.parametrize(
    ("made", "keys", "told"),
    [
        ({}, {"pooled": "pool3"}, "no output 'pool3'"),
        ({}, {"spatial": "x"}, "null for no sFID"),
        ({}, {"size": 256}, "takes another input"),
        ({"pooled": 1000}, {}, "'pool_3' of bad.onnx is not FID's"),
        ({"channels": 64}, {}, "'mixed_6_conv' of bad.onnx is not FID's"),
        ({}, {"pooled": "mixed_6_conv"}, "is not FID's"),
    ],
)
def test_another_graph_is_refused_when_it_is_opened(tmp_path, made, keys, told):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "bad.onnx"
    write_inception(path, **made)
    with pytest.raises(UserError, match=told):
        OnnxFeatures(path, threads=1, **keys)


@pytest.mark.onnx
def test_a_shape_that_the_file_leaves_open_is_checked_when_it_is_seen(tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "open.onnx"
    write_inception(path, side="side")  # 256 pixels give 14 × 14
    extractor = OnnxFeatures(path, size=256, threads=1)
    with pytest.raises(UserError, match="14, 14"):
        extractor(coloured(2)[0])


def test_a_file_that_is_no_graph(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "x.onnx").write_bytes(b"no")
    for path in (tmp_path / "x.onnx", tmp_path / "none.onnx"):
        with pytest.raises(UserError, match="cannot be opened"):
            OnnxFeatures(path)


# --- CLIP ------------------------------------------------------------------------------------


def test_a_clip_of_a_folder(tmp_path):
    from transformers import CLIPImageProcessor, CLIPModel

    extractor = ClipFeatures(write_clip(tmp_path / "tiny"))
    images = coloured(5, 14)[0]
    found = extractor(images, batch=2)
    assert found.pooled.shape == (5, 6) and found.spatial is None and not extractor.stand_in
    mean, std = (np.array(getattr(CLIPImageProcessor, k)) for k in ("image_mean", "image_std"))
    pixels = torch.tensor(((images / 255 - mean) / std).transpose(0, 3, 1, 2), dtype=torch.float32)
    model = CLIPModel.from_pretrained(tmp_path / "tiny").eval()
    with torch.no_grad():
        ids = extractor.tokenizer(["rain night"], return_tensors="pt")
        want = model(pixel_values=pixels, **{k: v.repeat(5, 1) for k, v in ids.items()})
    # The model's own forward pass scales both to unit length.
    unit = found.pooled / np.linalg.norm(found.pooled, axis=1, keepdims=True)
    assert np.allclose(unit, want.image_embeds, atol=1e-5)
    texts = extractor.texts(["rain night", "clear day " * 40], batch=1)
    assert texts.shape == (2, 6), "a long text is cut"
    assert np.allclose(texts[0] / np.linalg.norm(texts[0]), want.text_embeds[0], atol=1e-5)
    assert extractor.name == "CLIP tiny" and extractor.source.startswith("model.safetensors sha256 ")


def test_no_clip_and_a_pickled_clip_are_refused(tmp_path):
    with pytest.raises(UserError, match="no CLIP model in nothing"):
        ClipFeatures(tmp_path / "nothing")
    folder = write_clip(tmp_path / "pickled")
    held = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(held, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        ClipFeatures(folder)


# --- AlexNet and LPIPS -----------------------------------------------------------------------


def by_hand(held, a, b):
    """LPIPS of two uint8 pictures [H, W, 3] out of the file's tensors, layer by layer, in float64."""
    held = {name: tensor.double() for name, tensor in held.items()}

    def slices(image):
        x = torch.tensor(image.transpose(2, 0, 1)[None] / 127.5 - 1)
        x, out = (x - held["scaling_layer.shift"]) / held["scaling_layer.scale"], []
        for i, (n, stride, pad, pool) in enumerate(
            [(0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False)], start=1
        ):
            weight = held[f"net.slice{i}.{n}.weight"]
            conv = torch.nn.Conv2d(
                weight.shape[1], weight.shape[0], weight.shape[2], stride, pad, dtype=torch.float64
            )
            conv.load_state_dict({"weight": weight, "bias": held[f"net.slice{i}.{n}.bias"]})
            with torch.no_grad():
                x = torch.clamp(conv(torch.nn.MaxPool2d(3, 2)(x) if pool else x), min=0)
            out.append(x[0].numpy())
        return out

    total = 0.0
    for i, (p, q) in enumerate(zip(slices(a), slices(b), strict=True)):
        p, q = (z / np.sqrt((z**2).sum(axis=0)) for z in (p, q))
        gap = np.nan_to_num(p - q) ** 2
        total += np.tensordot(held[f"lin{i}.model.1.weight"].numpy().ravel(), gap, axes=1).mean()
    return total


def check_lpips(path):
    extractor = AlexFeatures(path)
    a, b = coloured(3, 40)[0], coloured(3, 40, seed=1)[0][:, ::-1]
    found = extractor.lpips(a, b, batch=2)
    assert np.allclose(found, extractor.lpips(b, a), rtol=1e-5) and (found > 0).all()
    assert (extractor.lpips(a, a) == 0).all()
    assert np.allclose(found, [by_hand(load_file(path), *pair) for pair in zip(a, b, strict=True)], rtol=1e-4)


def test_lpips_of_drawn_weights(alexnet):
    check_lpips(alexnet)
    with pytest.raises(ValueError, match="31 pixels"):
        AlexFeatures(alexnet).lpips(*[coloured(2, 24)[0]] * 2)
    with pytest.raises(ValueError, match="one shape"):
        AlexFeatures(alexnet).lpips(coloured(2, 40)[0], coloured(2, 48)[0])


@real_alexnet
def test_lpips_of_the_real_weights():
    path = Path(DATA) / "models" / "lpips_alex.safetensors"
    check_lpips(path)
    extractor = AlexFeatures(path)
    smooth = np.linspace(0, 255, 64).astype(np.uint8)[None, :, None, None].repeat(64, 0).transpose(2, 0, 1, 3)
    smooth = np.broadcast_to(smooth, (1, 64, 64, 3)).copy()
    noise = np.random.default_rng(0).normal(0, 40, smooth.shape)
    little, much = ((smooth + k * noise).clip(0, 255).astype(np.uint8) for k in (0.1, 1))
    assert extractor.lpips(smooth, little)[0] < extractor.lpips(smooth, much)[0]


def test_alexnet_stands_in(alexnet):
    extractor = AlexFeatures(alexnet, size=64)
    found = extractor(coloured(3, 40)[0], batch=2)
    assert extractor.stand_in and extractor.name == "AlexNet (LPIPS), stand-in"
    assert found.pooled.shape == (3, 256) and found.spatial.shape == (3, 7 * 3 * 3)
    held = load_file(alexnet)
    x = torch.from_numpy(resized(coloured(3, 40)[0], 64)).permute(0, 3, 1, 2) / 127.5 - 1
    x = (x - held["scaling_layer.shift"]) / held["scaling_layer.scale"]
    one = F.conv2d(x, held["net.slice1.0.weight"], held["net.slice1.0.bias"], 4, 2).relu()
    two = F.conv2d(
        F.max_pool2d(one, 3, 2), held["net.slice2.3.weight"], held["net.slice2.3.bias"], 1, 2
    ).relu()
    three = F.conv2d(
        F.max_pool2d(two, 3, 2), held["net.slice3.6.weight"], held["net.slice3.6.bias"], 1, 1
    ).relu()
    assert np.allclose(found.spatial, three[:, :7].flatten(1), atol=1e-5)


def test_another_file_is_refused(tmp_path, alexnet):
    held = load_file(alexnet)
    save_file({k: v for k, v in held.items() if k != "lin3.model.1.weight"}, tmp_path / "short.safetensors")
    with pytest.raises(UserError, match="lin3.model.1.weight"):
        AlexFeatures(tmp_path / "short.safetensors")
    with pytest.raises(UserError, match="not LPIPS's AlexNet"):
        AlexFeatures(tmp_path / "none.safetensors")
