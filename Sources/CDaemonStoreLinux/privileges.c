#define _GNU_SOURCE
#include "privileges.h"

#include <endian.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

int linux_capset(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
        {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
    };
    return (int)syscall(SYS_capset, &header, data);
}

int linux_capget(uint64_t *effective, uint64_t *permitted, uint64_t *inheritable) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0) return -1;
    *effective = data[0].effective | (uint64_t)data[1].effective << 32;
    *permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    *inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
    return 0;
}

int linux_set_file_ids(uid_t user, gid_t group) {
    uint64_t effective, permitted, inheritable;
    if (linux_capget(&effective, &permitted, &inheritable) != 0) return -1;
    setfsgid(group);
    setfsuid(user);
    // Neither call says whether it was taken: a call with -1, which is no id, returns the current one.
    if ((gid_t)setfsgid((gid_t)-1) != group || (uid_t)setfsuid((uid_t)-1) != user) {
        errno = EPERM;
        return -1;
    }
    // A change from user 0 takes those that are about files away.
    return linux_capset(effective, permitted, inheritable);
}

long linux_new_session_keyring(void) {
    return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
}

int linux_alternate_system_calls(const char *table) {
    enum { PR_ALT_SYSCALL = 0x43724f53 };
    return prctl(PR_ALT_SYSCALL, 1UL, table, 0UL, 0UL);
}

int linux_set_limit(pid_t process, int kind, uint64_t soft, uint64_t hard) {
    struct rlimit64 limit = {.rlim_cur = soft, .rlim_max = hard};
    return prlimit64(process, kind, &limit, NULL);
}

int linux_landlock_abi(void) {
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

int linux_landlock_create(uint64_t handled) {
    struct landlock_ruleset_attr attributes = {.handled_access_fs = handled};
    // The size of the first ABI: a kernel that knows more fields takes them as zero.
    return (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof handled, 0);
}

int linux_landlock_allow(int ruleset, int path, uint64_t rights) {
    struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = path};
    return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

int linux_landlock_restrict(int ruleset) {
    return (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
}

int linux_file_capabilities(const char *path, uint64_t *permitted, int *effective) {
    struct vfs_ns_cap_data data;
    memset(&data, 0, sizeof data);
    *permitted = 0;
    *effective = 0;
    ssize_t size = getxattr(path, "security.capability", &data, sizeof data);
    if (size < 0) return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -1;
    *effective = (le32toh(data.magic_etc) & VFS_CAP_FLAGS_EFFECTIVE) != 0;
    *permitted = le32toh(data.data[0].permitted) | (uint64_t)le32toh(data.data[1].permitted) << 32;
    return 0;
}

int *linux_shared_words(int file) {
    int flags = MAP_SHARED | (file < 0 ? MAP_ANONYMOUS : 0);
    if (file >= 0 && ftruncate(file, 4 * sizeof(int)) != 0) return NULL;
    void *words = mmap(NULL, 4 * sizeof(int), PROT_READ | PROT_WRITE, flags, file, 0);
    return words == MAP_FAILED ? NULL : words;
}
