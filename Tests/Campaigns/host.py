"""A machine of a campaign's own, and what there is on it, told by nothing of ours.

Everything here runs inside private mount, pid and network namespaces: see `enter`.
"""
import fcntl
import os
import stat
import struct
import subprocess
import sys

ALICE = "613ee4f28d2c6498c938ccbfdd85ea414586302a"
BOB = "d09e6ca23c64d738ac3a6de2615bf8b654346632"
CAROL = "7c9f2003fb1979c6dd3925b48891d9e218903c5b"
HASHES = {"alice": ALICE, "bob": BOB, "carol": CAROL}
PATH = "/mnt/programs:/usr/sbin:/usr/bin:/sbin:/bin"


def enter(script, argument, timeout):
    """Runs `script --inside ARGUMENT` in namespaces that end with it."""
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--ipc",
             "--propagation", "private", sys.executable, "-B", script, "--inside", argument]
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False)


def shell(text, stdin="", timeout=60):
    environment = {"PATH": PATH, "LC_ALL": "C.UTF-8"}
    return subprocess.run(["sh", "-c", text], input=stdin.encode(), env=environment, timeout=timeout,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", check=False)


def must(text, stdin=""):
    outcome = shell(text, stdin)
    if outcome.returncode != 0:
        raise SystemExit(f"setup failed: {text}: {outcome.stderr.decode(errors='replace')}")


def prepare(programs, encrypted=False):
    """An empty /run, /home, /var and /etc, users and a salt, and the programs in /mnt/programs."""
    cache = open("/etc/ld.so.cache", "rb").read()
    tree = os.open(programs, os.O_PATH | os.O_DIRECTORY)
    must(f"mount -t tmpfs none /mnt && mkdir /mnt/programs && mount --bind /proc/{os.getpid()}/fd/{tree} /mnt/programs")
    os.close(tree)
    for place in ("/run", "/home", "/var", "/etc"):
        must(f"mount -t tmpfs -o mode=755 none {place}")
    open("/etc/ld.so.cache", "wb").write(cache)
    files = {
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\n",
        "/etc/passwd": "root:x:0:0::/root:/bin/sh\n" + "".join(
            f"{name}:x:{number}:{number}::/home/{name}:/bin/sh\n"
            for name, number in (("alice", 1000), ("bob", 1001), ("carol", 1002))),
        "/etc/group": "root:x:0:\n",
    }
    for path, text in files.items():
        open(path, "w").write(text)
    must("mkdir -p /etc/daemon-store /var/lib && printf 0123456789abcdef >/var/lib/system_salt")
    if encrypted:
        must("truncate -s 16M /mnt/disk && mkfs.ext4 -q -m 0 -O encrypt /mnt/disk && mount -o loop /mnt/disk /home "
             "&& rmdir /home/lost+found")
    must("mount --make-rshared /")


def mounts():
    lines = []
    for line in open("/proc/self/mountinfo", "rb"):
        fields = line.split()
        dash = fields.index(b"-")
        kinds = sorted(field.split(b":")[0] for field in fields[6:dash])
        if fields[4].startswith((b"/run", b"/home")):
            lines.append(b" ".join([fields[4], fields[3], fields[5], fields[dash + 1], *kinds]).decode())
    return sorted(lines)


def policy(path):
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        argument = bytearray(32)
        struct.pack_into("Q", argument, 0, 24)
        fcntl.ioctl(directory, 0xC0096616, argument)
        return bytes(argument[16:32])
    except OSError:
        return None
    finally:
        os.close(directory)


def key_state(identifier):
    home = os.open("/home", os.O_RDONLY)
    try:
        status = bytearray(128)
        struct.pack_into("II", status, 0, 2, 0)
        status[8:24] = identifier
        fcntl.ioctl(home, 0xC080661A, status)
        return {1: "absent", 2: "present", 3: "busy"}[struct.unpack_from("I", status, 64)[0]]
    finally:
        os.close(home)


def files():
    found = []
    for top in ("/home", "/run", "/etc/daemon-store"):
        for directory, names, leaves in os.walk(top):
            if policy(directory) is not None:
                found.append(f"{directory} encrypted")
                names.clear()
                continue
            for name in names + leaves:
                path = f"{directory}/{name}"
                status = os.lstat(path)
                found.append(f"{path} {stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}")
    return sorted(found)


def processes():
    own = {1, os.getpid(), os.getppid()}
    left = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in own:
            try:
                left.append(os.readlink(f"/proc/{name}/exe"))
            except OSError:
                pass
    return sorted(path for path in left if path.startswith("/mnt/programs"))
