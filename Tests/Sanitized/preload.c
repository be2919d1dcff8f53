// A program that is started again and again with libminijailpreload.so before it, and with orders that
// minijail0 would never write.
//
// usage: preload LIBRARY
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPORT = 7, FILTER = 8, NO_JAIL = 252, HAS_RUN = 42 };

/// The filter file: `size` bytes of instructions that allow everything.
static int filter_file(size_t size) {
    const struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    int file = memfd_create("filter", 0);
    CHECK(file >= 0);
    for (size_t i = 0; i < size; i += sizeof allow) {
        size_t part = size - i < sizeof allow ? size - i : sizeof allow;
        CHECK(write(file, &allow, part) == (ssize_t)part);
    }
    return file;
}

/// Starts this program as `words[0]` with these variables; how it ends.
static int start(const char *self, char *const variables[], size_t size) {
    int file = filter_file(size), report[2];
    CHECK(pipe(report) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int far = fcntl(report[1], F_DUPFD, 20), other = fcntl(file, F_DUPFD, 20);
        if (dup2(far, REPORT) < 0 || dup2(other, FILTER) < 0) _exit(90);
        execve(self, (char *const[]){(char *)self, NULL}, variables);
        _exit(91);
    }
    close(report[1]);
    close(file);
    char answer[512];
    ssize_t count = read(report[0], answer, sizeof answer);
    close(report[0]);
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    int end = WEXITSTATUS(status);
    // It runs when its jail was complete alone.
    CHECK(end == NO_JAIL || (end == HAS_RUN && count == 1 && answer[0] == 'R'));
    return end;
}

static int with_orders(const char *self, const char *library, const char *orders, size_t size) {
    char *order = malloc(strlen(orders) + 20), preload[4096];
    CHECK(order != NULL);
    sprintf(order, "__MINIJAIL_FD=%s", orders);
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", library);
    char options[] = "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0";
    // Variables with almost the same names, and twice the same.
    char *const variables[] = {
        options, "__MINIJAIL_F=1", order, preload, "__MINIJAIL_FDX=1", "", "=", order, NULL};
    int end = start(self, variables, size);
    free(order);
    return end;
}

int main(int count, char **words) {
    if (count == 1) {
        // Nothing is left of what the library was told.
        for (char **entry = environ; *entry != NULL; entry++) {
            if (strncmp(*entry, "__MINIJAIL_FD=", 14) == 0) return 1;
            if (strncmp(*entry, "LD_PRELOAD=", 11) == 0) return 1;
        }
        return HAS_RUN;
    }
    const char *library = words[1];
    static const char *const good[] = {"r7", "r7f8", "r7af8g0", "f8r7", "r7w-1l-1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CHECK(with_orders(words[0], library, good[i], sizeof(struct sock_filter)) == HAS_RUN);
    }
    static const char *const bad[] = {
        "", "x", "r", "rr", "r7x", "7", "r7f", "r7f9999", "r7f-", "r99999999999999999999", "r-1f8",
        "r7w6", "r7w7", "r7l7", "r7f7", "r7f8g4294967295", "r7f8g-1", " r7", "r7 ", "r 7f 8q", "\xff\xfe",
        "r7%n%s%s"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(with_orders(words[0], library, bad[i], 8) == NO_JAIL);
    }
    static const size_t sizes[] = {0, 1, 7, 9, 4095 * 8, 4096 * 8 - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int is_whole = sizes[i] > 0 && sizes[i] % 8 == 0;
        CHECK(with_orders(words[0], library, "r7f8", sizes[i]) == (is_whole ? HAS_RUN : NO_JAIL));
    }
    CHECK(with_orders(words[0], library, "r7f8", 4096 * 8) == HAS_RUN);
    (void)with_orders(words[0], library, "r7f8", 4097 * 8);
    char *longest = malloc(100001);
    CHECK(longest != NULL);
    memset(longest, 'a', 100000);
    longest[100000] = '\0';
    (void)with_orders(words[0], library, longest, 8);
    memcpy(longest, "r7", 2);
    CHECK(with_orders(words[0], library, longest, 8) == HAS_RUN);
    memset(longest + 2, '9', 99998);
    (void)with_orders(words[0], library, longest, 8);
    free(longest);
    return 0;
}
