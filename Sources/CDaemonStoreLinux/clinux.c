#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/fs.h>
#include <linux/kcmp.h>
#include <link.h>
#include <linux/loop.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000U  // Linux 6.8; an older kernel gives STATX_MNT_ID
#endif

_Static_assert(LINUX_AT_EMPTY_PATH == AT_EMPTY_PATH, "");
_Static_assert(LINUX_AT_RECURSIVE == AT_RECURSIVE, "");
_Static_assert(LINUX_O_PATH == O_PATH, "");
_Static_assert(LINUX_SIGNAL_LAST == _NSIG - 1, "");

int linux_openat2(int directory, const char *path, const struct open_how *how) {
    return (int)syscall(SYS_openat2, directory, path, how, sizeof *how);
}

int linux_statx(int directory, const char *path, int flags, struct statx *out) {
    return (int)syscall(SYS_statx, directory, path, flags | AT_STATX_DONT_SYNC,
                        STATX_BASIC_STATS | STATX_MNT_ID, out);
}

int linux_statx_least(int directory, const char *path, struct statx *out) {
    return (int)syscall(SYS_statx, directory, path, AT_STATX_DONT_SYNC, 0U, out);
}

int linux_mount_at(const char *path, uint64_t *id) {
    struct statx status;
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
    unsigned mask = STATX_MNT_ID | STATX_MNT_ID_UNIQUE;
    if (syscall(SYS_statx, AT_FDCWD, path, flags, mask, &status) != 0) return -1;
    *id = status.stx_mnt_id;
    return (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

int linux_rename_new(int from_directory, const char *from, int to_directory, const char *to) {
    return renameat2(from_directory, from, to_directory, to, RENAME_NOREPLACE);
}

int linux_unshare(int flags) { return unshare(flags); }
int linux_setns(int descriptor, int kind) { return setns(descriptor, kind); }

int linux_pivot_root(const char *new_root, const char *put_old) {
    return (int)syscall(SYS_pivot_root, new_root, put_old);
}

int linux_close_range(unsigned first, unsigned last, int flags) {
    return (int)syscall(SYS_close_range, first, last, flags);
}

int linux_memory_file(const char *name) { return memfd_create(name, MFD_CLOEXEC); }

int linux_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

pid_t linux_fork(uint64_t flags) {
    // Without new namespaces libc's own fork keeps its locks in order.
    if (flags == 0) return fork();
    return (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, 0UL);
}

int linux_pidfd_open(pid_t process) { return (int)syscall(SYS_pidfd_open, process, 0); }

int linux_signalfd(const void *signal_set) {
    return signalfd(-1, signal_set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int linux_next_signal(int signal_descriptor) {
    struct signalfd_siginfo info;
    ssize_t count = read(signal_descriptor, &info, sizeof info);
    if (count == sizeof info) return (int)info.ssi_signo;
    return errno == EAGAIN ? 0 : -1;
}

int linux_prctl(int option, unsigned long a, unsigned long b, unsigned long c) {
    return prctl(option, a, b, c, 0UL);
}

int linux_setgroups(size_t count, const gid_t *groups) { return setgroups(count, groups); }
int linux_setresuid(uid_t user) { return setresuid(user, user, user); }
int linux_setresgid(gid_t group) { return setresgid(group, group, group); }

int linux_getgrouplist(const char *user, gid_t group, gid_t *groups, int capacity) {
    return getgrouplist(user, group, groups, &capacity);
}

int linux_sethostname(const char *name) { return sethostname(name, strlen(name)); }

int linux_mknod(int directory, const char *name, mode_t mode, unsigned major, unsigned minor) {
    return mknodat(directory, name, mode, makedev(major, minor));
}

static struct rlimit descriptor_limit;

void linux_raise_descriptor_limit(void) {
    if (getrlimit(RLIMIT_NOFILE, &descriptor_limit) != 0) return;
    struct rlimit limit = {descriptor_limit.rlim_max, descriptor_limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &limit);
}

void linux_restore_descriptor_limit(void) {
    if (descriptor_limit.rlim_max != 0) setrlimit(RLIMIT_NOFILE, &descriptor_limit);
}

int linux_loopback_up(void) {
    int socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_fd < 0) return -1;
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int result = ioctl(socket_fd, SIOCSIFFLAGS, &request);
    int code = errno;
    close(socket_fd);
    errno = code;
    return result;
}

int linux_take_terminal(int descriptor) { return ioctl(descriptor, TIOCSCTTY, 0); }

int linux_terminal_peer(int pseudoterminal) {
    int locked = 0;
    if (ioctl(pseudoterminal, TIOCSPTLCK, &locked) != 0) return -1;
    return ioctl(pseudoterminal, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

int linux_copy_window_size(int from, int to) {
    struct winsize size;
    if (ioctl(from, TIOCGWINSZ, &size) != 0) return -1;
    return ioctl(to, TIOCSWINSZ, &size);
}

int linux_reopen_through(int directory, const char *link, int mount) {
    union {
        struct file_handle handle;
        char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } file = {.handle.handle_bytes = MAX_HANDLE_SZ};
    int mount_id;
    int found = link[0] == 0
                    ? name_to_handle_at(directory, "", &file.handle, &mount_id, AT_EMPTY_PATH)
                    : name_to_handle_at(directory, link, &file.handle, &mount_id, AT_SYMLINK_FOLLOW);
    if (found != 0) return -1;
    return open_by_handle_at(mount, &file.handle, O_PATH | O_CLOEXEC);
}

void linux_end_with_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL, 0L, 0L, 0L); }

int linux_next_mapping(const char *text, size_t size, size_t *at, struct linux_mapping *out) {
    while (*at < size) {
        const char *line = text + *at;
        const char *end = memchr(line, '\n', size - *at);
        if (!end) return 0;
        *at = (size_t)(end - text) + 1;
        // start-end permissions offset major:minor inode path: proc_pid_maps(5).
        char begin[160], range[40];
        unsigned long long inode;
        size_t length = (size_t)(end - line) < sizeof begin ? (size_t)(end - line) : sizeof begin - 1;
        memcpy(begin, line, length);
        begin[length] = 0;
        if (sscanf(begin, "%39[0-9a-f-] %*s %*x %x:%x %llu", range, &out->major, &out->minor, &inode) != 4) continue;
        if (inode == 0) continue;
        out->inode = inode;
        out->range = (size_t)(line - text);
        out->length = strlen(range);
        return 1;
    }
    return 0;
}

int linux_anonymous_file(void) { return epoll_create1(EPOLL_CLOEXEC); }

int linux_open_handle(int mount, int type, const void *bytes, unsigned size) {
    union {
        struct file_handle handle;
        char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } file = {.handle = {.handle_bytes = size, .handle_type = type}};
    if (size > MAX_HANDLE_SZ) {
        errno = EINVAL;
        return -1;
    }
    memcpy(file.handle.f_handle, bytes, size);
    return open_by_handle_at(mount, &file.handle, O_PATH | O_CLOEXEC);
}

int linux_file_system(const char *path, uint64_t *type, uint64_t *id) {
    struct statfs status;
    if (statfs(path, &status) != 0) return -1;
    *type = (uint64_t)status.f_type;
    memcpy(id, &status.f_fsid, sizeof *id);
    return 0;
}

int linux_file_system_type(int descriptor, uint64_t *type) {
    struct statfs status;
    if (fstatfs(descriptor, &status) != 0) return -1;
    *type = (uint64_t)status.f_type;
    return 0;
}

int linux_compare_files(pid_t one, pid_t other) {
    return (int)syscall(SYS_kcmp, one, other, KCMP_FILES, 0UL, 0UL);
}

int linux_compare_file(pid_t one, int number, pid_t other, int other_number) {
    return (int)syscall(SYS_kcmp, one, other, KCMP_FILE, (unsigned long)number,
                        (unsigned long)other_number);
}

struct linux_protection linux_clear_protection(int directory, const char *name) {
    struct linux_protection none = {-1, 0};
    struct stat status;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return none;
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return none;
    int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return none;
    int flags;
    if (ioctl(file, FS_IOC_GETFLAGS, &flags) == 0 && (flags & (FS_IMMUTABLE_FL | FS_APPEND_FL))) {
        int cleared = flags & ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
        if (ioctl(file, FS_IOC_SETFLAGS, &cleared) == 0 && S_ISREG(status.st_mode))
            return (struct linux_protection){file, flags};
    }
    close(file);
    return none;
}

void linux_restore_protection(struct linux_protection protection) {
    if (protection.file < 0) return;
    struct stat status;
    if (fstat(protection.file, &status) == 0 && status.st_nlink > 0)
        ioctl(protection.file, FS_IOC_SETFLAGS, &protection.flags);
    close(protection.file);
}

int linux_get_descriptor(pid_t process, pid_t thread, int number) {
    int pidfd = (int)syscall(SYS_pidfd_open, thread, (unsigned)O_EXCL);  // PIDFD_THREAD
    if (pidfd < 0 && errno == EINVAL) pidfd = (int)syscall(SYS_pidfd_open, process, 0U);
    if (pidfd < 0) return -1;
    int copy = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0U);
    int code = errno;
    close(pidfd);
    errno = code;
    return copy;
}

int linux_print(const void *bytes, size_t count) {
    return fwrite(bytes, 1, count, stdout) == count ? 0 : -1;
}

void linux_occupy_standard_descriptors(void) {
    // The lowest number that is free is given: once above 2, none of them is.
    for (int number = 0; number <= 2; number++) {
        if (fcntl(number, F_GETFD) >= 0) continue;
        int mode = number == STDIN_FILENO ? O_WRONLY : O_RDONLY;
        if (open("/dev/null", mode | O_CLOEXEC) < 0) return;
    }
}

// The headers of Debian 12 are older than these two, whose numbers are the same everywhere.
enum { NUMBER_STATMOUNT = 457, NUMBER_LISTMOUNT = 458 };

/// struct mnt_id_req as of Linux 6.11.
struct mount_request {
    uint32_t size, spare;
    uint64_t mount, parameter, space;
};

const uint64_t linux_mount_root = UINT64_MAX;

int linux_mount_namespace_id(int file, uint64_t *id) { return ioctl(file, _IOR(0xb7, 5, uint64_t), id); }

long linux_listmount(uint64_t space, uint64_t parent, uint64_t last, uint64_t *ids, size_t capacity) {
    struct mount_request request = {
        .size = sizeof request, .mount = parent, .parameter = last, .space = space};
    return syscall(NUMBER_LISTMOUNT, &request, ids, capacity, 0);
}

int linux_statmount(uint64_t space, uint64_t mount, void *buffer, size_t size) {
    _Static_assert(offsetof(struct linux_mount_status, id_old) == 56, "struct statmount");
    _Static_assert(offsetof(struct linux_mount_status, source) == 124, "struct statmount");
    // SB_BASIC, MNT_BASIC, PROPAGATE_FROM, MNT_ROOT, MNT_POINT, FS_TYPE, MNT_OPTS, FS_SUBTYPE and
    // SB_SOURCE. A kernel leaves out what it does not know.
    struct mount_request request = {
        .size = sizeof request, .mount = mount, .parameter = 0x3bf, .space = space};
    return (int)syscall(NUMBER_STATMOUNT, &request, buffer, size, 0);
}

int linux_loop_backing(int device, uint64_t *dev, uint64_t *inode) {
    struct loop_info64 info;
    if (ioctl(device, LOOP_GET_STATUS64, &info) != 0) return -1;
    // The kernel's own encoding of a device number, which is also the one of makedev(3).
    *dev = info.lo_device;
    *inode = info.lo_inode;
    return 0;
}

const char *linux_errno_name(int code) { return strerrorname_np(code); }
int linux_kill_after(uint64_t milliseconds) {
    static timer_t timer;
    static int exists;
    if (!exists) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
        if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return -1;
        exists = 1;
    }
    struct itimerspec time = {.it_value = {.tv_sec = (time_t)(milliseconds / 1000),
                                           .tv_nsec = (long)(milliseconds % 1000) * 1000000}};
    return timer_settime(timer, 0, &time, NULL);
}

const char *linux_signal_name(int signal) { return sigabbrev_np(signal); }
unsigned linux_major(uint64_t device) { return major(device); }
unsigned linux_minor(uint64_t device) { return minor(device); }
uint64_t linux_makedev(unsigned major, unsigned minor) { return makedev(major, minor); }
int linux_wait_exited(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }
int linux_wait_signaled(int status) { return WIFSIGNALED(status) ? WTERMSIG(status) : -1; }
void linux_syslog(int priority, const char *text) { syslog(priority, "%s", text); }

int linux_contains(const void *text, size_t size, const char *word) {
    return text != NULL && memmem(text, size, word, strlen(word)) != NULL;
}

static int argument_count;
static char **arguments;

/// glibc passes every initialiser what it passes main.
__attribute__((constructor)) static void save_arguments(int count, char **words) {
    argument_count = count;
    arguments = words;
}

int linux_argument_count(void) { return argument_count; }
char **linux_arguments(void) { return arguments; }

char **linux_environ(void) { return environ; }

static int release_code(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size, (void)data;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        // What can be written, or was when it was relocated, has pages that are nowhere else.
        if (part->p_type != PT_LOAD || (part->p_flags & PF_W) != 0) continue;
        uintptr_t start = (info->dlpi_addr + part->p_vaddr) & ~(page - 1);
        uintptr_t end = info->dlpi_addr + part->p_vaddr + part->p_memsz;
        (void)madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

void linux_release_code(void) { (void)dl_iterate_phdr(release_code, NULL); }
