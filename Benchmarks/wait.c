// How long it takes from a mount to the end of a program that waits for it.
//
//   wait measure ROUNDS host|jail FOLDER PROGRAM ARGUMENT...
//     Makes the directory FOLDER and binds something on it while PROGRAM waits, ROUNDS times; prints the
//     median and the longest time, in microseconds, from before mount(2) until PROGRAM has ended, and
//     the median of mount(2) alone.
//     In a jail: as nobody, in a mount namespace that is a slave of this one.
//   wait floor FOLDER
//     The least that a program can do that waits for FOLDER.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static int wait_for(const char *folder) {
    struct pollfd table = {open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC), POLLPRI, 0};
    if (table.fd < 0) fail("mountinfo");
    for (;;) {
        struct statx status;
        if (statx(AT_FDCWD, folder, AT_SYMLINK_NOFOLLOW, 0, &status) == 0 &&
            (status.stx_attributes & STATX_ATTR_MOUNT_ROOT))
            return 0;
        poll(&table, 1, -1);
    }
}

/// Waits until the process sleeps with its mount table open.
static void await_sleep(pid_t process) {
    char path[64], text[512];
    for (;;) {
        usleep(500);
        int has_table = 0;
        for (int number = 3; number < 32 && !has_table; number++) {
            snprintf(path, sizeof path, "/proc/%d/fd/%d", process, number);
            ssize_t size = readlink(path, text, sizeof text - 1);
            has_table = size > 0 && (text[size] = 0, strstr(text, "/mountinfo") != NULL);
        }
        snprintf(path, sizeof path, "/proc/%d/stat", process);
        FILE *file = fopen(path, "r");
        if (file == NULL) fail(path);
        char state = 0;
        if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) fail(path);
        fclose(file);
        if (state == 'Z') {
            fprintf(stderr, "the program has ended before the mount\n");
            exit(1);
        }
        if (has_table && state == 'S') return;
    }
}

static int own_namespace(void) {
    int file = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (file < 0) fail("/proc/self/ns/mnt");
    return file;
}

/// A mount namespace that is a slave of this one, kept by the descriptor: its end takes the longer
/// the more mounts are in it, and would be measured too.
static int make_jail(void) {
    int home = own_namespace();
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) != 0)
        fail("jail");
    int jail = own_namespace();
    if (setns(home, CLONE_NEWNS) != 0) fail("setns");
    close(home);
    return jail;
}

static void enter(int jail) {
    if (setns(jail, CLONE_NEWNS) != 0 || setresgid(65534, 65534, 65534) != 0 ||
        setresuid(65534, 65534, 65534) != 0)
        fail("jail");
}

/// - Parameter jail: -1 for none.
static pid_t start(int jail, char **program) {
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child > 0) return child;
    if (jail >= 0) enter(jail);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // What the program prints is not looked at.
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDOUT_FILENO);
    execv(program[0], program);
    fail(program[0]);
    return -1;
}

int main(int count, char **words) {
    if (count == 3 && strcmp(words[1], "floor") == 0) return wait_for(words[2]);
    if (count < 6 || strcmp(words[1], "measure") != 0) return 2;
    int rounds = atoi(words[2]);
    const char *folder = words[4];
    double whole[1000], mounting[1000];
    if (rounds < 1 || rounds > 1000) return 2;
    int jail = strcmp(words[3], "jail") == 0 ? make_jail() : -1;
    for (int round = 0; round < rounds; round++) {
        if (mkdir(folder, 0700) != 0 && errno != EEXIST) fail(folder);
        pid_t waiter = start(jail, words + 5);
        await_sleep(waiter);
        double before = now();
        if (mount("/var", folder, NULL, MS_BIND, NULL) != 0) fail("mount");
        double mounted = now();
        int status;
        if (waitpid(waiter, &status, 0) < 0) fail("wait");
        whole[round] = now() - before;
        mounting[round] = mounted - before;
        if (status != 0) {
            fprintf(stderr, "the program has failed\n");
            return 1;
        }
        if (umount(folder) != 0) fail("umount");
    }
    qsort(whole, rounds, sizeof *whole, ascending);
    qsort(mounting, rounds, sizeof *mounting, ascending);
    printf("%8.0f %8.0f %8.0f\n", whole[rounds / 2], whole[rounds - 1], mounting[rounds / 2]);
    return 0;
}
