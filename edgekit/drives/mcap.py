"""MCAP files: channels, and messages in order of their log times, a chunk at a time.

Written here rather than taken from mcap's own readers for three reasons: a file cut short is read up
to its end, a chunk is never larger than stated however little it is compressed to, and messages of a
file without an index are streamed instead of sorted in memory.
"""

from __future__ import annotations

import heapq
import io
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mcap.exceptions import McapError
from mcap.records import Channel, Chunk, ChunkIndex, Footer, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.summary import Summary
from mcap_protobuf.decoder import DecoderFactory as ProtobufFactory
from mcap_ros2.decoder import DecoderFactory as Ros2Factory

from edgekit.core.errors import UserError

MAX_CHUNK = 256 << 20  # bytes, packed and unpacked
MAX_WAITING = 1 << 30  # bytes of messages that overlapping chunks make wait for their turn
END = 8 + 9 + 20  # magic, and a footer before it


class Topic(NamedTuple):
    """A channel in words. ``count``: messages, None where the file does not tell."""

    name: str
    schema: str
    encoding: str
    count: int | None


class Bag:
    """An MCAP file. Raises UserError for what is none; what is lost of a damaged one is in ``notes``."""

    def __init__(self, path: Path):
        self.path, self.notes = path, []
        self.channels: dict[int, Channel] = {}
        self.schemas: dict[int, Schema] = {}
        self._decoders: dict[int, Callable[[bytes], Any] | None] = {}
        self._factories = (Ros2Factory(), ProtobufFactory())
        try:
            with open(path, "rb") as file:
                self.summary = _summary(file)
        except OSError as error:
            raise UserError(f"{path}: not readable", str(error), "check the file") from None
        if self.summary is not None:
            self.channels, self.schemas = self.summary.channels, self.summary.schemas
            return
        with open(path, "rb") as file:
            for _ in self._through(file, None, self.notes):
                pass
        if not self.channels:
            why = self.notes[0] if self.notes else "it holds no channels"
            raise UserError(f"{path}: no MCAP that can be read", why, "check the file")

    def topics(self) -> list[Topic]:
        """By name; two channels of one topic and one schema are one."""
        counts = self.summary.statistics.channel_message_counts if self._counted else {}
        found: dict[tuple[str, str], Topic] = {}
        for number, channel in sorted(self.channels.items()):
            schema = self.schemas.get(channel.schema_id)
            key = (channel.topic, schema.name if schema else "")
            count = counts.get(number, 0) + (found[key].count or 0 if key in found else 0)
            found[key] = Topic(*key, channel.message_encoding, count if self._counted else None)
        return sorted(found.values())

    def definition(self, topic: Topic) -> bytes:
        """The text of a topic's schema, b"" where it has none."""
        for channel in self.channels.values():
            schema = self.schemas.get(channel.schema_id)
            if channel.topic == topic.name and schema and schema.name == topic.schema:
                return schema.data
        return b""

    @property
    def _counted(self) -> bool:
        return self.summary is not None and self.summary.statistics is not None

    def messages(
        self, topics: Collection[str], after_ns: int = 0, notes: list[str] | None = None
    ) -> Iterator[tuple[str, Message]]:
        """(topic, Message) of ``topics`` from the log time ``after_ns`` on: in order of log time, or of
        the file where it has no index. What is lost on the way is added to ``notes``."""
        notes = notes if notes is not None else []
        wanted = {number for number, channel in self.channels.items() if channel.topic in topics}
        with open(self.path, "rb") as file:
            found = (
                self._indexed(file, wanted, after_ns, notes)
                if self.summary
                else self._through(file, wanted, notes)
            )
            for message in found:
                if message.log_time >= after_ns:
                    yield self.channels[message.channel_id].topic, message

    def decode(self, message: Message) -> Any:
        """A dict (JSON), or an object with attributes. Raises ValueError where there is no decoder for
        the channel's encoding, or the bytes are no such message."""
        if message.channel_id not in self._decoders:
            channel = self.channels[message.channel_id]
            schema = self.schemas.get(channel.schema_id)
            try:
                self._decoders[message.channel_id] = self._decoder(channel, schema)
            except Exception as error:  # a stranger's schema breaks a parser in any way
                raise ValueError(f"the schema of {channel.topic} does not parse: {error}") from None
        decoder = self._decoders[message.channel_id]
        if decoder is None:
            channel = self.channels[message.channel_id]
            raise ValueError(f"the encoding {channel.message_encoding} of {channel.topic} is not read here")
        try:
            return decoder(message.data)
        except Exception as error:  # as above, for bytes
            raise ValueError(f"{type(error).__name__}: {error}") from None

    def _decoder(self, channel: Channel, schema: Schema | None) -> Callable[[bytes], Any] | None:
        if channel.message_encoding == "json":
            return json.loads
        for factory in self._factories:
            if decoder := factory.decoder_for(channel.message_encoding, schema):
                return decoder
        return None

    def _indexed(
        self, file: io.BufferedReader, wanted: set[int], after_ns: int, notes: list[str]
    ) -> Iterator[Message]:
        waiting: list[tuple[int, int, Message]] = []
        number = held = 0
        for index in sorted(
            self.summary.chunk_indexes, key=lambda i: (i.message_start_time, i.chunk_start_offset)
        ):
            if index.message_end_time < after_ns or not _may_hold(index, wanted):
                continue
            while waiting and waiting[0][0] < index.message_start_time:
                message = heapq.heappop(waiting)[2]
                held -= len(message.data)
                yield message
            try:
                file.seek(index.chunk_start_offset)
                records = _unpack(next(_records(file)))
            except UserError:
                raise
            except (
                Exception
            ) as error:  # bytes of a stranger: struct, zlib, zstd, lz4 and mcap each raise their own
                notes.append(f"a chunk of {self.path.name} is damaged and left out ({error})")
                continue
            for record in records:
                if isinstance(record, Message) and record.channel_id in wanted:
                    held += len(record.data)
                    number += 1
                    heapq.heappush(waiting, (record.log_time, number, record))
            if held > MAX_WAITING:
                raise UserError(
                    f"{self.path}: its chunks overlap too far",
                    f"more than {MAX_WAITING >> 20} MB wait to be put in order",
                    "write it again sorted (mcap sort)",
                )
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _through(
        self, file: io.BufferedReader, wanted: set[int] | None, notes: list[str]
    ) -> Iterator[Message]:
        """All messages in the order of the file, up to where it ends or breaks."""
        try:
            for record in _records(file, skip_magic=False):
                for inner in _unpack(record) if isinstance(record, Chunk) else (record,):
                    if isinstance(inner, Schema):
                        self.schemas.setdefault(inner.id, inner)
                    elif isinstance(inner, Channel):
                        self.channels.setdefault(inner.id, inner)
                    elif isinstance(inner, Message) and inner.channel_id in self.channels:
                        if wanted is None or inner.channel_id in wanted:
                            yield inner
        except UserError:
            raise
        except Exception as error:
            notes.append(
                f"{self.path.name} is cut short or damaged after {file.tell()} bytes "
                f"({type(error).__name__}): what stands before it is kept"
            )


def _records(file, skip_magic: bool = True) -> Iterator[Any]:
    reader = StreamReader(file, skip_magic=skip_magic, emit_chunks=True, record_size_limit=MAX_CHUNK)
    return iter(reader.records)


def _summary(file) -> Summary | None:
    """The index at the end; None where there is none, or none that serves."""
    try:
        file.seek(-END, io.SEEK_END)
        footer = next(_records(file))
        if not isinstance(footer, Footer) or not footer.summary_start:
            return None
        file.seek(footer.summary_start)
        summary = Summary()
        for record in _records(file):
            if isinstance(record, Schema):
                summary.schemas[record.id] = record
            elif isinstance(record, Channel):
                summary.channels[record.id] = record
            elif isinstance(record, ChunkIndex):
                summary.chunk_indexes.append(record)
            elif type(record).__name__ == "Statistics":
                summary.statistics = record
        return summary if summary.chunk_indexes and summary.channels else None
    except Exception:  # no footer, or bytes that are none
        return None


def _may_hold(index: ChunkIndex, wanted: set[int]) -> bool:
    return not index.message_index_offsets or not wanted.isdisjoint(index.message_index_offsets)


def _unpack(chunk: Chunk) -> list[Any]:
    """The records of a chunk, its checksum compared. Raises UserError where it would grow too large."""
    if not isinstance(chunk, Chunk):
        raise McapError("the index points to what is no chunk")
    if chunk.uncompressed_size > MAX_CHUNK:
        raise UserError(
            "a chunk of an MCAP file is too large",
            f"{chunk.uncompressed_size >> 20} MB unpacked; at most {MAX_CHUNK >> 20} are taken",
            "write it again with smaller chunks (mcap recover)",
        )
    if chunk.compression == "zstd":
        import zstandard

        data = zstandard.ZstdDecompressor().stream_reader(chunk.data).read(chunk.uncompressed_size + 1)
    elif chunk.compression == "lz4":
        import lz4.frame

        data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, chunk.uncompressed_size + 1)
    else:
        data = chunk.data
    if len(data) != chunk.uncompressed_size and chunk.compression:
        raise McapError(f"a chunk of {chunk.uncompressed_size} bytes unpacks to another size")
    return breakup_chunk(replace(chunk, compression="", data=data), validate_crc=True)
