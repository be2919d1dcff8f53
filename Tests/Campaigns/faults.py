#!/usr/bin/env python3
"""Fails each system call of each command in turn, kills each command at each call, and judges what is left.

Every case runs on a machine of its own: private mount, pid and network namespaces with an empty /run, /home, /var
and /etc. The programs are what DAEMON_STORE_BUILD names, else the release build.

The rules, fixed before any run. B is the state before the command, A the state after a run without a fault: mounts
below /run and /home, the files there and in /etc/daemon-store, the kernel's key of the vault, the passwords that
open vault.json (by another implementation of scrypt and AES-GCM), and the processes. A case survives if all hold:

1. The command ends within a minute, and no process of ours is left.
2. Status 0: the state is A. Status 1: the state is B; a command that only reads leaves B in any case.
   Status 3: at least one line says what is left or unknown. Status 2 and any other status fail the case.
   A status above 128 is right only where the case is a kill, and 127 only where the loader says that it failed.
3. A status that is not 0 comes with one or more lines on standard error, none longer than 600 bytes; with status 1
   one line names the failing call's reason, or the thing that could not be done.
4. The same command again, without a fault, ends with 0, or with a refusal that says that it is done, and the state is A.
5. In between, the other user (bob, mounted) keeps his mounts, his key and his file.
6. No password but the old or the new one opens the vault, and one of them does.
"""
import argparse
import base64
import collections
import hashlib
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from host import ALICE, BOB, PATH, enter, files, key_state, mounts, must, policy, prepare, processes, shell

HERE = os.path.dirname(os.path.abspath(__file__))
# ---- What is run ---------------------------------------------------------------------------------------------------


class Command:
    """A command line, how the machine is prepared for it, and what it is given to read."""

    def __init__(self, line, setup="", lines=(), encrypted=False, done=None, reads=False, status=0):
        self.line, self.setup, self.lines, self.encrypted = line, setup, lines, encrypted
        self.done = done  # what a repetition may say instead of doing it again
        self.reads, self.status = reads, status


PLAIN = "cryptohome mount alice --vault plain && cryptohome unmount alice"
BOB_IN = "cryptohome mount bob --vault plain"
SECRET = ("secret",)
CREATE = "printf 'secret\\n' | cryptohome create alice"
UNLOCK = "printf 'secret\\n' | cryptohome mount alice"
HOLD = "sleep 100 </home/user/{}/held & : >/mnt/holder".format(ALICE)
MAKE_HELD = "date >/home/user/{}/held".format(ALICE)

COMMANDS = {
    "startup": Command("daemon-store startup", "daemon-store shutdown"),
    "startup-again": Command("daemon-store startup"),
    "shutdown": Command("daemon-store shutdown", done="no store"),
    "template-add": Command("daemon-store template add added --owner 5:60 --mode 2770"),
    "template-change": Command("daemon-store template add notes --owner 6:60 --mode 0750"),
    "template-remove": Command("daemon-store template remove photos", done="no"),
    "status": Command("daemon-store status", BOB_IN, reads=True),
    "tree": Command("daemon-store tree", BOB_IN, reads=True),
    "doctor": Command("daemon-store doctor", BOB_IN, reads=True),
    "who": Command("daemon-store who notes", BOB_IN, reads=True),
    "mount-new-plain": Command("cryptohome mount alice --vault plain", BOB_IN),
    "mount-plain": Command("cryptohome mount alice", f"{PLAIN} && {BOB_IN}"),
    "mount-ephemeral": Command("cryptohome mount alice --vault ephemeral", BOB_IN),
    "mount-fscrypt": Command("cryptohome mount alice", f"{CREATE} && {BOB_IN}", SECRET, True),
    "unmount-plain": Command("cryptohome unmount alice", f"{PLAIN} && cryptohome mount alice && {BOB_IN}"),
    "unmount-ephemeral": Command("cryptohome unmount alice", f"cryptohome mount alice --vault ephemeral && {BOB_IN}"),
    "unmount-fscrypt": Command("cryptohome unmount alice", f"{CREATE} && {UNLOCK} && {BOB_IN}", (), True),
    "create-plain": Command("cryptohome create alice --vault plain", BOB_IN, done="has a vault"),
    "create-fscrypt": Command("cryptohome create alice", BOB_IN, SECRET, True, done="has a vault"),
    "passwd": Command("cryptohome passwd alice", CREATE, ("secret", "new"), True, done="wrong password"),
    "key-add": Command("cryptohome key add alice --label other", CREATE, ("secret", "new"), True, done="there is"),
    "key-remove": Command("cryptohome key remove alice --label other", CREATE
                          + " && printf 'secret\\nnew\\n' | cryptohome key add alice --label other", (), True,
                          done="no key"),
    "remove-plain": Command("cryptohome remove alice --yes", f"{PLAIN} && {BOB_IN}", done="no vault"),
    "remove-fscrypt": Command("cryptohome remove alice --yes", f"{CREATE} && {BOB_IN}", (), True, done="no vault"),
    "user-status": Command("cryptohome status", f"{PLAIN} && {BOB_IN}", reads=True),
}

# ---- Faults --------------------------------------------------------------------------------------------------------

READS = {
    "openat": ["EMFILE", "EIO", "ENOMEM", "EACCES"], "openat2": ["EMFILE", "EIO", "ENOMEM", "EINTR", "EACCES"],
    "open": ["EMFILE", "EIO"], "statx": ["EIO", "ENOMEM"], "newfstatat": ["EIO", "ENOMEM"], "fstat": ["EIO"],
    "getdents64": ["EIO", "ENOENT"], "read": ["EIO", "EINTR"], "pread64": ["EIO"], "readlink": ["EIO"],
    "readlinkat": ["EIO"], "ioctl": ["EIO", "ENOMEM"], "kcmp": ["EPERM"], "pidfd_open": ["EMFILE", "EINVAL"],
    "pidfd_getfd": ["EPERM"], "setns": ["EPERM", "ENOMEM"], "name_to_handle_at": ["EIO"], "fstatfs": ["EIO"],
    "statfs": ["EIO"], "socket": ["EMFILE"], "recvmsg": ["ENOMEM"], "prlimit64": ["EPERM"], "mmap": ["ENOMEM"],
    "syscall_0x1c9": ["EPERM", "ENOMEM"], "syscall_0x1ca": ["EPERM", "ENOMEM"], "flock": ["ENOLCK", "EINTR"],
    "fcntl": ["ENOLCK"], "poll": ["EINTR"], "getrandom": ["EIO"],
}
WRITES = {
    "mkdirat": ["ENOSPC", "EIO"], "mkdir": ["ENOSPC"], "unlinkat": ["EIO", "EBUSY"], "renameat": ["ENOSPC", "EIO"],
    "renameat2": ["ENOSPC", "EIO"], "fchownat": ["EPERM", "EIO"], "fchmodat": ["EIO"], "fchmod": ["EIO"],
    "fchown": ["EIO"], "fsync": ["EIO", "ENOSPC"], "write": ["ENOSPC", "EIO"], "mount": ["ENOMEM", "ENOSPC"],
    "umount2": ["EBUSY", "EIO"], "open_tree": ["ENOMEM", "EMFILE"], "move_mount": ["ENOSPC", "ENOMEM"],
    "mount_setattr": ["EPERM", "EIO"], "fsopen": ["ENOMEM"], "fsconfig": ["ENOMEM"], "fsmount": ["ENOMEM"],
    "clone": ["EAGAIN"], "clone3": ["EAGAIN"], "vfork": ["EAGAIN"], "execve": ["ENOMEM"], "chroot": ["EPERM"],
    "fchdir": ["EIO"], "unshare": ["EPERM"], "mlockall": ["EPERM"], "ftruncate": ["EIO"], "pipe2": ["EMFILE"],
    "memfd_create": ["EMFILE"], "setsockopt": ["ENOMEM"], "pivot_root": ["EIO"], "prctl": ["EPERM"],
    "capset": ["EPERM"], "setresuid": ["EAGAIN"], "setresgid": ["EPERM"], "setgroups": ["EPERM"],
    "seccomp": ["ENOMEM"], "landlock_create_ruleset": ["ENOMEM"], "landlock_add_rule": ["EIO"],
    "landlock_restrict_self": ["EPERM"], "keyctl": ["EPERM"], "add_key": ["EDQUOT"], "utimensat": ["EIO"],
    "symlinkat": ["ENOSPC"], "linkat": ["EMLINK"], "setxattr": ["ENOSPC"], "kill": ["EPERM"],
}


def chosen(count, limit, edge=10):
    """Which of `count` occurrences are tried, at most about `limit`."""
    if count <= limit:
        return list(range(1, count + 1))
    middle = range(2 * edge + 1, count - edge, max(1, (count - 3 * edge) // edge))
    return sorted(set(range(1, 2 * edge + 1)) | set(middle) | set(range(count - edge + 1, count + 1)))


def plan(calls):
    """The faults of a command whose calls were counted: (call, occurrence, errno or KILL)."""
    faults = []
    for call, count in sorted(calls.items()):
        if call in WRITES:
            for number in chosen(count, 60):
                faults.append((call, number, WRITES[call][number % len(WRITES[call])]))
                faults.append((call, number, "KILL"))
        elif call in READS:
            step = max(1, count // 12)
            for number in range(1, count + 1, step):
                if (call, number) == ("mmap", 1):
                    continue  # the loader's own, which it does not check
                faults.append((call, number, READS[call][number % len(READS[call])]))
    return faults


# ---- The machine ---------------------------------------------------------------------------------------------------


def boot(programs, command):
    prepare(programs, command.encrypted)
    must("mkdir /etc/daemon-store/notes /etc/daemon-store/photos && chmod 700 /etc/daemon-store/notes "
         "&& chown 5:60 /etc/daemon-store/* && chmod 750 /etc/daemon-store/photos && daemon-store startup")
    if command.setup:
        must(command.setup)
        if BOB_IN in command.setup:
            must(f"echo kept >/home/user/{BOB}/kept && echo kept >/run/daemon-store/notes/{BOB}/kept")


def passwords(candidates):
    """Which of these open alice's vault.json, by Python's scrypt and AES-GCM."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    try:
        text = open(f"/home/.shadow/{ALICE}/vault.json", "rb").read()
    except FileNotFoundError:
        return None
    vault = json.loads(text)
    opened = []
    for slot in vault.get("keys", vault.get("slots", [])):
        for password in candidates:
            cost = slot["scrypt"]
            key = hashlib.scrypt(password.encode(), salt=base64.b64decode(slot["salt"]), n=cost["n"], r=cost["r"],
                                 p=cost["p"], dklen=32, maxmem=1 << 30)
            wrapped = base64.b64decode(slot["wrapped"])
            identifier = vault.get("identifier") or vault["policy"]["identifier"]
            bound = "\0".join(["daemon-store vault 1", ALICE, identifier, slot["label"]]).encode()
            try:
                AESGCM(key).decrypt(wrapped[:12], wrapped[12:], bound)
                opened.append((slot["label"], password))
            except Exception:
                pass
    return sorted(opened)


def state(command):
    identifier = policy(f"/home/.shadow/{ALICE}/mount")
    return {
        "mounts": mounts(),
        "files": files(),
        "key": key_state(identifier) if identifier else None,
        "processes": processes(),
    }


def difference(one, other):
    lines = []
    for part in one:
        if one[part] == other[part]:
            continue
        if isinstance(one[part], list):
            lines += [f"- {line}" for line in one[part] if line not in other[part]]
            lines += [f"+ {line}" for line in other[part] if line not in one[part]]
        else:
            lines.append(f"{part}: {one[part]} -> {other[part]}")
    return lines


def same(one, other):
    return not difference(one, other)


# ---- One case ------------------------------------------------------------------------------------------------------


def traced(command, options):
    words = ["strace", "-f", "-qq", "--signal=none", *options, *shlex.split(command.line)]
    environment = {"PATH": PATH, "LC_ALL": "C.UTF-8"}
    text = "".join(line + "\n" for line in command.lines)
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=environment, cwd="/", start_new_session=True)
    try:
        output, errors = process.communicate(text.encode(), timeout=60)
        hung = False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        hung = True
    errors = errors.decode(errors="replace")
    lines = [line for line in errors.splitlines() if "not the mount namespace of pid 1" not in line]
    return process.returncode, lines, hung


def record(programs, name):
    command = COMMANDS[name]
    boot(programs, command)
    before = state(command)
    status, lines, hung = traced(command, ["-o", "/mnt/trace", "-e", "trace=all"])
    after = state(command)
    calls = collections.Counter()
    for line in open("/mnt/trace", errors="replace"):
        match = re.match(r"\d+ +([a-z_0-9]+)\(", line)
        if match:
            calls[match[1]] += 1
    if hung or status != command.status:
        raise SystemExit(f"{name}: a run without a fault ended with {status}: {lines}")
    return {"before": before, "after": after, "calls": calls}


def judge(programs, name, fault, known):
    command = COMMANDS[name]
    call, number, what = fault
    boot(programs, command)
    before = state(command)
    how = "signal=KILL" if what == "KILL" else f"error={what}"
    status, lines, hung = traced(
        command, ["-o", "/mnt/trace", "-e", f"trace={call}", "-e", f"inject={call}:{how}:when={number}"])
    now = state(command)
    complaints = []
    injected = "INJECTED" in open("/mnt/trace", errors="replace").read() or what == "KILL"
    if hung:
        complaints.append("did not end within a minute")
    if now["processes"]:
        complaints.append(f"left processes: {now['processes']}")
    loader = False
    killed = what == "KILL" and (status < 0 or status > 128)
    if status == 0 and not same(now, known["after"]):
        complaints.append("status 0, but: " + "; ".join(difference(known["after"], now)[:6]))
    elif status == 1 and not same(now, before):
        complaints.append("status 1, but: " + "; ".join(difference(before, now)[:6]))
    elif status == 127 and any("error while loading shared libraries" in line for line in lines):
        loader = True
        if not same(now, before):
            complaints.append("the loader failed, but: " + "; ".join(difference(before, now)[:6]))
    elif status not in (0, 1, 3) and not killed:
        complaints.append(f"status {status}")
    if command.reads and not same(now, before):
        complaints.append("reads, but changed: " + "; ".join(difference(before, now)[:6]))
    if status in (1, 3) and not lines:
        complaints.append(f"status {status} without a line")
    if any(len(line.encode()) > 600 for line in lines):
        complaints.append("a line of more than 600 bytes")
    again = shell(command.line, "".join(line + "\n" for line in command.lines))
    told = again.stderr.decode(errors="replace") + again.stdout.decode(errors="replace")
    if again.returncode != 0 and not (command.done and command.done in told):
        complaints.append(f"again: status {again.returncode}: {told.strip()[:300]}")
    final = state(command)
    if not same(final, known["after"]):
        complaints.append("again, but: " + "; ".join(difference(known["after"], final)[:6]))
    if BOB_IN in command.setup:
        for path in (f"/home/user/{BOB}/kept", f"/run/daemon-store/notes/{BOB}/kept"):
            try:
                if open(path).read() != "kept\n":
                    complaints.append(f"{path} has changed")
            except OSError as problem:
                complaints.append(f"another user's {problem}")
    if name in ("passwd", "key-add", "create-fscrypt", "key-remove"):
        opened = passwords(("secret", "new"))
        if not opened:
            complaints.append("no password opens the vault")
    kind = "loader" if loader else "killed" if killed else {0: "tolerated", 1: "refused", 3: "partial"}.get(status, "other")
    return {"case": [name, *fault], "kind": kind if injected else "not reached", "status": status,
            "lines": lines[:4], "complaints": complaints}


# ---- The campaign --------------------------------------------------------------------------------------------------


def inside(arguments):
    outcome = enter(os.path.abspath(__file__), json.dumps(arguments), timeout=400)
    if outcome.returncode != 0:
        return {"case": arguments[2:], "kind": "broken", "complaints": [outcome.stderr.decode(errors="replace")[-400:]]}
    return json.loads(outcome.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--programs", default=os.environ.get("DAEMON_STORE_BUILD", f"{HERE}/../../.build/release"))
    parser.add_argument("--commands", default="", help="comma-separated; all when left out")
    parser.add_argument("--seconds", type=int, default=0, help="try a random sample for so long")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--case", help="one case: COMMAND:CALL:NUMBER:ERRNO")
    parser.add_argument("--log", default="", help="a file that every result is added to; cases in it are not run again")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        verb, programs, name, *rest = json.loads(options.inside)
        result = record(programs, name) if verb == "record" else judge(programs, name, tuple(rest[0]), rest[1])
        json.dump(result, sys.stdout)
        return 0

    programs = os.path.abspath(options.programs)
    names = options.commands.split(",") if options.commands else list(COMMANDS)
    if options.case:
        names = [options.case.split(":")[0]]
    known = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        recorded = pool.map(lambda name: inside(["record", programs, name]), names)
        for name, result in zip(names, recorded, strict=True):
            if result.get("kind") == "broken":
                print(f"{name}: {result['complaints'][0]}", file=sys.stderr)
                return 1
            known[name] = result
    cases = [(name, fault) for name in names for fault in plan(known[name]["calls"])]
    if options.case:
        _, call, number, what = options.case.split(":")
        cases = [(names[0], (call, int(number), what))]
    table = collections.defaultdict(collections.Counter)
    failed = []

    def count(result):
        row = table[result["case"][0]]
        row[result["kind"]] += 1
        row["all"] += 1
        if result["complaints"]:
            failed.append(result)

    done = set()
    if options.log and os.path.exists(options.log):
        # One that failed is tried again; the others count as they did.
        for result in map(json.loads, open(options.log)):
            if not result["complaints"] and result["case"][0] in names and tuple(result["case"]) not in done:
                done.add(tuple(result["case"]))
                count(result)
    cases = [case for case in cases if (case[0], *case[1]) not in done]
    end = None
    if options.seconds:
        seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
        print(f"seed {seed}, {len(cases)} cases to choose from")
        random.Random(seed).shuffle(cases)
        end = time.monotonic() + options.seconds

    def run(case):
        if end and time.monotonic() > end:
            return None
        name, fault = case
        return inside(["judge", programs, name, fault, known[name]])

    with ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(run, cases):
            if result is None:
                continue
            count(result)
            if result["complaints"]:
                print("FAILED", ":".join(str(part) for part in result["case"][:4]), f"status {result.get('status')}",
                      "; ".join(result["complaints"]), *result.get("lines", []), sep="\n   ", flush=True)
            if options.log:
                with open(options.log, "a") as log:
                    log.write(json.dumps({**result, "case": result["case"][:4]}) + "\n")
    kinds = ["tolerated", "refused", "partial", "loader", "killed", "not reached", "all"]
    print("| command | " + " | ".join(kinds) + " | failed |")
    print("|---" * (len(kinds) + 2) + "|")
    for name in names:
        bad = sum(1 for result in failed if result["case"][0] == name)
        print(f"| {name} | " + " | ".join(str(table[name][kind]) for kind in kinds) + f" | {bad} |")
    total = sum(row["all"] for row in table.values())
    print(f"faults survived: {total - len(failed)} of {total}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
