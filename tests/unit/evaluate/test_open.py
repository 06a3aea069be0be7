"""open_answerer chooses by kind, and says what is missing."""

import shutil

import pytest

from edgekit.core.contract import Contract, read_contract
from edgekit.core.errors import UserError
from edgekit.engine.endpoint import Endpoint
from edgekit.models.open import open_answerer

PORT = Endpoint(url="http://127.0.0.1:9/v1", model="m", width=112, height=56)


@pytest.mark.parametrize("kind", ["auto", "endpoint"])
def test_a_port_takes_the_datasets_contract_or_its_own(kind):
    assert open_answerer(kind, None, PORT).contract == Contract(width=112, height=56)
    assert open_answerer(kind, None, PORT, Contract(width=56, height=56)).contract.width == 56


def test_nothing_to_open():
    with pytest.raises(UserError, match="neither a directory nor an endpoint"):
        open_answerer("auto", None)
    with pytest.raises(UserError, match="no directory"):
        open_answerer("torch", None)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    pytest.importorskip("torch")
    with pytest.raises(UserError) as error:
        open_answerer("auto", tmp_path)
    assert len(str(error.value).splitlines()) == 3


def test_a_folder_with_a_bundle_json_is_opened_as_a_bundle(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "bundle.json").write_text("{}")
    with pytest.raises(UserError, match="bundle.json: not readable"):
        open_answerer("auto", tmp_path)


def test_a_foreign_checkpoint_is_fed_by_the_datasets_contract(windowed, tmp_path):
    shutil.copytree(windowed["checkpoint"], tmp_path / "theirs")
    contract = read_contract(tmp_path / "theirs")
    (tmp_path / "theirs" / "contract.json").unlink()
    model = open_answerer("auto", tmp_path / "theirs", None, contract, batch=3)
    assert model.contract == contract and model.batch == 3
    with pytest.raises(UserError, match="contract.json is not there"):
        open_answerer("auto", tmp_path / "theirs")
