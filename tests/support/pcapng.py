# SPDX-License-Identifier: BSD-3-Clause
"""A small pcapng reader for what the tests look at themselves: payloads, interfaces, a file that still grows.

wh-count judges files; this only reads them, stops quietly where a file ends, and knows nothing of local blocks.
"""

import collections
import struct

Frame = collections.namedtuple("Frame", "interface time_ns direction original data")
Interface = collections.namedtuple("Interface", "name linktype")

ETHERNET = 1
RAW_IP = 101


def _options(body):
    at = 0
    while at + 4 <= len(body):
        code, length = struct.unpack_from("<HH", body, at)
        if code == 0:
            return
        yield code, body[at + 4 : at + 4 + length]
        at += 4 + (length + 3) // 4 * 4


def frames(path):
    """Yields every frame of the file at PATH as far as the file goes."""
    with open(path, "rb") as file:
        content = memoryview(file.read())
    interfaces = []
    at = 0
    while at + 12 <= len(content):
        kind, length = struct.unpack_from("<II", content, at)
        if length < 12 or at + length > len(content):
            return
        body = content[at + 8 : at + length - 4]
        if kind == 0x0A0D0D0A:
            interfaces = []
        elif kind == 1:
            (linktype,) = struct.unpack_from("<H", body, 0)
            name = ""
            resolution = 6
            for code, value in _options(body[8:]):
                if code == 2:
                    name = bytes(value).decode(errors="replace")
                elif code == 9:
                    resolution = value[0]
            interfaces.append((Interface(name, linktype), 10 ** (9 - resolution)))
        elif kind == 6:
            number, high, low, captured, original = struct.unpack_from("<IIIII", body, 0)
            flags = 0
            for code, value in _options(body[20 + (captured + 3) // 4 * 4 :]):
                if code == 2:
                    (flags,) = struct.unpack("<I", value)
            interface, scale = interfaces[number]
            direction = {1: "in", 2: "out"}.get(flags & 3, "")
            yield Frame(interface, (high << 32 | low) * scale, direction, original, body[20 : 20 + captured])
        at += length


def udp_payload(frame):
    """The payload of an unfragmented IPv4/UDP frame, or None for anything else."""
    packet = frame.data
    if frame.interface.linktype == ETHERNET:
        if bytes(packet[12:14]) != b"\x08\x00":
            return None
        packet = packet[14:]
    if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != 17:
        return None
    start = (packet[0] & 15) * 4
    (length,) = struct.unpack_from(">H", packet, start + 4)
    return bytes(packet[start + 8 : start + length])


def tcp_segment(frame):
    """(source port, sequence number, flags, payload) of an IPv4/TCP frame on Ethernet, or None."""
    packet = frame.data
    if len(packet) < 54 or bytes(packet[12:14]) != b"\x08\x00" or packet[23] != 6:
        return None
    start = 14 + (packet[14] & 15) * 4
    (total,) = struct.unpack_from(">H", packet, 16)
    port, _, sequence, _, offset, flags = struct.unpack_from(">HHIIBB", packet, start)
    # A frame of segmentation offload may be longer than the 16 bits of the length field say (then it is 0).
    end = 14 + total if total else len(packet)
    return port, sequence, flags, packet[start + (offset >> 4) * 4 : end]
