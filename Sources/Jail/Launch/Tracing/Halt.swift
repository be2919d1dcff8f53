import CLinux
import Glibc
import Kernel

extension StartingJail {
  /// Stops every thread of the program and kills every process that it has started, also those
  /// that it has hidden from the tracer (CLONE_UNTRACED).
  ///
  /// - Returns: false when another program was executed meanwhile.
  func halt(_ main: pid_t) throws(JailError) -> Bool {
    let generation = images
    isHalting = true
    while true {
      let listed = try tracing { () throws(SystemError) in
        try ProcessFiles.threads(of: main)
      }
      for number in listed where threads[number] == nil {
        try ignoringEnd { () throws(SystemError) in
          try TracedThread(number).seize()
          self.threads[number] = .running
        }
      }
      for (number, state) in threads where state == .running {
        try ignoringEnd { () throws(SystemError) in try TracedThread(number).interrupt() }
      }
      while threads.values.contains(.running) || !doomed.isEmpty {
        try awaitEvent()
        try takeStops()
        if images != generation || programEnd != nil { return false }
      }
      let killed = try killHidden(main)
      // Nothing of the program runs any more, so that nothing new can appear.
      if !killed, listed == Set(threads.keys) { return true }
    }
  }

  /// - Returns: whether there was one.
  private func killHidden(_ main: pid_t) throws(JailError) -> Bool {
    let hidden = try tracing { () throws(SystemError) in try self.hidden(main) }
    for process in hidden {
      guard let start = ProcessStat(of: process), let own = ProcessStat(of: main),
        start.startTime >= own.startTime
      else { continue }
      try ignoringEnd { () throws(SystemError) in
        let end = try Descriptor(process: process)
        try check("kill", "\(process)", kill(process, SIGKILL))
        var entry = pollfd(fd: end.number, events: Int16(POLLIN), revents: 0)
        try check("poll", nil, poll(&entry, 1, self.remaining()))
        // The launcher's by now, unless the program is its parent.
        _ = waitpid(process, nil, WNOHANG)
      }
      try checkDeadline()
    }
    return !hidden.isEmpty
  }

  private func hidden(_ main: pid_t) throws(SystemError) -> Set<pid_t> {
    var children: Set<pid_t> = []
    for thread in threads.keys {
      children.formUnion(try ProcessFiles.children(of: main, thread: thread))
    }
    let parent = main == first ? getpid() : first
    children.formUnion(try ProcessFiles.children(of: parent, thread: parent))
    if parent == getpid() { children.subtract(ownChildren) }
    children.subtract([main, first])
    return children.filter { process in
      guard let stat = ProcessStat(of: process) else { return false }
      return !stat.hasEnded
    }
  }
}
