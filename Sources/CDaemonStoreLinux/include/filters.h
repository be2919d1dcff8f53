// seccomp(2) and what goes with it. No logic.
#pragma once
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// seccomp(2), Linux 3.17. `program` is what the operation takes, or NULL.
int linux_seccomp(unsigned operation, unsigned flags, const void *_Nullable program);
/// syscall(2) with six arguments: -1 and errno on failure. The kernel ignores what a call does not
/// take.
long linux_system_call(long number, const unsigned long arguments[_Nonnull 6]);
/// memfd_create(2), close-on-exec, with `size` bytes in it that nobody can change any more.
int linux_sealed_file(const char *_Nonnull name, const void *_Nonnull bytes, size_t size);
/// The same, as a program with these permissions. EACCES where vm.memfd_noexec is 2.
int linux_sealed_program(const char *_Nonnull name, const void *_Nonnull bytes, size_t size, mode_t mode);
/// execveat(2) of an open file.
int linux_execute_file(int file, char *_Nullable const *_Nonnull words,
                       char *_Nullable const *_Nonnull environment);
/// pidfd_getfd(2), Linux 5.6: a copy of another process's descriptor, close-on-exec.
int linux_pidfd_getfd(int process, int descriptor);
/// SECCOMP_IOCTL_NOTIF_ID_VALID of an id that no notification has: whether it is a listener.
int linux_is_listener(int descriptor);

/// A system call that waits for an answer.
struct linux_notification {
    uint64_t id;
    uint32_t process;
    uint32_t architecture;
    int32_t number;
    uint64_t arguments[6];
};
/// SECCOMP_IOCTL_NOTIF_RECV, Linux 5.0. -1 and ENOENT when the call was given up meanwhile.
int linux_receive_notification(int listener, struct linux_notification *_Nonnull out);
/// SECCOMP_USER_NOTIF_FLAG_CONTINUE, Linux 5.5: the call is carried out as it is.
int linux_continue_call(int listener, uint64_t id);

/// A socketpair(2) of sequenced packets, close-on-exec; the first end is told who sends (SO_PASSCRED).
int linux_report_sockets(int ends[_Nonnull 2]);
/// recvmsg(2): the next packet, and the sender's number in this process's pid namespace.
ssize_t linux_receive_report(int socket, void *_Nonnull buffer, size_t size, pid_t *_Nonnull sender);
/// The same, with a descriptor that comes along, or -1.
ssize_t linux_receive_descriptor(int socket, void *_Nonnull buffer, size_t size, pid_t *_Nonnull sender,
                                 int *_Nonnull descriptor);
/// sendmsg(2) with SCM_RIGHTS and MSG_NOSIGNAL: a packet, with a descriptor unless that is -1.
int linux_send_descriptor(int socket, const void *_Nonnull bytes, size_t size, int descriptor);
