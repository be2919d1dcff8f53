// libdaemonstore: for a daemon that keeps data of users in a daemon store. Where is a user's
// folder, is it mounted, and when does that change? docs/daemon-authors.md has examples.
//
// Every function that fails returns -1, or NULL, and sets errno; daemonstore_strerror() says more
// of it than strerror(3). Nothing here keeps state of the process or writes anything. Functions
// that take a watch are for one thread at a time, the others for any.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// The two folders that a user has in a store.
enum daemonstore_tree {
    DAEMONSTORE_DATA = 0,   ///< `/run/daemon-store`
    DAEMONSTORE_CACHE = 1,  ///< `/run/daemon-store-cache`: what may be lost
};

/// Room for every path that daemonstore_path() makes.
#define DAEMONSTORE_PATH_SIZE 384

/// Where a store is, or with `user` a user's folder in it, whether or not it is mounted. `user` is
/// the hash of 40 lower-case hexadecimal digits, or a name, which needs the system's salt.
/// EINVAL: `store` is no name of a store, or `user` no name of a user. ENODATA: there is no salt.
/// EACCES: this process may not know which salt is in use. ERANGE: `size` is too small.
int daemonstore_path(enum daemonstore_tree tree, const char *store, const char *user, char *path,
                     size_t size);

/// 1 when something is mounted at `path`, else 0; one statx(2). A folder that is not mounted is not
/// the user's, even if a directory is there.
int daemonstore_is_mounted(const char *path);

/// Waits until something is mounted at `path`: 1, at once if it is. 0 when `timeout` milliseconds
/// have passed; -1 waits for ever, 0 not at all. The kernel wakes it up.
/// EINTR: a signal was caught. ENOENT: no store is mounted at the directory that `path` is in.
/// ENOTSUP: there is no `/proc` of this process's.
int daemonstore_wait(const char *path, int timeout);

/// The same until nothing is mounted there any more.
int daemonstore_wait_gone(const char *path, int timeout);

/// Who comes and goes in one store.
struct daemonstore_watch;

struct daemonstore_event {
    int arrived;    ///< 1 for a folder that is mounted now, 0 for one that is gone.
    char user[41];  ///< The user's hash.
};

/// Watches the store at this path, in the mount namespace that the calling thread is in. The first
/// events are the arrivals of those who are there already. ENOENT: there is no such store. ENOTSUP:
/// as above. EACCES: the store can be listed by root and by the group of its template only.
struct daemonstore_watch *daemonstore_watch_new(const char *store);

/// A descriptor for poll(2) and epoll(7), readable (POLLIN) when there may be events. It says so
/// once for each change of the mount table, to the first who asks, and for as long as events are
/// left: when it is readable, call daemonstore_watch_next() until that returns 0. It is the
/// watch's: read nothing from it, and do not close it.
int daemonstore_watch_fd(const struct daemonstore_watch *watch);

/// Takes the next event: 1, or 0 when there is none for now. One who goes and comes back between
/// two calls is two events (Linux 6.8 or later; before, he may be none). Does not wait.
int daemonstore_watch_next(struct daemonstore_watch *watch, struct daemonstore_event *event);

void daemonstore_watch_free(struct daemonstore_watch *watch);

/// What an errno of these functions means, in a line that is never freed.
const char *daemonstore_strerror(int code);

#ifdef __cplusplus
}
#endif
