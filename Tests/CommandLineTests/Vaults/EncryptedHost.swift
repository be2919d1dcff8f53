import Glibc
import TestSupport
import Testing

/// Runs `body` on a machine whose `/home` is a file system of its own, in an image at `/mnt/disk`:
/// ext4 with the feature to encrypt, unless `features` says otherwise.
func inEncryptedHost(
  _ machine: Machine = .shared, megabytes: Int = 16, features: String = "encrypt",
  _ body: (Host) throws -> Void
) {
  inHost(machine) { host in
    let outcome = try host.script(
      "truncate -s \(megabytes)M /mnt/disk && mkfs.ext4 -q -m 0 -O \(features) /mnt/disk "
        + "&& mount -o loop /mnt/disk /home && rmdir /home/lost+found")
    guard outcome.status == 0 else { throw Problem("\(outcome)") }
    if machine == .shared { try mountFilesystem("none", "/home", nil, MS_SHARED) }
    try body(host)
  }
}

extension Host {
  /// Runs a program with these lines on its standard input: passwords.
  func run(lines: String..., arguments: String...) throws -> Outcome {
    try TestSupport.run(
      "/mnt/programs/cryptohome", arguments, stdin: lines.map { $0 + "\n" }.joined())
  }

  /// Makes a vault.
  func create(
    _ user: String, _ password: String = "secret", sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let outcome = try run(lines: password, arguments: "create", user)
    #expect(outcome.status == 0, "\(outcome)", sourceLocation: sourceLocation)
  }

  /// Makes a vault that a key file opens: without the time that a password takes.
  func createWithKeyFile(
    _ user: String, _ options: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    if !exists("/mnt/key") { _ = try script("head -c 32 /dev/urandom > /mnt/key") }
    let outcome = try TestSupport.run(
      "/mnt/programs/cryptohome", ["create", user, "--key-file", "/mnt/key"] + options)
    #expect(outcome.status == 0, "\(outcome)", sourceLocation: sourceLocation)
    return outcome
  }

  /// Logs in with that key file, and expects this status.
  func unlockWithKeyFile(
    _ user: String, status: CInt = 0, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let outcome = try run("cryptohome", "mount", user, "--key-file", "/mnt/key")
    #expect(outcome.status == status, "\(outcome)", sourceLocation: sourceLocation)
  }

  /// Logs in with a password, and expects this status.
  @discardableResult
  func unlock(
    _ user: String, _ password: String = "secret", status: CInt = 0,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    let outcome = try run(lines: password, arguments: "mount", user)
    #expect(outcome.status == status, "\(outcome)", sourceLocation: sourceLocation)
    return outcome
  }

  /// What a reader of its own, in Python, says of a directory's policy and the state of its key:
  /// `2 1 4 3 IDENTIFIER present`, with the numbers of `<linux/fscrypt.h>`; `none`.
  func policy(of user: String) throws -> String {
    try script(
      """
      python3 - /home/.shadow/\(user)/mount <<'end'
      import fcntl, os, struct, sys
      directory = os.open(sys.argv[1], os.O_RDONLY)
      argument = bytearray(8 + 24)
      struct.pack_into("Q", argument, 0, 24)
      try:
          fcntl.ioctl(directory, 0xC0096616, argument)
      except OSError as error:
          print("none"); sys.exit()
      version, contents, names, flags = argument[8:12]
      identifier = argument[16:32]
      status = bytearray(128)
      struct.pack_into("II", status, 0, 2, 0)
      status[8:24] = identifier
      fcntl.ioctl(directory, 0xC080661A, status)
      state = {1: "absent", 2: "present", 3: "busy"}[struct.unpack_from("I", status, 64)[0]]
      print(version, contents, names, flags, identifier.hex(), state)
      end
      """
    ).lines.joined()
  }

  /// What is in `/home/.shadow` beside the copy of the salt.
  func vaults() throws -> [String] {
    try names(in: "/home/.shadow").filter { $0 != "salt.copy" }
  }

  func keyState(of user: String) throws -> String {
    String(try policy(of: user).split(separator: " ").last ?? "none")
  }
}
