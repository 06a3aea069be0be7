"""What the dry run tells of drives that mining would refuse, before anything is spent."""

import numpy as np

from edgekit.cli import main
from edgekit.core.places import asset
from edgekit.core.recipe import REFUSED
from edgekit.dataset import open_dataset
from edgekit.dataset.sample import SPLITS
from edgekit.drives import Telemetry, encode_video, pack_drive, write_telemetry
from tests.unit.mine.test_joined import EXPERT
from tests.unit.mine.test_mine import config_of, write


def refusals(config) -> list[str]:
    return [note for note in config.plan().notes if note.startswith(REFUSED)]


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
    assert len(told) == 5, told
    assert told[0].startswith(f"{REFUSED}mine: two drives have one id (twice: packed, ")
    assert "drive fast" in told[1] and "108.0 m/s" in told[1] and "divide it by 3.6" in told[1]
    assert "film/video.mp4: not a readable video" in told[2]
    assert "leaps/telemetry.csv:4: times do not rise" in told[3] and "untrue/truth.jsonl:1" in told[4]
    assert config.plan().notes[0].startswith("20 frames")  # of fine and packed
    trusted = config.model_copy(update={"reading": config.reading.model_copy(update={"plausible": False})})
    assert len(refusals(trusted)) == 4


def test_of_a_folder_of_films_every_bad_one_is_told_and_the_good_ones_are_counted(tmp_path, capsys):
    write(tmp_path / "set", "gone", ["none"] * 3)
    for name in "abcd":
        encode_video([np.zeros((56, 112, 3), np.uint8)] * 3, tmp_path / "films" / f"{name}.mp4", 5)
    for name in "ac":
        film = tmp_path / "films" / f"{name}.mp4"
        film.write_bytes(film.read_bytes()[:40])
    config = config_of(tmp_path / "set").model_copy(update={"drives": [str(tmp_path / "films"), "runs/new"]})
    assert ["a.mp4" in note or "c.mp4" in note for note in refusals(config)] == [True, True]
    assert config.plan().notes[0].startswith("1006 frames")  # b and d, and what is not there yet
    left = config.model_copy(update={"leave_out_broken": True}).plan()
    assert not left.refused and sum(note.startswith("WOULD BE LEFT OUT: ") for note in left.notes) == 2

    (tmp_path / "set" / "drives" / "loose.mp4").write_bytes((tmp_path / "films" / "b.mp4").read_bytes())
    (loose,) = (
        config.model_copy(update={"leave_out_broken": True, "drives": [str(tmp_path / "set")]}).plan().refused
    )
    assert "files stand beside the drives" in loose

    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"drives: [{tmp_path / 'films'}]\nteacher: package:nano-teacher\n")
    assert main(["mine", str(recipe), "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert out.count(REFUSED) == 2 and "nothing was run" in out
    assert "for 2 reason(s)" in err and len(err.splitlines()) == 3
    assert main(["mine", str(recipe), "leave_out_broken=true", "--dry-run"]) == 0


def test_what_is_there_and_cannot_be_opened_is_refused_and_what_is_not_there_may_come(tmp_path):
    write(tmp_path / "set", "d", ["none"] * 3)
    film = tmp_path / "clip.mp4"
    encode_video([np.zeros((56, 112, 3), np.uint8)] * 3, film, 5)
    film.write_bytes(film.read_bytes()[:40])
    config = config_of(tmp_path / "set").model_copy(update={"drives": [str(film), "runs/render/new"]})
    (told,) = refusals(config)
    assert "clip.mp4" in told and config.plan().notes[0].startswith("1000 frames")
    assert any(note.startswith("runs/render/new: not counted") for note in config.plan().notes)
    # Where no drive is left, to leave it out is no way.
    alone = config.model_copy(update={"drives": [str(film)], "leave_out_broken": True})
    assert len(refusals(alone)) == 1


def test_no_frame_is_decoded_for_it(tmp_path, monkeypatch):
    from edgekit.drives import video

    write(tmp_path / "set", "d", ["none"] * 3)
    pack_drive(tmp_path / "set" / "drives" / "d", tmp_path / "packed")
    monkeypatch.setattr(video, "_frames", lambda *given, **named: 1 / 0)
    assert config_of(tmp_path / "packed").plan().notes[0].startswith("3 frames")


def test_gold_frames_are_asked_about_too(tmp_path):
    write(tmp_path / "set", "d", ["none"] * 10)
    given = {"gold": "package:sample", "experts": [EXPERT]}
    rows = sum(len(open_dataset(asset("sample") / "out").rows(split)) for split in SPLITS)
    config = config_of(tmp_path / "set", **given)
    assert config.plan().notes[:2] == ("10 frames, 10 questions", f"{rows} more about the gold frames")
    assert config.plan().minutes > config_of(tmp_path / "set").plan().minutes


def test_gold_that_mining_would_refuse_is_told(tmp_path):
    write(tmp_path / "set", "d", ["none"] * 10)
    (told,) = refusals(config_of(tmp_path / "set", gold="package:sample", chain={}))
    assert "chain: gold holds" in told and "60 s are the least" in told
    (tmp_path / "gold").mkdir()
    (told,) = refusals(config_of(tmp_path / "set", gold=str(tmp_path / "gold"), chain={}))
    assert "gold: not a Dataset" in told
    assert not refusals(config_of(tmp_path / "set", gold="runs/later", chain={}))


def test_a_key_that_is_not_set_and_a_budget_too_small_are_told(tmp_path, monkeypatch):
    write(tmp_path / "set", "d", ["none"] * 3)
    port = {"url": "http://127.0.0.1:1/v1", "model": "m", "api_key_env": "A_KEY_OF_THE_TESTS"}
    given = {"teacher": None, "kind": "endpoint", "endpoint": port, "prompts": "dynamic"}
    config = config_of(tmp_path / "set", **given, dynamic={"budget_tokens": 5})
    monkeypatch.delenv("A_KEY_OF_THE_TESTS", raising=False)
    key, budget = refusals(config)
    assert "A_KEY_OF_THE_TESTS is not set" in key and "the budget is 5" in budget
    monkeypatch.setenv("A_KEY_OF_THE_TESTS", "x")
    assert refusals(config) == [budget]
