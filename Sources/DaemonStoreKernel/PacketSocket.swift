import CDaemonStoreLinux
import Glibc

/// A UNIX socket for packets, at a path that only root can reach: SOCK_SEQPACKET in unix(7). Nothing
/// here waits.
package struct PacketSocket: ~Copyable {
  package let descriptor: Descriptor

  private init(owning number: CInt) { descriptor = Descriptor(owning: number) }

  /// Listens at `path`, where nothing may be.
  package init(listeningAt path: FilePath) throws(SystemError) {
    self.init(owning: try check("listening at", path, linux_listen_packets(path.cString)))
  }

  /// Connects to what listens at `path`.
  ///
  /// - Throws: `ENOENT` and `ECONNREFUSED` when no process listens there.
  package init(connectingTo path: FilePath) throws(SystemError) {
    self.init(owning: try check("connect", path, linux_connect_packets(path.cString)))
  }

  /// The next connection; nil when there is none.
  package func accept() throws(SystemError) -> PacketSocket? {
    let number = linux_accept_packets(descriptor.number)
    if number < 0, [EAGAIN, ECONNABORTED, EINTR].contains(errno) { return nil }
    return PacketSocket(owning: try check("accept", nil, number))
  }

  /// The process at the other end when the connection was made, or that listens there, and its user.
  package func peer() throws(SystemError) -> (process: pid_t, user: uid_t) {
    var process: pid_t = 0
    var user: uid_t = 0
    try check("getsockopt", "SO_PEERCRED", linux_peer(descriptor.number, &process, &user))
    return (process, user)
  }

  package func send(_ bytes: [UInt8], _ descriptors: [CInt] = []) throws(SystemError) {
    try check(
      "sendmsg", nil,
      linux_send_packet(descriptor.number, bytes, bytes.count, descriptors, descriptors.count))
  }

  /// The next packet, and its descriptors, which the caller closes; nil when none is there. Empty when
  /// the other end is gone.
  ///
  /// - Throws: `EMSGSIZE` for a packet that is longer than `limit`, or has more than two descriptors.
  package func receive(
    atMost limit: Int
  ) throws(SystemError) -> (bytes: [UInt8], descriptors: [CInt])? {
    var bytes = [UInt8](repeating: 0, count: limit)
    var descriptors: [CInt] = [-1, -1]
    var count = 0
    let got = linux_receive_packet(
      descriptor.number, &bytes, limit, &descriptors, descriptors.count, &count)
    if got < 0, [EAGAIN, EINTR].contains(errno) { return nil }
    try check("recvmsg", nil, got)
    return (Array(bytes[..<got]), Array(descriptors[..<count]))
  }

  /// The same, and waits for it until `deadline`.
  package func receive(
    atMost limit: Int, until deadline: ContinuousClock.Instant
  ) throws(SystemError) -> (bytes: [UInt8], descriptors: [CInt])? {
    while true {
      if let packet = try receive(atMost: limit) { return packet }
      guard try isReadable(descriptor.number, until: deadline) else { return nil }
    }
  }
}

/// Waits until a descriptor is readable, or has lost its other end; false when it is neither at
/// `deadline`.
package func isReadable(
  _ descriptor: CInt, until deadline: ContinuousClock.Instant
) throws(SystemError) -> Bool {
  while true {
    let left = ContinuousClock.now.duration(to: deadline)
    guard left > .zero else { return false }
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    let milliseconds =
      left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000 + 1
    let count = poll(&entry, 1, CInt(clamping: milliseconds))
    if count > 0 { return true }
    if count < 0, errno != EINTR { try check("poll", nil, count) }
  }
}
