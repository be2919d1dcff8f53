import DaemonStoreKernel

/// Where the filter of system calls comes from: one place only.
enum FilterSource: Equatable {
  case policy(FilePath)
  case binary(FilePath)
  case strict
  case learning(FilePath)

  fileprivate var spelling: String {
    switch self {
    case .policy: "-S"
    case .binary: "--seccomp-bpf-binary"
    case .strict: "-s"
    case .learning: "--learn"
    }
  }
}

extension CommandLineParser {
  mutating func takeFilter(_ option: FoundOption, _ value: RawArgument) throws(JailError) {
    switch option.name {
    case .policy: try set(.policy(FilePath(value)))
    case .filterBinary: try set(.binary(FilePath(value)))
    case .strictMode: try set(.strict)
    case .learn:
      guard !value.isEmpty else { throw JailError("--learn needs a file") }
      try set(.learning(FilePath(value)))
    case .logViolations:
      request.logsViolations = true
      try checkLogging()
    case .synchronizeThreads: request.synchronizesThreads = true
    default: request.allowsSpeculation = true
    }
  }

  private mutating func set(_ source: FilterSource) throws(JailError) {
    if let old = request.filterSource, old.spelling != source.spelling {
      throw JailError("\(source.spelling) and \(old.spelling) are exclusive options")
    }
    request.filterSource = source
    try checkLogging()
  }

  private func checkLogging() throws(JailError) {
    if case .binary = request.filterSource, request.logsViolations {
      throw JailError("-L and --seccomp-bpf-binary are exclusive options")
    }
  }
}
