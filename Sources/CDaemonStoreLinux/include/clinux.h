// What `import Glibc` hides from Swift: GNU functions, newer system calls, ioctls. No logic.
//
// Never define _GNU_SOURCE here: libc's types would differ from those of the Glibc module. Values
// that only <_GNU_SOURCE> shows are repeated as LINUX_… and checked in clinux.c.
#pragma once
#include "attributes.h"
#include "control.h"
#include "encryption.h"
#include "filters.h"
#include "packets.h"
#include "privileges.h"
#include "tracing.h"

#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

static const int LINUX_AT_EMPTY_PATH = 0x1000;
static const int LINUX_AT_RECURSIVE = 0x8000;
static const int LINUX_O_PATH = 010000000;
static const int LINUX_SIGNAL_LAST = 64;

/// MOUNT_ATTR_NOSYMFOLLOW, Linux 5.14: newer than the C library that Debian 12 ships.
static const uint64_t LINUX_MOUNT_ATTR_NOSYMFOLLOW = 0x00200000;

// Every function returns -1 and sets errno on failure, unless it says otherwise.

/// openat2(2), Linux 5.6.
int linux_openat2(int directory, const char *_Nonnull path, const struct open_how *_Nonnull how);
/// statx(2) with the basic fields and STATX_MNT_ID (Linux 5.8). Never waits for a network file
/// system: AT_STATX_DONT_SYNC is implied.
int linux_statx(int directory, const char *_Nonnull path, int flags, struct statx *_Nonnull out);
/// statx(2) that follows a link and asks the file system nothing: st_dev and the mount's id alone. A
/// FUSE file system answers no other question of a user whom it does not know, root included.
int linux_statx_least(int directory, const char *_Nonnull path, struct statx *_Nonnull out);
/// statx(2): 1 when something is mounted on the path, and `id` is its id; 0 when nothing is. Where the
/// kernel has STATX_MNT_ID_UNIQUE (Linux 6.8) no other mount ever gets that id.
int linux_mount_at(const char *_Nonnull path, uint64_t *_Nonnull id);
/// renameat2(2) with RENAME_NOREPLACE.
int linux_rename_new(int from_directory, const char *_Nonnull from, int to_directory,
                     const char *_Nonnull to);
int linux_unshare(int flags);
int linux_setns(int descriptor, int kind);
int linux_pivot_root(const char *_Nonnull new_root, const char *_Nonnull put_old);
int linux_close_range(unsigned first, unsigned last, int flags);
/// memfd_create(2), close-on-exec.
int linux_memory_file(const char *_Nonnull name);
int linux_pipe(int ends[_Nonnull 2]);  // both ends close-on-exec
/// The fork of clone(2), into the new namespaces of `flags`: 0 in the child. One thread only.
pid_t linux_fork(uint64_t flags);
/// pidfd_open(2), Linux 5.3: readable when the process has ended. Close-on-exec.
int linux_pidfd_open(pid_t process);
/// signalfd(2) for these signals, which are blocked: not blocking, close-on-exec.
int linux_signalfd(const void *_Nonnull signal_set);
/// The next signal of a signalfd(2); 0 when there is none.
int linux_next_signal(int signal_descriptor);
int linux_prctl(int option, unsigned long a, unsigned long b, unsigned long c);
int linux_setgroups(size_t count, const gid_t *_Nullable groups);
int linux_setresuid(uid_t user);
int linux_setresgid(gid_t group);
/// The supplementary groups of a user; returns their number, or -1 when `capacity` is too small.
int linux_getgrouplist(const char *_Nonnull user, gid_t group, gid_t *_Nonnull groups, int capacity);
int linux_sethostname(const char *_Nonnull name);
int linux_mknod(int directory, const char *_Nonnull name, mode_t mode, unsigned major,
                unsigned minor);
/// setrlimit(2), RLIMIT_NOFILE: the soft limit becomes the hard one, if it may.
void linux_raise_descriptor_limit(void);
/// Sets it back to what it was.
void linux_restore_descriptor_limit(void);
/// SIOCSIFFLAGS on `lo`: up and running.
int linux_loopback_up(void);
/// TIOCSCTTY: makes the terminal the controlling one, if nobody has it.
int linux_take_terminal(int descriptor);
/// TIOCSPTLCK and TIOCGPTPEER (Linux 4.13): the terminal side of a pseudoterminal, close-on-exec, of
/// whatever devpts the other side is of.
int linux_terminal_peer(int pseudoterminal);
/// TIOCGWINSZ and TIOCSWINSZ: the one terminal gets the size of the other.
int linux_copy_window_size(int from, int to);
/// struct statmount of <linux/mount.h>, up to what is asked for here; the strings begin at byte 512,
/// and the members that name one count from there.
struct linux_mount_status {
    uint32_t size, options;
    uint64_t mask;
    uint32_t major, minor;
    uint64_t magic;
    uint32_t flags, type;
    uint64_t id, parent;
    uint32_t id_old, parent_old;  // as in mountinfo
    uint64_t attributes, propagation, peer_group, master, propagated_from;
    uint32_t root, point;
    uint64_t space;
    uint32_t subtype, source;
};
enum { LINUX_MOUNT_STRINGS = 512 };
/// NS_GET_MNTNS_ID, Linux 6.11: what listmount(2) and statmount(2) call the mount namespace of a
/// namespace file.
int linux_mount_namespace_id(int file, uint64_t *_Nonnull id);
/// listmount(2): the unique ids of what is mounted below `parent`, at all depths, those after `last`
/// alone. Returns their number.
long linux_listmount(uint64_t space, uint64_t parent, uint64_t last, uint64_t *_Nonnull ids,
                     size_t capacity);
/// LSMT_ROOT: of another namespace than ours, the first mount on the root of it.
extern const uint64_t linux_mount_root;
/// statmount(2): what mountinfo has; before Linux 6.13 without the source and a FUSE file system's
/// subtype. EOVERFLOW: `size` is too small.
int linux_statmount(uint64_t space, uint64_t mount, void *_Nonnull buffer, size_t size);
/// name_to_handle_at(2) of what a magic link leads to, then open_by_handle_at(2) beneath `mount`:
/// an O_PATH descriptor of the same inode, as that mount sees it.
int linux_reopen_through(int directory, const char *_Nonnull link, int mount);
/// epoll_create1(2): open on the file that those of inotify and fanotify are open on, too.
int linux_anonymous_file(void);
/// PR_SET_PDEATHSIG: this process gets SIGKILL when the thread that has started it ends.
void linux_end_with_parent(void);
/// A line of `/proc/PID/maps` that is about a file: the place of its range in the text, the device and the inode.
struct linux_mapping {
    size_t range, length;
    unsigned major, minor;
    uint64_t inode;
};
/// The next mapping of a file in `text` from `*at`, which is moved behind it; 0 at the end.
int linux_next_mapping(const char *_Nonnull text, size_t size, size_t *_Nonnull at,
                       struct linux_mapping *_Nonnull out);
/// open_by_handle_at(2) beneath `mount`: an O_PATH descriptor of the file that a handle names.
int linux_open_handle(int mount, int type, const void *_Nonnull bytes, unsigned size);
/// statfs(2): the magic number of the file system's type, and its f_fsid.
int linux_file_system(const char *_Nonnull path, uint64_t *_Nonnull type, uint64_t *_Nonnull id);
/// fstatfs(2): the magic number of the file system's type. An O_PATH descriptor will do.
int linux_file_system_type(int descriptor, uint64_t *_Nonnull type);
/// kcmp(2), KCMP_FILES: 0 when both threads have one table of descriptors.
int linux_compare_files(pid_t one, pid_t other);
/// kcmp(2), KCMP_FILE: 0 when two descriptors are of one open file.
int linux_compare_file(pid_t one, int number, pid_t other, int other_number);
/// FS_IOC_SETFLAGS: takes the marks "immutable" and "append-only" off a file or directory, if it has
/// them and the file system knows them. The result is for linux_restore_protection(), always.
struct linux_protection {
    int file;
    int flags;
};
struct linux_protection linux_clear_protection(int directory, const char *_Nonnull name);
/// Puts the marks back on a regular file that has another name still, and closes it.
void linux_restore_protection(struct linux_protection protection);
/// pidfd_getfd(2), Linux 5.6: a copy of a descriptor of a thread of another process. Before Linux 6.9 it is that of
/// the first thread.
int linux_get_descriptor(pid_t process, pid_t thread, int number);
/// fwrite(3) to standard output, which Swift does not let be named: -1 when not all was taken.
int linux_print(const void *_Nullable bytes, size_t count);
/// SIOCUNIXFILE, Linux 4.13: opens what a UNIX socket is bound to, as with O_PATH. ENOENT: nothing.
int linux_socket_file(int socket);
/// getsockname(2): the length of the path that a UNIX socket is bound to; 0 for another name, and for none.
int linux_socket_path(int socket, char *_Nonnull path, size_t size);
/// The device and the low half of the inode number that a UNIX socket is bound to, by the number of the socket:
/// sock_diag(7). This thread goes over to the network namespace of the socket. ENOENT: no such socket, or not bound.
int linux_socket_place(int network_namespace, uint32_t socket, uint64_t *_Nonnull device, uint32_t *_Nonnull inode);
/// Opens those of the descriptors 0, 1 and 2 that are closed, so that no file gets their number: each
/// for what it is not used for, and closed again on exec.
void linux_occupy_standard_descriptors(void);
/// recvmsg(2) with MSG_PEEK: copies of the descriptors in the first message of a socket's queue that
/// has any. The message stays. Returns their number. EBUSY: the socket has an SO_PEEK_OFF, which a
/// look would move; it was left alone.
int linux_peek_descriptors(int socket, int *_Nonnull out, int capacity);
/// LOOP_GET_STATUS64: the device and inode that a loop device is backed by.
int linux_loop_backing(int device, uint64_t *_Nonnull dev, uint64_t *_Nonnull inode);

const char *_Nullable linux_errno_name(int code);    // strerrorname_np(3)
/// A timer whose signal kills this process, stopped or not: timer_create(2). 0 ends it.
int linux_kill_after(uint64_t milliseconds);
const char *_Nullable linux_signal_name(int signal);  // sigabbrev_np(3), "KILL"
unsigned linux_major(uint64_t device);
unsigned linux_minor(uint64_t device);
uint64_t linux_makedev(unsigned major, unsigned minor);

// Wait statuses: the macros of wait(2).
int linux_wait_exited(int status);       // the exit status, or -1
int linux_wait_signaled(int status);     // the signal, or -1

/// syslog(3) of one finished text: variadic functions are not imported.
void linux_syslog(int priority, const char *_Nonnull text);

/// memmem(3), as a question.
int linux_contains(const void *_Nullable text, size_t size, const char *_Nonnull word);

/// The command line as the kernel passed it; Swift's own reads `/proc`, which may not be there.
int linux_argument_count(void);
char *_Nullable *_Nonnull linux_arguments(void);
/// The environment, as execve(2) takes it.
char *_Nullable *_Nonnull linux_environ(void);

/// Unmaps the code and the constants of this program and its libraries: each page comes back, from the
/// page cache, when it is used. dl_iterate_phdr(3), madvise(2) with MADV_DONTNEED.
void linux_release_code(void);
