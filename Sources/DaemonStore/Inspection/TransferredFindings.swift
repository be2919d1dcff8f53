import DaemonStoreKernel

extension ProcessName: Transferable {
  func write(to answer: inout Answer) {
    answer.write(number: pid)
    program.write(to: &answer)
  }

  init(from answer: inout Answer) throws(SystemError) {
    self.init(pid: try answer.number(), program: try String(from: &answer))
  }
}

extension UInt32: Transferable {
  func write(to answer: inout Answer) { answer.write(number: self) }
  init(from answer: inout Answer) throws(SystemError) { self = try answer.number() }
}

extension Int: Transferable {
  func write(to answer: inout Answer) { answer.write(number: self) }
  init(from answer: inout Answer) throws(SystemError) { self = try answer.number() }
}

extension Mount: Transferable {
  func write(to answer: inout Answer) {
    id.write(to: &answer)
    parent.write(to: &answer)
    device.write(to: &answer)
    root.write(to: &answer)
    target.write(to: &answer)
    attributes.rawValue.write(to: &answer)
    fileSystem.write(to: &answer)
    source.write(to: &answer)
    peerGroup.write(to: &answer)
    master.write(to: &answer)
    isUnbindable.write(to: &answer)
    layers.write(to: &answer)
    server.write(to: &answer)
  }

  init(from answer: inout Answer) throws(SystemError) {
    // The arguments are read in the order in which they were written.
    self.init(
      id: try .init(from: &answer), parent: try .init(from: &answer),
      device: try .init(from: &answer), root: try .init(from: &answer),
      target: try .init(from: &answer),
      attributes: MountAttributes(rawValue: try UInt64(from: &answer)),
      fileSystem: try .init(from: &answer), source: try .init(from: &answer),
      peerGroup: try Int?(from: &answer), master: try Int?(from: &answer),
      isUnbindable: try .init(from: &answer), layers: try .init(from: &answer),
      server: try UInt32?(from: &answer))
  }
}

extension MountNamespace.Keeper: Transferable {
  func write(to answer: inout Answer) {
    switch self {
    case .process(let name):
      answer.write([0])
      name.write(to: &answer)
    case .file(let path, let keeper):
      answer.write([keeper == nil ? 1 : 2])
      path.write(to: &answer)
      keeper?.write(to: &answer)
    }
  }

  init(from answer: inout Answer) throws(SystemError) {
    switch try answer.read(1).first {
    case 0: self = .process(try ProcessName(from: &answer))
    case 1: self = .file(try FilePath(from: &answer), in: nil)
    case 2:
      let path = try FilePath(from: &answer)
      self = .file(path, in: try Self(from: &answer))
    default: throw Answer.malformed
    }
  }
}

extension Holder.Hold: Transferable {
  func write(to answer: inout Answer) {
    func write(_ kind: UInt8, _ parts: any Transferable...) {
      answer.write([kind])
      for part in parts { part.write(to: &answer) }
    }
    switch self {
    case .workingDirectory: write(0)
    case .root: write(1)
    case .program: write(2)
    case .openFile(let path): write(3, path)
    case .mapping(let path): write(4, path)
    case .socket(let path): write(5, path)
    case .sentFile(let path): write(6, path)
    case .sentUnseen(let count): write(7, UInt64(count))
    case .detachedTree(let path): write(8, path)
    case .mountNamespace(let path): write(9, path)
    case .closedNamespace: write(10)
    case .mount(let path, let kind): write(11, path, kind)
    case .loopDevice(let path): write(12, path)
    case .watch(let path): write(13, path)
    case .uninspected(let reason): write(14, reason)
    case .hidden(let count, let one): write(15, UInt64(count), one)
    case .fugitive: write(16)
    case .unseen: write(17)
    }
  }

  init(from answer: inout Answer) throws(SystemError) {
    switch try answer.read(1).first {
    case 0: self = .workingDirectory
    case 1: self = .root
    case 2: self = .program
    case 3: self = .openFile(try FilePath(from: &answer))
    case 4: self = .mapping(try FilePath(from: &answer))
    case 5: self = .socket(try FilePath(from: &answer))
    case 6: self = .sentFile(try FilePath(from: &answer))
    case 7: self = .sentUnseen(try answer.number())
    case 8: self = .detachedTree(try FilePath(from: &answer))
    case 9: self = .mountNamespace(try FilePath(from: &answer))
    case 10: self = .closedNamespace
    case 11:
      let path = try FilePath(from: &answer)
      self = .mount(path, try FilePath(from: &answer))
    case 12: self = .loopDevice(try FilePath(from: &answer))
    case 13: self = .watch(try FilePath(from: &answer))
    case 14: self = .uninspected(try String(from: &answer))
    case 15:
      let count: Int = try answer.number()
      self = .hidden(count, try ProcessName(from: &answer))
    case 16: self = .fugitive
    case 17: self = .unseen
    default: throw Answer.malformed
    }
  }
}

extension Holder: Transferable {
  func write(to answer: inout Answer) {
    keeper.write(to: &answer)
    hold.write(to: &answer)
  }

  init(from answer: inout Answer) throws(SystemError) {
    let keeper = try MountNamespace.Keeper?(from: &answer)
    self.init(keeper: keeper, hold: try Hold(from: &answer))
  }
}

extension DirectoryPin: Transferable {
  func write(to answer: inout Answer) {
    keeper.write(to: &answer)
    answer.write(number: user)
    hold.write(to: &answer)
  }

  init(from answer: inout Answer) throws(SystemError) {
    keeper = try .init(from: &answer)
    user = try answer.number()
    hold = try .init(from: &answer)
  }
}

extension Uses: Transferable {
  func write(to answer: inout Answer) {
    mounts.write(to: &answer)
    files.write(to: &answer)
    pins.write(to: &answer)
    pinned.write(to: &answer)
  }

  init(from answer: inout Answer) throws(SystemError) {
    mounts = try .init(from: &answer)
    files = try .init(from: &answer)
    pins = try .init(from: &answer)
    pinned = try .init(from: &answer)
  }
}

extension StoreHolding: Transferable {
  func write(to answer: inout Answer) {
    (user?.description).write(to: &answer)
    holder.write(to: &answer)
  }

  init(from answer: inout Answer) throws(SystemError) {
    user = try String?(from: &answer).flatMap { ObfuscatedUsername($0) }
    holder = try .init(from: &answer)
  }
}
