"""The evidence chain: what hashing and signing cost a reading, and how quickly a journal is verified.

python -m tests.bench chain
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from gateway.journal_blocks import Reader
from gateway.journal_chain import NOTHING, Signer, chained
from gateway.verify import Trusted
from gateway.verify import journal as verified
from tests.bench.export import journal


def run() -> list[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory(prefix="suuaba-chain-") as name:
        folder = Path(name)
        size = journal(folder, 30 * 24 * 60)
        with Reader(folder) as reader:
            blocks = list(reader.blocks())
        text = sum(len(b"".join(block.lines())) for block in blocks[:20]) / 20 * len(blocks)
        began_s = time.process_time()
        found = verified(folder, Trusted())
        took_s = time.process_time() - began_s
        assert not found.wrong, found.wrong
        signer, records = Signer(b"b" * 32), sum(block.records for block in blocks)
        began_s = time.process_time()
        for block in blocks:
            chained(replace(block), 1, NOTHING, signer)
        signing_s = time.process_time() - began_s
    return [
        ("chain: us of CPU a reading, hashing and signing", "", f"{signing_s / records * 1e6:.2f}"),
        ("chain: us of CPU a block, hashing and signing", "", f"{signing_s / len(blocks) * 1e6:.0f}"),
        ("chain: verify, MB/s of blocks as stored", "200", f"{size / took_s / 1e6:.0f}"),
        ("chain: verify, MB/s of the records in them", "200", f"{text / took_s / 1e6:.0f}"),
    ]
