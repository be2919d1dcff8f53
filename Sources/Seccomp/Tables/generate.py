#!/usr/bin/env python3
"""Writes the tables of this folder: system calls and constants of five architectures.

Usage, on Debian 12, in this folder:

    apt-get install linux-libc-dev libc6-dev \\
        linux-libc-dev-i386-cross linux-libc-dev-arm64-cross linux-libc-dev-armhf-cross \\
        linux-libc-dev-riscv64-cross libc6-dev-i386-cross libc6-dev-arm64-cross \\
        libc6-dev-armhf-cross libc6-dev-riscv64-cross
    python3 -m venv /tmp/tables && /tmp/tables/bin/pip install system-calls==7.2
    /tmp/tables/bin/python3 generate.py

System calls come from the package system-calls, which follows the kernel (7.2 is Linux 7.2),
and from the headers for the calls that the kernel has dropped since. Constants come from clang (any
version that knows the five targets; the one of the Swift toolchain does), which evaluates every
upper-case macro and enumerator of the headers below. Nothing is typed by hand, and the same
packages give the same files.
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import system_calls

HERE = Path(__file__).resolve().parent

# name, name in system-calls, clang target, folders of headers, AUDIT_ARCH_..., word size
ARCHITECTURES = [
    ("x86_64", "x86_64", "x86_64-linux-gnu",
     ["/usr/include/x86_64-linux-gnu", "/usr/include"], "AUDIT_ARCH_X86_64", 64),
    ("i386", "i386", "i686-linux-gnu", ["/usr/i686-linux-gnu/include"], "AUDIT_ARCH_I386", 32),
    ("aarch64", "arm64", "aarch64-linux-gnu",
     ["/usr/aarch64-linux-gnu/include"], "AUDIT_ARCH_AARCH64", 64),
    ("arm", "arm", "arm-linux-gnueabihf",
     ["/usr/arm-linux-gnueabihf/include"], "AUDIT_ARCH_ARM", 32),
    ("riscv64", "riscv64", "riscv64-linux-gnu",
     ["/usr/riscv64-linux-gnu/include"], "AUDIT_ARCH_RISCV64", 64),
]

# What minijail0 resolves constants from, without _GNU_SOURCE. These win over all others.
REFERENCE = """
asm/prctl.h errno.h fcntl.h linux/audit.h linux/fd.h linux/fs.h linux/loop.h linux/mman.h
linux/net.h linux/prctl.h linux/random.h linux/sched.h linux/serial.h linux/sockios.h
linux/termios.h signal.h stddef.h stdint.h sys/mman.h sys/resource.h sys/socket.h sys/stat.h sys/types.h
""".split()

# Newer than Debian's headers, and the same on all architectures: the reference brings them along.
NEWER = """
#ifndef MADV_GUARD_INSTALL  /* Linux 6.13 */
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
"""

# Names that the reference leaves out of its table.
LEFT_OUT = re.compile("SIGRTMAX|SIGRTMIN|SIG_|NULL")

# Each header is a translation unit of its own, with _GNU_SOURCE: some cannot stand together. The
# first to define a name wins: linux/fcntl.h has the O_LARGEFILE that the kernel sees, where libc's
# is 0. All KEY_ and BTN_ of linux/input.h stay out: no system call takes them.
FURTHER = """
linux/fcntl.h fcntl.h linux/mount.h sys/mount.h linux/futex.h sys/epoll.h linux/eventpoll.h
time.h linux/time.h netinet/in.h linux/in.h linux/in6.h netinet/tcp.h netinet/udp.h sys/ipc.h
sys/shm.h sys/sem.h sys/msg.h linux/landlock.h linux/seccomp.h linux/filter.h linux/bpf.h
linux/bpf_common.h linux/perf_event.h sys/ptrace.h linux/ptrace.h sys/inotify.h sys/fanotify.h
linux/fanotify.h sys/eventfd.h sys/timerfd.h linux/timerfd.h sys/signalfd.h linux/memfd.h
sys/mman.h linux/mman.h sys/random.h sched.h linux/sched/types.h linux/io_uring.h linux/keyctl.h
linux/membarrier.h linux/rseq.h sys/personality.h sys/xattr.h sys/swap.h sys/quota.h
linux/dqblk_xfs.h sys/reboot.h linux/reboot.h linux/capability.h linux/securebits.h sys/ioctl.h
asm/ioctls.h linux/tty.h linux/if.h linux/if_tun.h linux/if_packet.h
linux/if_ether.h linux/netlink.h 
linux/genetlink.h linux/netfilter.h linux/vm_sockets.h linux/can.h linux/can/raw.h linux/tipc.h
linux/if_alg.h linux/kd.h linux/vt.h linux/input.h linux/uinput.h linux/hidraw.h
linux/usbdevice_fs.h linux/rtc.h linux/watchdog.h linux/userfaultfd.h linux/fuse.h linux/kvm.h
linux/vhost.h linux/vfio.h linux/dm-ioctl.h linux/blkzoned.h linux/nbd.h linux/cdrom.h scsi/sg.h
scsi/scsi_ioctl.h linux/nvme_ioctl.h linux/openat2.h linux/close_range.h linux/stat.h
linux/kcmp.h linux/nsfs.h linux/fsverity.h linux/fscrypt.h linux/fiemap.h linux/falloc.h
linux/btrfs.h linux/auto_fs.h linux/magic.h linux/wait.h sys/wait.h poll.h linux/poll.h unistd.h
syslog.h linux/mempolicy.h linux/module.h linux/kexec.h linux/aio_abi.h linux/i2c-dev.h
linux/spi/spidev.h linux/gpio.h linux/videodev2.h linux/media.h linux/dma-buf.h linux/dma-heap.h
linux/sync_file.h linux/uhid.h linux/tee.h linux/vtpm_proxy.h
linux/android/binder.h linux/ppp-ioctl.h linux/pps.h linux/rfkill.h linux/suspend_ioctls.h
linux/net_tstamp.h linux/un.h linux/utsname.h linux/limits.h sys/file.h
sys/uio.h sys/sendfile.h sys/timex.h linux/timex.h sys/klog.h linux/ioprio.h linux/version.h
asm/prctl.h asm/ldt.h asm/unistd.h drm/drm.h sound/asound.h sound/compress_offload.h
""".split()

# Some headers use what they do not include, and some cannot stand with it: both ways are tried.
PREREQUISITES = ["stddef.h", "stdint.h", "sys/types.h", "sys/socket.h", "sys/ioctl.h"]

NAME = re.compile(r"^[A-Z][A-Z0-9_]*$")

# What no system call takes as an argument of its own, but for the requests of ioctl(2) among it.
NOISE = re.compile(
    r"^(ABS|ARPHRD|BTN|BTRFS|BUS|CTRL|DRM|DVD|ETH|ETHTOOL|FB|FUSE|GENL|GPCMD|GPIO|HWCAP\d?|I2C|IFA"
    r"|IFLA|IF|INPUT_PROP|IW|KVM_(ARM|CPUID|DEV|EXIT|HYPERV|MSR|PV|REG|RISCV|S390|VGIC|X86|XEN)"
    r"|KEY(?!_SPEC)|LED|LWTUNNEL|MEDIA|MII|NDA|ND|NETNSA|NL|NLA|NLM|PACKET|PERF|PORT|PPP|PSCI|PSR"
    r"|PTP|PT|REG|REL|RFKILL|RTAX|RTA|RTM|RTNLGRP|RTN|RT|SG|SND|SNDRV|SPI|SW|TCA|TEE|TIPC|TLS|UHID"
    r"|V4L2|VFIO|VHOST|VIDEO|X86|XFRM)_")
REQUEST = re.compile(r"_IOCTL?_|PERF_FLAG_|^(KVM_(GET|SET|RUN|CREATE|CHECK)|SG_(GET|SET|IO))")


def clang(arguments, source):
    """Runs clang on a text; its output, and whether it succeeded."""
    with tempfile.NamedTemporaryFile("w", suffix=".c") as file:
        file.write(source)
        file.flush()
        done = subprocess.run(["clang", *arguments, file.name], capture_output=True, text=True)
    return done.stdout, done.stderr, done.returncode == 0


def evaluate(flags, preamble, names):
    """The values of those names that are integer constants: {name: (value, is a negative int)}."""
    names = sorted(names)
    for _ in range(8):
        lines = [f"unsigned long long v_{n} = (unsigned long long)(({n}) | 0);"
                 f" char s_{n} = (({n}) | 0) < 0 && sizeof(({n}) | 0) == 4;" for n in names]
        source = preamble + "\n#line 1 \"names\"\n" + "\n".join(lines) + "\n"
        out, errors, ok = clang([*flags, "-w", "-ferror-limit=0", "-S", "-emit-llvm", "-o", "-"],
                                source)
        if ok:
            break
        bad = {int(n) for n in re.findall(r"^names:(\d+):\d+: error", errors, re.M)}
        if not bad:
            return {}
        names = [n for i, n in enumerate(names, 1) if i not in bad]
    wide = dict(re.findall(r"^@v_(\w+) = .*global i64 (-?\d+)", out, re.M))
    negative = dict(re.findall(r"^@s_(\w+) = .*global i8 (-?\d+)", out, re.M))
    return {n: (int(v) % 2**64, negative.get(n) == "1") for n, v in wide.items()}


def candidates(flags, preamble):
    """Upper-case macros without parameters, with their texts, and enumerators."""
    text, _, _ = clang([*flags, "-E", "-dM"], preamble)
    macros = {}
    for name, value in re.findall(r"^#define (\w+)(?: (.*))?$", text, re.M):
        if NAME.match(name) and value:
            macros[name] = value
    text, _, _ = clang([*flags, "-E", "-P"], preamble)
    for body in re.findall(r"\benum\b[^{};()]*\{([^{}]*)\}", text):
        for word in body.split(","):
            name = word.split("=")[0].strip()
            if NAME.match(name):
                macros.setdefault(name, "")
    return macros


def constants_of(architecture):
    name, _, target, folders, audit, bits = architecture
    resource = subprocess.run(["clang", "-print-resource-dir"], capture_output=True, text=True)
    flags = [f"--target={target}", "-nostdinc", "-isystem",
             resource.stdout.strip() + "/include"]
    for folder in folders:
        flags += ["-isystem", folder]
    found = {}

    def exists(header):
        return any((Path(folder) / header).exists() for folder in folders)

    def take(preamble, is_reference):
        texts = candidates(flags, preamble)
        if not is_reference:
            texts = {n: t for n, t in texts.items() if not NOISE.match(n) or REQUEST.search(n)}
        for word, (value, is_negative) in evaluate(flags, preamble, texts).items():
            if word in found:
                continue
            if LEFT_OUT.search(word) and (is_reference or word.startswith("SIGRT")):
                continue
            # A negative int that the reference does not know is compared as the kernel reads it,
            # in 32 bits (Constants.swift); one that it knows keeps its 64 bits.
            known = is_reference and re.match(r"\w", texts[word])
            found[word] = f"-{(2**64 - value):x}" if is_negative and not known else f"{value:x}"

    preamble = "".join(f"#include <{h}>\n" for h in REFERENCE if exists(h))
    preamble += f"#define MINIJAIL_ARCH_NR {audit}\n#define MINIJAIL_ARCH_BITS {bits}\n" + NEWER
    take(preamble, True)
    for header in FURTHER:
        if not exists(header):
            print(f"{name}: no {header}", file=sys.stderr)
            continue
        for headers in [header], [*PREREQUISITES, header]:
            take("#define _GNU_SOURCE\n" + "".join(f"#include <{h}>\n" for h in headers), False)
    return found


def calls_of(architecture):
    name, table, target, folders, _, _ = architecture
    calls = dict(system_calls.syscalls().load_arch_table(table))
    # Dropped by the kernel, but still in the headers, as names of numbers that now do nothing.
    flags = [f"--target={target}", "-nostdinc"]
    for folder in folders:
        flags += ["-isystem", folder]
    text, _, _ = clang([*flags, "-E", "-dM"], "#include <asm/unistd.h>\n")
    words = re.findall(r"^#define __NR_(\w+) ", text, re.M)
    source = "#include <asm/unistd.h>\n" + "".join(f"long n_{w} = __NR_{w};\n" for w in words)
    text, _, _ = clang([*flags, "-w", "-S", "-emit-llvm", "-o", "-"], source)
    taken = set(calls.values())
    for word, number in re.findall(r"^@n_(\w+) = .*global i(?:32|64) (-?\d+)", text, re.M):
        is_call = word.islower() and not word.startswith("arch_specific") and word != "syscalls"
        if is_call and word not in calls and int(number) not in taken:
            calls[word] = int(number)
    return calls


def entries(tables):
    """One text for each name: its value, or those of the architectures in order, "" for none."""
    result = []
    for word in sorted({n for table in tables for n in table}, key=lambda n: n.encode()):
        values = [table.get(word, "") for table in tables]
        result.append(f"{word}={values[0] if len(set(values)) == 1 else ','.join(values)}")
    return result


def literal(lines, words):
    """Appends the words as the lines of one static string."""
    line = ""
    for word in words:
        if line and len(line) + len(word) + 5 > 100:
            lines.append(f"  {line} \\")
            line = ""
        line += (" " if line else "") + word
    lines += [f"  {line}", '  """']


def write(name, comment, words, parts):
    """Writes a table in files of at most 400 lines, each one static string."""
    size = (sum(map(len, words)) + len(words)) // parts + 1
    chunks, filled = [[]], 0
    for word in words:
        if filled > size * len(chunks):
            chunks.append([])
        chunks[-1].append(word)
        filled += len(word) + 1
    for number, chunk in enumerate(chunks, 1):
        suffix = str(number) if parts > 1 else ""
        lines = ["// Written by generate.py; do not edit.", "", comment,
                 f'let {name[0].lower()}{name[1:]}{suffix}: StaticString = """']
        literal(lines, chunk)
        (HERE / f"{name}{suffix}.swift").write_text("\n".join(lines) + "\n")
    return len(chunks)


def main():
    calls = [calls_of(a) for a in ARCHITECTURES]
    order = ", ".join(a[0] for a in ARCHITECTURES)
    write("SystemCallText",
          f"/// System calls in the order of their names: `NAME=NUMBER`, or the numbers on\n"
          f"/// {order}, in hexadecimal.",
          entries([{n: f"{v:x}" for n, v in table.items()} for table in calls]), 1)
    constants = [constants_of(a) for a in ARCHITECTURES]
    words = entries(constants)
    files = write("ConstantText",
                  f"/// Constants in the order of their names: `NAME=VALUE`, or the values on\n"
                  f"/// {order}, in hexadecimal.",
                  words, 6)
    print(f"{len(words)} constants in {files} files", file=sys.stderr)


main()
