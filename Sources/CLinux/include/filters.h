// Filters of system calls, and calls by number.
#pragma once
#include <linux/filter.h>

/// seccomp(2), Linux 3.17. `program` is what the operation takes, or NULL.
int linux_seccomp(unsigned operation, unsigned flags, const void *_Nullable program);
/// syscall(2) with six arguments: -1 and errno on failure. The kernel ignores what a call does not
/// take.
long linux_system_call(long number, const unsigned long arguments[_Nonnull 6]);
