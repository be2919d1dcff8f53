// What `import Glibc` hides of the calls that give privileges up. No logic.
#pragma once
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <stdint.h>
#include <sys/types.h>

/// capset(2), version 3, of the calling thread.
int linux_capset(uint64_t effective, uint64_t permitted, uint64_t inheritable);
/// capget(2): the permitted set of the calling thread.
int linux_permitted_capabilities(uint64_t *_Nonnull out);
/// KEYCTL_JOIN_SESSION_KEYRING: a new keyring without a name.
long linux_new_session_keyring(void);
