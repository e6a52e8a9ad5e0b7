"""The framers of the UART drivers: whole, by pieces, in noise, behind damaged frames, any bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import atlas, plantower, sds011, sps30
from drivers.base import (
    GarbledAnswer,
)

PMS_FRAME = bytes.fromhex("424d001c000c00120015000c001200150906028a0062000c00030001970002b5")
SDS_FRAME = bytes.fromhex("aac0bb009c01a16059ab")
SPS_FRAME = bytes.fromhex("7e000300" + "00" + "fc7e")
CUTS = [
    (plantower.cut, PMS_FRAME, PMS_FRAME),
    (plantower.cut, bytes.fromhex("424d0004e1000174"), bytes.fromhex("424d0004e1000174")),
    (sds011.cut, SDS_FRAME, SDS_FRAME),
    (sps30.cut, SPS_FRAME, SPS_FRAME),
    (atlas.cut, b"7.156\r", b"7.156"),
    (atlas.cut, b"*OK\r", b"*OK"),
]
# No noise that could be a part of a frame: those are in the table below.
NOISE = st.lists(st.sampled_from([0x00, 0xFF, 0x80, 0x01, 0x0D])).map(bytes)


@pytest.mark.parametrize(("cut", "wire", "frame"), CUTS)
@settings(derandomize=True, deadline=None, max_examples=30)
@given(before=NOISE, behind=st.binary(max_size=40))
def test_a_frame_is_found_whole_by_pieces_and_with_more_behind(
    cut: Any, wire: bytes, frame: bytes, before: bytes, behind: bytes
) -> None:
    got = before + wire
    assert cut(got) == cut(got + behind) == (frame, len(got))
    assert [cut(got[:end]) for end in range(len(got))] == [None] * len(got)


@pytest.mark.parametrize(
    ("cut", "before", "wire"),
    [
        (plantower.cut, "424d", PMS_FRAME),
        (plantower.cut, "424d001c", PMS_FRAME),
        (plantower.cut, "424d0004e1", PMS_FRAME),
        (plantower.cut, "424d0014" + "00" * 20, PMS_FRAME),
        (plantower.cut, PMS_FRAME.hex()[:-2] + "00", PMS_FRAME),
        (plantower.cut, "42", PMS_FRAME),
        (sds011.cut, "aa", SDS_FRAME),
        (sds011.cut, "aac0", SDS_FRAME),
        (sds011.cut, "aac0bb009c01a16058ab", SDS_FRAME),
        (sds011.cut, "aac0bb009c01a16059", SDS_FRAME),
        (sps30.cut, "7e", SPS_FRAME),
        (sps30.cut, "7e0003007d7e", SPS_FRAME),
        (sps30.cut, "7e00030000fd7e", SPS_FRAME),
        (sps30.cut, "7e000300017d7dfc7e", SPS_FRAME),
        (sps30.cut, "00" * 600 + "7e" + "00" * 600, SPS_FRAME),
    ],
)
def test_a_frame_is_found_behind_a_damaged_one(cut: Any, before: str, wire: bytes) -> None:
    got = bytes.fromhex(before) + wire
    assert cut(got) == (wire, len(got))


@pytest.mark.parametrize("cut", [plantower.cut, sds011.cut, sps30.cut, atlas.cut])
@settings(derandomize=True, deadline=None, max_examples=100)
@given(got=st.binary(max_size=300))
def test_framers_bear_any_bytes(cut: Any, got: bytes) -> None:
    found = cut(got)
    if found is not None:
        assert 0 < found[1] <= len(got)


@pytest.mark.parametrize(
    "line", [b"", b"7", b"7.", b"7,1", b"7.1567", b"+7.156", b"7.156 ", b"nan", b"1e3", b"117.156"]
)
def test_what_is_no_ph(line: bytes) -> None:
    with pytest.raises(GarbledAnswer):
        atlas.decode(line)
