"""A real detector on real photographs, where there are some. Not marked onnx: those tests may never be skipped."""

import os
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.mine.experts import ExpertConfig, open_expert

DATA = os.environ.get("EDGEKIT_REAL_DATA")


@pytest.mark.skipif(not DATA, reason="EDGEKIT_REAL_DATA is not set: the real detector is there")
def test_the_real_detector_finds_real_lights_and_refuses_another_class_count():
    from edgekit.core.files import read_jsonl
    from edgekit.engine.pixels import read_image
    from edgekit.mine.experts.heads import ious as overlap

    root = Path(DATA) / "real" / "traffic_lights_ccby"
    model = str(Path(DATA) / "models" / "ssd_mobilenet_v2_coco.onnx")
    config = ExpertConfig(model=model, head="ssd", columns=90, classes={9: "light"}, score=0.25, iou=0.3)
    expert, found, all_ = open_expert(config), 0, 0
    for row in [r for r in read_jsonl(root / "labels.jsonl") if r["split"] == "val"][:40]:
        boxes = expert.detect([read_image(root / row["image"])])[0]
        truth = np.array([light["xyxy"] for light in row["lights"]])
        all_ += len(truth)
        if boxes:
            found += (overlap(truth, np.array([b[1:5] for b in boxes])).max(axis=1) > 0.5).sum()
    assert (
        found / all_ > 0.6
    )  # the whole split: .776 (benchmarks/lights.py); boxes out of place would find next to none
    with pytest.raises(UserError, match="90 classes, not 80"):
        open_expert(config.model_copy(update={"columns": 80}))
    for activation in ("auto", "none", "sigmoid"):
        with pytest.raises(UserError, match="it looks like head: ssd"):
            open_expert(config.model_copy(update={"head": "detr", "activation": activation}))
