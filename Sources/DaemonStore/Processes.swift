import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// A process, named for people.
package struct ProcessName: Hashable, Sendable, CustomStringConvertible {
  package let pid: pid_t
  /// As in `/proc/PID/comm`, fit to be shown.
  package let program: String
  package var description: String { "\(program) (pid \(pid))" }

  package init(_ pid: pid_t) {
    self.pid = pid
    let comm = (try? kernelFile("/proc/\(pid)/comm")) ?? Array("?".utf8)
    program = shownBytes(comm.last == UInt8(ascii: "\n") ? comm.dropLast() : comm[...])
  }
}

extension ProcessName {
  /// The unit of systemd that it is part of, by its control group; nil for none.
  package var unit: String? { (try? kernelFile("/proc/\(pid)/cgroup")).flatMap(Self.unit(in:)) }

  /// The unit in the text of `/proc/PID/cgroup`: in the one hierarchy of version 2 or in the one that
  /// systemd has of version 1, the first group that is no slice. cgroups(7), systemd.slice(5).
  static func unit(in text: [UInt8]) -> String? {
    for line in text.lines {
      let fields = line.split(
        separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3,
        fields[1].equals("name=systemd") || fields[0].equals("0") && fields[1].isEmpty
      else { continue }
      let group = fields[2].split(separator: UInt8(ascii: "/")).first { !$0.ends(with: ".slice") }
      // A name that the kernel would take for a file of its own has an underscore before it.
      let unit = group.map { $0.first == UInt8(ascii: "_") ? $0.dropFirst() : $0 }
      guard let unit, unit.ends(with: ".service") || unit.ends(with: ".scope") else { continue }
      return shownBytes(unit)
    }
    return nil
  }
}

extension ProcessName {
  /// The one that a process has said to have.
  init(pid: pid_t, program: String) {
    self.pid = pid
    self.program = program
  }

  /// The real user id of a process; nil when it is gone.
  static func user(of process: pid_t) -> uid_t? {
    let text = (try? kernelFile("/proc/\(process)/status"))?.field("Uid")
    return text?.split(separator: UInt8(ascii: "\t")).first?.number()
  }

  /// What it may do, as a set of bits; nil when it is gone.
  package var effectiveCapabilities: UInt64? {
    guard let text = try? kernelFile("/proc/\(pid)/status") else { return nil }
    return text.field("CapEff")?.number(radix: 16)
  }
}

/// The processes of this `/proc`.
enum Processes {
  /// All of them, in ascending order.
  ///
  /// - Throws: `ENOENT` where `/proc` does not show this process by its number: it is empty, or of
  ///   another pid namespace, and shows nothing of use.
  static func all() throws(SystemError) -> [pid_t] {
    let processes = try Directory(opening: "/proc").names().compactMap {
      $0.bytes.number(as: pid_t.self)
    }.sorted()
    let own = getpid()
    let link = try linkTarget(of: "/proc/self")
    guard processes.contains(own), link.bytes.elementsEqual("\(own)".utf8) else {
      throw SystemError(operation: "look for this process in", path: "/proc", code: ENOENT)
    }
    return processes
  }

  /// The threads of one; none when it is gone. Namespaces, working directory and root are a
  /// thread's own (unshare(2)), and a process may live on without its first thread.
  static func threads(of process: pid_t, _ unknowns: Unknowns) -> [pid_t] {
    do throws(SystemError) {
      return try Directory(opening: "/proc/\(process)/task").names().compactMap {
        $0.bytes.number(as: pid_t.self)
      }
    } catch {
      unknowns.add(error, about: "/proc/\(process)")
      return []
    }
  }

  /// Calls `body` with a thread for each table of descriptors that a process has: its threads share one
  /// as a rule. One that has ended has none, so what it did not show is looked for at the next.
  static func forEachDescriptorTable(
    of process: pid_t, _ unknowns: Unknowns, _ body: (_ thread: pid_t) -> Void
  ) {
    var seen: [pid_t] = []
    for thread in threads(of: process, unknowns) {
      // The first and the last few: comparing each with each takes too long.
      guard Inspection.goesOn() else { return }
      let others = seen.prefix(2) + seen.dropFirst(2).suffix(2)
      if others.contains(where: { linux_compare_files($0, thread) == 0 }) { continue }
      body(thread)
      seen.append(thread)
    }
  }

  /// The user whose share of the time a look at a process takes: the real user, and the maker of a user
  /// namespace for all users in it, who may have thousands of ids there. nil when it is gone.
  static func responsibleUser(of process: pid_t) -> uid_t? {
    guard let user = ProcessName.user(of: process) else { return nil }
    do throws(SystemError) {
      let path: FilePath = "/proc/\(process)/ns/user"
      guard try linkTarget(of: path) != linkTarget(of: "/proc/self/ns/user") else { return user }
      let space = try Descriptor(followingLinks: path, flags: O_RDONLY)
      // Of what root has made, the user counts who runs there.
      guard let maker = space.userNamespaceMaker, maker != 0 else { return user }
      return maker
    } catch {
      return user
    }
  }

  /// How many files a process has open, as far as its first thread says (Linux 6.2): 0 else.
  static func openFiles(of process: pid_t) -> UInt64 {
    do throws(SystemError) {
      return try Directory(opening: "/proc/\(process)").status(of: "fd")?.size ?? 0
    } catch {
      return 0
    }
  }

  /// Whether the kernel hides from us what a process uses: ptrace(2), access mode checking. One
  /// that is gone, and a thread of the kernel's own, uses nothing. Process 1 is taken at its word:
  /// some systems protect it from root.
  static func isHidden(_ process: pid_t, _ directory: borrowing Directory) -> Bool {
    guard process != 1 else { return false }
    do throws(SystemError) {
      _ = try linkTarget(of: directory.path(of: "root"))
      return false
    } catch {
      return (error.code == EACCES || error.code == EPERM) && !isKernelThread(process)
        && !Unknowns.isEnd(error, of: "/proc/\(process)")
    }
  }

  /// Those that are hidden from us.
  static func hidden() throws(SystemError) -> [ProcessName] {
    var hidden: [ProcessName] = []
    for process in try all() {
      do throws(SystemError) {
        guard isHidden(process, try Directory(opening: "/proc/\(process)")) else { continue }
        hidden.append(ProcessName(process))
      } catch {
        guard Unknowns.isEnd(error, of: "/proc/\(process)") else { throw error }
      }
    }
    return hidden
  }

  /// By PF_KTHREAD.
  private static func isKernelThread(_ process: pid_t) -> Bool {
    ProcessStat(of: process)?.isKernelThread ?? false
  }
}
