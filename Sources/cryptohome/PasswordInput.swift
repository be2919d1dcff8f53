import ArgumentParser
import Cryptohome
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

/// Where passwords come from: a descriptor, standard input, or a person at a terminal.
struct PasswordOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Read passwords from this descriptor, one a line, instead of standard input; a terminal "
        + "is asked without echo.", valueName: "descriptor"))
  var keyFd: Int32?

  @Option(
    help: ArgumentHelp(
      "Use the key in this file, 32 to 64 random bytes, instead of a password. For create it is the "
        + "only key of the new vault; elsewhere it opens the vault, if key add --raw-key or create has "
        + "added it.", valueName: "file"))
  var keyFile: FilePath?

  @Option(
    help: ArgumentHelp(
      "Give up when the password has not come after so long (10s); without it, wait.",
      valueName: "time"), transform: DurationArgument.init)
  var keyTimeout: DurationArgument?

  func validate() throws {
    guard let keyFd else { return }
    guard keyFd >= 0, fcntl(keyFd, F_GETFD) != -1 else {
      throw ValidationError("--key-fd \(keyFd) is not an open descriptor")
    }
  }

  /// What opens the vault already.
  func credential(_ prompt: String) throws -> Credential {
    guard let keyFile else { return .password(try password(prompt)) }
    try beginSecrets()
    return try .keyFile(Secret(keyFile: keyFile), at: keyFile)
  }

  /// What is to open a new vault.
  func newCredential(_ prompt: String) throws -> Credential {
    guard keyFile == nil else { return try credential(prompt) }
    return .password(try newPassword(prompt))
  }

  /// The password that exists.
  func password(_ prompt: String) throws -> Secret {
    try beginSecrets()
    let descriptor = keyFd ?? STDIN_FILENO
    guard isatty(descriptor) == 1, keyTimeout == nil else {
      return try Secret(passwordFrom: descriptor, within: keyTimeout?.duration)
    }
    return try askHidden(prompt, on: descriptor) { try Secret(passwordFrom: descriptor) }
  }

  /// A password that is new: a terminal is asked twice.
  func newPassword(_ prompt: String) throws -> Secret {
    let first = try password(prompt)
    guard isatty(keyFd ?? STDIN_FILENO) == 1 else { return first }
    let second = try password("The same again: ")
    guard first.equals(second) else {
      throw Failure("the two passwords are not the same; nothing was changed")
    }
    return first
  }
}

extension KeyLabel: ExpressibleByArgument {
  package init?(argument: String) { self.init(argument) }
}

/// Before the first password: keeps it from everybody else.
func beginSecrets() throws {
  do throws(SystemError) {
    try protectSecrets()
  } catch {
    guard error.operation == "mlockall" else { throw error }
    throw Failure(
      "\(error): passwords are kept out of swap, which takes the capability CAP_IPC_LOCK; this "
        + "container does not have it")
  }
}
