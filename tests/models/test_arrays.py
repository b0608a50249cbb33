"""Pickles of numpy arrays: what numpy wrote is read, and nothing else is."""

import io
import os
import pickle
import struct

import numpy as np
import pytest
import torch

from octvideo.models.sources.arrays import ArraysError, read_arrays


def test_arrays_of_every_kind_as_numpy_reads_them(tmp_path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "f4": rng.standard_normal((2, 3, 4)).astype("f4"),
        "f8": rng.standard_normal(5),
        "f2": rng.standard_normal((3, 1)).astype("f2"),
        "i8": np.arange(7),
        "u1": np.arange(6, dtype="u1").reshape(2, 3),
        "big-endian": rng.standard_normal((2, 2)).astype(">f4"),
        "fortran": np.asfortranarray(rng.standard_normal((3, 5)).astype("f4")),
        "strided": rng.standard_normal((6, 6)).astype("f4")[::2, 1::3],
        "empty": np.zeros((0, 4), "f4"),
        "one": np.float32(3.5),
        "bool": np.array([True, False]),
    }
    for protocol in (3, 4):
        file = tmp_path / f"arrays{protocol}.pkl"
        file.write_bytes(
            pickle.dumps({"a": arrays, "text": "left out", "b": {"c": [1, 2]}}, protocol=protocol)
        )
        read = read_arrays(file)
        assert list(read) == [f"a.{name}" for name in arrays]
        for name, array in arrays.items():
            native = np.asarray(array)
            expected = torch.from_numpy(native.astype(native.dtype.newbyteorder("=")))
            assert torch.equal(read[f"a.{name}"], expected), name
            assert read[f"a.{name}"].dtype == expected.dtype


def python2_pickle(name: str, values: np.ndarray) -> bytes:
    """As Python 2 wrote a dictionary of one array: texts and bytes are both its `str`, of one byte a character."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    shape = b"(" + b"".join(b"K" + bytes([n]) for n in values.shape) + b"t"
    return (
        b"\x80\x02}" + text(b"blobs") + b"}" + text(name.encode())
        + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
        + b"(K\x01" + shape + b"cnumpy\ndtype\n(" + text(b"f4") + b"K\x00K\x01tR"
        + b"(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89" + text(values.astype("<f4").tobytes()) + b"tb" + b"ss."
    )  # fmt: skip


def test_python_2(tmp_path) -> None:
    values = np.random.default_rng(0).standard_normal((3, 4)).astype("f4")
    content = python2_pickle("conv1_w", values)
    theirs = pickle.loads(content, encoding="latin1")  # noqa: S301 - numpy's own reading
    assert np.array_equal(theirs["blobs"]["conv1_w"], values)
    (tmp_path / "c2.pkl").write_bytes(content)
    assert torch.equal(read_arrays(tmp_path / "c2.pkl")["blobs.conv1_w"], torch.from_numpy(values))


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Built:
    """A pickle that makes `function` and sets its state."""

    def __init__(self, function, state):
        self.function, self.state = function, state

    def __reduce__(self):
        return self.function, ("f4",), self.state


def cyclic():
    content: dict = {}
    content["again"] = content
    return content


def shared():
    content: dict = {"a": np.zeros(1)}
    for _ in range(40):
        content = {"x": content, "y": content}
    return content


def named(content: bytes) -> bytes:
    return b"\x80\x02" + content + b"."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": Calls(os.system, "touch owned")}, "refused, it holds pickled Python objects.*system"),
        ({"a": Calls(eval, "1")}, "refused, it holds pickled Python objects.*eval"),
        ({"a": Calls(np.load, "x")}, "refused, it holds pickled Python objects.*load"),
        ({"a": np.array([object], dtype=object)}, "dtype is 'O8'; it must be one of f2"),
        ({"a": np.zeros(2, "c8")}, "dtype is 'c8'"),
        ({"a": np.zeros(2, [("x", "f4")])}, "dtype is 'V4'"),
        (Built(np.dtype, (3, "O", None)), "byte order"),
        (Built(np.dtype, 3), "damaged"),
        ([np.zeros(2)], "holds a list, expected a dictionary of arrays"),
        (cyclic(), "a dictionary is in it twice"),
        (shared(), "a dictionary is in it twice"),
        (named(b"cnumpy\nndarray\n}(U\x08__call__K\x01ub"), "it would change what reads it"),
        (named(b"cnumpy\nndarray\n)\x81"), "damaged"),
        (named(b"cos\x1b[31m\nx\n)R"), r"os\\x1b\[31m.x"),
        (b"\x80\x02junk", "damaged or truncated"),
        (b"", "damaged or truncated"),
    ],
)  # fmt: skip
def test_all_else_is_refused(tmp_path, monkeypatch, content, message) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "file.pkl"
    file.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=4))
    with pytest.raises(ArraysError, match=message):
        read_arrays(file)
    assert not (tmp_path / "owned").exists()


def test_shape_and_bytes_that_disagree(tmp_path) -> None:
    values = np.zeros((3, 4), "f4")
    content = python2_pickle("a", values).replace(b"K\x03K\x04t", b"K\x03K\x05t")
    (tmp_path / "file.pkl").write_bytes(content)
    with pytest.raises(ArraysError, match=r"an array of shape \(3, 5\) with 48 bytes"):
        read_arrays(tmp_path / "file.pkl")


def test_every_cut_of_a_file_is_refused(tmp_path) -> None:
    whole = io.BytesIO()
    pickle.dump({"a": {"b": np.arange(20, dtype="f4")}}, whole, protocol=4)
    for size in range(len(whole.getvalue())):
        (tmp_path / "file.pkl").write_bytes(whole.getvalue()[:size])
        with pytest.raises(ArraysError):
            read_arrays(tmp_path / "file.pkl")
