import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport

/// How a new mount namespace takes what happens in the old one.
enum Propagation {
  case privately, following
}

/// Moves the calling process into a mount namespace of its own.
func enterOwnNamespace(_ propagation: Propagation) throws {
  try check("unshare", nil, linux_unshare(CLONE_NEWNS))
  let flag = propagation == .privately ? MS_PRIVATE : MS_SLAVE
  try mountFilesystem("none", "/", nil, MS_REC | flag)
}
