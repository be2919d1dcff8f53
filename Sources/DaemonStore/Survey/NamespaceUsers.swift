import DaemonStoreKernel
import Glibc

/// The users who run something in each mount namespace. Threads are in namespaces, and processes are not: each
/// may be in another one, and run as another user.
enum NamespaceUsers {
  /// Of each namespace, by its inode, the users with one process each.
  static func all(_ unknowns: Unknowns) throws -> [UInt64: [uid_t: pid_t]] {
    let found = try Inspection.run(.namespaces, unknowns) {
      let unknowns = Unknowns()
      let users = try look(unknowns)
      return Found(users: users, unknowns: unknowns.reasons)
    }
    var all: [UInt64: [uid_t: pid_t]] = [:]
    for reason in found?.unknowns ?? [] { unknowns.add(reason) }
    for one in found?.users ?? [] { all[one.namespace, default: [:]][one.user] = one.process }
    return all
  }

  /// The search itself: for an inspecting process.
  private static func look(_ unknowns: Unknowns) throws(SystemError) -> [NamespaceUser] {
    var known: [UInt64: Set<uid_t>] = [:]
    var users: [NamespaceUser] = []
    try Inspection.inTurns(try Processes.all(), unknowns) { process throws(SystemError) in
      guard Inspection.begins(at: "\(process)") else { return }
      for thread in Processes.threads(of: process, unknowns) {
        guard Inspection.goesOn() else { return }
        do throws(SystemError) {
          let task = try Directory(opening: "/proc/\(process)/task/\(thread)")
          let user = try task.status().owner
          let link = try linkTarget(of: task.path(of: "ns/mnt"))
          guard let id = NamespaceLink.id(in: link),
            known[id, default: []].insert(user).inserted
          else { continue }
          users.append(NamespaceUser(namespace: id, user: user, process: process))
        } catch {
          // One that is gone, or hidden: the latter are named in the survey.
          guard [ENOENT, ESRCH, EACCES, EPERM].contains(error.code) else { throw error }
        }
      }
    }
    return users
  }

  private struct Found: Transferable {
    let users: [NamespaceUser]
    let unknowns: [String]

    init(users: [NamespaceUser], unknowns: [String]) {
      self.users = users
      self.unknowns = unknowns
    }

    func write(to answer: inout Answer) {
      users.write(to: &answer)
      unknowns.write(to: &answer)
    }

    init(from answer: inout Answer) throws(SystemError) {
      users = try .init(from: &answer)
      unknowns = try .init(from: &answer)
    }
  }
}

private struct NamespaceUser: Transferable {
  let namespace: UInt64
  let user: uid_t
  let process: pid_t

  init(namespace: UInt64, user: uid_t, process: pid_t) {
    self.namespace = namespace
    self.user = user
    self.process = process
  }

  func write(to answer: inout Answer) {
    namespace.write(to: &answer)
    answer.write(number: user)
    answer.write(number: process)
  }

  init(from answer: inout Answer) throws(SystemError) {
    namespace = try .init(from: &answer)
    user = try answer.number()
    process = try answer.number()
  }
}
