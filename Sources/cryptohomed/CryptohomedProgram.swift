import ArgumentParser
import DaemonStoreKernel
import DaemonStoreProgram

/// `cryptohomed`: logins on the system bus.
struct CryptohomedProgram: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cryptohomed",
    abstract: "Tell the system bus who is mounted where, and mount and unmount for its callers.",
    discussion: """
      Started by the bus or by systemd. It holds no key and no mount: stopping or killing it \
      changes nothing for anybody who is logged in. See cryptohomed(8).
      """,
    version: version)

  @Option(
    help: ArgumentHelp(
      "How long a logout waits for those who delay it (2s, 500ms).", valueName: "time"),
    transform: DurationArgument.init)
  var delay: DurationArgument?

  func validate() throws {
    if let delay, delay.duration > .seconds(20) {
      throw ValidationError("--delay is 20s at most")
    }
  }

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    let service = try Service(delay: delay?.duration ?? .seconds(2))
    try Confinement.enter()
    try service.run()
  }
}

/// Runs the service until it is told to end, and exits.
package func runCryptohomed() -> Never {
  Program.run(CryptohomedProgram.self)
}
