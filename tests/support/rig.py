# SPDX-License-Identifier: BSD-3-Clause
"""What the integration tests stand on: processes, network namespaces, disks and limits that are always put away.

Everything here is a Resource: a context manager that is closed at the end of its block, at the end of the test, or, if
the test is killed by a signal, on the way out. What even SIGKILL leaves behind carries the process id of its maker in
its name; the next run removes it (sweep()), or at once a guard() that outlives its maker.
"""

import atexit
import contextlib
import ctypes
import fcntl
import glob
import json
import mmap
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PREFIX = "wht"  # of the name of everything made here; the process id follows
PATIENCE = 30  # seconds that an event is waited for at least: how busy the machine is, is no matter of any test
PUBLIC = "/var/tmp"  # where there is a way for every user, which there need not be to a working copy

_libc = ctypes.CDLL(None, use_errno=True)
_open = []  # Resources, in the order in which they were opened
_serial = 0


class Interrupted(KeyboardInterrupt):
    """A signal asked the test to end. unittest lets this one through, so that every block is left in order."""


def unique(word=""):
    """A name that tells who made the thing, and is different each time."""
    global _serial
    _serial += 1
    return f"{PREFIX}{os.getpid()}-{_serial}{word}"


def _bound():
    """For preexec_fn: the child dies when this process does."""
    parent = os.getpid()

    def bind():
        pr_set_pdeathsig = 1
        _libc.prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # too late to be told
            os._exit(1)

    return bind


def run(*args, check=True, text=True, **options):
    """Runs a command to its end and returns it; with CHECK, its failure is an error that shows what it said."""
    done = subprocess.run([str(arg) for arg in args], capture_output=True, text=text, check=False,
                          preexec_fn=_bound(), **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, args))}: status {done.returncode}: {done.stdout}{done.stderr}")
    return done


def need(*programs):
    """Skips the test when one of PROGRAMS is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            raise unittest.SkipTest(f"{program} is not installed")


def wait_for(condition, seconds, what):
    """Waits until CONDITION() is true and returns its value. Fails after SECONDS, or PATIENCE if that is longer, naming
    WHAT did not come."""
    seconds = max(seconds, PATIENCE)
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.002)


class Resource:
    """Something that must be put away. A subclass undoes its work in _undo()."""

    def __init__(self):
        _open.append(self)

    def close(self):
        """Puts it away. A second call does nothing."""
        if self in _open:
            _open.remove(self)
            self._undo()

    def _undo(self):
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def opened():
    """How many Resources are open."""
    return len(_open)


def close_all(but=0):
    """Closes whatever is still open, the newest first, except for the BUT oldest."""
    while len(_open) > but:
        resource = _open[-1]
        try:
            resource.close()
        except Exception as error:  # the others must be closed all the same
            print(f"cleaning up {resource}: {error}", flush=True)


def _interrupt(number, _frame):
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(f"signal {number}")


def _again(unraisable):
    """Python drops what is raised while it destroys an object or calls back: an interrupt then comes once more."""
    if isinstance(unraisable.exc_value, Interrupted):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
    else:
        sys.__unraisablehook__(unraisable)


def install():
    """Makes sure of the cleaning up. Called once, by the main thread, before anything is opened."""
    atexit.register(close_all)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, _interrupt)
    sys.unraisablehook = _again


def _is_stale(name, dead=None):
    """Whether a thing of that name was made by a process that is no more, or by DEAD, which may not be buried yet."""
    made_by = re.match(rf"{PREFIX}(\d+)-", name)
    return bool(made_by) and (int(made_by.group(1)) == dead or not os.path.exists(f"/proc/{made_by.group(1)}"))


def default_scratch(programs):
    """Where test directories are made without being told: TMPDIR, or beside PROGRAMS, the directory of the programs."""
    return tempfile.gettempdir() if "TMPDIR" in os.environ else os.path.join(os.path.dirname(programs), "scratch")


def sweep(directory, dead=None):
    """Removes what killed runs left: processes in their cgroups, limits, mounts and directories under DIRECTORY and
    PUBLIC, namespaces. DEAD: a run that was killed but whose process may not be buried yet."""
    for controller in ("", "unified", "blkio", "cpuacct", "memory"):
        for group in glob.glob(os.path.join("/sys/fs/cgroup", controller, PREFIX + "*")):
            if _is_stale(os.path.basename(group), dead):
                _sweep_cgroup(group)
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        points = [line.split()[1] for line in mounts]
    for point in reversed(points):
        if point.startswith(str(directory)) and any(_is_stale(part, dead) for part in point.split("/")):
            run("umount", "--lazy", point, check=False)
    for parent in (directory, PUBLIC):
        for leftover in glob.glob(os.path.join(parent, PREFIX + "*")):
            if _is_stale(os.path.basename(leftover), dead):
                shutil.rmtree(leftover, ignore_errors=True)
    for line in run("ip", "netns", "list", check=False).stdout.splitlines():
        if line and _is_stale(line.split()[0], dead):
            for pid in run("ip", "netns", "pids", line.split()[0], check=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "delete", line.split()[0], check=False)


def _sweep_cgroup(path):
    limit = re.search(r"-limit-(\d+:\d+)$", path)
    if limit:
        DeviceLimit.lift(limit.group(1))
    end = time.monotonic() + 5
    while os.path.isdir(path) and time.monotonic() < end:
        for each, _, _ in os.walk(path, topdown=False):
            with contextlib.suppress(OSError), open(os.path.join(each, "cgroup.procs"), encoding="ascii") as file:
                for pid in file.read().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.rmdir(each)
        time.sleep(0.01)


def guard(directory):
    """Starts a process that does nothing but wait for the end of this one, however it comes, and then sweeps."""
    dead = os.getpid()
    reading, writing = os.pipe()  # neither is handed on to programs that are started: the end of the pipe is our end
    if os.fork() != 0:
        os.close(reading)
        return
    os.close(writing)
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Whoever waits for the output of this program must not wait for us.
    with open(os.devnull, "r+b") as nothing:
        for descriptor in (0, 1, 2):
            os.dup2(nothing.fileno(), descriptor)
    os.read(reading, 1)
    try:
        # A command that was under way may have made one more thing before its own end.
        for _ in range(3):
            sweep(directory, dead)
            time.sleep(0.5)
    finally:
        os._exit(0)


class Scratch(Resource):
    """A directory of its own under PARENT."""

    def __init__(self, parent):
        os.makedirs(parent, exist_ok=True)
        self.path = tempfile.mkdtemp(prefix=unique("-"), dir=parent)
        # Tests run programs as other users; the directory holds nothing that they may not see.
        os.chmod(self.path, 0o755)
        super().__init__()

    def _undo(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Public(Scratch):
    """A directory that every user may reach, and a copy of PROGRAM in it, .program."""

    def __init__(self, program):
        super().__init__(PUBLIC)
        self.program = shutil.copy(program, self.path)
        os.chmod(self.program, 0o755)


class Process(Resource):
    """A child process, in a namespace if one is given. Ended by SIGKILL if nobody ends it before.

    When it has ended, .usage is what the kernel says that it used (wait4), its threads and children included.
    """

    def __init__(self, args, namespace=None, **options):
        self.args = [str(arg) for arg in args]
        prefix = namespace.prefix if namespace else []
        self._stderr = tempfile.TemporaryFile()
        # A session of its own: Ctrl+C on the terminal is for the test, which then ends its children in order.
        self.popen = subprocess.Popen(
            prefix + self.args, stderr=self._stderr, start_new_session=True, preexec_fn=_bound(), **options
        )
        self.pid = self.popen.pid
        self.usage = None
        super().__init__()

    def stderr(self):
        """All that it has written to standard error so far."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode(errors="replace")

    def _ended(self, flags):
        """Takes its exit status, here alone: Popen would throw the usage away."""
        if self.popen.returncode is None:
            pid, status, usage = os.wait4(self.pid, flags)
            if pid:
                self.popen.returncode, self.usage = os.waitstatus_to_exitcode(status), usage
        return self.popen.returncode is not None

    def running(self):
        return not self._ended(os.WNOHANG)

    def kill(self, number):
        """Sends it a signal, if it has not ended."""
        if self.running():
            os.kill(self.pid, number)

    def wait(self, seconds):
        """Waits for its end and returns the exit status. Fails when that takes longer than SECONDS and PATIENCE."""
        seconds = max(seconds, PATIENCE)
        if self.running():
            # At the very moment of its end: a test may measure how long that takes.
            descriptor = os.pidfd_open(self.pid)
            try:
                ended = select.select([descriptor], [], [], seconds)[0]
            finally:
                os.close(descriptor)
            if not ended:
                raise AssertionError(f"{self.args[0]} did not end within {seconds} s; it said: {self.stderr()!r}")
            self._ended(0)
        return self.popen.returncode

    def freeze(self):
        """Stops it, and waits until each of its threads stands still: no system call of theirs is under way. What was
        asked of io_uring may be."""
        self.kill(signal.SIGSTOP)

        def still():
            for task in os.listdir(f"/proc/{self.pid}/task"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    with open(f"/proc/{self.pid}/task/{task}/stat", encoding="utf-8") as file:
                        name, _, rest = file.read().rpartition(")")
                    if rest.split()[0] != "T" and "(iou-" not in name:
                        return False
            return True

        wait_for(still, PATIENCE, f"{self.args[0]} is stopped")

    def cpu_seconds(self):
        return self.usage.ru_utime + self.usage.ru_stime

    def _undo(self):
        self.kill(signal.SIGCONT)
        self.kill(signal.SIGKILL)
        self._ended(0)
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream:
                stream.close()
        self._stderr.close()


class Namespace(Resource):
    """A network namespace without IPv6, so that nobody speaks in it unasked."""

    def __init__(self, loopback=False):
        self.name = unique()
        self.prefix = ["ip", "netns", "exec", self.name]
        run("ip", "netns", "add", self.name)
        super().__init__()
        switches = "/proc/sys/net/ipv6/conf/{all,default}/disable_ipv6"
        self.run("bash", "-c", f"for each in {switches}; do [ ! -e $each ] || echo 1 > $each; done")
        if loopback:
            self.ip("link", "set", "lo", "up")

    def ip(self, *args):
        return run("ip", "-n", self.name, *args)

    def run(self, *args, **options):
        return run(*self.prefix, *args, **options)

    def link(self, name):
        """What ip(8) knows of an adapter."""
        return json.loads(self.ip("-json", "-details", "link", "show", "dev", name).stdout)[0]

    @contextlib.contextmanager
    def entered(self):
        """This thread is in the namespace for the length of the block: sockets opened there belong to it."""
        clone_newnet = 0x40000000
        with open("/proc/thread-self/ns/net", "rb") as back, open(f"/run/netns/{self.name}", "rb") as there:
            if _libc.setns(there.fileno(), clone_newnet) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield self
            finally:
                _libc.setns(back.fileno(), clone_newnet)

    def _undo(self):
        run("ip", "netns", "delete", self.name, check=False)


class Pair(Resource):
    """A veth pair: adapter "wa" in the namespace .left, where the sender is, and "wb" in .right."""

    LEFT, RIGHT = "wa", "wb"
    LEFT_IP, RIGHT_IP = "10.77.0.1", "10.77.0.2"

    def __init__(self, mtu=1500, addresses=False):
        self.left = Namespace()
        self.right = Namespace()
        super().__init__()
        peer = ["peer", "name", self.RIGHT, "netns", self.right.name, "mtu", mtu]
        self.left.ip("link", "add", "name", self.LEFT, "mtu", mtu, "type", "veth", *peer)
        if addresses:
            self._address()
        self.left.ip("link", "set", self.LEFT, "up")
        self.right.ip("link", "set", self.RIGHT, "up")
        for space, name in ((self.left, self.LEFT), (self.right, self.RIGHT)):
            wait_for(lambda: space.link(name)["operstate"] == "UP", 5, f"{name} has a carrier")

    def _address(self):
        """Each end gets an address and knows the other's, so that no ARP is spoken."""
        macs = [self.left.link(self.LEFT)["address"], self.right.link(self.RIGHT)["address"]]
        ends = ((self.left, self.LEFT, self.LEFT_IP, self.RIGHT_IP, macs[1]),
                (self.right, self.RIGHT, self.RIGHT_IP, self.LEFT_IP, macs[0]))
        for space, name, own, other, mac in ends:
            space.ip("address", "add", f"{own}/24", "dev", name)
            space.ip("neighbour", "add", other, "lladdr", mac, "dev", name, "nud", "permanent")

    def offload(self, **features):
        """Switches features of both ends, as ethtool -K names them: tso=True, gro=False, ..."""
        words = [word for name, on in features.items() for word in (name, "on" if on else "off")]
        self.left.run("ethtool", "-K", self.LEFT, *words)
        self.right.run("ethtool", "-K", self.RIGHT, *words)

    def _undo(self):
        self.left.close()
        self.right.close()


class Tun(Resource):
    """A tun adapter (raw IP, no Ethernet header): what is written to it arrives on it as received traffic."""

    def __init__(self, namespace, name="wt", address="10.78.0.1/24"):
        tunsetiff, iff_tun, iff_no_pi = 0x400454CA, 0x0001, 0x1000
        if not os.path.exists("/dev/net/tun"):
            raise unittest.SkipTest("there is no /dev/net/tun")
        self.name = name
        with namespace.entered():  # the adapter is made in the namespace in which the device was opened
            self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            super().__init__()
            fcntl.ioctl(self._fd, tunsetiff, struct.pack("16sH22x", name.encode(), iff_tun | iff_no_pi))
        namespace.ip("address", "add", address, "dev", name)
        namespace.ip("link", "set", name, "up")

    def write(self, packet):
        os.write(self._fd, packet)

    def _undo(self):
        os.close(self._fd)


class Mount(Resource):
    """A file system of its own at .path, under the scratch directory."""

    def __init__(self, scratch, *args):
        self.path = os.path.join(scratch, unique("-mount"))
        os.mkdir(self.path)
        super().__init__()
        mounted = run("mount", *args, self.path, check=False)
        if mounted.returncode != 0:
            self.close()
            raise unittest.SkipTest(f"cannot mount: {mounted.stderr.strip()}")
        self.device = os.stat(self.path).st_dev

    def remount(self, option):
        run("mount", "-o", f"remount,{option}", self.path)

    def _undo(self):
        if run("umount", self.path, check=False).returncode != 0:
            run("umount", "--lazy", self.path, check=False)
        with contextlib.suppress(OSError):
            os.rmdir(self.path)


class Disk(Mount):
    """A file system of SIZE_MB in a file, over a loop device."""

    def __init__(self, scratch, size_mb, kind="ext4"):
        need(f"mkfs.{kind}")
        self._image = os.path.join(scratch, unique("-image"))
        with open(self._image, "wb") as image:
            image.truncate(size_mb * 1000000 // 4096 * 4096)
        # Everything is written at once: no kernel thread may change the free space later, while a test looks at it.
        options = ["-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"] if kind == "ext4" else []
        run(f"mkfs.{kind}", "-q", *options, self._image)
        super().__init__(scratch, "-t", kind, "-o", "loop", self._image)

    def _undo(self):
        super()._undo()
        os.unlink(self._image)


class Tmpfs(Mount):
    def __init__(self, scratch, size_mb):
        super().__init__(scratch, "-t", "tmpfs", "-o", f"size={size_mb}m", PREFIX)


def _cgroup_mount(kind, option):
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _, point, found, options = line.split()[:4]
            if found == kind and (option is None or option in options.split(",")):
                return point
    return None


class WriteLimit(Resource):
    """A limit on what its processes write to a device, in bytes a second (cgroup v1 blkio or v2 io)."""

    def __init__(self, device, bytes_per_second):
        where = f"{os.major(device)}:{os.minor(device)}"
        old, new = _cgroup_mount("cgroup", "blkio"), _cgroup_mount("cgroup2", None)
        if old:
            rule = "blkio.throttle.write_bps_device", f"{where} {bytes_per_second}"
        elif new and "io" in self._read(new, "cgroup.controllers").split():
            rule = "io.max", f"{where} wbps={bytes_per_second}"
            self._write(new, "cgroup.subtree_control", "+io")
        else:
            raise unittest.SkipTest("there is no blkio or io cgroup controller")
        self._path = os.path.join(old or new, unique())
        os.mkdir(self._path)
        super().__init__()
        try:
            self._write(self._path, *rule)
        except OSError as error:
            raise unittest.SkipTest(f"the kernel takes no write limit: {error}") from None

    @staticmethod
    def _read(directory, name):
        with open(os.path.join(directory, name), encoding="ascii") as file:
            return file.read()

    @staticmethod
    def _write(directory, name, text):
        with open(os.path.join(directory, name), "w", encoding="ascii") as file:
            file.write(text)

    def add(self, pid):
        """Puts all threads of a process under the limit."""
        self._write(self._path, "cgroup.procs", str(pid))

    def _undo(self):
        def removed():
            with contextlib.suppress(OSError):
                os.rmdir(self._path)
            return not os.path.exists(self._path)

        wait_for(removed, 10, "the processes under the write limit are gone")


class DeviceLimit(Resource):
    """A limit on what anybody writes to a device, pages that the kernel writes back included: to cgroup v1 those belong
    to the root group, whatever process filled them."""

    ROOT = "/sys/fs/cgroup/blkio"

    def __init__(self, device, bytes_per_second):
        self._where = f"{os.major(device)}:{os.minor(device)}"
        if not os.path.exists(os.path.join(self.ROOT, "blkio.throttle.write_bps_device")):
            raise unittest.SkipTest("there is no blkio controller of cgroup v1")
        # An empty group that says by its name what there is to undo.
        self._mark = os.path.join(self.ROOT, unique(f"-limit-{self._where}"))
        os.mkdir(self._mark)
        super().__init__()
        self._set(self._where, bytes_per_second)

    @classmethod
    def _set(cls, where, value):
        with open(os.path.join(cls.ROOT, "blkio.throttle.write_bps_device"), "w", encoding="ascii") as file:
            file.write(f"{where} {value}")

    @classmethod
    def lift(cls, where):
        """Ends the limit on a device, which may be gone."""
        with contextlib.suppress(OSError):
            cls._set(where, 0)

    def _undo(self):
        self.lift(self._where)
        os.rmdir(self._mark)


def joining(group):
    """What stands before a command so that it runs in the cgroup at GROUP from its start on. The shell joins,
    not the parent: its own work is not to be counted."""
    return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', os.path.join(group, "cgroup.procs")]


class MemoryLimit(Resource):
    """A limit on the memory of the processes behind .prefix. Pages that the kernel keeps of their files count, too."""

    ROOT = "/sys/fs/cgroup/memory"

    def __init__(self, limit):
        if not os.path.exists(os.path.join(self.ROOT, "memory.limit_in_bytes")):
            raise unittest.SkipTest("there is no memory controller of cgroup v1")
        self._path = os.path.join(self.ROOT, unique())
        os.mkdir(self._path)
        super().__init__()
        with open(os.path.join(self._path, "memory.limit_in_bytes"), "w", encoding="ascii") as file:
            file.write(str(limit))
        self.prefix = joining(self._path)

    def _undo(self):
        os.rmdir(self._path)


class Sampler(Resource):
    """Calls SAMPLE() in a thread as fast as it can, and keeps the lowest value."""

    def __init__(self, sample):
        self._sample = sample
        self.lowest = sample()
        self.taken = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        super().__init__()
        self._thread.start()

    def _work(self):
        while not self._end.is_set():
            self.lowest = min(self.lowest, self._sample())
            self.taken += 1

    def _undo(self):
        self._end.set()
        self._thread.join()


def free_percent(path):
    """What an ordinary user may still take of a file system, in percent of all of it."""
    status = os.statvfs(path)
    return 100.0 * status.f_bavail / status.f_blocks


_disk_rates = {}


def disk_rate(directory):
    """Bytes a second that direct writes to DIRECTORY go at, measured once; infinite where it takes none (tmpfs)."""
    if directory in _disk_rates:
        return _disk_rates[directory]
    path = os.path.join(directory, unique("-rate"))
    block = mmap.mmap(-1, 4 << 20)
    rate = float("inf")
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o600)
        try:
            start = time.monotonic()
            written = 0
            while written < 512 << 20 and time.monotonic() - start < 3:
                written += os.write(file, block)
            rate = written / (time.monotonic() - start)
        finally:
            os.close(file)
    except OSError:
        pass
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
    _disk_rates[directory] = rate
    return rate
