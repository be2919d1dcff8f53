// Drives libdaemonstore with good and hostile input, as root in a mount namespace of its own.
#define _GNU_SOURCE
#include "check.h"

#include <daemonstore.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static const char hash[] = "0123456789abcdef0123456789abcdef01234567";

static void write_file(const char *path, size_t size) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    CHECK(file >= 0);
    static char bytes[4096];
    for (size_t rest = size; rest > 0;) {
        size_t part = rest < sizeof bytes ? rest : sizeof bytes;
        CHECK(write(file, bytes, part) == (ssize_t)part);
        rest -= part;
    }
    close(file);
}

static void paths(void) {
    char path[DAEMONSTORE_PATH_SIZE];
    char store[300];
    CHECK(daemonstore_path(DAEMONSTORE_DATA, "notes", hash, path, sizeof path) == 0);
    // Every length of a name, of the buffer and of the user, at the end of their memory.
    for (size_t length = 0; length < sizeof store; length++) {
        memset(store, 'n', length);
        store[length] = '\0';
        char *name = exact(store, length + 1);
        int result = daemonstore_path(DAEMONSTORE_CACHE, name, hash, path, sizeof path);
        CHECK(result == (length >= 1 && length <= 255 ? 0 : -1));
        free(name);
    }
    for (size_t room = 0; room < 80; room++) {
        char *small = malloc(room + 1);
        CHECK(small != NULL);
        small[room] = '!';
        int result = daemonstore_path(DAEMONSTORE_DATA, "notes", hash, small, room);
        CHECK((result == 0) == (room >= sizeof "/run/daemon-store/notes/" + 40));
        CHECK(small[room] == '!');
        free(small);
    }
    for (int byte = 1; byte < 256; byte++) {
        char name[] = {'a', (char)byte, '\0'};
        (void)daemonstore_path(DAEMONSTORE_DATA, name, NULL, path, sizeof path);
        (void)daemonstore_path(DAEMONSTORE_DATA, "a", name, path, sizeof path);
    }
    CHECK(daemonstore_path((enum daemonstore_tree)7, "notes", hash, path, sizeof path) == -1);
    CHECK(daemonstore_path(DAEMONSTORE_DATA, NULL, hash, path, sizeof path) == -1);
}

/// Names of users, and salts of all sizes about the limit and about the blocks of SHA-1.
static void salts(void) {
    char path[DAEMONSTORE_PATH_SIZE];
    CHECK(daemonstore_path(DAEMONSTORE_DATA, "notes", "alice", path, sizeof path) == -1);
    CHECK(errno == ENODATA);
    static const size_t sizes[] = {16, 55, 56, 63, 64, 65, 4095, 4096, 4097, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        write_file("/var/lib/system_salt", sizes[i]);
        for (size_t length = 1; length < 130; length++) {
            char user[130];
            memset(user, 'U', length);
            user[length] = '\0';
            char *name = exact(user, length + 1);
            CHECK(daemonstore_path(DAEMONSTORE_DATA, "notes", name, path, sizeof path) == 0);
            free(name);
            if (sizes[i] > 4096) break;
        }
    }
    static const size_t bad[] = {0, 1, 15, (1 << 20) + 1, (1 << 20) + 5000};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file("/var/lib/system_salt", bad[i]);
        CHECK(daemonstore_path(DAEMONSTORE_DATA, "notes", "alice", path, sizeof path) == -1);
    }
    CHECK(mkdir("/home/.shadow", 0755) == 0);
    CHECK(mkfifo("/home/.shadow/salt", 0644) == 0);
    CHECK(daemonstore_path(DAEMONSTORE_DATA, "notes", "alice", path, sizeof path) == -1);
}

static void make_folder(const char *store, unsigned number, int is_mounted) {
    char path[200];
    snprintf(path, sizeof path, "%s/%040x", store, number);
    CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
    if (is_mounted) CHECK(mount("none", path, "tmpfs", 0, "size=4k") == 0);
}

static unsigned events(struct daemonstore_watch *watch, int arrived) {
    struct daemonstore_event event;
    unsigned count = 0;
    int result;
    while ((result = daemonstore_watch_next(watch, &event)) == 1) {
        CHECK(strlen(event.user) == 40 && event.arrived == arrived);
        count++;
    }
    CHECK(result == 0);
    return count;
}

static void watches(void) {
    static const char store[] = "/run/daemon-store/notes";
    CHECK(daemonstore_watch_new("/run/daemon-store/none") == NULL && errno == ENOENT);
    CHECK(daemonstore_watch_new("") == NULL);
    for (int i = 0; i < 300; i++) make_folder(store, 0x1000 + (unsigned)i, i % 3 == 0);
    CHECK(mkdir("/run/daemon-store/notes/0123456789abcdef0123456789abcdef0123456", 0700) == 0);
    CHECK(mkdir("/run/daemon-store/notes/0123456789abcdef0123456789abcdef012345678", 0700) == 0);
    struct daemonstore_watch *watch = daemonstore_watch_new(store);
    CHECK(watch != NULL && events(watch, 1) == 100 && events(watch, 1) == 0);
    make_folder(store, 1, 1);
    struct pollfd ready = {.fd = daemonstore_watch_fd(watch), .events = POLLIN};
    CHECK(poll(&ready, 1, 10000) == 1 && events(watch, 1) == 1);
    for (int i = 0; i < 300; i += 3) {
        char path[200];
        snprintf(path, sizeof path, "%s/%040x", store, 0x1000 + (unsigned)i);
        CHECK(umount2(path, MNT_DETACH) == 0);
    }
    CHECK(events(watch, 0) == 100);
    // With events left, and with the store gone.
    for (int i = 0; i < 20; i++) make_folder(store, 0x2000 + (unsigned)i, 1);
    struct daemonstore_event event;
    CHECK(daemonstore_watch_next(watch, &event) == 1);
    CHECK(umount2(store, MNT_DETACH) == 0);
    while (daemonstore_watch_next(watch, &event) == 1) continue;
    daemonstore_watch_free(watch);
    daemonstore_watch_free(NULL);
}

static void waits(void) {
    static const char folder[] = "/run/daemon-store/notes/0123456789abcdef0123456789abcdef01234567";
    CHECK(mkdir(folder, 0700) == 0);
    CHECK(daemonstore_is_mounted(folder) == 0 && daemonstore_wait(folder, 10) == 0);
    CHECK(daemonstore_wait_gone(folder, -1) == 1);
    CHECK(mount("none", folder, "tmpfs", 0, "size=4k") == 0);
    CHECK(daemonstore_wait(folder, -1) == 1 && daemonstore_wait_gone(folder, 0) == 0);
    CHECK(umount2(folder, MNT_DETACH) == 0);
    CHECK(daemonstore_wait("", 0) == -1 && daemonstore_wait("/", 0) == 1);
    for (size_t length = 1; length < 5000; length += 61) {
        char *path = malloc(length + 1);
        CHECK(path != NULL);
        memset(path, '/', length);
        path[length] = '\0';
        (void)daemonstore_wait(path, 0);
        memset(path, 'x', length);
        CHECK(daemonstore_wait(path, 0) == -1);
        free(path);
    }
}

int main(void) {
    static const char *const own[] = {"/run", "/home", "/var/lib"};
    CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    for (size_t i = 0; i < 3; i++) CHECK(mount("none", own[i], "tmpfs", 0, "mode=755") == 0);
    CHECK(mkdir("/run/daemon-store", 0755) == 0 && mkdir("/run/daemon-store/notes", 0755) == 0);
    CHECK(mount("none", "/run/daemon-store/notes", "tmpfs", 0, "mode=755") == 0);
    CHECK(chdir("/run/daemon-store") == 0);  // nothing is mounted here
    paths();
    salts();
    waits();
    watches();
    for (int code = -1; code < 200; code++) CHECK(daemonstore_strerror(code) != NULL);
    return 0;
}
