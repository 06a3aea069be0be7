"""What the dry run tells of drives that mining would refuse, before anything is spent."""

import numpy as np

from edgekit.drives import Telemetry, encode_video, pack_drive, write_telemetry
from tests.unit.mine.test_mine import config_of, write


def refusals(config) -> list[str]:
    return [note for note in config.plan().notes if note.startswith("WOULD BE REFUSED")]


def test_each_drive_that_would_be_refused_is_told_with_why(tmp_path):
    root, t = tmp_path / "set", np.arange(10) / 5
    for name in ("fine", "fast", "leaps", "untrue", "packed"):
        write(root, name, ["none"] * 10, ["none"] * 10)
    place = root / "drives"
    write_telemetry(place / "fast" / "telemetry.csv", Telemetry(t, np.full(10, 108.0), *np.zeros((2, 10))))
    (place / "leaps" / "telemetry.csv").write_text("t_s,speed_mps\n0,5\n1,5\n0.5,5\n")
    (place / "untrue" / "truth.jsonl").write_text("torn")
    pack_drive(place / "packed", tmp_path / "film")
    (tmp_path / "film" / "video.mp4").write_bytes(b"")
    (tmp_path / "film").rename(tmp_path / "set" / "drives" / "film")  # its truth would count its frames

    config = config_of(root)
    told = refusals(config)
    assert len(told) == 4, told
    assert "drive fast" in told[0] and "108.0 m/s" in told[0] and "divide it by 3.6" in told[0]
    assert "film/video.mp4: not a readable video" in told[1]
    assert "leaps/telemetry.csv:4: times do not rise" in told[2] and "untrue/truth.jsonl:1" in told[3]
    assert config.plan().notes[0].startswith("1050 frames")  # film's are not known
    trusted = config.model_copy(update={"reading": config.reading.model_copy(update={"plausible": False})})
    assert len(refusals(trusted)) == 3


def test_what_is_there_and_cannot_be_opened_is_refused_and_what_is_not_there_may_come(tmp_path):
    write(tmp_path / "set", "d", ["none"] * 3)
    film = tmp_path / "clip.mp4"
    encode_video([np.zeros((56, 112, 3), np.uint8)] * 3, film, 5)
    film.write_bytes(film.read_bytes()[:40])
    config = config_of(tmp_path / "set").model_copy(update={"drives": [str(film), "runs/render/new"]})
    (told,) = refusals(config)
    assert "clip.mp4" in told and "taken as 1000 frames" in told
    assert any(note.startswith("runs/render/new: not counted") for note in config.plan().notes)


def test_no_frame_is_decoded_for_it(tmp_path, monkeypatch):
    from edgekit.drives import video

    write(tmp_path / "set", "d", ["none"] * 3)
    pack_drive(tmp_path / "set" / "drives" / "d", tmp_path / "packed")
    monkeypatch.setattr(video, "_frames", lambda *given, **named: 1 / 0)
    assert config_of(tmp_path / "packed").plan().notes[0].startswith("3 frames")


def test_gold_frames_are_asked_about_too(tmp_path):
    write(tmp_path / "set", "d", ["none"] * 10)
    gold = tmp_path / "gold"
    gold.mkdir()
    (gold / "test.jsonl").write_text("{}\n" * 7_000)
    config = config_of(tmp_path / "set", gold=str(gold), chain={})
    assert config.plan().notes[:2] == ("10 frames, 10 questions", "7000 more about the gold frames")
    assert config.plan().minutes > config_of(tmp_path / "set").plan().minutes
