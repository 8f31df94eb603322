# SPDX-License-Identifier: BSD-3-Clause
"""Numbered frames (bench/frames/numbered.h), and capture files of them in each format that wh-count reads, made byte by
byte. Shares no code with the sender and the reader, which it is there to try."""

import struct

ADDRESSES = bytes.fromhex("027768000002" "027768000001")
PORT = 30568
FLOWS = 1024
STRETCHES = 8192
MASK = (1 << 64) - 1
START_NS = 1700000000 * 10**9

_table = b""


def _scatter(value):
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def pattern(number, size):
    global _table
    if not _table:
        words = (_scatter(0x9E3779B97F4A7C15 * (at + 1) & MASK) for at in range(0, 8 * STRETCHES + 65536, 8))
        _table = b"".join(struct.pack("<Q", word) for word in words)
    at = _scatter(number + 1) % STRETCHES * 8
    return _table[at : at + size]


def _checksum(header):
    total = sum(struct.unpack(">10H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tags(vlans):
    """The VLAN tags of numbers VLANS, the outermost first."""
    made = b""
    for place, vlan in enumerate(vlans):
        outer = place + 1 < len(vlans)
        made += struct.pack(">HH", 0x88A8 if outer else 0x8100, (3 if outer else 5) << 13 | 1 << 12 | vlan)
    return made


def frame(number, size=100, thread=0, vlans=(), sent_ns=START_NS):
    """A UDP frame of SIZE bytes without its tags."""
    flow = _scatter(number % FLOWS + 1)
    ip = struct.pack(">BBHHHBBHBBHBBH", 0x45, 0, size - 14, number & 0xFFFF, 0x4000, 64, 17, 0, 198, 18, flow & 0xFFFF,
                     198, 19, flow >> 16 & 0xFFFF)
    ip = ip[:10] + struct.pack(">H", _checksum(ip)) + ip[12:]
    udp = struct.pack(">HHHH", 1024 + (flow >> 32 & 0x3FFF), PORT, size - 34, 0)
    stamp = struct.pack("<QQBB", number, sent_ns, thread, 0xB1 ^ thread)
    head = ADDRESSES + tags(vlans) + b"\x08\x00" + ip + udp + stamp
    return head + pattern(number, size + 4 * len(vlans) - len(head))


def pcap(frames, order="<", nano=True, snapshot=262144):
    """A classic pcap file of FRAMES, one microsecond after the other."""
    made = [struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snapshot, 1)]
    for place, data in enumerate(frames):
        seconds, ns = divmod(START_NS + 1000 * place, 10**9)
        kept = data[:snapshot]
        made.append(struct.pack(order + "IIII", seconds, ns if nano else ns // 1000, len(kept), len(data)) + kept)
    return b"".join(made)


def block(kind, body, order="<"):
    """A pcapng block."""
    body += bytes(-len(body) % 4)
    length = 12 + len(body)
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def pcapng_head(order="<", snapshot=262144):
    """The section header and one interface, with nanoseconds."""
    section = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    options = struct.pack(order + "HHB3xHH", 9, 1, 9, 0, 0)
    return section + block(1, struct.pack(order + "HHI", 1, 0, snapshot) + options, order)


def pcapng_packet(data, place, order="<", kind=6):
    """An Enhanced (6), old (2) or Simple (3) Packet Block."""
    when = START_NS + 1000 * place
    padded = data + bytes(-len(data) % 4)
    if kind == 3:
        return block(3, struct.pack(order + "I", len(data)) + padded, order)
    interface = struct.pack(order + ("I" if kind == 6 else "HH"), *((0,) if kind == 6 else (0, 0xFFFF)))
    times = struct.pack(order + "IIII", when >> 32, when & 0xFFFFFFFF, len(data), len(data))
    return block(kind, interface + times + padded, order)


def pcapng(frames, order="<", kind=6):
    packets = [pcapng_packet(data, place, order, kind) for place, data in enumerate(frames)]
    return pcapng_head(order) + b"".join(packets)


def raw_block(frames, size=1 << 20, place=0, tag=None, outgoing=False):
    """A block of a TPACKET_V3 ring (linux/if_packet.h) that holds FRAMES. TAG, (protocol, control): one that the kernel
    has taken out of each of them."""
    first, mac = 48, 82
    slots = []
    for each, data in enumerate(frames):
        seconds, ns = divmod(START_NS + 1000 * (place + each), 10**9)
        length = mac + len(data) + -(mac + len(data)) % 8
        protocol, control = tag or (0, 0)
        head = struct.pack("=IIIIIIHHIIHH8x", length if each + 1 < len(frames) else 0, seconds, ns, len(data),
                           len(data), 1 | (0x50 if tag else 0), mac, mac + 14, 0, control, protocol, 0)
        address = struct.pack("=HHiHBB8x", 17, 8, 3, 1, 4 if outgoing else 0, 6)
        slots.append((head + address + bytes(mac - 68) + data).ljust(length, b"\0"))
    body = b"".join(slots)
    used = first + len(body)
    assert used <= size
    head = struct.pack("=IIIIIIQIIII", 2, 48, 1, len(frames), first, used, 1, 0, 0, 0, 0)
    return (head + body).ljust(size, b"\xee")  # what was there before stays


def raw(frames, size=1 << 20, per_block=10, **options):
    """Raw blocks of PER_BLOCK frames each, at least one."""
    starts = range(0, max(1, len(frames)), per_block)
    return b"".join(raw_block(frames[at : at + per_block], size, at, **options) for at in starts)
