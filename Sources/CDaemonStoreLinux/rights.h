// Descriptors in a packet: SCM_RIGHTS in unix(7). Also for the PAM module, which is no part of CDaemonStoreLinux.
#pragma once
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RIGHTS_MOST = 8 };

/// Room for the descriptors of a message, and for who sends it.
union rights {
    struct cmsghdr header;
    char space[CMSG_SPACE(RIGHTS_MOST * sizeof(int)) + CMSG_SPACE(3 * sizeof(int))];
};

/// Attaches at most RIGHTS_MOST descriptors to a message that is about to be sent.
static inline void rights_attach(struct msghdr *message, union rights *rights,
                                 const int *descriptors, size_t count) {
    if (count == 0) return;
    memset(rights, 0, sizeof *rights);
    message->msg_control = rights;
    message->msg_controllen = CMSG_SPACE(count * sizeof(int));
    rights->header.cmsg_len = CMSG_LEN(count * sizeof(int));
    rights->header.cmsg_level = SOL_SOCKET;
    rights->header.cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(&rights->header), descriptors, count * sizeof(int));
}

/// Takes the descriptors of a message that was received. Those that have no room are closed. Returns
/// whether all are there.
static inline int rights_take(struct msghdr *message, int *descriptors, size_t room,
                              size_t *count) {
    int is_whole = (message->msg_flags & MSG_CTRUNC) == 0;
    *count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        size_t there = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < there; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(part) + i * sizeof(int), sizeof descriptor);
            if (*count < room) {
                descriptors[(*count)++] = descriptor;
            } else {
                close(descriptor);
                is_whole = 0;
            }
        }
    }
    return is_whole;
}
