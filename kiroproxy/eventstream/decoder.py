"""The incremental decoder: bytes in any cut, frames out.

Its law: no bytes whatever raise anything but an `EventStreamError`, and every byte is copied a
bounded number of times however it is cut.
"""

import re

from kiroproxy.errors import EventStreamError, TruncatedStream
from kiroproxy.eventstream.checksum import Checksum, ChecksumFunction, recognise
from kiroproxy.eventstream.frame import (
    OVERHEAD_BYTES,
    PRELUDE_BYTES,
    Frame,
    lengths_agree,
    parse_body,
    parse_prelude,
    parse_run,
)

FAULT_LIMIT = 5
"""Consecutive faults after which resynchronising is given up (protocol.md 1.5)."""

_MAYBE_PRELUDE = re.compile(
    rb"(?:\x00(?!\x00\x00[\x00-\x0f])|\x01(?=\x00{3}))(?=.{3}\x00[\x00-\x02].{6})", re.DOTALL
)
"""The first byte of what may be a prelude within the limits: total length from 16 to 16 MiB,
headers length below 192 KiB. It passes over junk, runs of zeros included, at the speed of `re`."""


class Decoder:
    """Frames of one stream, as their bytes arrive.

    Without `resync` the first fault ends the stream; this is what serves clients. With it, for
    diagnosis and replay, a broken prelude makes the decoder look for the next sound one (all that
    it passes over is one fault), a broken body costs its own frame only, and `FAULT_LIMIT` faults
    in a row end the stream.

    Attributes:
        checksum: The stream's checksum; None until the first sound prelude has shown it.
        fault: What ended the stream; None while it lives.
        faults: All faults so far, in order.
    """

    def __init__(self, checksum: Checksum | None = None, resync: bool = False) -> None:
        self.checksum = checksum
        self.fault: EventStreamError | None = None
        self.faults: list[EventStreamError] = []
        self._resync = resync
        self._compute = checksum.function if checksum else None
        self._held = bytearray()
        self._needed = PRELUDE_BYTES
        self._offset = 0  # of the first byte not yet decoded, held or to come
        self._scanning = False
        self._faults_in_a_row = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the frames that they complete.

        Raises:
            EventStreamError: the fault that ended the stream. Frames before it come first: if the
                same bytes completed some, they are returned, `fault` is set, and the next call
                raises.
        """
        if self.fault is not None:
            raise self.fault
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return []
            data = bytes(self._held)
            self._held = bytearray()
        frames: list[Frame] = []
        used = self._decode(data, frames)
        if used < len(data):
            self._held += memoryview(data)[used:]
        self._offset += used
        if self.fault is not None and not frames:
            raise self.fault
        return frames

    def close(self) -> None:
        """Say that no more bytes will come.

        Junk that a resynchronising decoder still scans is a fault already told in `faults`.

        Raises:
            EventStreamError: the fault that ended the stream, told or not.
            TruncatedStream: the stream ends inside a frame, which begins at its `offset`.
        """
        if self.fault is not None:
            raise self.fault
        if self._held and not self._scanning:
            missing = max(self._needed, OVERHEAD_BYTES) - len(self._held)
            self.fault = TruncatedStream(missing, offset=self._offset)
            self.faults.append(self.fault)
            raise self.fault

    def _decode(self, data: bytes, frames: list[Frame]) -> int:
        """Append the whole frames of `data`; return how many bytes are done with."""
        at, end = 0, len(data)
        if self._scanning:
            at = self._scan(data, 0)
        while end - at >= PRELUDE_BYTES:
            if (
                self._compute is not None
                and (after := parse_run(data, at, self._compute, frames)) > at
            ):
                at = after
                self._faults_in_a_row = 0
                continue
            offset = self._offset + at
            total_length = 0
            try:
                compute = self._compute or self._recognise(data[at : at + PRELUDE_BYTES])
                prelude = parse_prelude(data, at, compute, offset)
                total_length = prelude[0]
                if total_length > end - at:
                    self._needed = total_length
                    return at
                frames.append(parse_body(data, at, prelude, compute, offset))
                self._faults_in_a_row = 0
                at += total_length
            except EventStreamError as fault:
                at = self._recover(fault, data, at, total_length)
        self._needed = PRELUDE_BYTES
        return at

    def _recognise(self, prelude: bytes) -> ChecksumFunction:
        """Settle the stream's checksum; a prelude with neither is left for CRC-32 to refuse."""
        checksum = recognise(prelude)
        if checksum is None:
            return Checksum.CRC32.function
        self.checksum = checksum
        self._compute = checksum.function
        return self._compute

    def _recover(self, fault: EventStreamError, data: bytes, at: int, total_length: int) -> int:
        """Note the fault; return where to go on, which is the end of `data` if the stream is over.

        A `total_length` above 0 comes from a sound prelude and can be trusted.
        """
        fault = fault.with_traceback(None)  # its frames hold `data`
        self.faults.append(fault)
        self._faults_in_a_row += 1
        if not self._resync or self._faults_in_a_row >= FAULT_LIMIT:
            self.fault = fault
            return len(data)
        return at + total_length if total_length else self._scan(data, at + 1)

    def _scan(self, data: bytes, at: int) -> int:
        """Return where the next sound prelude begins, or else where one may that is still cut."""
        for candidate in _MAYBE_PRELUDE.finditer(data, at):
            if self._is_prelude(data[candidate.start() : candidate.start() + PRELUDE_BYTES]):
                self._scanning = False
                return candidate.start()
        self._scanning = True
        return max(at, len(data) - PRELUDE_BYTES + 1)

    def _is_prelude(self, prelude: bytes) -> bool:
        total_length = int.from_bytes(prelude[:4], "big")
        headers_length = int.from_bytes(prelude[4:8], "big")
        if not lengths_agree(total_length, headers_length):
            return False
        carried = recognise(prelude)
        return carried is not None and self.checksum in (None, carried)
