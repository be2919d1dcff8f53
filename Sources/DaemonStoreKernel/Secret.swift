import CDaemonStoreLinux
import Glibc

/// Bytes that nobody else may see: a password, or a key. They are wiped when this goes. Call
/// ``protectSecrets()`` before there is one.
package struct Secret: ~Copyable {
  private let memory: UnsafeMutableRawBufferPointer

  /// `count` zero bytes, to be filled in.
  private init(count: Int) {
    memory = .allocate(byteCount: count, alignment: 16)
    memory.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit {
    if let base = memory.baseAddress { linux_wipe(base, memory.count) }
    memory.deallocate()
  }

  /// A copy of `bytes`, which whoever lends them wipes.
  package init(copying bytes: some Collection<UInt8>) {
    self.init(count: bytes.count)
    memory.copyBytes(from: bytes)
  }

  /// Random bytes of the kernel's, at most 256 (getentropy(3)).
  package init(randomBytes count: Int) throws(SystemError) {
    self.init(count: count)
    try check("getentropy", nil, getentropy(memory.baseAddress, count))
  }

  package var count: Int { memory.count }

  /// Lends the bytes for the time of the call.
  package func withBytes<Value>(_ body: (UnsafeRawBufferPointer) throws -> Value) rethrows -> Value
  {
    try body(UnsafeRawBufferPointer(memory))
  }
}

/// Keeps what this process knows from everybody else from here on: no core dump, no ptrace(2) or
/// `/proc/PID/mem` even by the same user, and nothing of its memory in swap.
package func protectSecrets() throws(SystemError) {
  try forbidDumps()
  try check("mlockall", nil, mlockall(MCL_CURRENT | MCL_FUTURE))
}

/// No core dump of this process, and no ptrace(2) or `/proc/PID/mem` by another of the same user.
package func forbidDumps() throws(SystemError) {
  try processControl(PR_SET_DUMPABLE, 0, named: "PR_SET_DUMPABLE")
  var none = rlimit()
  try check("setrlimit", "RLIMIT_CORE", setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none))
}
