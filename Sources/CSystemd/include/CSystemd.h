// libsystemd's interface. Its functions are defined here (systemd.c), each of which calls the one of
// that name in the library, which is loaded when the first is called: a program that says nothing to
// the bus does not pay for the six libraries that come with it.
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
