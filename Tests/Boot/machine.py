"""What boots the image: a container of systemd-nspawn, and qemu with Debian's kernel.

Each has three consoles, and ends with this process, which is the first of a pid namespace.
"""

import fcntl
import os
import pathlib
import re
import select
import socket
import struct
import subprocess
import time

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[78=>]|\r")
TIOCGPTN, TIOCSPTLCK = 0x80045430, 0x40045431  # ioctl_tty(2)
SECTOR, FLUSH, DISCARD = 512, 1, 4  # as in dm-log-writes, whose format qemu has
PATIENCE = 300  # seconds for anything: it may be emulated, beside somebody's build
PROMPT = r"\w+@boot:\S* ?[$#] $"


class Unexpected(Exception):
    """What a console says is not what was expected."""


class Console:
    """A person at a terminal: reads until something is there, and types."""

    def __init__(self, name, descriptor, machine, transcript):
        self.name = name
        self.descriptor = descriptor
        self.machine = machine  # the process
        self.transcript = open(transcript, "ab", buffering=0)
        self.unread = ""

    def expect(self, pattern):
        """The match, once what came since the last one matches; what it covers is read then."""
        end = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, self.unread)):
            left = end - time.monotonic()
            if left < 0 or not select.select([self.descriptor], [], [], left)[0]:
                raise Unexpected(
                    f"{self.name}: no {pattern!r} within {PATIENCE} s, but {self.unread[-2000:]!r}"
                )
            try:
                data = os.read(self.descriptor, 65536)
            except OSError:  # nobody has the terminal open: between two gettys, or for ever
                if self.machine.poll() is None:
                    time.sleep(0.1)
                    continue
                data = b""
            if not data:
                raise Unexpected(f"{self.name}: ended before {pattern!r}: {self.unread[-2000:]!r}")
            self.transcript.write(data)
            self.unread = CONTROL.sub("", self.unread + data.decode(errors="replace"))
        self.unread = self.unread[match.end() :]
        return match

    def type(self, line):
        os.write(self.descriptor, (line + "\n").encode())

    def try_to_log_in(self, user, password):
        self.expect("login: $")
        self.type(user)
        self.expect("Password: $")
        self.type(password)

    def log_in(self, user, password):
        self.try_to_log_in(user, password)
        self.expect(PROMPT)

    def log_out(self):
        self.type("exit")

    def run(self, command):
        """What a command says, typed at a prompt."""
        self.type(f'{command}; echo "<$?>"')
        said = self.expect(r"(?s)\n(.*?)<(\d+)>\n")
        self.expect(PROMPT)
        if said[2] != "0":
            raise Unexpected(f"{self.name}: {command}: status {said[2]}: {said[1]}")
        return said[1].strip()


class Machine:
    """What both kinds have; `directory` has root.img, home.img and linux, and takes transcripts."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.consoles = []

    def console(self, descriptor):
        name = f"{type(self).__name__.lower()}-{len(self.consoles)}"
        transcript = self.directory / f"{name}.log"
        self.consoles.append(Console(name, descriptor, self.process, transcript))

    def boot(self):
        """Up, with root logged in on the third console."""
        self.consoles = []
        self.start()
        self.root = self.consoles[2]
        self.root.log_in("root", "root")
        return self

    def look(self, *arguments):
        self.root.run("look " + " ".join(arguments))

    def end(self, command):
        self.root.type(command)
        try:
            self.root.expect("(?!)")
        except Unexpected as error:
            if "ended before" not in str(error):
                raise
        self.finish()


class Container(Machine):
    """Under the kernel that runs here, with a systemd of its own as process 1."""

    # Its status is not shown: the console is a person's.
    init = ["--boot", "--", "--show-status=no"]

    def start(self):
        root = self.directory / "root"
        root.mkdir(exist_ok=True)
        mount(self.directory / "root.img", root)
        mount(self.directory / "home.img", root / "home")
        mine, terminal = os.openpty()
        self.process = subprocess.Popen(
            # Its filter rejects listmount(2) and pidfd_getfd(2), whose names this systemd does not
            # know: a logout then ends with status 3, since it cannot look into other namespaces.
            ["env", "SYSTEMD_SECCOMP=0"]
            + ["systemd-nspawn", "--quiet", "--directory", root, "--machine=boot"]
            + ["--register=no", "--keep-unit", "--private-network", "--settings=no"]
            + ["--capability=CAP_IPC_LOCK"]  # cryptohome locks keys in memory
            + ["--link-journal=no", "--resolv-conf=off", "--timezone=off", *self.init],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        self.console(mine)
        self.consoles[0].expect(r"login: (?=$)")
        self.consoles[0].unread = "login: "
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        leader = max(children.read_text().split(), key=int)
        for _ in range(2):
            self.terminal(leader)

    def terminal(self, leader):
        """One more console, as machinectl login(1) makes them."""
        master = os.open(f"/proc/{leader}/root/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
        fcntl.ioctl(master, TIOCSPTLCK, bytes(4))
        number = int.from_bytes(fcntl.ioctl(master, TIOCGPTN, bytes(4)), "little")
        subprocess.run(["nsenter", "--target", leader, "--all", *self.getty(number)], check=True)
        self.console(master)

    def getty(self, number):
        return ["systemctl", "start", f"container-getty@{number}.service"]

    def finish(self):
        self.process.wait(PATIENCE)
        subprocess.run(["umount", "--recursive", self.directory / "root"], check=True)


class Sysvinit(Container):
    """The same with sysvinit as process 1, which starts nothing later."""

    init = ["--", "/sbin/init"]

    def getty(self, number):
        return ["setsid", "--fork", "agetty", "--noclear", f"pts/{number}", "linux"]


class Emulated(Machine):
    """With a kernel of its own: the power can fail."""

    accelerator = None

    def __init__(self, directory):
        super().__init__(directory)
        self.home = self.directory / "home.img"
        self.before = self.directory / "home.before"
        self.log = self.directory / "home.writes"

    def start(self):
        consoles = []
        arguments = ["-kernel", self.directory / "linux", "-m", "512", "-smp", "2"]
        arguments += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        # The consoles are people's, and that the host is busy is no error of the guest.
        options = "systemd.show_status=no loglevel=1 nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
        arguments += ["-append", f"root=/dev/nvme0n1 rw console=ttyS0 {options}"]
        arguments += ["-drive", f"if=none,id=root,format=raw,file={self.directory / 'root.img'}"]
        arguments += ["-device", "nvme,drive=root,serial=root"]  # needs no module
        subprocess.run(["cp", "--sparse=always", self.home, self.before], check=True)
        self.log.write_bytes(b"")
        for node, file in [("disk", self.home), ("log", self.log)]:
            arguments += ["-blockdev", f"driver=file,node-name={node},filename={file}"]
        arguments += ["-blockdev", "driver=blklogwrites,node-name=home,file=disk,log=log"]
        arguments += ["-device", "virtio-blk-pci,drive=home"]
        for number in range(3):
            mine, theirs = socket.socketpair()
            os.set_inheritable(theirs.fileno(), True)
            consoles.append((mine, theirs))
            arguments += ["-chardev", f"socket,id=c{number},fd={theirs.fileno()}"]
            arguments += ["-serial", f"chardev:c{number}"]
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", *self.acceleration(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=open(self.directory / "qemu.log", "ab"),
            stderr=subprocess.STDOUT,
            close_fds=False,
            start_new_session=True,
        )
        for mine, theirs in consoles:
            theirs.close()
            self.console(mine.detach())

    def acceleration(self):
        """KVM where a kernel runs under it: having /dev/kvm is not enough. Else emulation."""
        if not Emulated.accelerator:
            kvm = ["-accel", "kvm", "-cpu", "host"]
            probe = ["-kernel", self.directory / "linux", "-append", "panic=-1", "-no-reboot"]
            probe += ["-nodefaults", "-display", "none"]
            Emulated.accelerator = ["-accel", "tcg,thread=multi", "-cpu", "max"]
            try:
                if not subprocess.run(
                    ["qemu-system-x86_64", *kvm, *probe], timeout=10, capture_output=True
                ).returncode:
                    Emulated.accelerator = kvm
            except subprocess.TimeoutExpired:
                pass
        return Emulated.accelerator

    def cut_power(self):
        """At once. The disk of the vaults loses what was not flushed: how many writes."""
        self.process.kill()
        self.process.wait()
        logged = writes(self.log)
        if logged is None:
            return "unknown"
        kept, lost = logged
        with open(self.before, "r+b") as disk:
            for offset, data in kept:
                disk.seek(offset)
                disk.write(data)
        self.before.replace(self.home)
        return len(lost)

    def finish(self):
        self.process.wait(PATIENCE)


def writes(log):
    """What was written before the last flush, and after it, by a log of qemu's blklogwrites.

    Each is a list of (offset, data). None where the log has a hole: a write of which there is
    nothing yet, with others behind it. Then nobody knows what the others are.
    """
    found, flushed = [], 0
    with open(log, "rb") as file:
        size = log.stat().st_size
        position = SECTOR  # after the superblock
        while position < size:
            file.seek(position)
            start, count, flags, _ = struct.unpack("<4Q", file.read(32))
            if not (count or flags):
                return None
            position += SECTOR
            if flags & DISCARD:
                found.append((start * SECTOR, bytes(count * SECTOR)))
            elif count:
                file.seek(position)
                found.append((start * SECTOR, file.read(count * SECTOR)))
                position += count * SECTOR
            if flags & FLUSH:
                flushed = len(found)
    return found[:flushed], found[flushed:]


def mount(image, place):
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
