"""Boots a real Debian 12, installs the package, and uses it as people do: `make test-boot`.

    boot.py CACHE PACKAGE

Needs to be process 1 of pid and mount namespaces of its own: all that it starts ends with it, and
no mount of it is seen elsewhere. CACHE is where image.sh keeps the image, and the work is done.
"""

import contextlib
import fcntl
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

from machine import Container, Emulated, Sysvinit, Unexpected, mount

HERE = pathlib.Path(__file__).parent
STORES = ["notes", "tags"]
UNITS = ["notes.service", "tags.service", "visit@.service"]
PASSWORDS = {"alice": "correct horse", "bob": "battery staple"}
LETTER = "nobody reads this while alice is away"
CREATE = "echo pass0 | cryptohome create user{0} --owner 5000:5000"
MOUNT = "echo pass{1} | cryptohome mount user{0}"
UNMOUNT = "until cryptohome unmount user{0}; do sleep 1; done"  # a daemon may be writing
steps = 0


@contextlib.contextmanager
def step(title):
    global steps
    start = time.monotonic()
    print(f"  {title} ... ", end="", flush=True)
    try:
        yield
    except BaseException:
        print("FAILED", flush=True)
        raise
    steps += 1
    print(f"{time.monotonic() - start:.1f} s", flush=True)


def expect(what, is_true):
    if not is_true:
        raise Unexpected(what)


@contextlib.contextmanager
def cgroup(cache):
    """One of this cache's run, for the machines; of version 2 alone, as Debian has it."""
    do("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    ours = pathlib.Path(f"/sys/fs/cgroup/daemon-store-boot-{cache.stat().st_ino}")
    ours.mkdir(exist_ok=True)
    (ours / "cgroup.procs").write_text("0")
    try:
        yield
    finally:
        (ours.parent / "cgroup.procs").write_text("0")
        (ours / "cgroup.kill").write_text("1")
        for directory, _, _ in os.walk(ours, topdown=False):
            with contextlib.suppress(OSError):  # what is killed may take a moment
                os.rmdir(directory)


def prepare(cache, package, run):
    """A copy of the image with the package, a newer one, the daemons, and a disk for the vaults."""
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    os.chown(run, cache.stat().st_uid, -1)  # who calls through sudo can remove it
    shutil.copy(cache / "linux", run)
    do("cp", "--sparse=always", "--reflink=auto", cache / "root.img", run)
    root = run / "root"
    root.mkdir()
    mount(run / "root.img", root)
    shutil.copy(package, root / "root/daemon-store.deb")
    newer(package, run / "newer", root / "root/newer.deb")
    for program in ["folder-daemon", "look", "other-init"]:
        shutil.copy(HERE / "guest" / program, root / "usr/local/sbin")
    for unit in UNITS:
        shutil.copy(HERE / "guest" / unit, root / "etc/systemd/system")
    do("truncate", "--size=256M", run / "home.img")
    do("mkfs.ext4", "-q", "-O", "encrypt", "-d", root / "home", run / "home.img")
    do("umount", root)


def newer(package, work, output):
    do("dpkg-deb", "--raw-extract", package, work)
    control = work / "DEBIAN/control"
    control.write_text(re.sub("(?m)^Version: .*", r"\g<0>+1", control.read_text()))
    do("dpkg-deb", "--root-owner-group", "-Znone", "--build", work, output)
    shutil.rmtree(work)


def do(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def installed(run):
    """A system where the package was just installed, with two daemons, and two people."""
    machine = Container(run)
    with step("a new Debian boots"):
        machine.boot().look("healthy")
    root = machine.root
    with step("the package is installed"):
        root.run("dpkg -i /root/daemon-store.deb")
    with step("template add gives two daemons a store each"):
        for store in STORES:
            root.run(f"daemon-store template add {store} --owner {store}:{store} --create-user")
        root.run("systemctl enable " + " ".join(UNITS))
    for user, password in PASSWORDS.items():
        with step(f"{user} gets an encrypted vault with the password of the login"):
            root.type(f"cryptohome create --home {user}")
            for _ in range(2):
                root.expect("(assword|again).*: $")
                root.type(password)
            root.expect("# $")
            root.run(f"cryptohome status {user}")
    machine.look("healthy")
    machine.end("reboot")
    return machine


def read_letter(console):
    said = console.run("cat letter")
    expect(f"the letter says {said!r}", said == LETTER)


def people(machine):
    """What the consoles and the daemons show of logins and logouts."""
    alice, bob = machine.consoles[0], machine.consoles[1]
    with step("at boot both daemons run, each sees its own store alone, and nobody is there"):
        machine.look("healthy")
        for store in STORES:
            machine.look("confined", store)
        for user in PASSWORDS:
            machine.look("gone", user)
    with step("a restart of what sets stores up removes what has no template, and cuts nobody off"):
        machine.root.run("daemon-store template add old --owner root:root")
        machine.root.run("ls -d /run/daemon-store/old && rmdir /etc/daemon-store/old")
        machine.root.run("systemctl restart daemon-store-startup")
        machine.root.run("! ls -d /run/daemon-store/old")
    with step("alice logs in on the console: both daemons see her folder and write"):
        alice.log_in("alice", PASSWORDS["alice"])
        alice.run(f"echo {LETTER} >letter")
        machine.look("writes", "alice")
        machine.look("gone", "bob")
    with step("bob logs in on a second console"):
        bob.log_in("bob", PASSWORDS["bob"])
        machine.look("writes", "bob")
        machine.look("writes", "alice")
    with step("alice logs out: gone everywhere, locked; bob stays"):
        alice.log_out()
        machine.look("gone", "alice")
        machine.look("writes", "bob")
    with step("bob changes his password, and the vault's with it"):
        bob.type("passwd")
        new = PASSWORDS["bob"] + " again"
        for question, answer in [("Current", PASSWORDS["bob"]), ("New", new), ("Retype new", new)]:
            bob.expect(f"{question} password: $")
            bob.type(answer)
        bob.expect("updated successfully")
        PASSWORDS["bob"] = new
    with step("a wrong password opens nothing"):
        alice.try_to_log_in("alice", "wrong")
        alice.expect("Login incorrect")
        machine.look("gone", "alice")


def reboot(machine):
    with step("after a reboot the data is there only after login"):
        machine.end("reboot")
        machine.boot().look("healthy")
        machine.look("gone", "alice")
        machine.look("gone", "bob")
        alice = machine.consoles[0]
        alice.log_in("alice", PASSWORDS["alice"])
        read_letter(alice)
        machine.look("writes", "alice")


def upgrade(machine):
    alice, bob, root = machine.consoles
    hash = root.run("cryptohome sanitize alice")
    daemons = f"systemctl --no-pager show -P MainPID visit@{hash} " + " ".join(STORES)
    with step("the package is upgraded while alice is logged in: nothing is lost"):
        before = root.run(daemons)
        root.run("dpkg -i /root/newer.deb")
        after = root.run(daemons)
        expect(f"the daemons {before} are {after} now", before == after)
        machine.look("writes", "alice")
        read_letter(alice)
    with step("daemons of before follow who logs in and out after it"):
        bob.log_in("bob", PASSWORDS["bob"])
        machine.look("writes", "bob")
        for console, user in [(alice, "alice"), (bob, "bob")]:
            console.log_out()
            machine.look("gone", user)
    with step("a logout while cryptohomed is down ends what is for the user when that is up again"):
        bob.log_in("bob", PASSWORDS["bob"])
        machine.look("writes", "bob")
        root.run("systemctl mask --runtime --now cryptohomed")
        bob.log_out()
        root.run("systemctl unmask --runtime cryptohomed && systemctl start cryptohomed")
        machine.look("gone", "bob")
    with step("no unit has failed, and no error is in the journal"):
        machine.look("healthy")
    machine.end("poweroff")


def unreadable(run):
    with step("the disk of a machine that is off has nothing of it in clear"):
        found = subprocess.run(["grep", "-aqF", LETTER, run / "home.img"])
        expect("the letter is on the disk, in clear", found.returncode == 1)


def other_inits(run):
    """Whatever starts the stores at boot: a login and a logout are the same."""
    for manager in ["sysvinit", "openrc"]:
        with step(f"{manager} takes the place of systemd, and boots"):
            mount(run / "root.img", run / "root")
            do("chroot", run / "root", "other-init", manager)
            do("umount", run / "root")
            machine = Sysvinit(run).boot()
            machine.root.run("[ ! -e /run/systemd/system ]")
            machine.look("confined", "notes")
        alice = machine.consoles[1]
        with step("alice logs in: both daemons see her folder and write"):
            alice.log_in("alice", PASSWORDS["alice"])
            read_letter(alice)
            machine.look("writes", "alice")
        with step("alice logs out: gone everywhere, locked"):
            alice.log_out()
            machine.look("gone", "alice")
        machine.end("poweroff")


def older_kernel(machine):
    alice = machine.consoles[0]
    with step(f"Debian's kernel {machine.root.run('uname -r')} boots the same disk"):
        machine.look("healthy")
    with step("alice logs in: all of it works without the calls that are newer"):
        alice.log_in("alice", PASSWORDS["alice"])
        read_letter(alice)
        machine.look("writes", "alice")
    with step("alice logs out"):
        alice.log_out()
        machine.look("gone", "alice")


def power_cuts(machine):
    """Each action goes on and on, and says what it has done: that is there afterwards."""
    root = machine.root
    with step("the power fails in the middle of create"):
        root.type(f"n=1; while {CREATE.format('$n')}; do echo made $n; n=$((n + 1)); done")
        last = int(cut(machine, root, "made ([0-9]+)\n"))
    with step("who was made is there; who was not can be made"):
        machine.boot().look("healthy")
        root = machine.root
        for user in range(1, last + 1):
            root.run(f"{MOUNT.format(user, 0)} && {UNMOUNT.format(user)}")
        user = last + 1
        opens = MOUNT.format(user, 0)
        root.run(f"{opens} || {{ {CREATE.format(user)} && {opens}; }}")
        root.run(UNMOUNT.format(user))
    with step("the power fails in the middle of passwd"):
        root.type(
            "n=0; while printf 'pass%s\\npass%s\\n' $n $((n + 1)) | cryptohome passwd user1;"
            " do n=$((n + 1)); echo changed $n; done"
        )
        last = int(cut(machine, root, "changed ([0-9]+)\n"))
    with step("the last password that was said to be changed opens the vault, or the one after it"):
        machine.boot().look("healthy")
        root = machine.root
        root.run(f"{MOUNT.format(1, last)} || {MOUNT.format(1, last + 1)}")
        root.run(UNMOUNT.format(1))
    alice = machine.consoles[0]
    with step("the power fails in the middle of a login"):
        alice.try_to_log_in("alice", PASSWORDS["alice"])
        time.sleep(4 * random.random())
        fail(machine)
    with step("alice logs in, and nothing is lost"):
        machine.boot().look("healthy")
        alice = machine.consoles[0]
        alice.log_in("alice", PASSWORDS["alice"])
        read_letter(alice)
        machine.look("writes", "alice")
    with step("the power fails in the middle of writing"):
        alice.type(
            "n=0; while :; do n=$((n + 1)); echo $n >>numbers; sync numbers; echo wrote $n; done"
        )
        alice.expect("wrote 5\n")
        last = int(cut(machine, alice, "wrote ([0-9]+)\n"))
    with step("what was synced is there"):
        machine.boot().look("healthy")
        alice = machine.consoles[0]
        alice.log_in("alice", PASSWORDS["alice"])
        kept = int(alice.run("seq $(wc -l <numbers) | diff - numbers && wc -l <numbers"))
        expect(f"{last} numbers were synced, {kept} are there", kept >= last)
        machine.look("writes", "alice")
    with step("the power fails in the middle of a logout"):
        alice.log_out()
        time.sleep(2 * random.random())
        fail(machine)
    with step("alice logs in, and out, and nothing is lost"):
        machine.boot().look("healthy")
        alice = machine.consoles[0]
        machine.look("gone", "alice")
        alice.log_in("alice", PASSWORDS["alice"])
        read_letter(alice)
        machine.look("writes", "alice")
        alice.log_out()
        machine.look("gone", "alice")
        machine.look("healthy")
    machine.end("poweroff")


def fail(machine):
    print(f"(writes lost: {machine.cut_power()}) ", end="", flush=True)


def cut(machine, console, done):
    """Cuts the power at any moment of the next round of what says that it has done one."""
    start = time.monotonic()
    console.expect(done)
    said = console.expect(done)
    time.sleep((time.monotonic() - start) / 2 * random.random())
    fail(machine)
    with contextlib.suppress(Unexpected):
        while True:
            said = console.expect(done)
    return said[1]


def story(cache, package, run):
    subprocess.run(["sh", HERE / "image.sh", cache], check=True)
    do("mount", "-t", "tmpfs", "tmpfs", "/run")  # systemd-nspawn keeps notes there
    prepare(cache, package, run)
    with cgroup(cache):
        print("In a container, under the kernel that runs here:")
        machine = installed(run).boot()
        people(machine)
        reboot(machine)
        upgrade(machine)
        unreadable(run)
        machine = Emulated(run)
        how = "in KVM" if "kvm" in machine.acceleration() else "in emulation"
        print(f"Under Debian's own kernel, {how}:")
        machine.boot()
        older_kernel(machine)
        power_cuts(machine)
        print("In a container without systemd:")
        other_inits(run)


def main():
    cache, package = pathlib.Path(sys.argv[1]).absolute(), pathlib.Path(sys.argv[2])
    start = time.monotonic()
    for number in [signal.SIGTERM, signal.SIGHUP]:  # which process 1 ignores otherwise
        signal.signal(number, lambda *_: sys.exit("boot.py: ended by a signal"))
    cache.mkdir(parents=True, exist_ok=True)
    lock = os.open(cache, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        story(cache, package, cache / "run")
        shutil.rmtree(cache / "run")
    except BlockingIOError:
        sys.exit(f"boot.py: {cache}: another run uses it; wait for it, or name another with BOOT=")
    except (Unexpected, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"boot.py: {error}\nboot.py: what the consoles have shown is in {cache / 'run'}")
    print(f"All of it in {time.monotonic() - start:.0f} s.\n{steps} passed, 0 failed")


if __name__ == "__main__":
    main()
