/// The version of the project: every program's `--version`.
public let version = "0.1.0"
