import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

extension HolderSearch {
  /// The program and the first mapped file of a process that are among the files.
  ///
  /// Any thread that lives shows them: one that has ended, as the first may have long ago, has no
  /// memory any more (proc_pid_exe(5)).
  func memory(of process: pid_t, _ directory: borrowing Directory) -> [Holder.Hold] {
    var found: [Holder.Hold] = []
    for _ in 0..<5 {
      var isAlive = false
      for thread in Processes.threads(of: process, unknowns) {
        let path = directory.path(of: "task/\(thread)")
        guard Inspection.goesOn() else { return found }
        do throws(SystemError) {
          let task = try directory.directory("task/\(thread)")
          let state = try ProcessStat(parsing: kernelFile(task.path(of: "stat")))
          // A thread of the kernel has no memory of a user's. One that ends has none, or shows it still.
          let isEnding = state.map { $0.isKernelThread || $0.isExiting } ?? false
          guard let program = try task.status(behind: "exe") else {
            isAlive = isAlive || !isEnding
            continue
          }
          let isHolder = isHeld(program, "exe", task, by: process, .program)
          if isHolder, !found.contains(.program) { found.append(.program) }
          if let file = try mapping(of: process, thread, task) {
            return found + [.mapping(file)]
          }
          if try task.status(behind: "exe") != nil { return found }
          isAlive = true  // it has ended meanwhile: another one may show what it did not
        } catch {
          if !Unknowns.isEnd(error, of: path) {
            unknowns.add(error)
            return found
          }
          // Process 1 is taken at its word.
          if process == 1 { return found }
        }
      }
      if !isAlive { return found }
    }
    if access(directory.path.cString, F_OK) == 0 {
      unknowns.add("memory of \(ProcessName(process)), whose threads come and go")
    }
    return found
  }

  /// The first file that a thread's process has mapped. Each file is looked at once, however many mappings
  /// there are of it: the text of maps costs little.
  private func mapping(
    of process: pid_t, _ thread: pid_t, _ task: borrowing Directory
  ) throws(SystemError) -> FilePath? {
    let text = try kernelFile(task.path(of: "maps")).map { CChar(bitPattern: $0) }
    // Threads have one only by their numbers.
    let links = try Directory(opening: "/proc/\(thread)").directory("map_files")
    var mapping = linux_mapping()
    var place = 0
    var seen: Set<FileIdentity> = []
    while linux_next_mapping(text, text.count, &place, &mapping) != 0 {
      let file = FileIdentity(
        device: linux_makedev(mapping.major, mapping.minor), inode: mapping.inode)
      guard !seen.contains(file) else { continue }
      let range = text[mapping.range..<(mapping.range + mapping.length)]
      let name = Self.entry(of: range.map { UInt8(bitPattern: $0) })
      guard Inspection.goesOn() else { break }
      // One that was changed meanwhile has another name by now.
      guard let status = status(behind: name, links) else { continue }
      // On btrfs maps has one device for all subvolumes, and numbers are given again in each.
      if status.identity == file { seen.insert(file) }
      if isHeld(status, name, links, by: process, .mapping("")) {
        return shownPath(of: name, links)
      }
    }
    return nil
  }

  /// The name in map_files of a range in maps, whose numbers begin with zeros.
  private static func entry(of range: [UInt8]) -> FilePath {
    let ends = range.split(separator: UInt8(ascii: "-")).map { end in
      FilePath(truncating: end.drop { $0 == UInt8(ascii: "0") })
    }
    return ends.count == 2 ? "\(ends[0])-\(ends[1])" : ""
  }
}
