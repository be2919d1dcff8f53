import Glibc
import DaemonStoreKernel

/// The system call filters of a thread: proc_pid_status(5).
struct SeccompState: Equatable {
  let mode: [UInt8]
  /// Linux 5.9.
  let count: [UInt8]

  init(of process: pid_t, thread: pid_t) throws(JailError) {
    let path: FilePath = "/proc/\(process)/task/\(thread)/status"
    (mode, count) = try step("look at the filters of system calls", status: ExitStatus.noJail) {
      () throws(SystemError) in
      let text = try kernelFile(path)
      guard let mode = text.field("Seccomp"), let count = text.field("Seccomp_filters") else {
        throw SystemError(operation: "read", path: "Seccomp in \(path)", code: ENODATA)
      }
      return (Array(mode), Array(count))
    }
  }
}
