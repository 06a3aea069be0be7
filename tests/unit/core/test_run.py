"""A run: its identity, its digest, resuming, and what it refuses to read."""

import json
from typing import ClassVar

import pytest

from edgekit.core.alone import alone
from edgekit.core.errors import UserError
from edgekit.core.files import read_json, read_jsonl, sha256_file, sha256_json
from edgekit.core.recipe import Config, load_recipe
from edgekit.core.run import BESIDE, digest_tree, open_input, start


class ProbeConfig(Config):
    inputs: ClassVar[tuple[str, ...]] = ("data",)
    operational: ClassVar[tuple[str, ...]] = ("workers",)
    data: list[str] = []
    number: int = 1
    workers: int = 1


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def made(tmp_path, name="source", text="hello", number=1):
    run = start("probe", ProbeConfig(number=number), "r", tmp_path / name)
    (run.out / "a.txt").write_text(text)
    run.finish()
    return run


def test_a_run_from_start_to_manifest(tmp_path):
    run = start("probe", ProbeConfig(), "r")
    assert run.path.parts[:2] == ("runs", "probe") and run.path.name.startswith("r-") and not run.complete
    (run.out / "a.txt").write_text("hello")
    (run.state / "half").write_text("x")
    run.note("a stand-in")
    digest = run.finish()
    manifest = read_json(run.path / "manifest.json")
    assert run.complete and manifest["digest"] == digest == digest_tree(run.out)
    assert manifest["notes"] == ["a stand-in"] and not (run.path / "state").exists()
    assert [row["event"] for row in read_jsonl(run.path / "log.jsonl")] == ["start", "say", "complete"]
    assert load_recipe(ProbeConfig, run.path / "recipe.yaml") == ProbeConfig()


def test_the_same_recipe_on_the_same_inputs_is_the_same_directory(tmp_path):
    run = start("probe", ProbeConfig(), "r")
    (run.state / "half").write_text("kept")
    again = start("probe", ProbeConfig(), "r")
    assert again.path == run.path and (again.state / "half").read_text() == "kept"
    assert start("probe", ProbeConfig(number=2), "r").path != run.path


def test_a_run_is_not_moved_from_under_its_writer(tmp_path, monkeypatch):
    run = start("probe", ProbeConfig(), "r", tmp_path / "placed")
    monkeypatch.setattr("edgekit.core.run.alone", lambda path: alone(path, 0.1))
    with alone(run.path), pytest.raises(UserError, match="another process is writing"):
        start("probe", ProbeConfig(), "r", run.path, force=True)


def test_killed_while_it_finishes_it_can_still_resume(tmp_path, monkeypatch):
    run = start("probe", ProbeConfig(), "r", tmp_path / "placed")
    (run.state / "half").write_text("x")

    def dies(path, value):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("edgekit.core.run.write_json", dies)
        run.finish()
    assert not run.complete and (run.state / "half").exists()
    run.finish()
    (run.path / "state").mkdir()  # killed after the manifest
    assert start("probe", ProbeConfig(), "r", run.path).complete and not (run.path / "state").exists()


def test_a_kill_at_the_first_write_is_forgiven_and_a_file_is_refused(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".identity.x.part").write_text("")
    assert start("probe", ProbeConfig(), "r", tmp_path / "new").path.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a directory"):
        start("probe", ProbeConfig(), "r", tmp_path / "file")


def test_a_run_goes_on_with_other_operational_keys(tmp_path):
    run = start("probe", ProbeConfig(), "r", tmp_path / "placed")
    (run.state / "half").write_text("kept")
    again = start("probe", ProbeConfig(workers=8), "r", tmp_path / "placed")
    assert (again.state / "half").read_text() == "kept" and again.config.workers == 8
    assert start("probe", ProbeConfig(), "r").path == start("probe", ProbeConfig(workers=8), "r").path


def test_what_a_station_was_made_with_and_where_it_was_put_is_known(tmp_path):
    run = start("probe", ProbeConfig(), "r", tmp_path / "placed", force=True)
    assert run.placed and run.forced
    assert not start("probe", ProbeConfig(), "r").placed
    run.made_with["bpy"] = "5.0.1"
    run.finish()
    assert read_json(run.path / "manifest.json")["made_with"]["bpy"] == "5.0.1"


@pytest.mark.parametrize("single", [False, True])
def test_a_foreign_video_counts_and_so_does_the_telemetry_beside_it(tmp_path, single):
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"one")
    what, digests = folder / "a.mp4" if single else folder, set()
    digests.add(open_input(what).digest)
    (folder / "a.mp4").write_bytes(b"two")
    digests.add(open_input(what).digest)
    (folder / "telemetry.csv").write_text("t_s,speed_mps\n0,1\n")
    digests.add(open_input(what).digest)
    assert len(digests) == 3


def test_an_input_is_named_by_what_means_the_same_everywhere(tmp_path):
    class OneConfig(Config):
        inputs: ClassVar[tuple[str, ...]] = ("model",)
        model: str

    source = made(tmp_path)
    for given, named in (
        (str(source.path), read_json(source.path / "manifest.json")["digest"][:16]),
        ("package:sample", "package:sample"),
    ):
        assert start("probe", OneConfig(model=given), "r").named("model") == named


def test_inputs_count_by_content_not_by_place(tmp_path):
    source = made(tmp_path)
    one = start("probe", ProbeConfig(data=[str(source.path)]), "r")
    source.path.rename(tmp_path / "moved")
    same = start("probe", ProbeConfig(data=[str(tmp_path / "moved")]), "r")
    other = start("probe", ProbeConfig(data=[str(made(tmp_path, "other", "else").path)]), "r")
    assert one.path == same.path != other.path


def test_the_digest_leaves_out_clocks_and_media_only(tmp_path):
    run = made(tmp_path)
    before = digest_tree(run.out)
    for name in ("timing.json", "film.mp4", "report.html", "sub/film.webm", ".hidden"):
        path = run.out / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("now")
        assert digest_tree(run.out) == before, name
    (run.out / "sub" / "b.txt").write_text("x")
    moved = digest_tree(run.out)
    (run.out / "sub" / "b.txt").rename(run.out / "sub" / "c.txt")
    assert len({before, moved, digest_tree(run.out)}) == 3


def test_force_moves_the_old_run_aside(tmp_path):
    old = made(tmp_path)
    new = start("probe", ProbeConfig(), "r", old.path, force=True)
    assert new.path == old.path and not new.complete
    aside = [p for p in tmp_path.iterdir() if p.name.startswith("source.old-")]
    assert len(aside) == 1 and (aside[0] / "out" / "a.txt").read_text() == "hello"


def test_force_twice_in_a_second_keeps_both(tmp_path):
    made(tmp_path)
    start("probe", ProbeConfig(), "r", tmp_path / "source", force=True)
    start("probe", ProbeConfig(), "r", tmp_path / "source", force=True)
    assert len([p for p in tmp_path.iterdir() if p.name.startswith("source.old-")]) == 2


def test_another_runs_directory_is_refused(tmp_path):
    made(tmp_path)
    with pytest.raises(UserError, match="holds another run"):
        start("probe", ProbeConfig(number=2), "r", tmp_path / "source")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a run directory"):
        start("probe", ProbeConfig(), "r", tmp_path / "mine")


def test_inputs_that_are_not_there_or_not_whole_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        start("probe", ProbeConfig(data=["nowhere"]), "r")
    half = start("probe", ProbeConfig(), "r", tmp_path / "half")
    with pytest.raises(UserError, match="not complete"):
        open_input(half.path)
    with pytest.raises(UserError, match="does not ship"):
        open_input("package:no-such-thing")


def test_a_manifest_of_another_schema_is_refused(tmp_path):
    run = made(tmp_path)
    manifest = read_json(run.path / "manifest.json") | {"schema": "edgekit/run/9"}
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="edgekit/run/9"):
        open_input(run.path)


def test_a_foreign_folder_is_recorded_as_foreign(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "x").write_text("x")
    run = start(
        "probe", ProbeConfig(data=[str(tmp_path / "theirs"), str(made(tmp_path).path)]), "r", tmp_path / "o"
    )
    run.finish()
    foreign, own = read_json(run.path / "manifest.json")["inputs"]["data"]
    assert (foreign["origin"], own["origin"]) == ("foreign", "run") and own["manifest"]
    assert run.input("data") == tmp_path / "theirs"


@pytest.mark.parametrize("placed", [True, False])
def test_a_run_in_which_nothing_was_done_is_withdrawn(tmp_path, placed):
    run = start("probe", ProbeConfig(), "r", tmp_path / "o" if placed else None)
    run.note("words alone")
    assert run.state.is_dir()
    with alone(run.path):
        run.withdraw()
    assert not run.path.exists() and list(tmp_path.iterdir()) == []
    assert start("probe", ProbeConfig(), "r").path.is_dir()


@pytest.mark.parametrize("what", ["out/a", "state/a", "steps/x/manifest.json", "event"])
def test_a_run_that_holds_work_is_not_withdrawn(tmp_path, what):
    run = start("probe", ProbeConfig(), "r", tmp_path / "o")
    if what == "event":
        run.log("step", name="x")
    else:
        (run.path / what).parent.mkdir(parents=True, exist_ok=True)
        (run.path / what).write_text("kept")
    run.withdraw()
    assert (run.path / "identity").is_file() and start("probe", ProbeConfig(), "r", run.path)


def test_a_forced_run_that_did_something_keeps_the_old_one_aside(tmp_path):
    old = made(tmp_path)
    new = start("probe", ProbeConfig(), "r", old.path, force=True)
    (new.out / "a.txt").write_text("new")
    new.withdraw()
    assert (new.out / "a.txt").read_text() == "new" and new.aside.is_dir()


def test_a_runs_folder_whose_neighbour_stays_goes_alone(tmp_path):
    kept, gone = (start("probe", ProbeConfig(number=n), "r") for n in (1, 2))
    (kept.out / "a").write_text("x")
    gone.withdraw()
    assert kept.path.is_dir() and not gone.path.exists()


@pytest.mark.parametrize("name", BESIDE)
def test_whatever_is_read_beside_a_single_video_counts(tmp_path, name):
    (tmp_path / "a.mp4").write_bytes(b"one")
    digests = {open_input("a.mp4").digest}
    for text in ("one", "two"):
        (tmp_path / name).write_text(text)
        digests.add(open_input("a.mp4").digest)
    assert len(digests) == 3


def test_telemetry_beside_two_videos_is_nobodys_and_a_hidden_file_is_no_video(tmp_path):
    for name in ("a.mp4", "telemetry.csv", "._b.mp4"):
        (tmp_path / name).write_text(name)
    alone = open_input("a.mp4").digest
    (tmp_path / "._b.mp4").unlink()
    assert open_input("a.mp4").digest == alone
    (tmp_path / "b.mp4").write_text("another")
    assert open_input("a.mp4").digest != alone


def test_linked_folders_are_part_of_a_digest_as_copies_are(tmp_path):
    copied, linked, drive = (tmp_path / name for name in ("copied", "linked", "elsewhere"))
    for folder in (copied / "drives" / "d1" / "frames", drive / "frames"):
        folder.mkdir(parents=True)
        (folder / "000000.jpg").write_bytes(b"picture")
    (linked / "drives").mkdir(parents=True)
    (linked / "drives" / "d1").symlink_to(drive)
    before = digest_tree(linked, foreign=True)
    assert before == digest_tree(copied, foreign=True)
    (drive / "frames" / "000000.jpg").write_bytes(b"another")
    assert digest_tree(linked, foreign=True) != before


def test_links_that_lead_back_are_not_followed(tmp_path):
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "x.txt").write_text("x")
    before = digest_tree(tree)
    (tree / "a" / "b" / "up").symlink_to(tree)
    (tree / "self").symlink_to(tree / "self")
    (tree / "gone").symlink_to(tree / "nowhere")
    assert digest_tree(tree) == before


def test_the_digest_of_a_tree_without_links_is_what_it_always_was(tmp_path):
    """Manifests that were shipped hold it: sorted (path, sha256), a folder's files between its neighbours."""
    for name in ("a.txt", "a/b.txt", "a-b/c.txt", "a/.git/config", "B/d", "ä"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    found = [p for p in sorted((tmp_path / "tree").rglob("*")) if p.is_file()]
    rows = [(p.relative_to(tmp_path / "tree").as_posix(), sha256_file(p)) for p in found]
    assert len(rows) == 6 and digest_tree(tmp_path / "tree") == sha256_json(rows)
