// An application that logs in through pam_daemonstore.so, as root in a mount namespace of its own: with
// passwords of every size, with a program beside it that answers too much or nothing, and with a service
// on the control socket that does the same.
//
// usage: pam MODULE PROGRAM GIVEN, the last of which is made of pam_given.c
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sched.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char *password;
static size_t told;

/// Nothing asks; what is told is read to its end.
static int converse(int count, const struct pam_message **messages, struct pam_response **answers,
                    void *data) {
    (void)data;
    *answers = calloc((size_t)count, sizeof **answers);
    CHECK(*answers != NULL);
    for (int i = 0; i < count; i++) told += strlen(messages[i]->msg);
    return PAM_SUCCESS;
}

static void write_text(const char *path, const char *text, int mode) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    CHECK(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
    close(file);
}

/// A login, two sessions, and their end. Nothing that the module does refuses any of it.
static void log_in(const char *user, int flags) {
    const struct pam_conv conversation = {converse, NULL};
    pam_handle_t *pamh = NULL;
    CHECK(pam_start_confdir("login", user, &conversation, "/run/pam", &pamh) == PAM_SUCCESS);
    CHECK(setenv("GIVEN", password, 1) == 0);
    CHECK(pam_authenticate(pamh, flags) == PAM_SUCCESS);
    (void)pam_setcred(pamh, PAM_ESTABLISH_CRED);
    for (int i = 0; i < 2; i++) CHECK(pam_open_session(pamh, flags) == PAM_SUCCESS);
    for (int i = 0; i < 2; i++) CHECK(pam_close_session(pamh, flags) == PAM_SUCCESS);
    CHECK(pam_chauthtok(pamh, flags) == PAM_SUCCESS);
    pam_end(pamh, PAM_SUCCESS);
}

static void set_password(size_t size, char byte) {
    free(password);
    password = malloc(size + 1);
    CHECK(password != NULL);
    memset(password, byte, size);
    password[size] = '\0';
}

/// The packets of a service that is as wrong as can be: kind 0 to 11.
static void serve(int listener, int kind) {
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) _exit(1);
        static char packet[70000];
        char words[2048], control[256];
        struct iovec part = {words, sizeof words};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        (void)recvmsg(connection, &message, 0);
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
            for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
                int number;
                memcpy(&number, CMSG_DATA(c) + i * sizeof number, sizeof number);
                close(number);
            }
        }
        memset(packet, kind == 5 ? '\n' : kind == 6 ? '9' : 'x', sizeof packet);
        if (kind == 1) (void)send(connection, "taken!", 6, MSG_NOSIGNAL);
        if (kind == 2) (void)send(connection, packet, sizeof packet, MSG_NOSIGNAL);
        if (kind >= 3) (void)send(connection, "taken", 5, MSG_NOSIGNAL);
        if (kind == 4) (void)send(connection, "", 1, MSG_NOSIGNAL);
        if (kind == 5 || kind == 6 || kind == 7) (void)send(connection, packet, sizeof packet, MSG_NOSIGNAL);
        if (kind == 8) (void)send(connection, "0\n", 2, MSG_NOSIGNAL);
        if (kind == 9) (void)send(connection, "-99999999999999999999\nx", 23, MSG_NOSIGNAL);
        if (kind == 10) (void)send(connection, packet, 4096, MSG_NOSIGNAL);
        if (kind == 11) (void)send(connection, packet, 4103, MSG_NOSIGNAL);
        close(connection);
    }
}

static void with_service(int kind) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/cryptohome/control"};
    (void)unlink(address.sun_path);
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CHECK(listener >= 0);
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 8) == 0);
    pid_t child = fork();
    if (child == 0) serve(listener, kind);
    close(listener);
    log_in("root", 0);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    CHECK(unlink(address.sun_path) == 0);
}

int main(int count, char **words) {
    CHECK(count == 4);
    CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    CHECK(mount("none", "/run", "tmpfs", 0, "mode=755") == 0);
    CHECK(mkdir("/run/pam", 0755) == 0 && mkdir("/run/cryptohome", 0700) == 0);
    static const char *const kinds[] = {"auth", "session", "password"};
    char file[8192] = "account required pam_permit.so\n";
    for (int i = 0; i < 3; i++) {
        size_t size = strlen(file);
        snprintf(file + size, sizeof file - size,
                 "%s required %s\n%s optional %s cryptohome=%s all-services unknown%%n cryptohome=\n",
                 kinds[i], i == 1 ? "pam_permit.so" : words[3], kinds[i], words[1], words[2]);
    }
    write_text("/run/pam/login", file, 0644);

    static const char *const programs[] = {
        "#!/bin/sh\nexit 0\n",
        "#!/bin/sh\ncat >/dev/null\necho 'hello %n%s'\necho there >&2\nexit 1\n",
        "#!/bin/sh\nhead -c 300000 /dev/zero | tr '\\0' x\nexit 3\n",
        "#!/bin/sh\nhead -c 4095 /dev/zero | tr '\\0' '\\n'\nexit 3\n",
        "#!/bin/sh\nhead -c 4096 /dev/zero\nexit 127\n",
        "#!/bin/sh\nkill -9 $$\n",
        "#!/nowhere\n",
    };
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 70000};
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        write_text(words[2], programs[i], 0755);
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            if (i > 1 && sizes[j] > 1) continue;
            set_password(sizes[j], 'p');
            log_in("root", j % 2 == 0 ? PAM_SILENT : 0);
        }
    }
    set_password(3, '\n');
    log_in("root", 0);
    set_password(8, 'p');
    char user[2000];
    memset(user, 'u', sizeof user);
    user[sizeof user - 1] = '\0';
    log_in(user, 0);
    for (int kind = 0; kind < 12; kind++) with_service(kind);
    CHECK(told > 0);
    free(password);
    return 0;
}
