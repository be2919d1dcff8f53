#!/usr/bin/env python3
"""Logs users in and out beside each other for a while, and looks whether anything grows or is left.

One machine with cryptohomed, two stores and a jail that follows one of them. Three users log in and out at random:
by command, or by a session whose leader is killed, which cryptohomed ends. Every few seconds all are out for a moment,
and then must be as at the beginning: the mounts here and in the jail, the files in /run and /home, the processes, and
the descriptors of cryptohomed. Its memory may grow by 8 MiB at most.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time

from host import ALICE, BOB, CAROL, HASHES, PATH, enter, files, mounts, must, prepare, processes, shell

HERE = os.path.dirname(os.path.abspath(__file__))
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8"}
ROUND = 5  # seconds between two looks
MEMORY = 8 << 10  # KiB


class Soak:
    def __init__(self, programs, seed):
        self.rng = random.Random(seed)
        prepare(programs)
        for store in ("notes", "photos"):
            must(f"mkdir -m 2770 /etc/daemon-store/{store} && chown 5:60 /etc/daemon-store/{store}")
        must("daemon-store startup")
        # What a first login makes and every logout keeps.
        for user in HASHES:
            must(f"cryptohome mount {user} --vault plain && cryptohome unmount {user}")
        with open("/mnt/log", "w") as log:
            self.service = subprocess.Popen(["cryptohomed"], env=ENVIRONMENT, stderr=log)
        self.jail = subprocess.Popen(
            ["minijail0", "-v", "-p", "-n", "--daemon-store", "notes", "--", "/bin/sh", "-c", "echo up; exec sleep 9999"],
            env=ENVIRONMENT, stdout=subprocess.PIPE)
        assert self.jail.stdout.readline() == b"up\n"
        self.until("cryptohomed listens", lambda: os.path.exists("/run/cryptohome/control"))
        self.cycles, self.problems = 0, []

    def until(self, what, is_true):
        end = time.monotonic() + 60
        while not is_true():
            if time.monotonic() > end:
                raise SystemExit(f"not within a minute: {what}")
            time.sleep(0.01)

    def table_of_jail(self):
        sleeper = shell("pgrep -f '^sleep 9999'").stdout.split()[0].decode()
        lines = open(f"/proc/{sleeper}/mountinfo").read().splitlines()
        return sorted(line.split()[4] for line in lines if any(user in line for user in (ALICE, BOB, CAROL)))

    def state(self):
        return {
            "mounts": mounts(), "jail": self.table_of_jail(), "files": files(), "processes": processes(),
            "descriptors": len(os.listdir(f"/proc/{self.service.pid}/fd")),
        }

    def memory(self):
        for line in open(f"/proc/{self.service.pid}/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise SystemExit("cryptohomed has no memory")

    def run(self, *words, **more):
        outcome = subprocess.run(words, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, check=False, timeout=60, **more)
        if outcome.returncode != 0:
            self.problems.append(f"{' '.join(words)}: status {outcome.returncode}: "
                                 + outcome.stderr.decode(errors="replace")[:300])

    def cycle(self, user, kind):
        place = f"/home/user/{HASHES[user]}"
        if kind == "session":
            leader = subprocess.Popen(["sleep", "9998"])
            handle = os.pidfd_open(leader.pid)
            self.run("cryptohome", "pam", "open", "--leader-fd", str(handle), user, pass_fds=[handle])
            os.close(handle)
        else:
            self.run("cryptohome", "mount", user)
        if not os.path.exists(place):
            self.problems.append(f"{user} is not logged in ({kind})")
        if kind == "session":
            leader.kill()
            leader.wait()
            self.until(f"the session of {user} is over", lambda: not os.path.exists(place))
        else:
            self.run("cryptohome", "unmount", user)
        self.cycles += 1

    def round(self):
        end = time.monotonic() + ROUND

        def worker(user, seed):
            rng = random.Random(seed)
            while time.monotonic() < end:
                self.cycle(user, rng.choice(["command", "session"]))

        workers = [threading.Thread(target=worker, args=(user, self.rng.random())) for user in HASHES]
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join()

    def at_rest(self):
        """The state that stays the same for a second."""
        state, since = self.state(), time.monotonic()
        while time.monotonic() < since + 1:
            if (now := self.state()) != state:
                state, since = now, time.monotonic()
        return state

    def compare(self, before):
        """What is not as it was, once that has had a moment to end."""
        end = time.monotonic() + 10
        while (after := self.state()) != before and time.monotonic() < end:
            time.sleep(0.05)
        for key, value in after.items():
            if value == before[key]:
                continue
            if isinstance(value, list):
                value = [f"+{line}" for line in value if line not in before[key]] + [
                    f"-{line}" for line in before[key] if line not in value]
            self.problems.append(f"{key}: {value}"[:500])


def soak(programs, seed, seconds):
    machine = Soak(programs, seed)
    # What is made or loaded once is there afterwards.
    for user in HASHES:
        for kind in ("session", "command"):
            machine.cycle(user, kind)
    before = machine.at_rest()
    memory, end = machine.memory(), time.monotonic() + seconds
    while time.monotonic() < end and not machine.problems:
        machine.round()
        machine.compare(before)
    growth = machine.memory() - memory
    if growth > MEMORY:
        machine.problems.append(f"cryptohomed has {growth} KiB more than at the beginning")
    if machine.service.poll() is not None:
        machine.problems.append(f"cryptohomed has ended: {open('/mnt/log').read()[:500]}")
    return {"cycles": machine.cycles, "growth": growth, "problems": machine.problems[:8]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--programs", default=os.environ.get("DAEMON_STORE_BUILD", f"{HERE}/../../.build/release"))
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        json.dump(soak(*json.loads(options.inside)), sys.stdout)
        return 0
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    argument = json.dumps([os.path.abspath(options.programs), seed, options.seconds])
    outcome = enter(os.path.abspath(__file__), argument, timeout=options.seconds + 180)
    if outcome.returncode != 0:
        print("FAILED", outcome.stderr.decode(errors="replace")[-2000:], sep="\n   ")
        return 1
    result = json.loads(outcome.stdout)
    for problem in result["problems"]:
        print("FAILED", problem, sep="\n   ")
    print(f"{result['cycles']} logins and logouts; cryptohomed has grown by {result['growth']} KiB")
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
