import Crypto
import CryptoExtras
import DaemonStore
import FoundationEssentials
import Glibc
import DaemonStoreKernel

/// How much work a guess at a password is: the parameters of scrypt (RFC 7914).
struct ScryptCost: Equatable {
  /// A power of two.
  var n: Int
  var r: Int
  var p: Int

  /// The choices that OWASP's cheat sheet gives as equivalent, the one with most memory first.
  static let floors = [
    ScryptCost(n: 1 << 17, r: 8, p: 1), ScryptCost(n: 1 << 16, r: 8, p: 2),
    ScryptCost(n: 1 << 15, r: 8, p: 3),
  ]
  /// The smallest that a vault of this project ever had.
  private static let oldest = ScryptCost(n: 1 << 15, r: 8, p: 1)
  private static let largestMemory = 1 << 30
  private static let largestWork = 1 << 32

  /// In bytes.
  var memory: Int { 128 * n * r }

  /// Whether a guess is less work than any of the floors.
  var isWeak: Bool {
    !Self.floors.contains { n >= $0.n && r >= $0.r && p >= $0.p }
  }

  /// The choice for a machine with so many bytes of memory: the most memory that is no more than an
  /// eighth of it.
  static func floor(memory total: Int) -> ScryptCost {
    floors.first { $0.memory <= total / 8 } ?? floors[floors.count - 1]
  }

  /// About half a second of this machine's processor, and never less than the floor. The time is the
  /// thread's own, so that other programs do not make a slot weaker.
  static func calibrated() throws -> ScryptCost {
    var cost = floor(memory: try totalMemory())
    let sample = ScryptCost(n: cost.n / 8, r: cost.r, p: 1)
    let password = Secret(copying: Array("calibration".utf8))
    let start = try threadTime()
    _ = try sample.derive(from: password, salt: Data(count: 32))
    let one = max((try threadTime() - start) * 8, 1)
    cost.p = max(cost.p, Int(min(500_000_000 / one, 16)))
    return cost
  }

  /// Whether these are parameters that are looked at, checked before anything is allocated.
  var isSound: Bool {
    // In this order: no product can overflow.
    n.nonzeroBitCount == 1 && (Self.oldest.n...1 << 20).contains(n) && (8...32).contains(r)
      && (1...64).contains(p) && memory <= Self.largestMemory
      && memory * p <= Self.largestWork
  }

  /// - Throws: for parameters that are not sound, before any work.
  func key(from password: borrowing Secret, salt: Data) throws -> SymmetricKey {
    guard isSound else {
      throw Refusal(path: "key slot", reason: "asks for more work than a vault ever needs")
    }
    return try derive(from: password, salt: salt)
  }

  func derive(from password: borrowing Secret, salt: Data) throws -> SymmetricKey {
    try password.withData {
      try KDF.Scrypt.deriveKey(
        from: $0, salt: salt, outputByteCount: 32, rounds: n, blockSize: r, parallelism: p)
    }
  }
}

/// The processor time of this thread so far, in nanoseconds.
private func threadTime() throws(SystemError) -> Int {
  var time = timespec()
  try check("clock_gettime", nil, clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time))
  return time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// The machine's memory, in bytes.
private func totalMemory() throws(SystemError) -> Int {
  let pages = try check("sysconf", "_SC_PHYS_PAGES", sysconf(CInt(_SC_PHYS_PAGES)))
  let size = try check("sysconf", "_SC_PAGESIZE", sysconf(CInt(_SC_PAGESIZE)))
  return pages * size
}

extension Secret {
  /// Lends the bytes as what the library takes, without a copy.
  borrowing func withData<Value>(_ body: (Data) throws -> Value) rethrows -> Value {
    try withBytes { bytes in
      guard let base = bytes.baseAddress else { return try body(Data()) }
      return try body(
        Data(
          bytesNoCopy: UnsafeMutableRawPointer(mutating: base), count: bytes.count,
          deallocator: .none))
    }
  }

  /// How the kernel will call this key: HKDF-SHA512 (fscrypt's documentation, `fs/crypto/hkdf.c`).
  borrowing func identifier() -> KeyIdentifier? {
    let name = withData {
      HKDF<SHA512>.deriveKey(
        inputKeyMaterial: SymmetricKey(data: $0), info: Data("fscrypt\0\u{1}".utf8),
        outputByteCount: KeyIdentifier.size)
    }
    return KeyIdentifier(name.withUnsafeBytes { Array($0) })
  }
}
