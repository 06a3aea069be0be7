import pytest

from edgekit.core.errors import EdgekitError, GateError, UserError, need_disk, suggestion


def test_three_lines_and_exit_codes():
    error = UserError("what", "why", "do")
    assert str(error).splitlines() == ["what", "  why: why", "  do:  do"]
    assert (error.exit_code, GateError("a", "b", "c").exit_code, EdgekitError("a", "b", "c").exit_code) == (
        2,
        3,
        1,
    )


def test_suggestion_names_the_nearest_else_all():
    assert suggestion("distil", ["distill", "mine"]) == "did you mean 'distill'?"
    assert suggestion("zzz", ["b", "a"]) == "known: a, b"


def test_need_disk_looks_at_the_disk_below_a_folder_that_is_not_there_yet(tmp_path):
    need_disk(tmp_path / "not" / "yet", 1, "test")
    with pytest.raises(UserError) as caught:
        need_disk(tmp_path / "not" / "yet", 10**18, "test")
    assert "1000000000000 MB are needed" in caught.value.why
