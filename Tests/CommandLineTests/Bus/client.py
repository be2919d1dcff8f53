"""A client of the bus in a few lines of its own: for what the clients in the tests cannot do, which
is to keep a descriptor that they were sent, and to be a thousand."""
import os, resource, socket, struct, subprocess, sys, threading, time

MANAGER = ("org.daemonstore.Manager1", "/org/daemonstore/Manager1", "org.daemonstore.Manager1")
BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


def pad(data, size):
    return data + b"\0" * (-len(data) % size)


def string(text):
    return struct.pack("<I", len(text.encode())) + text.encode() + b"\0"


def strings(*texts):
    body = b""
    for text in texts:
        body = pad(body, 4) + string(text)
    return body


class Client:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect("/run/dbus/system_bus_socket")
        self.socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
        assert self.socket.recv(4096).startswith(b"OK")
        self.socket.sendall(b"NEGOTIATE_UNIX_FD\r\n")
        assert self.socket.recv(4096).startswith(b"AGREE")
        self.socket.sendall(b"BEGIN\r\n")
        self.serial, self.data, self.descriptors = 0, b"", []
        self.answer(self.send(BUS, "Hello"))

    def send(self, target, member, signature="", body=b"", descriptors=()):
        destination, path, interface = target
        return self.write(1, [
            (1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", destination),
            (8, "g", signature), (9, "u", len(descriptors)),
        ], body, descriptors)

    def give(self, descriptor):
        """Answers the call that came last with a descriptor."""
        self.write(2, [(5, "u", self.call), (6, "s", self.sender), (8, "g", "h"), (9, "u", 1)],
                   struct.pack("<I", 0), [descriptor])

    def write(self, type, values, body, descriptors):
        self.serial += 1
        fields = b""
        for code, kind, value in values:
            if not value:
                continue
            fields = pad(fields, 8) + bytes([code, 1]) + kind.encode() + b"\0"
            if kind == "g":
                fields += bytes([len(value)]) + value.encode() + b"\0"
            elif kind == "u":
                fields += struct.pack("<I", value)
            else:
                fields += string(value)
        head = b"l" + bytes([type, 0, 1]) + struct.pack("<III", len(body), self.serial, len(fields)) + fields
        socket.send_fds(self.socket, [pad(head, 8) + body], list(descriptors))
        return self.serial

    def receive(self):
        """Type, what it answers, error or member, body."""
        while True:
            if len(self.data) >= 16:
                length, self.call, fields = struct.unpack_from("<III", self.data, 4)
                start = (16 + fields + 7) & ~7
                if len(self.data) >= start + length:
                    break
            data, descriptors, flags, _ = socket.recv_fds(self.socket, 1 << 16, 16)
            assert data, "the bus has hung up"
            assert not flags & socket.MSG_CTRUNC, "a descriptor is lost"
            self.data += data
            self.descriptors += descriptors
        kind, reply, name, at = self.data[1], None, "", 16
        while at < 16 + fields:
            at = (at + 7) & ~7
            code, type = self.data[at], self.data[at + 2 : at + 3]
            at += 4
            if type == b"u":
                value, at = struct.unpack_from("<I", self.data, at)[0], at + 4
                if code == 5:
                    reply = value
            elif type == b"g":
                at += self.data[at] + 2
            else:
                size = struct.unpack_from("<I", self.data, at)[0]
                text = self.data[at + 4 : at + 4 + size].decode()
                if code in (3, 4):
                    name = text
                elif code == 7:
                    self.sender = text
                at += size + 5
        body, self.data = self.data[start : start + length], self.data[start + length :]
        return kind, reply, name, body

    def answer(self, serial):
        while True:
            kind, reply, name, body = self.receive()
            if reply == serial:
                return name if kind == 3 else "", body

    def signal(self, wanted):
        while True:
            kind, _, name, _ = self.receive()
            if kind == 4 and name == wanted:
                return


def show(error, body):
    print(error or "done", body[4:].split(b"\0")[0].decode(errors="replace"), flush=True)


def delay(store, why):
    client = Client()
    error, body = client.answer(client.send(MANAGER, "Delay", "ss", strings(store, why)))
    show(error, body)
    sys.stdin.readline()
    for descriptor in client.descriptors:
        os.close(descriptor)
    print("closed", flush=True)
    sys.stdin.readline()


def mount(user, password, *options):
    reading, writing = os.pipe()
    os.write(writing, password.encode())
    os.close(writing)
    entries = b""
    for option in options:
        key, value = option.split("=")
        entries = pad(entries, 8) + string(key) + b"\1s\0"
        entries = pad(entries, 4) + string(value)
    body = pad(string(user), 4) + struct.pack("<II", 0, len(entries))
    client = Client()
    show(*client.answer(
        client.send(MANAGER, "Mount", "sha{sv}", pad(body, 8) + entries, [reading])))


def crowd(count):
    count = int(count)
    resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
    clients = [Client() for _ in range(count)]
    rule = strings("type='signal',sender='org.daemonstore.Manager1',member='UserMounted'")
    for client in clients:
        client.answer(client.send(BUS, "AddMatch", "s", rule))
    # All ask at once, and only then the first one listens.
    calls = [
        (client, client.send(MANAGER, "GetStore", "ss", strings("alpha", "alice")),
         client.send(MANAGER, "Delay", "ss", strings("alpha", "one of many")))
        for client in clients
    ]
    errors = set()
    for client, path, held in calls:
        errors.add(client.answer(path)[0])
        errors.add(client.answer(held)[0])
    print("asked", errors, sum(len(client.descriptors) for client in clients), flush=True)
    sys.stdin.readline()
    for client in clients:
        client.signal("UserMounted")
    print("heard", len(clients), flush=True)
    sys.stdin.readline()


def long():
    client = Client()
    body = pad(string("alpha"), 4) + string("x" * 1000000)
    show(*client.answer(client.send(MANAGER, "GetStore", "ss", body)))


def hold(path):
    os.chdir(path)
    print("held", flush=True)
    sys.stdin.readline()


def run(program, *arguments):
    """Runs a program; a line kills it."""
    process = subprocess.Popen(["/mnt/programs/" + program, *arguments])
    threading.Thread(target=lambda: (sys.stdin.readline(), process.kill()), daemon=True).start()
    print("killed" if process.wait() < 0 else "ended", flush=True)


def session(user):
    """A session whose leader is a process that a line kills."""
    leader = subprocess.Popen(["sleep", "1000"])
    handle = os.pidfd_open(leader.pid)
    subprocess.run(
        ["/mnt/programs/cryptohome", "pam", "open", "--leader-fd", str(handle), user],
        pass_fds=[handle], stdin=subprocess.DEVNULL, check=True)
    print("open", flush=True)
    sys.stdin.readline()
    leader.kill()
    leader.wait()
    sys.stdin.readline()


def flood(seconds, connections):
    """Sends calls of several kinds, with as many descriptors as the bus takes, as fast as it can."""
    ready = []
    for _ in range(4):
        reading, writing = os.pipe()
        if os.fork() == 0:
            flooder(float(seconds), int(connections) // 4, writing)
            os._exit(0)
        os.close(writing)
        ready.append(reading)
    for reading in ready:
        os.read(reading, 1)
    print("flooding", flush=True)
    sent = 0
    for reading in ready:
        sent += int(os.read(reading, 64) or b"0")
    print("sent", sent, flush=True)
    sys.stdin.readline()


def flooder(seconds, connections, ready):
    null = os.open("/dev/null", os.O_RDONLY)
    clients = [Client() for _ in range(connections)]
    key = pad(string("bob"), 4) + struct.pack("<II", 0, 0)
    calls = [
        ("Mount", "sha{sv}", pad(key, 8), [null] * 16),
        ("GetStore", "ss", strings("alpha", "x" * 100000), []),
        ("Delay", "ss", strings("alpha", "why"), [null] * 16),
        ("Unmount", "sa{sv}", pad(pad(string("bob"), 4) + struct.pack("<I", 0), 8), []),
    ]
    for client in clients:
        client.socket.setblocking(False)
    os.write(ready, b"x")
    sent, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for number, client in enumerate(clients):
            member, signature, body, descriptors = calls[(sent + number) % 4 if sent % 9 else 0]
            try:
                client.send(MANAGER, member, signature, body, descriptors)
                sent += 1
            except BlockingIOError:
                pass
            except OSError:
                try:
                    clients[number] = Client()
                    clients[number].socket.setblocking(False)
                except (OSError, AssertionError):
                    pass
            try:
                client.socket.recv(1 << 16)
            except OSError:
                pass
    os.write(ready, str(sent).encode())


def delays(store, connections):
    """As many delays as are given to one user, on so many connections."""
    clients = [Client() for _ in range(int(connections))]
    for client in clients:
        for _ in range(16):
            client.send(MANAGER, "Delay", "ss", strings(store, "one of many"))
    given = 0
    for client in clients:
        answers = 0
        while answers < 16:  # in any order, with signals between them
            kind = client.receive()[0]
            answers += kind in (2, 3)
            given += kind == 2
    print("given", given, flush=True)
    sys.stdin.readline()


def silent(user):
    """Two mounts at once with a pipe that no password comes from, and a third afterwards."""
    reading, writing = os.pipe()
    body = pad(pad(string(user), 4) + struct.pack("<II", 0, 0), 8)
    clients = [Client(), Client()]
    calls = [(client, client.send(MANAGER, "Mount", "sha{sv}", body, [reading]))
             for client in clients]
    for client, call in calls:
        show(*client.answer(call))
    os.write(writing, b"not the password\n")
    show(*clients[0].answer(clients[0].send(MANAGER, "Mount", "sha{sv}", body, [reading])))


def later(user):
    """A call of Mount from a connection that was made before."""
    client = Client()
    print("connected", flush=True)
    sys.stdin.readline()
    body = pad(pad(string(user), 4) + struct.pack("<II", 0, 0), 8)
    null = os.open("/dev/null", os.O_RDONLY)
    call = client.send(MANAGER, "Mount", "sha{sv}", body, [null])
    print("called", flush=True)
    show(*client.answer(call))


def within(user, uid, group):
    """A session whose leader is this process, and in it a call of Mount by the user."""
    handle = os.pidfd_open(os.getpid())
    cryptohome = "/mnt/programs/cryptohome"
    subprocess.run([cryptohome, "pam", "open", "--leader-fd", str(handle), user],
                   pass_fds=[handle], stdin=subprocess.DEVNULL, check=True)
    subprocess.run([cryptohome, "unmount", user], check=True, stdout=subprocess.DEVNULL)
    if os.fork() == 0:
        os.setgroups([int(group)])
        os.setresgid(int(uid), int(uid), int(uid))
        os.setresuid(int(uid), int(uid), int(uid))
        mount(user, "none")
        os._exit(0)
    os.wait()
    sys.stdin.readline()


def hear(interface):
    """Names each signal of an interface, whichever process sends it."""
    client = Client()
    client.answer(client.send(BUS, "AddMatch", "s", strings("type='signal',interface='%s'" % interface)))
    print("listening", flush=True)
    while True:
        kind, _, name, _ = client.receive()
        if kind == 4:
            print("heard", name, flush=True)


def invalid(digits):
    """A call with bytes in a string that are no text."""
    client = Client()
    raw = bytes.fromhex(digits)
    body = pad(string("alpha"), 4) + struct.pack("<I", len(raw)) + raw + b"\0"
    try:
        show(*client.answer(client.send(MANAGER, "GetStore", "ss", body)))
    except (AssertionError, ConnectionError):
        print("hung up", flush=True)


def naive(*limit):
    """What a simple service does: it keeps each call, with its descriptors, until the bus has said whose it
    is, and gives each connection 16 delays."""
    if limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, [int(limit[0])] * 2)
    client = Client()
    name = pad(string(MANAGER[0]), 4) + struct.pack("<I", 0)
    client.answer(client.send(BUS, "RequestName", "su", name))
    print("named", flush=True)
    held, given = {}, {}
    while True:
        kind, reply, name, _ = client.receive()
        if kind == 1 and name == "Delay" and not client.descriptors and given.get(client.sender, 0) < 16:
            given[client.sender] = given.get(client.sender, 0) + 1
            client.give(os.pipe()[1])
        elif kind == 1:
            asked = client.send(BUS, "GetConnectionUnixUser", "s", string(client.sender))
            held[asked], client.descriptors = client.descriptors, []
        elif reply in held:
            for descriptor in held.pop(reply):
                os.close(descriptor)


{"delay": delay, "mount": mount, "crowd": crowd, "long": long, "hold": hold, "run": run,
 "session": session, "flood": flood, "delays": delays, "silent": silent, "within": within,
 "hear": hear, "later": later, "invalid": invalid,
 "naive": naive}[sys.argv[1]](*sys.argv[2:])
