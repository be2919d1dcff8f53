#define _GNU_SOURCE
#include "filters.h"

#include <sys/syscall.h>
#include <unistd.h>

int linux_seccomp(unsigned operation, unsigned flags, const void *program) {
  return (int)syscall(SYS_seccomp, operation, flags, program);
}

long linux_system_call(long number, const unsigned long arguments[6]) {
  return syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                 arguments[5]);
}
