import CDaemonStoreLinux
import Cryptohome
import DaemonStore
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

/// Starts this program again, as root has started it, with nothing but these descriptors.
func startAgain(
  _ arguments: [String], descriptors: [CInt: CInt] = [:]
) throws(SystemError) -> pid_t {
  // By its own name, which the process then has, and not by that of the file that it is a link to.
  guard let program = programPath(called: "cryptohome") else {
    throw SystemError(operation: "readlink", path: "/proc/self/exe", code: ENOENT)
  }
  return try startProcess(
    program, ["cryptohome"] + arguments.map { "\($0)" }, environment: [],
    descriptors: descriptors)
}

/// Locks the vaults of users whose sessions have all ended, where this is the namespace that they are in. That
/// takes a moment as a rule; what takes longer than two seconds goes on without this process, which is about
/// another user. What fails here fails again for a command that is about that user, and is reported then.
func lockEndedSessions() {
  guard InitNamespace.isOther != true,
    let users = try? Sessions.usersWithEndedSessions(.system), !users.isEmpty
  else { return }
  let deadline = ContinuousClock.now + .seconds(2)
  for (_, process) in begin(users, ["--now"], isHeard: false) {
    // None is killed: it may be in the middle of a logout, and ends by itself.
    guard case .success(let number) = process, let handle = try? Descriptor(process: number),
      (try? isReadable(handle.number, until: deadline)) == true
    else { continue }
    _ = try? wait(for: number)
  }
}

/// Has the vaults of these users locked, each by a process: the vault of one user cannot keep the others
/// open.
///
/// - Parameter isHeard: whether the processes complain on standard error.
/// - Returns: whether all of them have ended well.
func lockEnded(
  _ users: [ObfuscatedUsername], _ options: [String], isHeard: Bool,
  until deadline: ContinuousClock.Instant
) -> Bool {
  var isComplete = true
  for (user, process) in begin(users, options, isHeard: isHeard) {
    do {
      let process = try process.get()
      if try end(of: process, until: deadline) != .exited(0) { isComplete = false }
    } catch {
      isComplete = false
      Program.complain("cryptohome: \(user): the vault is not locked: \(error)")
    }
  }
  return isComplete
}

/// Starts the processes, one for each user.
private func begin(
  _ users: [ObfuscatedUsername], _ options: [String], isHeard: Bool
) -> [(user: ObfuscatedUsername, process: Result<pid_t, SystemError>)] {
  users.map { user in
    let process = Result { () throws(SystemError) in
      try startAgain(
        ["pam", "lock-ended"] + options + ["--", user.description],
        descriptors: isHeard ? [STDERR_FILENO: STDERR_FILENO] : [:])
    }
    return (user, process)
  }
}

/// How a process ended that this one has started. One that has not ended at `deadline` is killed, and not
/// waited for.
private func end(
  of process: pid_t, until deadline: ContinuousClock.Instant
) throws -> ProcessEnd {
  let handle = try Descriptor(process: process)
  guard try isReadable(handle.number, until: deadline) else {
    kill(process, SIGKILL)
    throw Failure("process \(process) has not ended in time, and is not waited for")
  }
  return try wait(for: process).end
}
