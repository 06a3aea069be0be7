"""Videos of strangers: uneven times, cut files, Matroska, raw H.265; each frame is decoded at most twice."""

from fractions import Fraction

import av
import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.dataset import open_dataset
from edgekit.drives import DriveInfo, Reading, encode_video, open_drive, pack_drive, write_drive
from edgekit.drives import video as reader
from edgekit.mine import mine
from tests.unit.mine.test_mine import ColourTeacher, config_of, run_of

UNEVEN = np.cumsum([0, 0.1, 0.1, 0.5, 0.04, 0.04, 0.1, 0.1, 0.25, 0.1, 0.1, 0.1])


def grey(number: int) -> np.ndarray:
    """A grey that tells the number, with noise, so that a frame takes many bytes."""
    noise = np.random.default_rng(number).integers(-8, 9, (48, 64, 1))
    return np.clip(30 + 5 * (number % 40) + noise, 0, 255).astype(np.uint8).repeat(3, axis=2)


def number_in(image: np.ndarray) -> int:
    return round((float(image.mean()) - 30) / 5)


def remux(source, target, **options):
    """The same packets in another container."""
    with av.open(str(source)) as given, av.open(str(target), "w", **options) as out:
        stream = given.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    return target


def whole(folder, n: int = 30, fps: float = 10, **options):
    encode_video((grey(i) for i in range(n)), folder / "clip.mp4", fps, **options)
    return folder / "clip.mp4"


def cut(path, share: float):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """One entry for each run of the decoder over a file."""
    runs, frames = [], reader._frames
    monkeypatch.setattr(reader, "_frames", lambda *given, **named: runs.append(1) or frames(*given, **named))
    return runs


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_uneven_times_are_the_presentation_times(tmp_path, decoded, ending):
    clip = whole(tmp_path, 12, times_s=UNEVEN + 3)  # nor does it begin at 0
    drive = open_drive(remux(clip, tmp_path / f"uneven{ending}"))
    np.testing.assert_allclose(drive.times_s, UNEVEN, atol=1e-3)
    assert [number_in(image) for image in drive.frames(4)] == list(range(4, 12))
    assert drive.notes == [] and len(decoded) == 1
    assert drive.info.fps == pytest.approx(10, rel=1e-6)  # the usual step


def test_packing_keeps_uneven_times(tmp_path):
    clip = whole(tmp_path, 12, times_s=UNEVEN)
    pack_drive(clip, tmp_path / "packed")
    packed = open_drive(tmp_path / "packed")
    np.testing.assert_allclose(packed.times_s, UNEVEN, atol=1e-3)
    assert any("does not keep the" in note for note in packed.notes)


def test_a_drives_own_even_video_has_exact_times(tmp_path):
    write_drive(tmp_path / "d", DriveInfo(id="d", fps=7.5), (grey(i) for i in range(10)))
    pack_drive(tmp_path / "d", tmp_path / "packed")
    packed = open_drive(tmp_path / "packed")
    assert (packed.times_s == np.arange(10) / 7.5).all() and packed.notes == []


@pytest.mark.parametrize("share", [0.6, 0.98])
def test_of_a_video_cut_short_what_decodes_is_kept(tmp_path, decoded, share):
    drive = open_drive(cut(whole(tmp_path), share))
    kept = len(drive)
    assert len(decoded) == 1  # the count alone could not tell
    assert [number_in(image) for image in drive.frames()] == list(range(kept)) and 10 < kept < 30
    assert drive.notes == [
        f"clip.mp4 is cut short or damaged: {kept} frames decode and are kept, about {30 - kept} are lost"
    ]
    assert len(drive.times_s) == len(drive.speeds_mps()) == kept


def test_a_matroska_cut_short_tells_how_much_by_its_length(tmp_path):
    drive = open_drive(cut(remux(whole(tmp_path), tmp_path / "clip.mkv"), 0.6))
    kept = len(drive)
    assert [number_in(image) for image in drive.frames()] == list(range(kept)) and 10 < kept < 30
    assert f"about {30 - kept} are lost" in drive.notes[0]


def test_a_whole_video_is_counted_without_decoding(tmp_path, decoded):
    for path in (whole(tmp_path), remux(tmp_path / "clip.mp4", tmp_path / "clip.mkv")):
        drive = open_drive(path)
        assert (len(drive), drive.notes, decoded) == (30, [], [])


def test_a_recorder_that_was_stopped_leaves_no_length(tmp_path):
    path = remux(whole(tmp_path), tmp_path / "live.mkv", options={"live": "1"})
    drive = open_drive(path)
    assert len(drive) == 30 and "live.mkv tells no length" in drive.notes[0]


def test_a_video_without_its_index_cannot_be_opened(tmp_path):
    for share in (0.9, 0.5):  # within the index, and before it
        path = cut(remux(whole(tmp_path), tmp_path / "index-last.mp4"), share)
        with pytest.raises(UserError) as caught:
            open_drive(path)
        error = caught.value
        assert (
            "index is missing" in error.what
            and "Errno" not in str(error)
            and len(str(error).splitlines()) == 3
        )
        assert f"{path.stat().st_size / 1e6:.1f} MB" in error.why and "cut off" in error.why
        assert "untrunc" in error.do and "mkv" in error.do


@pytest.mark.parametrize("data", [b"", b"no video at all", b"\0\0\0\x08ftyp\0\0\0\x08moov"])
def test_what_is_no_video_is_not_taken_for_one_without_an_index(tmp_path, data):
    (tmp_path / "clip.mp4").write_bytes(data)
    with pytest.raises(UserError, match="not a readable video") as caught:
        open_drive(tmp_path / "clip.mp4")
    assert "Errno" not in str(caught.value) and f"it has {len(data)} bytes" in caught.value.why


def damaged(path, packet_number: int):
    """Bytes of one packet overwritten: the container is whole, and a frame in it is not."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
    packet = packets[packet_number]
    data = bytearray(path.read_bytes())
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(bytes(data))
    return path


def test_damage_within_a_whole_container_is_named_and_not_stepped_over(tmp_path):
    drive = open_drive(damaged(whole(tmp_path), 12))
    with pytest.raises(UserError, match="frame 1[0-2]: "):
        list(drive.frames())


def test_what_leans_on_a_lost_frame_is_left_out_until_the_next_key_frame(tmp_path):
    """Cut and damaged: frames 0..11 and those after the next key frame are whole."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.options = {"g": "10", "keyint_min": "10", "bf": "0", "sc_threshold": "0"}
        for i in range(40):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey(i), format="rgb24")))
        out.mux(stream.encode())
    cut(damaged(path, 14), 0.9)
    drive = open_drive(path)
    seen = [number_in(image) for image in drive.frames()]
    assert seen[:14] == list(range(14)) and seen[14:] == list(range(20, 20 + len(seen) - 14))
    np.testing.assert_allclose(drive.times_s, np.array(seen) / 10, atol=1e-6)
    assert f"about {40 - len(seen)} are lost" in drive.notes[0]


def in_part(path, at: tuple[int, ...]):
    """An MPEG-4 film of 30 frames; the latter half of each packet of ``at`` is noise."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(30):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey(i), format="rgb24")))
        out.mux(stream.encode())
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
    data = bytearray(path.read_bytes())
    for packet in (packets[number] for number in at):
        half = packet.size // 2
        noise = np.random.default_rng(0).integers(0, 256, half, np.uint8).tobytes()
        data[packet.pos + packet.size - half : packet.pos + packet.size] = noise
    path.write_bytes(bytes(data))
    return path


def test_frames_that_decode_in_part_are_noted_once_they_are_decoded(tmp_path):
    for at in ((), (14, 20)):
        drive = open_drive(in_part(tmp_path / "clip.mp4", at))
        assert (drive.notes, drive.footage.damage()) == ([], [])
        assert sum(1 for _ in drive.frames()) == 30
        told = [note.partition(";")[0] for note in drive.footage.damage()]
        assert told == ["2 of the frames are damaged, first at 1.4 s (frames 14, 20)"] * bool(at)


def test_mining_notes_them_and_its_rows_carry_the_readings_tags(tmp_path):
    (tmp_path / "film").mkdir()
    in_part(tmp_path / "film" / "clip.mp4", (14,))
    config = config_of(tmp_path / "film", reading={"tags": ["fog"]})
    run = run_of(tmp_path, config)
    mine(config, run, ColourTeacher())
    assert [note for note in run.notes if "drive clip: 1 of the frames are damaged, first at 1.4 s" in note]
    rows = open_dataset(run.out).rows("train")
    assert len(rows) == 30 and {row.tags[0] for row in rows} == {"fog"}


def raw(path, n: int = 20):
    """H.265 as a camera writes it, without a container and without times."""
    if "libx265" not in av.codecs_available:
        pytest.skip("PyAV was built without libx265")
    with av.open(str(path), "w", format="hevc") as out:
        stream = out.add_stream("libx265", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.options = {"x265-params": "log-level=none"}
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(grey(i), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 20)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def test_a_stream_without_times_takes_the_rate_that_is_set(tmp_path):
    path = raw(tmp_path / "video.hevc")
    guessed, told = open_drive(path), open_drive(path, Reading(fps=20))
    assert "carries no presentation times: 25 frames per second, as its reader guesses" in guessed.notes[0]
    np.testing.assert_allclose(told.times_s, np.arange(20) / 20)
    assert [number_in(image) for image in told.frames()] == list(range(20))
