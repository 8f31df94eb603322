# SPDX-License-Identifier: BSD-3-Clause
"""What the disk takes, by fio's io_uring engine: direct writes into a chain of new files in a directory."""

import collections
import json
import resource
import shutil

import measure

PACKAGE = "fio"
DEPTH = 16  # writes that fio has out at a time; as many as the writer's sink hands to the kernel at once (sink_uring.c)
BLOCK, FILE = 1 << 20, 100000000

# How fio runs: bytes of a write, writes out at a time, and how it allocates its files before its clock starts: "native"
# is whole and with their full size, "keep" with FALLOC_FL_KEEP_SIZE.
Row = collections.namedtuple("Row", "name block depth allocation")
SINGLE_BLOCKS = Row("fio", BLOCK, DEPTH, "native")


def installed():
    return shutil.which("fio") is not None


def fio_command(directory, row, total, file_size=FILE):
    """Each file has whole blocks, and nearly FILE_SIZE bytes; together they have nearly TOTAL. Synced at the end."""
    file_bytes = max(1, round(file_size / row.block)) * row.block
    files = max(1, round(total / file_bytes))
    return ["fio", "--name=wirehaul", f"--directory={directory}", "--rw=write", "--ioengine=io_uring", "--direct=1",
            "--fixedbufs=1", "--registerfiles=1", f"--bs={row.block}", f"--iodepth={row.depth}",
            f"--nrfiles={files}", f"--filesize={file_bytes}", f"--size={files * file_bytes}",
            "--file_service_type=sequential", f"--fallocate={row.allocation}", "--end_fsync=1",
            "--output-format=json"]


def _children_cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fio_run(directory, row, total, file_size=FILE, cpus=None):
    """One run, on CPUS only if that is given."""
    before = _children_cpu_seconds()
    where = ["taskset", "-c", cpus] if cpus is not None else []
    # fio prints warnings in front of the object.
    text = measure.rig.run(*where, *fio_command(directory, row, total, file_size), timeout=600).stdout
    # Its own figures leave out the kernel's workers for io_uring.
    cpu = _children_cpu_seconds() - before
    job = json.loads(text[text.index("{"):])["jobs"][0]
    seconds = job["job_runtime"] / 1000
    written = job["write"]["io_bytes"]
    return {"bytes": written, "seconds": seconds, "gb_per_second": written / seconds / 1e9,
            "cpu_seconds_per_gb": cpu / (written / 1e9)}
