import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import Testing

/// Runs `body` in a mount namespace of the calling thread's own: everything private, a tmpfs on
/// `/mnt`. What it throws is recorded as an issue. Call it in an exit test: the thread does not
/// come back from there.
package func inMountNamespace(_ body: () throws -> Void) {
  do {
    try enterPrivateNamespace()
    try mountFilesystem("tmpfs", "/mnt", "tmpfs", 0, "mode=0755")
    try body()
  } catch {
    Issue.record("\(error)")
  }
}

/// Nothing that is mounted from here on is seen by anybody else.
func enterPrivateNamespace() throws {
  try check("unshare", nil, linux_unshare(CLONE_NEWNS))
  try mountFilesystem("none", "/", nil, MS_REC | MS_PRIVATE)
}
