# SPDX-License-Identifier: BSD-3-Clause
"""What is installed: one header, the library in both forms, the example program built against it, the man page."""

import glob
import os
import re
import shutil
import signal
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import rig

SOURCE = Path(__file__).resolve().parents[2]
EXAMPLE = SOURCE / "docs" / "example" / "capture.c"
EXAMPLE_LINES = 60
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
FRAMES = 1000
SIZE = 1414

PROJECT = """cmake_minimum_required(VERSION 3.25)
project(scratch LANGUAGES C)
find_package(wirehaul 0.1 REQUIRED COMPONENTS {components})
add_executable(capture {example})
target_link_libraries(capture PRIVATE wirehaul::{target})
"""


class Install(case.Case):
    def setUp(self):
        super().setUp()
        self.build = os.path.dirname(self.options.bin)
        rig.need("cmake", "cc")
        self.cache = Path(self.build, "CMakeCache.txt")
        if not self.cache.exists():
            raise unittest.SkipTest(f"{self.build} is no build directory of CMake")
        self.prefix = os.path.join(self.scratch, "prefix")
        rig.run("cmake", "--install", self.build, "--prefix", self.prefix)

    def installed(self, pattern):
        return sorted(glob.glob(os.path.join(self.prefix, "**", pattern), recursive=True))

    def only(self, pattern):
        """The one installed file that PATTERN fits."""
        found = self.installed(pattern)
        self.assertEqual(len(found), 1, f"{pattern}: {found}")
        return found[0]

    def sanitizer(self):
        """What a program must be linked with to use the library of a sanitized build."""
        found = re.search(r"^WH_SANITIZE:\w+=(.+)$", self.cache.read_text(encoding="utf-8"), re.MULTILINE)
        return [f"-fsanitize={found.group(1)}"] if found else []

    def pkg_config(self, *options):
        rig.need("pkg-config")
        path = os.path.dirname(self.only("wirehaul.pc"))
        done = rig.run("pkg-config", *options, "wirehaul", env={**os.environ, "PKG_CONFIG_PATH": path})
        return done.stdout.split()

    def dependencies(self, program):
        rig.need("readelf")
        return re.findall(r"\(NEEDED\).*\[(.*)\]", rig.run("readelf", "-d", program).stdout)

    def assertCaptures(self, program, env=None):
        """PROGRAM, run on a veth pair until Ctrl+C, brings each frame into a sound file."""
        if rig.free_percent(self.scratch) < 11:
            raise unittest.SkipTest("less than 11 % of the disk is free, and the example keeps the limit of 10 %")
        net = self.pair()
        directory = os.path.join(self.scratch, rig.unique("-out"))
        os.mkdir(directory)

        def files():
            return sorted(glob.glob(os.path.join(directory, "*")))

        args = [program, net.RIGHT, os.path.join(directory, "trace.pcapng")]
        capture = self.enterContext(rig.Process(args, net.right, stdout=-1, env={**os.environ, **(env or {})}))

        def begun():
            self.assertTrue(capture.running(), capture.stderr())
            return files()

        # The rings are open before the first file is made.
        rig.wait_for(begun, 10 * self.options.slow, "the example has begun a file")
        self.blast(net.left, net.LEFT, count=FRAMES, size=SIZE).result()
        capture.kill(signal.SIGINT)
        self.assertEqual(capture.wait(10 * self.options.slow), 0, capture.stderr())
        self.assertComplete(self.count(files(), size=SIZE, count=FRAMES), FRAMES)
        said = capture.popen.stdout.read().decode()
        self.assertEqual(said, f"{FRAMES} frames received, {FRAMES} written, 0 dropped\n")

    def test_files(self):
        """The command, one header, the library in both forms, and nothing that nobody knows of."""
        names = {os.path.relpath(path, self.prefix) for path in self.installed("*") if not os.path.isdir(path)}
        libdir = os.path.relpath(os.path.dirname(self.only("libwirehaul.a")), self.prefix)
        package = os.path.join(libdir, "cmake", "wirehaul")
        cmake = {name for name in names if name.startswith(package)}
        version = self.pkg_config("--modversion")[0]
        library = {f"libwirehaul.{end}" for end in ("a", "so", "so.0", f"so.{version}")} | {"pkgconfig/wirehaul.pc"}
        self.assertEqual(
            names - cmake,
            {"bin/wirehaul", "include/wirehaul.h", "share/bash-completion/completions/wirehaul",
             "share/zsh/vendor-completions/_wirehaul",
             *(f"share/man/man1/wirehaul{part}.1" for part in ("", "-control", "-doctor", "-verify"))}
            | {os.path.join(libdir, name) for name in library},
        )
        self.assertIn(os.path.join(package, "wirehaulConfig.cmake"), cmake)
        self.assertEqual(rig.run(os.path.join(self.prefix, "bin/wirehaul"), "-V").stdout, f"wirehaul {version}\n")

    def test_bound_at_the_start(self):
        """No symbol is looked up later, and what holds their addresses is read-only."""
        rig.need("readelf")
        for path in (os.path.join(self.prefix, "bin/wirehaul"), self.only("libwirehaul.so")):
            self.assertIn(" NOW", rig.run("readelf", "-d", path).stdout)
            self.assertIn("GNU_RELRO", rig.run("readelf", "-lW", path).stdout)

    def test_command_stands_alone(self):
        needed = self.dependencies(os.path.join(self.prefix, "bin/wirehaul"))
        self.assertFalse([name for name in needed if "wirehaul" in name])

    def test_symbols(self):
        """The shared library exports what the header declares, and nothing else."""
        rig.need("nm")
        header = Path(self.only("wirehaul.h")).read_text(encoding="utf-8")
        declared = set(re.findall(r"^WH_API [^;]*?\b(wh_\w+)\(", header, re.MULTILINE))
        self.assertGreater(len(declared), 10)
        listed = rig.run("nm", "-D", "--defined-only", "--format=posix", self.only("libwirehaul.so")).stdout
        self.assertEqual({line.split()[0] for line in listed.splitlines()}, declared)

    def test_soname(self):
        rig.need("readelf")
        self.assertIn("[libwirehaul.so.0]", rig.run("readelf", "-d", self.only("libwirehaul.so")).stdout)

    def test_header_alone(self):
        """The header needs no other one before it, in C11 and in C++."""
        for compiler, language in (("cc", ["-x", "c", *STRICT]), ("c++", ["-x", "c++", *STRICT[1:]])):
            with self.subTest(compiler=compiler):
                rig.need(compiler)
                rig.run(compiler, "-fsyntax-only", *language, "-include", self.only("wirehaul.h"), "/dev/null")

    def test_example_is_short(self):
        self.assertLessEqual(len(EXAMPLE.read_text(encoding="utf-8").splitlines()), EXAMPLE_LINES)

    def test_pkg_config_shared(self):
        program = os.path.join(self.scratch, "capture")
        rig.run("cc", *STRICT, *self.sanitizer(), "-o", program, EXAMPLE, *self.pkg_config("--cflags", "--libs"))
        self.assertIn("libwirehaul.so.0", self.dependencies(program))
        self.assertCaptures(program, {"LD_LIBRARY_PATH": os.path.dirname(self.only("libwirehaul.so"))})

    def test_pkg_config_static(self):
        program = os.path.join(self.scratch, "capture")
        # Of two forms in one directory the linker takes the shared one, unless it is told the file's name.
        words = self.pkg_config("--cflags", "--libs", "--static")
        words = ["-l:libwirehaul.a" if word == "-lwirehaul" else word for word in words]
        rig.run("cc", *STRICT, *self.sanitizer(), "-o", program, EXAMPLE, *words)
        self.assertFalse([name for name in self.dependencies(program) if "wirehaul" in name])
        self.assertCaptures(program)

    def test_find_package(self):
        for target, components, dynamic in (("wirehaul", "", True), ("wirehaul_static", "static", False)):
            with self.subTest(target=target):
                project = os.path.join(self.scratch, target)
                os.mkdir(project)
                text = PROJECT.format(components=components, example=EXAMPLE, target=target)
                # Without a component the word must go as well.
                text = text.replace(" COMPONENTS )", ")")
                Path(project, "CMakeLists.txt").write_text(text, encoding="utf-8")
                flags = " ".join([*STRICT, *self.sanitizer()])
                rig.run("cmake", "-S", project, "-B", f"{project}/build", f"-DCMAKE_PREFIX_PATH={self.prefix}",
                        f"-DCMAKE_C_FLAGS={flags}")
                rig.run("cmake", "--build", f"{project}/build")
                program = f"{project}/build/capture"
                self.assertEqual("libwirehaul.so.0" in self.dependencies(program), dynamic)
                self.assertCaptures(program)

    def test_moved(self):
        """The installed tree may be moved: pkg-config finds it where it is."""
        moved = os.path.join(self.scratch, "moved")
        shutil.move(self.prefix, moved)
        self.prefix = moved
        program = os.path.join(self.scratch, "capture")
        rig.run("cc", *self.sanitizer(), "-o", program, EXAMPLE, *self.pkg_config("--cflags", "--libs"))


class Manual(case.Case):
    PAGE = SOURCE / "docs" / "wirehaul.1"

    def test_renders_without_a_warning(self):
        tried = False
        if shutil.which("mandoc"):
            done = rig.run("mandoc", "-T", "lint", "-W", "warning", self.PAGE, check=False)
            self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
            tried = True
        if shutil.which("man") and shutil.which("groff"):
            # man -l formats a file; --warnings hands groff's on to standard error.
            done = rig.run("man", "--warnings=w", "-E", "UTF-8", "-l", self.PAGE, check=False,
                           env={**os.environ, "MANWIDTH": "80", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"})
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("--min-free", done.stdout)
            tried = True
        if not tried:
            raise unittest.SkipTest("neither mandoc nor man is installed")

    def test_has_every_option(self):
        """The page's list of options is the command's, with the same letters and arguments."""
        shown = rig.run(self.wirehaul, "--help").stdout
        options = re.findall(r"^ +(?:-(\w), )?--([a-z-]+)(?: (\S+))?", shown, re.MULTILINE)
        self.assertGreater(len(options), 20)
        page = self.PAGE.read_text(encoding="utf-8")
        items = re.findall(r"^\.It (?:Fl (\w) , )?Fl -([a-z-]+)(.*)$", page, re.MULTILINE)
        self.assertEqual({(letter, name) for letter, name, _ in items}, {(letter, name) for letter, name, _ in options})
        with_value = {name for _, name, value in options if value}
        self.assertEqual({name for _, name, value in items if value}, with_value)


if __name__ == "__main__":
    case.main()
