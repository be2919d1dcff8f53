// libdaemonstore: see daemonstore.h. C, so that every language can call it; nothing but libc.
//
// Whether a folder is mounted is asked of statx(2), and only that something has changed of
// mountinfo, which is polled and never read: with 5,000 mounts reading it takes up to 190 ms.
#define _GNU_SOURCE
#include "daemonstore.h"

#include "sha1.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

// STATX_MNT_ID_UNIQUE, Linux 6.8: never used again for another mount, as STATX_MNT_ID is.
enum { MNT_ID_UNIQUE = 0x4000, SALT_LEAST = 16, SALT_LIMIT = 1 << 20, HASH_DIGITS = 40 };

// ---- Paths --------------------------------------------------------------------------------------

static int is_alphanumeric(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/// `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 255 bytes.
static int is_store_name(const char *name) {
    size_t length = name == NULL ? 0 : strlen(name);
    if (length == 0 || length > 255 || !is_alphanumeric(name[0])) return 0;
    for (const char *c = name; *c != '\0'; c++) {
        if (!is_alphanumeric(*c) && strchr("._-", *c) == NULL) return 0;
    }
    return 1;
}

static int is_hash(const char *user, const char *digits) {
    return strlen(user) == HASH_DIGITS && strspn(user, digits) == HASH_DIGITS;
}

/// The older place counts where the other does not exist. A caller that may not see whether it does is
/// told so: another salt would make another user's folder.
static int open_salt(void) {
    static const char *const places[] = {"/var/lib/system_salt", "/home/.shadow/salt"};
    for (size_t i = 0; i < 2; i++) {
        int file = open(places[i], O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (file >= 0 || errno != ENOENT) return file;
    }
    errno = ENODATA;
    return -1;
}

/// Feeds the salt into the hash.
static int add_salt(struct sha1 *hash) {
    int file = open_salt();
    if (file < 0) return -1;
    struct stat status;
    ssize_t got = -1;
    size_t total = 0;
    if (fstat(file, &status) == 0 && S_ISREG(status.st_mode)) {
        unsigned char bytes[4096];
        while (total <= SALT_LIMIT && (got = read(file, bytes, sizeof bytes)) > 0) {
            sha1_add(hash, bytes, (size_t)got);
            total += (size_t)got;
        }
    }
    close(file);
    if (got == 0 && total >= SALT_LEAST && total <= SALT_LIMIT) return 0;
    errno = ENODATA;  // whatever is there, it is no salt
    return -1;
}

/// The hash of a user: SHA-1 of the salt and the name with A-Z folded to a-z. A hash is itself.
static int hash_user(const char *user, char hash[HASH_DIGITS + 1]) {
    if (is_hash(user, "0123456789abcdef")) {
        memcpy(hash, user, HASH_DIGITS + 1);
        return 0;
    }
    // A hash but for its upper case is a mistake, and not a name.
    if (*user == '\0' || is_hash(user, "0123456789abcdefABCDEF")) {
        errno = EINVAL;
        return -1;
    }
    struct sha1 state;
    sha1_start(&state);
    if (add_salt(&state) != 0) return -1;
    for (const char *c = user; *c != '\0'; c++) {
        unsigned char byte = (unsigned char)(*c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c);
        sha1_add(&state, &byte, 1);
    }
    unsigned char digest[20];
    sha1_finish(&state, digest);
    for (size_t i = 0; i < sizeof digest; i++) snprintf(hash + 2 * i, 3, "%02x", digest[i]);
    return 0;
}

int daemonstore_path(enum daemonstore_tree tree, const char *store, const char *user, char *path,
                     size_t size) {
    if ((tree != DAEMONSTORE_DATA && tree != DAEMONSTORE_CACHE) || !is_store_name(store)) {
        errno = EINVAL;
        return -1;
    }
    char hash[HASH_DIGITS + 1] = "";
    if (user != NULL && hash_user(user, hash) != 0) return -1;
    int length = snprintf(path, size, "/run/daemon-store%s/%s%s%s",
                          tree == DAEMONSTORE_CACHE ? "-cache" : "", store, user ? "/" : "", hash);
    if (length < 0 || (size_t)length >= size) {
        errno = ERANGE;
        return -1;
    }
    return 0;
}

// ---- Mounted or not -----------------------------------------------------------------------------

/// 1 when something is mounted at `path`, with the id of that mount, else 0.
static int look(int directory, const char *path, uint64_t *mount) {
    struct statx status;
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
    if (statx(directory, path, flags, STATX_MNT_ID | MNT_ID_UNIQUE, &status) != 0) {
        return errno == ENOENT ? 0 : -1;
    }
    if ((status.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) == 0) {
        errno = ENOSYS;
        return -1;
    }
    *mount = status.stx_mnt_id;
    return (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

int daemonstore_is_mounted(const char *path) {
    uint64_t mount;
    return look(AT_FDCWD, path, &mount);
}

/// The mount table of the calling thread's namespace, open for poll(2): POLLPRI and POLLERR, once
/// for each change since.
static int open_mount_table(void) {
    int file = open("/proc/thread-self/mountinfo", O_RDONLY | O_CLOEXEC);
    struct statfs system;
    if (file >= 0 && (fstatfs(file, &system) != 0 || system.f_type != PROC_SUPER_MAGIC)) {
        close(file);
        file = -1;
        errno = ENOENT;  // a file that never changes
    }
    if (file < 0 && (errno == ENOENT || errno == ENOTDIR)) errno = ENOTSUP;
    return file;
}

static int64_t milliseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/// 1 when it is as wanted, 0 when it may become so.
static int ask(const char *path, int wanted) {
    int is_mounted = daemonstore_is_mounted(path);
    if (is_mounted < 0 || is_mounted == wanted) return is_mounted < 0 ? -1 : 1;
    if (!wanted) return 0;
    // Nobody is ever mounted where there is no store.
    char store[PATH_MAX];
    size_t length = strlen(path);
    while (length > 0 && path[length - 1] == '/') length--;
    while (length > 0 && path[length - 1] != '/') length--;
    if (length + 2 > sizeof store) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(store, path, length);
    memcpy(store + length, ".", 2);
    int is_store = daemonstore_is_mounted(store);
    if (is_store == 0) errno = ENOENT;
    return is_store == 1 ? 0 : -1;
}

static int wait_until(const char *path, int wanted, int timeout) {
    int result = ask(path, wanted);
    if (result != 0 || timeout == 0) return result;
    int table = open_mount_table();
    if (table < 0) return -1;

    int64_t end = milliseconds_now() + timeout;
    // Again now that no change is missed, and after each one.
    while ((result = ask(path, wanted)) == 0) {
        int64_t left = timeout < 0 ? -1 : end - milliseconds_now();
        if (timeout >= 0 && left <= 0) break;
        struct pollfd change = {.fd = table, .events = POLLPRI};
        if (poll(&change, 1, (int)left) < 0) {
            result = -1;
            break;
        }
    }
    int code = errno;
    close(table);
    errno = code;
    return result;
}

int daemonstore_wait(const char *path, int timeout) { return wait_until(path, 1, timeout); }

int daemonstore_wait_gone(const char *path, int timeout) { return wait_until(path, 0, timeout); }

// ---- Watching -----------------------------------------------------------------------------------

struct folder {
    char user[HASH_DIGITS + 1];
    uint64_t mount;
};

struct folders {
    struct folder *list;  // sorted by user
    size_t count;
};

struct daemonstore_watch {
    int descriptor;  // an epoll of the other two: readable as soon as one of them is ready
    int table;
    int unread;  // an eventfd, readable for as long as there are events that nobody has taken
    char *store;
    struct folders known;  // as of the last events
    struct daemonstore_event *events;
    size_t taken, count;
};

static int by_user(const void *one, const void *other) {
    return strcmp(((const struct folder *)one)->user, ((const struct folder *)other)->user);
}

/// Those who are mounted in the store; none when it is gone.
static int list_folders(const char *store, struct folders *out) {
    *out = (struct folders){0};
    DIR *directory = opendir(store);
    if (directory == NULL) return errno == ENOENT ? 0 : -1;
    size_t capacity = 0;
    int result = 0;
    struct dirent *entry;
    while (result == 0 && (errno = 0, entry = readdir(directory)) != NULL) {
        if (!is_hash(entry->d_name, "0123456789abcdef")) continue;
        struct folder folder;
        memcpy(folder.user, entry->d_name, sizeof folder.user);
        int is_mounted = look(dirfd(directory), entry->d_name, &folder.mount);
        if (is_mounted < 0) result = -1;
        if (is_mounted <= 0) continue;
        if (out->count == capacity) {
            capacity = capacity == 0 ? 8 : 2 * capacity;
            struct folder *grown = reallocarray(out->list, capacity, sizeof *grown);
            if (grown == NULL) {
                result = -1;
                continue;
            }
            out->list = grown;
        }
        out->list[out->count++] = folder;
    }
    if (entry == NULL && errno != 0) result = -1;
    int code = errno;
    closedir(directory);
    if (result != 0) {
        free(out->list);
        errno = code;
        return -1;
    }
    if (out->count > 1) qsort(out->list, out->count, sizeof *out->list, by_user);
    return 0;
}

/// Makes events of what is different from what was known.
static int compare(struct daemonstore_watch *watch) {
    struct folders now;
    if (list_folders(watch->store, &now) != 0) return -1;
    struct folders old = watch->known;
    free(watch->events);
    watch->taken = watch->count = 0;
    watch->events = calloc(old.count + now.count + 1, sizeof *watch->events);
    if (watch->events == NULL) {
        free(now.list);
        return -1;
    }
    size_t i = 0, j = 0;
    while (i < old.count || j < now.count) {
        int order = i == old.count   ? 1
                    : j == now.count ? -1
                                     : strcmp(old.list[i].user, now.list[j].user);
        if (order == 0 && old.list[i].mount == now.list[j].mount) {
            i++, j++;
        } else if (order <= 0) {
            // Of one who went and came back, first that he went: his arrival is next.
            struct daemonstore_event *event = &watch->events[watch->count++];
            memcpy(event->user, old.list[i++].user, sizeof event->user);
        } else {
            struct daemonstore_event *event = &watch->events[watch->count++];
            event->arrived = 1;
            memcpy(event->user, now.list[j++].user, sizeof event->user);
        }
    }
    free(old.list);
    watch->known = now;
    return 0;
}

static int add(int epoll, int descriptor, uint32_t what) {
    struct epoll_event event = {.events = what};
    return descriptor < 0 ? -1 : epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

struct daemonstore_watch *daemonstore_watch_new(const char *store) {
    DIR *directory = opendir(store);
    if (directory == NULL) return NULL;
    closedir(directory);
    struct daemonstore_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) return NULL;
    watch->descriptor = watch->table = watch->unread = -1;
    watch->store = strdup(store);
    if (watch->store != NULL && (watch->table = open_mount_table()) >= 0 &&
        (watch->descriptor = epoll_create1(EPOLL_CLOEXEC)) >= 0 &&
        (watch->unread = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)) >= 0 &&
        add(watch->descriptor, watch->table, EPOLLPRI) == 0 &&
        add(watch->descriptor, watch->unread, EPOLLIN) == 0) {
        return watch;
    }
    int code = errno;
    daemonstore_watch_free(watch);
    errno = code;
    return NULL;
}

int daemonstore_watch_fd(const struct daemonstore_watch *watch) { return watch->descriptor; }

int daemonstore_watch_next(struct daemonstore_watch *watch, struct daemonstore_event *event) {
    if (watch->taken == watch->count) {
        eventfd_t value;
        if (compare(watch) != 0) return -1;
        if (watch->count == 0) {
            eventfd_read(watch->unread, &value);  // EAGAIN: it was empty
            return 0;
        }
        eventfd_write(watch->unread, 1);
    }
    *event = watch->events[watch->taken++];
    return 1;
}

void daemonstore_watch_free(struct daemonstore_watch *watch) {
    if (watch == NULL) return;
    if (watch->descriptor >= 0) close(watch->descriptor);
    if (watch->table >= 0) close(watch->table);
    if (watch->unread >= 0) close(watch->unread);
    free(watch->store);
    free(watch->known.list);
    free(watch->events);
    free(watch);
}

// ---- Errors -------------------------------------------------------------------------------------

const char *daemonstore_strerror(int code) {
    switch (code) {
    case EINVAL: return "not the name of a store, or not the name or hash of a user";
    case ENODATA:
        return "there is no salt for the names of users: cryptohome create makes it; or use the hash";
    case EACCES:
        return "not allowed: root and the group of its template list a store, and a name needs the "
               "salt; use that group, and the hash";
    case ENOTSUP:
        return "there is no /proc of this process, and nothing else wakes who waits: mount one in "
               "the jail";
    case ENOENT: return "there is no such store: it needs a template, and to be shown in the jail";
    case ENOSYS: return "this kernel does not say what is mounted: Linux 5.15 or later is needed";
    default: return strerror(code);
    }
}
