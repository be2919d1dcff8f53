/// The version of the project: every program's `--version`.
package let version = "0.1.0"
