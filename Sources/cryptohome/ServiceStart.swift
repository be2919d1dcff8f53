import Glibc
import Kernel

/// Has the bus start cryptohomed, which watches the leaders of sessions, and waits for nothing: where
/// there is no bus, or no such service, the next command settles what has to be settled.
func startService() {
  guard access("/run/dbus/system_bus_socket", F_OK) == 0,
    let directory = programDirectory()?.text
  else { return }
  let program = directory + "/cryptohomed"
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  // Who waits for the end of what we say does not wait for it.
  for descriptor in 0...2 as ClosedRange<CInt> {
    posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
  }
  var arguments = [strdup(program), strdup("--wake"), nil]
  defer {
    for text in arguments { free(text) }
  }
  var environment: [UnsafeMutablePointer<CChar>?] = [nil]
  var process: pid_t = 0
  posix_spawn(&process, program, &actions, nil, &arguments, &environment)
}
