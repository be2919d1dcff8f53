import Bus
import Kernel

/// What `cryptohome pam open` runs beside itself: has the bus start the service, if it does not run.
enum Wake {
  static func run() throws {
    let bus = try Connection()
    _ = try bus.call(.ofBus("StartServiceByName"), patience: .seconds(25)) {
      message throws(SystemError) in
      try message.append(Manager.name)
      try message.append(UInt32(0))  // no flags are defined
    }
  }
}
