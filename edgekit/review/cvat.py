"""CVAT, "CVAT for images 1.1" (docs.cvat.ai, XML annotation format): a folder with annotations.xml and images/.

Each frame holds one tag a task, whose attributes are the task's slots, and ``seen``: a box to tick where all
that is asked of the frame was looked at; and ``exported``: the slots as they went out, to be left as it is, for
what came back is compared with it. labels.json is what the task's label editor takes (Raw).
CVAT matches by the frame's number, in the order of file names: the images are numbered in that order.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from xml.parsers import expat

from edgekit.core.files import write_bytes, write_text
from edgekit.core.label import SLOTS, TASKS
from edgekit.dataset import Sample
from edgekit.review.queue import Review
from edgekit.review.tools import (
    Back,
    as_exported,
    copy_images,
    exported,
    name_of,
    new_folder,
    not_ours,
    read_bounded,
    slots_now,
    words_of,
)

SEEN, EXPORTED = "seen", "exported"
DEPTH = 32  # of nested elements; CVAT's own go to 7


def export(rows: Sequence[Sample], review: Review, out: Path) -> None:
    """Writes ``out``: images/ (upload these), labels.json (paste it as the task's labels), annotations.xml."""
    new_folder(out)
    copy_images(rows, review, out / "images")
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    task = ET.SubElement(ET.SubElement(root, "meta"), "task")
    for name, text in (("name", "edgekit review"), ("size", str(len(rows))), ("mode", "annotation")):
        ET.SubElement(task, name).text = text
    labels = ET.SubElement(task, "labels")
    for name, attributes in _labels():
        label = ET.SubElement(labels, "label")
        ET.SubElement(label, "name").text = name
        ET.SubElement(label, "type").text = "tag"
        own = ET.SubElement(label, "attributes")
        for slot, kind, values in attributes:
            attribute = ET.SubElement(own, "attribute")
            for key, text in (
                ("name", slot), ("mutable", "False"), ("input_type", kind), ("default_value", values[-1]),
                ("values", "\n".join(values)),
            ):  # fmt: skip
                ET.SubElement(attribute, key).text = text
    for number, row in enumerate(rows):
        size = {"width": str(review.data.contract.width), "height": str(review.data.contract.height)}
        image = ET.SubElement(root, "image", id=str(number), name=name_of(row), **size)
        slots = slots_now(review, row)
        for name, own_slots in TASKS.items():
            tag = ET.SubElement(image, "tag", label=name, source="auto")
            for slot in own_slots:
                ET.SubElement(tag, "attribute", name=slot).text = slots[slot]
            ET.SubElement(tag, "attribute", name=SEEN).text = "false"
            went_out = as_exported({slot: slots[slot] for slot in own_slots})
            ET.SubElement(tag, "attribute", name=EXPORTED).text = went_out
    ET.indent(root)
    write_bytes(out / "annotations.xml", ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")
    spec = [
        {"name": name, "type": "tag", "attributes": [
            {"name": slot, "mutable": False, "input_type": kind, "default_value": values[-1], "values": list(values)}
            for slot, kind, values in attributes
        ]}
        for name, attributes in _labels()
    ]  # fmt: skip
    write_text(out / "labels.json", json.dumps(spec, indent=1) + "\n")


def _labels() -> list[tuple[str, list[tuple[str, str, tuple[str, ...]]]]]:
    return [
        (
            task,
            [
                *((slot, "select", SLOTS[slot]) for slot in slots),
                (SEEN, "checkbox", ("false",)),
                (EXPORTED, "text", ("",)),
            ],
        )
        for task, slots in TASKS.items()
    ]


def read(file: Path, review: Review) -> list[Back]:
    """The frames of an annotations.xml that CVAT exported ("CVAT for images 1.1").

    Raises UserError for what is no such file, for one that declares entities, and for an image that no row has.
    """
    root = parse_xml(read_bounded(file), file)
    if root.tag != "annotations" or root.find("image") is None:
        raise not_ours(file, f"its top is <{root.tag}>, or it has no <image>: want CVAT for images 1.1")
    ids = {name_of(row): row.id for row in review.rows.values()}
    out = []
    for image in root.iterfind("image"):
        name = image.get("name", "")
        row = ids.get(name) or ids.get(name.removeprefix("images/"))
        if row is None:
            raise not_ours(file, f"image {name!r} is of no row of {review.what}")
        fields: dict[str, str] = {}
        went_out: dict[str, str] = {}
        for tag in image.iterfind("tag"):
            for attribute in tag.iterfind("attribute"):
                if attribute.get("name") == SEEN:  # ticked on one task's tag is ticked
                    fields[SEEN] = str(
                        fields.get(SEEN) == "true" or (attribute.text or "").strip() == "true"
                    ).lower()
                elif attribute.get("name") == EXPORTED:
                    try:
                        went_out |= exported((attribute.text or "").strip())
                    except ValueError as error:
                        raise not_ours(file, f"image {name!r}: {error}") from None
                elif attribute.get("name"):
                    fields[attribute.get("name")] = (attribute.text or "").strip()
        out.append(Back(row, words_of(fields), fields.get(SEEN) == "true", went_out))
    return out


def parse_xml(data: bytes, file: Path) -> ET.Element:
    """The tree of an XML file from outside. Raises UserError for one that is broken, nested beyond DEPTH, or
    has a document type: entities in it can grow without bound (the "billion laughs") or read other files."""
    depth = 0

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type declaration, and those are not read")

    def opened(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > DEPTH:
            raise ValueError(f"its elements are nested more than {DEPTH} deep")

    def closed(*_: object) -> None:
        nonlocal depth
        depth -= 1

    scan = expat.ParserCreate()
    scan.StartDoctypeDeclHandler = scan.EntityDeclHandler = refuse
    scan.StartElementHandler, scan.EndElementHandler = opened, closed
    try:
        scan.Parse(data, True)
        return ET.fromstring(data)
    except (expat.ExpatError, ET.ParseError, ValueError) as error:
        raise not_ours(file, str(error)) from None
