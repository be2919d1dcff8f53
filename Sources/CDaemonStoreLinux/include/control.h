// The control socket of cryptohomed, as pam_daemonstore.so, cryptohome and cryptohomed know it. Sockets
// for packets (SOCK_SEQPACKET), which only root can reach.
//
//   client    words, each with a zero byte at its end, and descriptors
//   server    "taken": nothing is done yet
//   client    "go": from here on it waits, and does nothing of this itself (not for "announce")
//   server    the status, a line end, and lines for the user
#pragma once

/// Below the directory of the state, `/run/cryptohome`.
#define CONTROL_NAME "control"
#define CONTROL_SOCKET "/run/cryptohome/control"

/// What is asked for. "open" has the session, the user, the passwords and the leader; "close" the session,
/// the user and the leader; "change" the user and the passwords; "lock-ended" the user; "announce" the
/// user's hash and a descriptor that hangs up when the logout is over.
#define CONTROL_OPEN "open"
#define CONTROL_CLOSE "close"
#define CONTROL_CHANGE "change"
#define CONTROL_LOCK_ENDED "lock-ended"
#define CONTROL_ANNOUNCE "announce"

/// In the place of a session: any one of the leader's.
#define CONTROL_ANY_SESSION "any"

#define CONTROL_TAKEN "taken"
#define CONTROL_GO "go"

enum {
    CONTROL_LONGEST_REQUEST = 1024,
    /// Longer answers end with a line that says so.
    CONTROL_LONGEST_ANSWER = 16384,
    CONTROL_MOST_DESCRIPTORS = 2,
    CONTROL_BACKLOG = 256,
    CONTROL_LONGEST_PASSWORD = 4096,

    /// Milliseconds that cryptohomed has to take a request, and a client to say that it waits.
    CONTROL_TIME_TO_TAKE = 5000,
    /// Milliseconds that the work has: more than the waits for the locks of a logout, after which it ends
    /// with an error. Afterwards it is not waited for, neither by the service nor by PAM.
    CONTROL_TIME_TO_ANSWER = 180000,
};
