#!/usr/bin/env python3
"""Prints the public interface of the modules that clients can import, one declaration a line.

api.py MODULES-DIRECTORY        prints it
api.py MODULES-DIRECTORY FILE   compares it with FILE; each declaration must have a comment, and the
                                examples of PAGE must compile outside this package
"""

import difflib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

MODULES = ["DaemonStoreClient", "DaemonStoreKernel", "Jail", "Seccomp"]
C_MODULES = ["CDaemonStore", "CDaemonStoreLinux"]
SYSTEM_MODULES = ["Sources/CDaemonStoreLibcap/module.modulemap"]
PAGE = "docs/jail-library.md"
SWIFT = shutil.which(os.environ.get("SWIFT", "swift")) or sys.exit("api.py: there is no swift")
TOOLS = pathlib.Path(SWIFT).resolve().parent


def module_options(built):
    maps = [f"{built}/../{name}.build/module.modulemap" for name in C_MODULES] + SYSTEM_MODULES
    return ["-I", built] + [
        word for path in maps for word in ("-Xcc", f"-fmodule-map-file={path}")]


def symbols(module, built):
    """Those that the module declares itself; what the compiler makes has no place in the source."""
    with tempfile.TemporaryDirectory() as place:
        command = [TOOLS / "swift-symbolgraph-extract", "-module-name", module] + module_options(built)
        command += ["-minimum-access-level", "public", "-skip-synthesized-members"]
        command += ["-output-dir", place, "-target", target()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"api.py: {module}: {done.stderr.strip()}")
        for graph in sorted(pathlib.Path(place).glob("*.symbols.json")):
            for symbol in json.loads(graph.read_text())["symbols"]:
                if symbol["accessLevel"] in ("public", "open") and symbol.get("location"):
                    yield symbol


def target():
    done = subprocess.run(
        [TOOLS / "swiftc", "-print-target-info"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["target"]["triple"]


def check_examples(built):
    """A client sees only what is public, where the tests of this package see more."""
    examples = re.findall(r"^```swift\n(///.*?)^```$", pathlib.Path(PAGE).read_text(), re.M | re.S)
    if not examples:
        sys.exit(f"api.py: {PAGE}: no example begins with a comment")
    source = "\n".join(["import DaemonStoreKernel", "import Jail"] + examples)
    command = [TOOLS / "swiftc", "-typecheck", "-parse-as-library", "-warnings-as-errors", "-"]
    done = subprocess.run(
        command + module_options(built), input=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"api.py: the examples of {PAGE} do not compile for a client:\n{done.stderr.strip()}")


def line(module, symbol):
    text = "".join(part["spelling"] for part in symbol["declarationFragments"])
    return f"{module} {'.'.join(symbol['pathComponents'][:-1])}: {' '.join(text.split())}"


def main():
    lines, silent = [], []
    for module in MODULES:
        for symbol in symbols(module, sys.argv[1]):
            lines.append(line(module, symbol))
            if "docComment" not in symbol:
                silent.append(lines[-1])
    lines.sort()
    if len(sys.argv) == 2:
        print("\n".join(lines))
        return
    recorded = pathlib.Path(sys.argv[2]).read_text().splitlines()
    difference = list(difflib.unified_diff(recorded, lines, sys.argv[2], "built", lineterm="", n=0))
    if difference:
        print("\n".join(difference))
    for text in silent:
        print(f"without a comment: {text}")
    if difference:
        sys.exit("api.py: the public interface has changed; if that is meant, run: make api")
    if silent:
        sys.exit("api.py: a public declaration says nothing about itself")
    check_examples(sys.argv[1])


main()
