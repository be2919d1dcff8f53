#!/usr/bin/env python3
"""Writes SystemCallNames.swift from a table of lines "name<TAB>number" on standard input."""
import sys

rows = [line.split("\t") for line in sys.stdin.read().splitlines() if line and line[0] != "#"]
words, number = [], -1
for name, value in rows:
    value = int(value)
    # A gap in the numbers is written where it ends: most names follow their predecessor.
    words.append(name if value == number + 1 else f"{name}={value}")
    number = value
lines, line = [], ""
for word in words:
    if line and len(line) + len(word) + 5 > 100:
        lines.append(line)
        line = ""
    line += (" " if line else "") + word
lines.append(line)
print(f"""// Written by generate.py; do not edit.

/// The system calls of x86_64 (Linux 6.1), in the order of their numbers. One literal, taken apart
/// only by who asks: it costs nothing when the program starts.
let systemCallWords: StaticString = \"\"\"""")
print("\n".join("  " + text + " \\" for text in lines[:-1]))
print("  " + lines[-1])
print('  """')
