#!/usr/bin/env python3
"""Runs random sequences of commands on the real kernel, and compares each step with a small model.

The model knows which templates and stores there are, who has a vault and is mounted, which jails follow which
store, and which file a process holds. After each step it says which exit status is right and which mounts the host
and each jail must have; what the kernel has is read from its mount tables. A sequence that fails is shrunk: steps are
left out as long as it still fails. It can be run again with --program.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from host import HASHES, PATH, enter, must, prepare, processes, shell

HERE = os.path.dirname(os.path.abspath(__file__))
USERS = sorted(HASHES)
STORES = ["notes", "photos", "tags"]
TREES = ["daemon-store", "daemon-store-cache"]
HOMES = ("user", "root")

# ---- The model -----------------------------------------------------------------------------------------------------


class Model:
    """What should be, computed from the steps alone."""

    def __init__(self):
        self.templates = set()
        self.booted = False
        self.stores = set()
        self.vaults = {}  # user: plain; an ephemeral vault is there only while it is mounted
        self.mounted = {}  # user: (kind, homes that are there, stores that have the folder)
        self.jails = {}  # name: store
        self.held = set()  # users with an open file in their home
        self.unfinished = set()  # users whose logout left something; the next command that can ends it

    def users_in(self, store):
        return [user for user, (_, _, stores) in self.mounted.items() if store in stores]

    def startup(self):
        self.booted = True
        # A store without a template stays while users are mounted in it or jails follow it.
        used = {store for store in self.stores if self.users_in(store) or store in self.jails.values()}
        left = (self.stores - self.templates) & used
        self.stores = set(self.templates) | left
        return 3 if left else 0

    def shutdown(self):
        if not self.booted:
            return 0
        if any(store in self.stores for store in self.jails.values()):
            return 1
        for user, (kind, homes, _) in list(self.mounted.items()):
            self.mounted[user] = (kind, homes, set())
        self.stores = set()
        return 0

    def template_add(self, store):
        self.templates.add(store)
        if self.booted:
            self.stores.add(store)
        return 0

    def template_remove(self, store):
        if self.users_in(store):
            return 1
        self.templates.discard(store)
        if store in self.jails.values() and store in self.stores:
            return 3
        self.stores.discard(store)
        return 0

    def finish(self):
        for user in self.unfinished - self.held:
            self.mounted.pop(user, None)
        self.unfinished &= self.held

    def mount(self, user, kind):
        self.finish()
        existing = self.mounted[user][0] if user in self.mounted else self.vaults.get(user)
        if kind is None and existing is None:
            return 1
        if kind is not None and existing is not None and kind != existing:
            return 1
        kind = existing or kind
        if kind == "plain":
            self.vaults[user] = "plain"
        # A login sets up the stores that are missing.
        self.booted = True
        self.stores |= self.templates
        old = self.mounted.get(user, (kind, HOMES, set()))[2]
        self.mounted[user] = (kind, HOMES, old | self.templates)
        self.unfinished.discard(user)
        return 0

    def unmount(self, user):
        self.finish()
        if user in self.held:
            # What is free is removed; the home with the open file stays.
            self.mounted[user] = (self.mounted[user][0], ("user",), set())
            self.unfinished.add(user)
            return 3
        self.mounted.pop(user, None)
        return 0

    def remove(self, user):
        self.finish()
        if user in self.mounted or user not in self.vaults:
            return 1
        del self.vaults[user]
        return 0


# ---- Steps ---------------------------------------------------------------------------------------------------------


def possible(model, rng):
    """A random step that makes sense in this state, as a list of words."""
    user, store = rng.choice(USERS), rng.choice(STORES)
    name = f"jail{rng.randrange(3)}"
    choices = [
        (2, ["startup"]), (1, ["shutdown"]), (2, ["template-add", store]), (2, ["template-remove", store]),
        (5, ["mount", user]), (3, ["mount", user, rng.choice(["plain", "ephemeral"])]), (6, ["unmount", user]),
        (1, ["remove", user]), (2, ["copy"]), (1, ["copies-end"]), (1, ["status"]), (1, ["doctor"]),
    ]
    if name in model.jails:
        choices += [(2, ["jail-stop", name]), (1, ["jail-kill", name])]
    elif store in model.stores:
        choices.append((4, ["jail-start", name, store]))
    if user in model.mounted and user not in model.held:
        choices.append((2, ["hold", user]))
    if user in model.held:
        choices.append((4, ["release", user]))
    weights = [weight for weight, _ in choices]
    return rng.choices([step for _, step in choices], weights)[0]


class Machine:
    """The real thing."""

    def __init__(self, programs):
        prepare(programs)
        self.jails, self.holders, self.copies = {}, {}, []

    def run(self, line):
        outcome = shell(line)
        return outcome.returncode, outcome.stderr.decode(errors="replace").strip()

    def take(self, model, step):
        """Does one step; the status that is right and the one that came, and what was said."""
        verb, *words = step
        if verb == "startup":
            return (model.startup(), *self.run("daemon-store startup"))
        if verb == "shutdown":
            return (model.shutdown(), *self.run("daemon-store shutdown"))
        if verb == "template-add":
            return (model.template_add(*words),
                    *self.run(f"daemon-store template add {words[0]} --owner 5:60 --mode 2770"))
        if verb == "template-remove":
            return (model.template_remove(*words), *self.run(f"daemon-store template remove {words[0]}"))
        if verb == "mount":
            kind = words[1] if len(words) > 1 else None
            option = f" --vault {kind}" if kind else ""
            return (model.mount(words[0], kind), *self.run(f"cryptohome mount {words[0]}{option}"))
        if verb == "unmount":
            return (model.unmount(*words), *self.run(f"cryptohome unmount {words[0]}"))
        if verb == "remove":
            return (model.remove(*words), *self.run(f"cryptohome remove {words[0]} --yes"))
        if verb == "jail-start":
            return self.start(model, *words)
        if verb in ("jail-stop", "jail-kill"):
            self.stop(self.jails.pop(words[0]), "KILL" if verb == "jail-kill" else "TERM")
            del model.jails[words[0]]
            return 0, 0, ""
        if verb == "hold":
            place = f"/home/user/{HASHES[words[0]]}"
            model.held.add(words[0])
            self.holders[words[0]] = self.background(f": >{place}/held && exec 3<{place}/held && echo up && sleep 600")
            return 0, 0, ""
        if verb == "release":
            self.stop(self.holders.pop(words[0]))
            model.held.discard(words[0])
            return 0, 0, ""
        if verb == "copy":
            self.copies.append(self.background("exec unshare --mount --propagation private sh -c 'echo up; sleep 600'"))
            return 0, 0, ""
        if verb == "copies-end":
            while self.copies:
                self.stop(self.copies.pop())
            return 0, 0, ""
        if verb == "status":
            return (0, *self.run("daemon-store status --json >/dev/null && cryptohome status >/dev/null"))
        if verb == "doctor":
            status, said = self.run("daemon-store doctor >/dev/null")
            return status if status in (0, 3) else 0, status, said
        raise ValueError(verb)

    def start(self, model, name, store):
        right = 0 if store in model.stores else 1
        line = (f"exec minijail0 -v -p -n --daemon-store {store} -- /bin/sh -c 'echo up; exec sleep 600'")
        process = self.background(line)
        if process is None:
            return right, 1, "the jail did not start"
        self.jails[name] = process
        model.jails[name] = store
        return right, 0, ""

    def background(self, line):
        process = subprocess.Popen(["sh", "-c", line], env={"PATH": PATH, "LC_ALL": "C.UTF-8"}, cwd="/",
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        if process.stdout.readline() != b"up\n":
            process.kill()
            process.wait()
            return None
        return process

    def stop(self, process, how="KILL"):
        """Ends a process and those that it has started, and waits until none is left."""
        session = process.pid
        if how == "TERM":
            process.terminate()
        else:
            process.kill()
        process.wait()
        process.stdout.close()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            left = [entry for entry in os.listdir("/proc") if entry.isdigit() and self.session(entry) == session]
            if not left:
                return
            for entry in left:
                try:
                    os.kill(int(entry), 9)
                except ProcessLookupError:
                    pass
            time.sleep(0.005)
        raise SystemExit(f"session {session} does not end")

    @staticmethod
    def session(process):
        try:
            text = open(f"/proc/{process}/stat", "rb").read()
            fields = text[text.rindex(b")") + 2:].split()
            return int(fields[3]) if fields[0] not in (b"Z", b"X") else None
        except (OSError, ValueError):
            return None

    def mounts(self, process=None):
        """The paths of all mounts below the trees of stores and the homes, sorted."""
        found = []
        for line in open(f"/proc/{process or 'self'}/mountinfo", "rb"):
            path = line.split()[4].decode()
            if path.startswith(("/run/daemon-store", "/home/user/", "/home/root/")):
                found.append(path)
        return sorted(found)

    def inside(self, session):
        """A process of the jail: the last that was started in the session."""
        return max(int(entry) for entry in os.listdir("/proc")
                   if entry.isdigit() and self.session(entry) == session)


def expected(model):
    paths = [f"/run/{tree}/{store}" for tree in TREES for store in model.stores]
    for user, (_, homes, stores) in model.mounted.items():
        paths += [f"/home/{place}/{HASHES[user]}" for place in homes]
        paths += [f"/run/{tree}/{store}/{HASHES[user]}" for tree in TREES for store in stores]
    return sorted(paths)


def expected_in_jail(model, store):
    paths = [f"/run/{tree}/{store}" for tree in TREES]
    paths += [f"/run/{tree}/{store}/{HASHES[user]}" for tree in TREES for user in model.users_in(store)]
    return sorted(paths)


def check(machine, model):
    """What is not as the model says, in lines."""
    lines = []

    def compare(where, right, there):
        lines.extend(f"{where}: missing {path}" for path in right if path not in there)
        lines.extend(f"{where}: unexpected {path}" for path in there if path not in right)
        lines.extend(f"{where}: {path} twice" for path in set(there) if there.count(path) > right.count(path) >= 1)

    compare("host", expected(model), machine.mounts())
    for name, store in model.jails.items():
        # What other stores the jail has inherited is below the tmpfs that holds its own.
        there = [path for path in machine.mounts(machine.inside(machine.jails[name].pid)) if f"/{store}" in path]
        compare(name, expected_in_jail(model, store), there)
    left = [path for path in processes() if not path.endswith(("minijail0", "sleep"))]
    lines += [f"left running: {path}" for path in left]
    return lines


def run_program(programs, steps):
    """Runs the steps; the number of the first that fails and why, or None."""
    machine, model = Machine(programs), Model()
    for number, step in enumerate(steps):
        if step[0] in ("jail-stop", "jail-kill") and step[1] not in model.jails:
            continue
        if step[0] == "jail-start" and (step[1] in model.jails or step[2] not in model.stores):
            continue
        if step[0] == "hold" and (step[1] not in model.mounted or step[1] in model.held):
            continue
        if step[0] == "release" and step[1] not in model.held:
            continue
        right, status, said = machine.take(model, step)
        lines = check(machine, model)
        if right is not None and status != right:
            lines.insert(0, f"status {status} instead of {right}: {said[:300]}")
        if lines:
            return [number, lines[:8]]
    return None


def generate(programs, rng, length):
    """Makes and runs a program at once: the next step depends on where the model is."""
    machine, model = Machine(programs), Model()
    steps = []
    for _ in range(length):
        step = possible(model, rng)
        steps.append(step)
        right, status, said = machine.take(model, step)
        lines = check(machine, model)
        if right is not None and status != right:
            lines.insert(0, f"status {status} instead of {right}: {said[:300]}")
        if lines:
            return {"steps": steps, "failed": lines[:8]}
    return {"steps": steps, "failed": None}


# ---- The campaign --------------------------------------------------------------------------------------------------


def inside(argument):
    outcome = enter(os.path.abspath(__file__), json.dumps(argument), timeout=900)
    if outcome.returncode != 0:
        return {"steps": [], "failed": ["broken: " + outcome.stderr.decode(errors="replace")[-600:]]}
    return json.loads(outcome.stdout)


def shrink(programs, steps):
    """Leaves out what a program does not need to fail."""
    size = max(1, len(steps) // 2)
    while size >= 1:
        start = 0
        while start < len(steps):
            shorter = steps[:start] + steps[start + size:]
            if shorter and inside(["replay", programs, shorter])["failed"]:
                steps = shorter
            else:
                start += size
        size //= 2
    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--programs", default=os.environ.get("DAEMON_STORE_BUILD", f"{HERE}/../../.build/release"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=0, help="begin programs for so long, and not so many steps")
    parser.add_argument("--length", type=int, default=100, help="steps of one program")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--program", help="a file with one program to run again: a JSON list of steps")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        verb, programs, *rest = json.loads(options.inside)
        if verb == "replay":
            failed = run_program(programs, rest[0])
            json.dump({"steps": rest[0], "failed": failed}, sys.stdout)
        else:
            json.dump(generate(programs, random.Random(rest[0]), rest[1]), sys.stdout)
        return 0
    programs = os.path.abspath(options.programs)
    if options.program:
        result = inside(["replay", programs, json.load(open(options.program))])
        print(json.dumps(result["failed"], indent=1))
        return 1 if result["failed"] else 0
    must("true")
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    count = 10 * options.seconds or max(1, options.steps // options.length)
    end = time.monotonic() + options.seconds if options.seconds else None
    bad, steps, programs_run = 0, 0, 0

    def run(number):
        if end and time.monotonic() > end:
            return None
        return inside(["generate", programs, seed + number, options.length])

    with ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(run, range(count)):
            if result is None:
                continue
            programs_run += 1
            steps += len(result["steps"])
            if not result["failed"]:
                continue
            bad += 1
            print("FAILED", *result["failed"], sep="\n   ")
            if result["steps"] and bad <= 5:
                print(json.dumps(shrink(programs, result["steps"])), flush=True)
    print(f"{steps} steps in {programs_run} programs, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
