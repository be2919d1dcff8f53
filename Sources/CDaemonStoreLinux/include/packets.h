#pragma once
#include <stddef.h>
#include <sys/types.h>

/// A socket for packets (SOCK_SEQPACKET) that listens at `path`, which only its owner may use, or is
/// connected to it. Neither blocks. Returns -1 and sets errno on failure, as all of these do.
int linux_listen_packets(const char *_Nonnull path);
int linux_connect_packets(const char *_Nonnull path);
int linux_accept_packets(int listener);

/// The process at the other end, and its user: SO_PEERCRED.
int linux_peer(int socket, pid_t *_Nonnull process, uid_t *_Nonnull user);

/// Sends one packet with these descriptors, without waiting.
int linux_send_packet(int socket, const void *_Nonnull bytes, size_t size,
                      const int *_Nullable descriptors, size_t count);

/// Takes one packet, without waiting, and its descriptors, close-on-exec. A packet that is larger, or
/// has more descriptors, is dropped: EMSGSIZE. Returns 0 when the other end is gone.
ssize_t linux_receive_packet(int socket, void *_Nonnull bytes, size_t size,
                             int *_Nonnull descriptors, size_t room, size_t *_Nonnull count);
