#define _GNU_SOURCE
#include "clinux.h"
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/un.h>
#include <linux/unix_diag.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef SCM_PIDFD
#define SCM_PIDFD 4  // Linux 6.5; Debian 12's headers are older
#endif

int linux_socket_file(int socket) { return ioctl(socket, SIOCUNIXFILE); }

int linux_peek_descriptors(int socket, int *out, int capacity) {
    int offset = -1;
    socklen_t size = sizeof offset;
    // A peek would move the offset, and so change what its owner peeks at next.
    if (getsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &offset, &size) == 0 && offset >= 0) {
        errno = EBUSY;
        return -1;
    }
    static char data[1 << 16];
    union {
        struct cmsghdr first;
        char space[4096];
    } control;
    struct iovec part = {data, sizeof data};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) return -1;
    int count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        // SO_PASSPIDFD, of the socket's owner, brings a descriptor of the sender with each message.
        bool sent = c->cmsg_type == SCM_RIGHTS;
        if (c->cmsg_level != SOL_SOCKET || (!sent && c->cmsg_type != SCM_PIDFD)) continue;
        int *descriptors = (int *)CMSG_DATA(c);
        size_t received = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < received; i++) {
            if (sent && count < capacity) out[count++] = descriptors[i];
            else if (descriptors[i] >= 0) close(descriptors[i]);
        }
    }
    return count;
}

int linux_socket_path(int socket, char *path, size_t size) {
    struct sockaddr_un name = {0};
    socklen_t length = sizeof name;
    if (getsockname(socket, (struct sockaddr *)&name, &length) != 0) return -1;
    size_t start = offsetof(struct sockaddr_un, sun_path);
    if (name.sun_family != AF_UNIX || length <= start || name.sun_path[0] == 0) return 0;
    // A path of 108 bytes comes without the NUL.
    size_t count = strnlen(name.sun_path, sizeof name.sun_path);
    if (count >= size) count = size - 1;
    memcpy(path, name.sun_path, count);
    path[count] = 0;
    return (int)count;
}

/// The answer to a request about one socket; -1 for an error.
static int read_place(const char *answer, size_t size, uint64_t *device, uint32_t *inode) {
    const struct nlmsghdr *header = (const struct nlmsghdr *)answer;
    if (!NLMSG_OK(header, size)) {
        errno = EPROTO;
        return -1;
    }
    if (header->nlmsg_type == NLMSG_ERROR) {
        const struct nlmsgerr *error = NLMSG_DATA(header);
        errno = header->nlmsg_len < NLMSG_LENGTH(sizeof *error) || error->error >= 0 ? EPROTO : -error->error;
        return -1;
    }
    if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || header->nlmsg_len < NLMSG_LENGTH(sizeof(struct unix_diag_msg))) {
        errno = EPROTO;
        return -1;
    }
    const struct unix_diag_msg *message = NLMSG_DATA(header);
    const struct rtattr *attribute = (const struct rtattr *)(message + 1);
    unsigned left = header->nlmsg_len - (unsigned)NLMSG_LENGTH(sizeof *message);
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
        struct unix_diag_vfs place;
        if (attribute->rta_type != UNIX_DIAG_VFS || RTA_PAYLOAD(attribute) < sizeof place) continue;
        memcpy(&place, RTA_DATA(attribute), sizeof place);
        // The kernel's own encoding: twenty bits of the minor number.
        *device = makedev(place.udiag_vfs_dev >> 20, place.udiag_vfs_dev & 0xfffff);
        *inode = place.udiag_vfs_ino;
        return 0;
    }
    errno = ENOENT;
    return -1;
}

int linux_socket_place(int network_namespace, uint32_t socket_number, uint64_t *device, uint32_t *inode) {
    if (setns(network_namespace, CLONE_NEWNET) != 0) return -1;
    int link = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (link < 0) return -1;
    struct {
        struct nlmsghdr header;
        struct unix_diag_req body;
    } request = {
        {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
        {.sdiag_family = AF_UNIX,
         .udiag_states = UINT32_MAX,
         .udiag_ino = socket_number,
         .udiag_show = UDIAG_SHOW_VFS,
         .udiag_cookie = {UINT32_MAX, UINT32_MAX}},
    };
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    struct timeval limit = {.tv_sec = 1};
    union {
        struct nlmsghdr header;
        char bytes[4096];
    } answer;
    int result = setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ssize_t count = -1;
    if (result == 0 && sendto(link, &request, sizeof request, 0, (struct sockaddr *)&kernel, sizeof kernel) >= 0)
        count = recv(link, &answer, sizeof answer, 0);
    result = count < 0 ? -1 : read_place(answer.bytes, (size_t)count, device, inode);
    int code = errno;
    close(link);
    errno = code;
    return result;
}
