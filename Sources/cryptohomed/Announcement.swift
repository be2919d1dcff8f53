import Bus
import DaemonStore
import Glibc
import Kernel
import Program

/// What `cryptohome unmount` runs before it begins: tells the service that a user is about to log
/// out, and waits for those who delay that.
enum Announcement {
  /// More than any delay that the service may have.
  private static let patience = Duration.seconds(25)

  /// - Parameter user: a hash. Standard input is what hangs up when the logout is over.
  static func run(_ user: String) throws {
    guard ObfuscatedUsername(user) != nil else { throw Failure("\(user) is no 40-digit hash") }
    let bus = try Connection()
    do {
      let reply = try bus.call(Manager.prepareUnmount, patience: patience) {
        message throws(SystemError) in
        try message.append(user)
        try message.append(descriptor: STDIN_FILENO)
      }
      for (store, why) in try reply.pairs() {
        Program.complain("cryptohomed: not waiting any longer for the store \(store): \(why)")
      }
    } catch let error as BusError where error.isOfNobody {
      return  // the service does not run
    }
  }
}
