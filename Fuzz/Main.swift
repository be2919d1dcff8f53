// The entry point of libFuzzer for all targets: one program, which looks at the name that it was
// called by. `make fuzz` and `make fuzz-short` run each.

/// What is done with one input, by the name of the target.
private let targets: [String: ([UInt8]) -> Void] = [
  "policy": fuzzPolicy, "program": fuzzProgram, "trace": fuzzTrace, "config": fuzzConfiguration,
  "option": fuzzOptionValues, "command": fuzzCommandLine, "name": fuzzNames, "vault": fuzzVault,
  "session": fuzzSession, "request": fuzzRequest, "mountinfo": fuzzMountInfo,
  "process": fuzzProcessFiles, "baseline": fuzzBaseline, "bus": fuzzBusCall,
  "settings": fuzzSettings,
]

nonisolated(unsafe) private var target: ([UInt8]) -> Void = { _ in fatalError("no target") }

@_cdecl("LLVMFuzzerInitialize")
public func initialize(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>>>
) -> CInt {
  let path = String(cString: arguments.pointee[0])
  let name = path.utf8.split(separator: UInt8(ascii: "/")).last.map { String(Substring($0)) } ?? ""
  guard let chosen = targets[name] else {
    fatalError("\(name) is no target; there are \(targets.keys.sorted().joined(separator: ", "))")
  }
  target = chosen
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func test(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  target(Array(UnsafeBufferPointer(start: start, count: start == nil ? 0 : count)))
  return 0
}
