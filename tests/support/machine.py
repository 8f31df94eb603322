# SPDX-License-Identifier: BSD-3-Clause
"""A system that is booted: systemd as the first process of its own namespaces, and nothing but what a test starts."""

import contextlib
import glob
import os
import shutil
import subprocess
import time
import unittest

import rig

# Everything that systemd would start by itself belongs to a machine, which this is none of.
TARGETS = {"default.target": "", "network-online.target": "", "sysinit.target": "",
           "basic.target": "Requires=sysinit.target\nAfter=sysinit.target\n"}

# Run in a mount namespace of its own, with the root directory that is to be. /proc/sys and /sys are read-only: systemd
# would set values there that are the whole kernel's.
BOOT = r"""set -e
mount --make-rprivate /
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for each in null zero full random urandom tty; do
    : >dev/$each
    mount --bind /dev/$each dev/$each
done
: >dev/console
mkdir dev/pts dev/shm dev/mqueue dev/hugepages
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mkdir -p mnt/old
pivot_root . mnt/old
cd /
umount -l /mnt/old
exec env -i PATH="$PATH" container=test /lib/systemd/systemd --log-target=console --log-level=warning </dev/null
"""


class Machine(rig.Resource):
    """Boots the system at ROOT, whose files it changes for that, in NAMESPACE, a network. Skips the test where that
    cannot be. All of it, whatever it has started, ends with close()."""

    def __init__(self, root, namespace, seconds=60):
        rig.need("unshare", "nsenter", "pivot_root")
        if not os.path.exists(os.path.join(root, "lib/systemd/systemd")):
            raise unittest.SkipTest("systemd is not installed")
        self._process, self._first = None, None
        self._group = self._make_group()
        super().__init__()
        self._strip(root)
        # In its own group before anything else: systemd takes what is at the top of the groups that it sees.
        self._process = rig.Process(
            ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', self._group, *namespace.prefix,
             "unshare", "--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--uts", "--ipc",
             "sh", "-c", BOOT, "sh", root], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        end = time.monotonic() + seconds
        while self.control("is-system-running", check=False).stdout.strip() not in ("running", "degraded"):
            if not self._process.running() or time.monotonic() > end:
                raise unittest.SkipTest(f"systemd does not boot here: {self._process.stderr().strip()[-300:]}")
            time.sleep(0.02)

    @staticmethod
    def _make_group():
        """A control group that everything in the machine is in, so that systemd can make its own below."""
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            points = [words[1] for words in map(str.split, mounts) if words[2] == "cgroup2"]
        if not points:
            raise unittest.SkipTest("there are no control groups of version 2")
        path = os.path.join(points[0], rig.unique())
        try:
            os.mkdir(path)
        except OSError as error:
            raise unittest.SkipTest(f"no control group can be made: {error}") from None
        return path

    @staticmethod
    def _strip(root):
        """Leaves systemd nothing to start by itself."""
        own = os.path.join(root, "etc/systemd/system")
        for path in (own, os.path.join(root, "lib/systemd/system-generators"),
                     *glob.glob(os.path.join(root, "lib/systemd/system/*.wants"))):
            shutil.rmtree(path, ignore_errors=True)
        os.makedirs(own)
        for name, more in TARGETS.items():
            with open(os.path.join(own, name), "w", encoding="ascii") as file:
                file.write(f"[Unit]\nDescription={name} of a test\nDefaultDependencies=no\n{more}")

    def run(self, *args, check=True, **options):
        """Runs a command in it."""
        if self._first is None:
            children = f"/proc/{self._process.pid}/task/{self._process.pid}/children"
            with contextlib.suppress(FileNotFoundError), open(children, encoding="ascii") as file:
                self._first = (file.read().split() or [None])[0]
        if self._first is None:  # unshare has not forked yet, or has ended
            return subprocess.CompletedProcess(args, 1, "", "")
        return rig.run("nsenter", "--target", self._first, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                       "--", *args, check=check, **options)

    def control(self, *args, check=True):
        return self.run("systemctl", "--no-pager", *args, check=check)

    def show(self, unit, *names):
        """Properties of a unit: {name: value}."""
        told = self.control("show", unit, *(f"--property={name}" for name in names)).stdout
        return dict(line.split("=", 1) for line in told.splitlines())

    def wait(self, unit, seconds, **wanted):
        """Waits until properties of a unit are as WANTED."""
        def shown():
            found = self.show(unit, *wanted)
            return found == {name: str(value) for name, value in wanted.items()}

        try:
            rig.wait_for(shown, seconds, f"{unit} is {wanted}")
        except AssertionError as error:
            status = self.control("status", "--full", unit, check=False).stdout
            raise AssertionError(f"{error}; {status}") from None

    def _undo(self):
        if self._process:
            self._process.close()  # the first process of the namespace goes with it, and so do all others

        def removed():
            for path, _, _ in os.walk(self._group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
            return not os.path.exists(self._group)

        rig.wait_for(removed, 10, "the processes of the machine are gone")
