// What `import Glibc` hides of the calls that give privileges up. No logic.
#pragma once
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <stdint.h>
#include <sys/types.h>

/// capset(2), version 3, of the calling thread.
int linux_capset(uint64_t effective, uint64_t permitted, uint64_t inheritable);
/// capget(2): the sets of the calling thread.
int linux_capget(uint64_t *_Nonnull effective, uint64_t *_Nonnull permitted,
                 uint64_t *_Nonnull inheritable);
/// setfsgid(2) and setfsuid(2): whose the files are that this thread makes. The effective
/// capabilities stay. -1 when the kernel takes one of the ids not.
int linux_set_file_ids(uid_t user, gid_t group);
/// KEYCTL_JOIN_SESSION_KEYRING: a new keyring without a name.
long linux_new_session_keyring(void);
/// PR_ALT_SYSCALL of ChromeOS's kernels: takes the system call table of that name.
int linux_alternate_system_calls(const char *_Nonnull table);
/// prlimit(2): sets both limits of one kind for a process.
int linux_set_limit(pid_t process, int kind, uint64_t soft, uint64_t hard);

/// The Landlock ABI of this kernel (Linux 5.13); -1 and EOPNOTSUPP or ENOSYS where there is none.
int linux_landlock_abi(void);
/// landlock_create_ruleset(2) that handles these rights to files: a descriptor.
int linux_landlock_create(uint64_t handled);
/// landlock_add_rule(2): these rights for what is open at `path` (O_PATH will do) and below it.
int linux_landlock_allow(int ruleset, int path, uint64_t rights);
/// landlock_restrict_self(2).
int linux_landlock_restrict(int ruleset);

/// The file capabilities of what `path` leads to (security.capability): the permitted set, and whether
/// they are effective. 0 and no capability for a file without; capabilities(7).
int linux_file_capabilities(const char *_Nonnull path, uint64_t *_Nonnull permitted,
                            int *_Nonnull effective);
/// mmap(2) of four words that are shared with the children of this process, in an empty file unless
/// that is -1; NULL on failure.
int *_Nullable linux_shared_words(int file);
