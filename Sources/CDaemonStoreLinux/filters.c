#define _GNU_SOURCE
#include "filters.h"

#include "rights.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int linux_seccomp(unsigned operation, unsigned flags, const void *program) {
    return (int)syscall(SYS_seccomp, operation, flags, program);
}

long linux_system_call(long number, const unsigned long arguments[6]) {
    return syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                   arguments[5]);
}

int linux_sealed_file(const char *name, const void *bytes, size_t size) {
    return linux_sealed_program(name, bytes, size, 0);
}

int linux_sealed_program(const char *name, const void *bytes, size_t size, mode_t mode) {
    enum { EXECUTABLE = 0x10 };  // MFD_EXEC, Linux 6.3
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int file = mode == 0 ? -1 : memfd_create(name, flags | EXECUTABLE);
    if (file < 0 && (mode == 0 || errno == EINVAL)) file = memfd_create(name, flags);
    if (file < 0) return -1;
    if (mode != 0 && fchmod(file, mode) != 0) goto failed;
    const char *rest = bytes;
    while (size > 0) {
        ssize_t written = write(file, rest, size);
        if (written <= 0) goto failed;
        rest += written;
        size -= (size_t)written;
    }
    if (fcntl(file, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
        goto failed;
    }
    return file;
failed:;
    int code = errno;
    close(file);
    errno = code;
    return -1;
}

int linux_execute_file(int file, char *const words[], char *const environment[]) {
    return (int)syscall(SYS_execveat, file, "", words, environment, AT_EMPTY_PATH);
}

int linux_pidfd_getfd(int process, int descriptor) {
    return (int)syscall(SYS_pidfd_getfd, process, descriptor, 0);
}

int linux_is_listener(int descriptor) {
    uint64_t none = UINT64_MAX;
    return ioctl(descriptor, SECCOMP_IOCTL_NOTIF_ID_VALID, &none) != 0 && errno == ENOENT;
}

int linux_receive_notification(int listener, struct linux_notification *out) {
    struct seccomp_notif notification;
    memset(&notification, 0, sizeof notification);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) != 0) return -1;
    out->id = notification.id;
    out->process = notification.pid;
    out->architecture = notification.data.arch;
    out->number = notification.data.nr;
    memcpy(out->arguments, notification.data.args, sizeof out->arguments);
    return 0;
}

int linux_continue_call(int listener, uint64_t id) {
    struct seccomp_notif_resp answer = {.id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

int linux_report_sockets(int ends[2]) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return -1;
    int on = 1;
    return setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
}

ssize_t linux_receive_report(int socket, void *buffer, size_t size, pid_t *sender) {
    int descriptor = -1;
    ssize_t count = linux_receive_descriptor(socket, buffer, size, sender, &descriptor);
    if (descriptor >= 0) close(descriptor);
    return count;
}

ssize_t linux_receive_descriptor(int socket, void *buffer, size_t size, pid_t *sender,
                                 int *descriptor) {
    union rights rights;
    struct iovec part = {.iov_base = buffer, .iov_len = size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &rights,
                             .msg_controllen = sizeof rights};
    *sender = 0;
    *descriptor = -1;
    ssize_t count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (count < 0) return -1;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) continue;
        struct ucred sent;
        memcpy(&sent, CMSG_DATA(header), sizeof sent);
        *sender = sent.pid;
    }
    size_t descriptors = 0;
    (void)rights_take(&message, descriptor, 1, &descriptors);
    return count;
}

int linux_send_descriptor(int socket, const void *bytes, size_t size, int descriptor) {
    union rights rights;
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    rights_attach(&message, &rights, &descriptor, descriptor >= 0 ? 1 : 0);
    return sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -1;
}
