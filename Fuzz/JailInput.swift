import Glibc

@testable import DaemonStoreAccounts
@testable import Jail
@testable import DaemonStoreKernel

/// `--config`: the options that are read are those of the text that is written of them.
func fuzzConfiguration(_ bytes: [UInt8]) {
  let text = Array((ConfigurationFile.header + "\n").utf8) + bytes
  guard let options = try? ConfigurationFile.options(text, file: "c") else { return }
  guard let written = try? ConfigurationFile.text(options) else { return }
  guard let again = try? ConfigurationFile.options(written, file: "c") else {
    fatalError("what was written is refused:\n\(shownBytes(written))")
  }
  let isSame = again.elementsEqual(options) { $0.name == $1.name && $0.value == $1.value }
  precondition(isSame, "what was written means something else:\n\(shownBytes(written))")
}

/// The value of one option; the first byte says which.
func fuzzOptionValues(_ bytes: [UInt8]) {
  guard let kind = bytes.first else { return }
  let value = RawArgument(bytes: bytes.dropFirst())
  switch kind % 10 {
  case 0:
    guard let mount = try? OptionValues.bind(value) else { return }
    precondition(mount.target.isAbsolute)
  case 1:
    guard let mount = try? OptionValues.mount(value) else { return }
    precondition(mount.target.isAbsolute)
  case 2: _ = value.text.flatMap { MountFlags(expression: $0) }
  case 3: if let size = try? OptionValues.size(value) { precondition(size > 0) }
  case 4: _ = try? OptionValues.limit(value)
  case 5: _ = try? OptionValues.secureBits(value)
  case 6: try? CapabilitySet(optionText: value).check(value, last: 40)
  case 7: _ = try? OptionValues.variable(value)
  case 8:
    guard let name = try? OptionValues.store(value) else { return }
    precondition(name.isName && name.bytes.count <= 255)
  default:
    _ = try? OptionValues.descriptor(value)
    _ = try? OptionValues.landlockABI(value)
  }
}

/// A command line, with a zero byte behind each word. Nothing of the system is asked.
func fuzzCommandLine(_ bytes: [UInt8]) {
  let words = bytes.split(separator: 0, omittingEmptySubsequences: false)
    .map { RawArgument(bytes: Array($0)) }
  let world = OutsideWorld(
    user: { (name) throws(SystemError) in
      name == "nobody" ? Account(name: name, user: 65534, group: 65534, home: "/") : nil
    },
    group: { (name) throws(SystemError) in name == "nogroup" ? 65534 : nil },
    groups: { (_, group) throws(SystemError) in [group] }, lastCapability: { 40 },
    callerUser: { 0 }, callerGroup: { 0 }, maySetGroups: { true },
    linkage: { (_) throws(JailError) in .dynamic }, probe: { (_) throws(SystemError) in },
    contents: { (path, _) throws(SystemError) in
      guard path == "p" else { throw SystemError(operation: "open", path: nil, code: ENOENT) }
      return Array("read: 1\n".utf8)
    }, canLog: { true }, isOpen: { $0 < 3 })
  guard let command = try? Command(reading: words, launcher: "minijail0", world: world) else {
    return
  }
  guard let plan = try? JailPlan(command.configuration) else { return }
  precondition(!plan.stepDescriptions.isEmpty)
}
