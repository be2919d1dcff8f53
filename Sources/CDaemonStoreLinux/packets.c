// Packets over a UNIX socket, with descriptors.
#define _GNU_SOURCE
#include "packets.h"

#include "control.h"
#include "rights.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int address_of(const char *path, struct sockaddr_un *address) {
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address->sun_path, path);
    return 0;
}

/// Closes, and leaves errno as it is.
static int give_up(int descriptor) {
    int code = errno;
    close(descriptor);
    errno = code;
    return -1;
}

static int packet_socket(void) {
    return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int linux_listen_packets(const char *path) {
    struct sockaddr_un address;
    int listener = address_of(path, &address) == 0 ? packet_socket() : -1;
    if (listener < 0) return -1;
    mode_t mask = umask(077);
    int result = bind(listener, (struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (result != 0 || listen(listener, CONTROL_BACKLOG) != 0) return give_up(listener);
    return listener;
}

int linux_connect_packets(const char *path) {
    struct sockaddr_un address;
    int connection = address_of(path, &address) == 0 ? packet_socket() : -1;
    if (connection < 0) return -1;
    if (connect(connection, (struct sockaddr *)&address, sizeof address) != 0) {
        return give_up(connection);
    }
    return connection;
}

int linux_accept_packets(int listener) {
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

int linux_peer(int socket, pid_t *process, uid_t *user) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return -1;
    *process = peer.pid;
    *user = peer.uid;
    return 0;
}

int linux_send_packet(int socket, const void *bytes, size_t size, const int *descriptors,
                      size_t count) {
    if (count > RIGHTS_MOST) {
        errno = EINVAL;
        return -1;
    }
    union rights rights;
    struct iovec part = {(void *)bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    rights_attach(&message, &rights, descriptors, count);
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -1 : 0;
}

ssize_t linux_receive_packet(int socket, void *bytes, size_t size, int *descriptors, size_t room,
                             size_t *count) {
    union rights rights;
    struct iovec part = {bytes, size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &rights,
                             .msg_controllen = sizeof rights};
    *count = 0;
    ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0) return -1;
    int is_whole = rights_take(&message, descriptors, room, count);
    if (is_whole && (message.msg_flags & MSG_TRUNC) == 0) return got;
    while (*count > 0) close(descriptors[--*count]);
    errno = EMSGSIZE;
    return -1;
}
