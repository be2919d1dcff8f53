#include "CSystemd.h"

#include <dlfcn.h>
#include <errno.h>

// The function `name` of libsystemd, which stays loaded; NULL when it is not installed, or too old.
static void *function(const char *name) {
  static void *library;
  if (library == NULL) library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
  return library == NULL ? NULL : dlsym(library, name);
}

// A function that calls that of its name. Without it in the library the result is -ELIBACC, or NULL.
#define LOADED(result, name, parameters) \
  static result(*loaded) parameters;     \
  if (loaded == NULL) loaded = (result(*) parameters)(intptr_t)function(#name)
#define NUMBER(name, parameters, arguments)              \
  int name parameters {                                  \
    LOADED(int, name, parameters);                       \
    return loaded == NULL ? -ELIBACC : loaded arguments; \
  }
#define POINTER(result, name, parameters, arguments) \
  result name parameters {                           \
    LOADED(result, name, parameters);                \
    return loaded == NULL ? NULL : loaded arguments; \
  }
#define ACTION(name, parameters, arguments) \
  void name parameters {                    \
    LOADED(void, name, parameters);         \
    if (loaded != NULL) loaded arguments;   \
  }

// What a table of methods refers to. The library compares no address with its own.
const unsigned sd_bus_object_vtable_format = 242;

NUMBER(sd_booted, (void), ())
NUMBER(sd_bus_add_match,
    (sd_bus *bus, sd_bus_slot **slot, const char *match, sd_bus_message_handler_t callback,
     void *userdata),
    (bus, slot, match, callback, userdata))
NUMBER(sd_bus_add_object_vtable,
    (sd_bus *bus, sd_bus_slot **slot, const char *path, const char *interface,
     const sd_bus_vtable *vtable, void *userdata),
    (bus, slot, path, interface, vtable, userdata))
NUMBER(sd_bus_attach_event, (sd_bus *bus, sd_event *e, int priority), (bus, e, priority))
NUMBER(sd_bus_call,
    (sd_bus *bus, sd_bus_message *m, uint64_t usec, sd_bus_error *ret_error,
     sd_bus_message **reply),
    (bus, m, usec, ret_error, reply))
NUMBER(sd_bus_call_async,
    (sd_bus *bus, sd_bus_slot **slot, sd_bus_message *m, sd_bus_message_handler_t callback,
     void *userdata, uint64_t usec),
    (bus, slot, m, callback, userdata, usec))
NUMBER(sd_bus_emit_properties_changed_strv,
    (sd_bus *bus, const char *path, const char *interface, char **names),
    (bus, path, interface, names))
ACTION(sd_bus_error_free, (sd_bus_error *e), (e))
NUMBER(sd_bus_error_set, (sd_bus_error *e, const char *name, const char *message),
    (e, name, message))
POINTER(sd_bus *, sd_bus_close_unref, (sd_bus *bus), (bus))
POINTER(sd_bus *, sd_bus_flush_close_unref, (sd_bus *bus), (bus))
NUMBER(sd_bus_message_append_array, (sd_bus_message *m, char type, const void *ptr, size_t size),
    (m, type, ptr, size))
NUMBER(sd_bus_message_append_basic, (sd_bus_message *m, char type, const void *p), (m, type, p))
NUMBER(sd_bus_message_close_container, (sd_bus_message *m), (m))
NUMBER(sd_bus_message_enter_container, (sd_bus_message *m, char type, const char *contents),
    (m, type, contents))
NUMBER(sd_bus_message_exit_container, (sd_bus_message *m), (m))
POINTER(const sd_bus_error *, sd_bus_message_get_error, (sd_bus_message *m), (m))
POINTER(const char *, sd_bus_message_get_member, (sd_bus_message *m), (m))
POINTER(const char *, sd_bus_message_get_sender, (sd_bus_message *m), (m))
NUMBER(sd_bus_message_new_method_call,
    (sd_bus *bus, sd_bus_message **m, const char *destination, const char *path,
     const char *interface, const char *member),
    (bus, m, destination, path, interface, member))
NUMBER(sd_bus_message_new_method_error,
    (sd_bus_message *call, sd_bus_message **m, const sd_bus_error *e),
    (call, m, e))
NUMBER(sd_bus_message_new_method_return, (sd_bus_message *call, sd_bus_message **m), (call, m))
NUMBER(sd_bus_message_new_signal,
    (sd_bus *bus, sd_bus_message **m, const char *path, const char *interface, const char *member),
    (bus, m, path, interface, member))
NUMBER(sd_bus_message_open_container, (sd_bus_message *m, char type, const char *contents),
    (m, type, contents))
NUMBER(sd_bus_message_peek_type, (sd_bus_message *m, char *type, const char **contents),
    (m, type, contents))
NUMBER(sd_bus_message_read_array, (sd_bus_message *m, char type, const void **ptr, size_t *size),
    (m, type, ptr, size))
NUMBER(sd_bus_message_read_basic, (sd_bus_message *m, char type, void *p), (m, type, p))
POINTER(sd_bus_message *, sd_bus_message_ref, (sd_bus_message *m), (m))
NUMBER(sd_bus_message_send, (sd_bus_message *m), (m))
NUMBER(sd_bus_message_set_auto_start, (sd_bus_message *m, int b), (m, b))
NUMBER(sd_bus_message_skip, (sd_bus_message *m, const char *types), (m, types))
POINTER(sd_bus_message *, sd_bus_message_unref, (sd_bus_message *m), (m))
NUMBER(sd_bus_open_system, (sd_bus **ret), (ret))
NUMBER(sd_bus_reply_method_error, (sd_bus_message *call, const sd_bus_error *e), (call, e))
NUMBER(sd_bus_send, (sd_bus *bus, sd_bus_message *m, uint64_t *cookie), (bus, m, cookie))
NUMBER(sd_bus_slot_set_destroy_callback, (sd_bus_slot *s, sd_bus_destroy_t callback), (s, callback))
NUMBER(sd_bus_slot_set_floating, (sd_bus_slot *slot, int b), (slot, b))
POINTER(sd_bus_slot *, sd_bus_slot_unref, (sd_bus_slot *slot), (slot))
NUMBER(sd_event_add_io,
    (sd_event *e, sd_event_source **s, int fd, uint32_t events, sd_event_io_handler_t callback,
     void *userdata),
    (e, s, fd, events, callback, userdata))
NUMBER(sd_event_add_signal,
    (sd_event *e, sd_event_source **s, int sig, sd_event_signal_handler_t callback, void *userdata),
    (e, s, sig, callback, userdata))
NUMBER(sd_event_add_time_relative,
    (sd_event *e, sd_event_source **s, clockid_t clock, uint64_t usec, uint64_t accuracy,
     sd_event_time_handler_t callback, void *userdata),
    (e, s, clock, usec, accuracy, callback, userdata))
NUMBER(sd_event_exit, (sd_event *e, int code), (e, code))
NUMBER(sd_event_loop, (sd_event *e), (e))
NUMBER(sd_event_new, (sd_event **e), (e))
POINTER(sd_event_source *, sd_event_source_disable_unref, (sd_event_source *s), (s))
NUMBER(sd_event_source_set_enabled, (sd_event_source *s, int enabled), (s, enabled))
NUMBER(sd_event_source_set_io_fd_own, (sd_event_source *s, int own), (s, own))
NUMBER(sd_event_source_set_priority, (sd_event_source *s, int64_t priority), (s, priority))
POINTER(sd_event *, sd_event_unref, (sd_event *e), (e))
NUMBER(sd_notify, (int unset_environment, const char *state), (unset_environment, state))
