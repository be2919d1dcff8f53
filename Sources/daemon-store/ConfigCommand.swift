import ArgumentParser
import DaemonStore
import DaemonStoreProgram

struct ConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config",
    abstract: "Print the configuration that is in effect, and where each value comes from.",
    discussion: """
      It is read from /etc/daemon-store.conf and /etc/daemon-store.conf.d/*.conf: \
      daemon-store.conf(5).

      Exit status: 0 printed, 2 usage, 3 printed, but part of a file is not used.
      """)

  @Flag(help: "Print the result as JSON.")
  var json = false

  func run() throws {
    try Program.leaveWorkingDirectory()
    let configuration = Configuration(of: .system)
    if json {
      try printJSON(ConfigOutput(configuration))
    } else {
      for section in configuration.sections {
        Program.say("[\(section)]")
        for key in Configuration.Key.allCases {
          let setting = configuration.setting(key, in: section)
          Program.say("\(key.rawValue)=\(setting.value)  # \(setting.origin ?? "default")")
        }
      }
    }
    for error in configuration.errors { Program.complain("daemon-store: config: \(error)") }
    if !configuration.errors.isEmpty { throw Ending(.partial) }
  }
}

/// `daemon-store config --json`.
private struct ConfigOutput: Encodable {
  struct Setting: Encodable {
    let section: String
    let key: String
    let value: String
    /// Absent for a value that no file has.
    let origin: String?
  }

  let settings: [Setting]
  let errors: [String]

  init(_ configuration: Configuration) {
    settings = configuration.sections.flatMap { section in
      Configuration.Key.allCases.map { key in
        let setting = configuration.setting(key, in: section)
        return Setting(
          section: "\(section)", key: key.rawValue, value: setting.value, origin: setting.origin)
      }
    }
    errors = configuration.errors
  }
}
