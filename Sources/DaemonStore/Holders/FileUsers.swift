import DaemonStoreKernel

/// The processes that have one of these files or directories open, as their working directory or in any
/// other way, each in a line; this process is left out. What could not be inspected is among them.
package func users(of files: Set<FileIdentity>) throws -> [String] {
  var search = HolderSearch { file, _, _ in files.contains(file.identity) }
  return try search.processes().map(\.description)
}
